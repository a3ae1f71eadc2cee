"""How is a key kept in a file?

In a file that only its owner may read, made whole or not at all: a server killed in the middle of
its first start must find a key at its second, and never an empty one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from amity.kernel.errors import Forbidden


class KeyFileOpen(Forbidden):
    """The key file can be read by others: set its mode to 0600."""


class KeyFileEmpty(Forbidden):
    """The key file holds no key."""


def read_keys(path: Path, make: Callable[[], str]) -> list[str]:
    """The keys of a file, one a line; it gets one from `make` when it is missing.

    Raises:
        KeyFileOpen: Others may read it.
        KeyFileEmpty: There is none in it.
    """
    if not path.exists():
        _write(path, make())
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise KeyFileOpen(f"{path.name} can be read by others: set its mode to 0600")
    keys = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if not keys:
        raise KeyFileEmpty(
            f"{path.name} holds no key: put the key back, or delete the file to have a new one made"
        )
    return keys


def _write(path: Path, key: str) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(key + "\n")
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
