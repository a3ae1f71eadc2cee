"""Where do new names for things come from?

Every id comes from an `IdSource` handed in, so that a test or a replay can repeat a run exactly.
"""

from __future__ import annotations

import hashlib
import random
import secrets
from typing import NewType, Protocol

ProfileId = NewType("ProfileId", str)
"""The person on the platform side; derived from the identity graph, may change at a merge."""

RecipientId = NewType("RecipientId", int)
"""The person on the campaign side; never mixed with `ProfileId`: campaign is the truth."""

Xid = NewType("Xid", str)
"""Opaque name of one (namespace, value) pair. Behaviour: platform-audiences.md §1.2."""


class IdSource(Protocol):
    """Makes ids: `hex` for things of ours, `uuid` where a documented format asks for one."""

    def hex(self, length: int = 32) -> str: ...

    def uuid(self) -> str: ...


class RandomIds:
    """Unguessable ids from the operating system."""

    def hex(self, length: int = 32) -> str:
        return secrets.token_hex((length + 1) // 2)[:length]

    def uuid(self) -> str:
        return _as_uuid(secrets.token_hex(16))


class SeededIds:
    """Repeatable ids for tests and replays; never for secrets."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def hex(self, length: int = 32) -> str:
        return f"{self._rng.getrandbits(length * 4):0{length}x}"

    def uuid(self) -> str:
        return _as_uuid(self.hex(32))


def digest(*parts: str, length: int = 32) -> str:
    """A stable hex name for a tuple of strings.

    >>> digest("a", "bc") != digest("ab", "c")
    True
    """
    joined = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return hashlib.sha256(joined).hexdigest()[:length]


def _as_uuid(text: str) -> str:
    variant = "89ab"[int(text[16], 16) % 4]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"
