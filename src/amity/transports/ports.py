"""What is a place for files to the rest of the system?

Paths are relative, with `/` between names. What is put appears whole or not at all, under its name,
replacing what was there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from amity.transports.errors import BadPath

PATH_BYTES_MAX = 1_024
"""The longest blob name. Source: Azure Blob naming rules."""

NAME_BYTES_MAX = 255
"""The longest file name. Behaviour: platform-activation.md §4.5."""


UNFINISHED = ".amity-part"
"""How the hidden names end of files that are not whole yet. No store lists or opens them."""


class Stat(NamedTuple):
    """What is known of a file without reading it."""

    path: str
    size: int
    modified_ms: int


class Store(Protocol):
    """A place that keeps files."""

    def put(self, path: str, data: bytes | Path, *, content_type: str = "") -> None:
        """Publish bytes, or a local file, under this path."""

    def get(self, path: str) -> bytes:
        """The whole file; `NoSuchFile` when there is none."""

    def open(self, path: str) -> IO[bytes]:
        """A seekable stream; `NoSuchFile` when there is none."""

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """The files whose path begins with `prefix`, in order of path."""

    def head(self, path: str) -> Stat | None:
        """The file's size and age; None when there is none."""

    def delete(self, path: str) -> None:
        """Remove the file, if there is one."""


def checked(path: str) -> str:
    """The path, if it names a file in any store.

    >>> checked("out/a b.csv")
    'out/a b.csv'
    >>> checked("../a")
    Traceback (most recent call last):
    amity.transports.errors.BadPath: '../a': a path is relative and holds no empty, . or .. part
    """
    if len(path.encode("utf-8", "surrogatepass")) > PATH_BYTES_MAX:
        raise BadPath(f"a path has at most {PATH_BYTES_MAX} bytes: {path[:60]!r}…")
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise BadPath(f"{path!r}: a path is relative and holds no empty, . or .. part")
    if any(letter < " " or letter in "\\\x7f" or "\ud800" <= letter <= "\udfff" for letter in path):
        raise BadPath(f"{path!r} holds a backslash or a character that is not printed")
    long = [part for part in parts if len(part.encode()) > NAME_BYTES_MAX]
    if long:
        raise BadPath(f"a file name has at most {NAME_BYTES_MAX} bytes: {long[0][:60]!r}…")
    return path


def is_unfinished(name: str) -> bool:
    """Whether a file of this name is one that is not whole yet.

    >>> is_unfinished(".1f.amity-part")
    True
    """
    return name.startswith(".") and name.endswith(UNFINISHED)
