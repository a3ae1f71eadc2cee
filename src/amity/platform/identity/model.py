"""What does the identity stage say about a record?

Identities are written `NS:value` in graph text and kept as `(ns, id)` pairs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

from amity.flow.step import Position
from amity.kernel.ids import ProfileId, Xid, digest

IDENTIFIED_TOPIC = "platform.identified"
"""`Identified` and `Regrouped`, in the order the identity stage made them."""


class Identity(NamedTuple):
    """One identity: a namespace code and a value."""

    ns: str
    id: str

    @property
    def xid(self) -> Xid:
        """Opaque, stable name of this identity."""
        return _xid(self.ns, self.id)


@lru_cache(maxsize=1 << 16)
def _xid(ns: str, id: str) -> Xid:
    """Kept: the same identities come again and again, and hashing is what costs most of a key."""
    return Xid(digest(ns, id, length=40))


class Identified(msgspec.Struct, frozen=True, array_like=True, tag="i"):
    """A record with the person (or entity) it belongs to.

    `primary` is the record's own primary identity: fragments and events are keyed by it and never
    re-keyed. `body` is the record as parsed JSON. For records of entities that are no people
    (`people=False`), `profile` is the primary identity's xid.
    """

    scope: str
    dataset: str
    behavior: Literal["record", "time-series"]
    received_ms: int
    position: Position
    profile: ProfileId
    primary: Identity
    id: str
    """The event's `_id`; "" for a record."""
    timestamp_ms: int
    """The event's own time; for a record its receipt."""
    body: dict[str, Any]
    people: bool = True


class Regrouped(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """A merge, split or unlink: `groups` says who holds which identities from now on.

    Every profile id in `before` is dissolved unless it is a key of `groups` again.
    """

    scope: str
    before: tuple[ProfileId, ...]
    groups: dict[ProfileId, list[Identity]]
    cause: Literal["merge", "split", "unlink", "rules"]
    position: Position
    at_ms: int


IdentityMessage = Identified | Regrouped
