"""Where does the profile stage keep what it knows?

profile_key       xid              → identity, erased up to, whether it holds data, and records
profile_index     profile id       → nothing; one row for everyone who holds data
profile_fragment  (ns, id, dataset)                   → fragment
profile_event     (ns, id, time, event id, dataset)   → receipt, body
profile_event_id  digest of (dataset, event id)       → receipt stamp, key of the event
profile_entity    (ns, id, dataset)                   → fragment of a thing, not a person
profile_count     noun                                → how many
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.identity.model import Identity
from amity.platform.identity.store import components_of
from amity.platform.profile.fragment import Fragment, ReceiptStamp
from amity.platform.profile.merge import Piece
from amity.platform.profile.step import Slot
from amity.storage.keys import after, pack, unpack
from amity.storage.ports import Reader

KEY = "profile_key"
INDEX = "profile_index"
FRAGMENT = "profile_fragment"
EVENT = "profile_event"
EVENT_ID = "profile_event_id"
ENTITY = "profile_entity"
COUNT = "profile_count"

NOTHING = b"\x00"
FOREVER_MS = (1 << 62) - 1
_SIGN = 1 << 63

ENCODE = msgspec.msgpack.Encoder().encode


class KeyRow(msgspec.Struct, frozen=True, array_like=True):
    """An identity under which something was kept."""

    ns: str
    id: str
    erased_ms: int = -1
    live: bool = True
    recorded: bool = True
    """Whether it has fragments: a device mostly has events alone, and is not looked up in vain."""


class EventRow(msgspec.Struct, frozen=True, array_like=True):
    """An event as stored."""

    received_ms: int
    body: dict[str, Any]


class EventIdRow(msgspec.Struct, frozen=True, array_like=True):
    """Which delivery of an event counts, and where the event lies."""

    stamp: ReceiptStamp
    key: bytes


class StoredEvent(NamedTuple):
    """An event of a profile."""

    timestamp_ms: int
    id: str
    dataset: str
    identity: Identity
    received_ms: int
    body: dict[str, Any]


_FRAGMENT = msgspec.msgpack.Decoder(Fragment)
_EVENT = msgspec.msgpack.Decoder(EventRow)
_EVENT_ID = msgspec.msgpack.Decoder(EventIdRow)
_KEY = msgspec.msgpack.Decoder(KeyRow)
_INT = msgspec.msgpack.Decoder(int)


def event_key(identity: Identity, at_ms: int, event_id: str, dataset: str) -> bytes:
    r"""The key of an event: what `pack` makes of it, without looking at each part.

    >>> event_key(Identity("A", "1"), 5, "e", "d") == pack("A", "1", 5, "e", "d")
    True
    """
    place = (at_ms + _SIGN).to_bytes(8, "big")
    head = f"{identity[0]}\x00{identity[1]}\x00".encode()
    return head + place + f"{event_id}\x00{dataset}\x00".encode()


def event_digest(dataset: str, event_id: str) -> bytes:
    """The key under which an event is known whoever it belongs to."""
    return blake2b(f"{dataset}\x00{event_id}".encode(), digest_size=16).digest()


def key_rows(
    reader: Reader, scope: Scope, identities: Iterable[Identity]
) -> dict[Identity, KeyRow]:
    """The key rows of those identities that have one."""
    rows = reader.get_many(KEY, scope, {one.xid.encode() for one in identities})
    decoded = map(_KEY.decode, rows.values())
    return {Identity(row.ns, row.id): row for row in decoded}


def indexed(reader: Reader, scope: Scope, profiles: Iterable[ProfileId]) -> set[ProfileId]:
    """Those of the profiles under whom something is kept."""
    rows = reader.get_many(INDEX, scope, {profile.encode() for profile in profiles})
    return {ProfileId(key.decode()) for key in rows}


def identity_of(reader: Reader, scope: Scope, xid: str) -> Identity | None:
    """The identity an xid names, when something was kept under it."""
    row = reader.get_many(KEY, scope, (xid.encode(),)).get(xid.encode())
    if row is None:
        return None
    key = _KEY.decode(row)
    return Identity(key.ns, key.id)


def event_ids(reader: Reader, scope: Scope, digests: Iterable[bytes]) -> dict[bytes, EventIdRow]:
    """What is known of deliveries."""
    rows = reader.get_many(EVENT_ID, scope, digests)
    return {digest: _EVENT_ID.decode(row) for digest, row in rows.items()}


def fragments(
    reader: Reader, scope: Scope, table: str, slots: Iterable[Slot]
) -> dict[Slot, Fragment]:
    """The fragments of those slots that have one."""
    keys = {slot_key(slot): slot for slot in slots}
    rows = reader.get_many(table, scope, keys)
    return {keys[key]: _FRAGMENT.decode(row) for key, row in rows.items()}


def fragments_of(
    reader: Reader, scope: Scope, identity: Identity, table: str = FRAGMENT
) -> dict[Slot, Fragment]:
    """The fragments of one identity."""
    prefix = pack(*identity)
    rows = reader.scan(table, scope, start=prefix, end=after(prefix))
    at = len(prefix)
    return {(identity, key[at:-1].decode()): _FRAGMENT.decode(row) for key, row in rows}


def slot_key(slot: Slot) -> bytes:
    """The key of a fragment."""
    identity, dataset = slot
    return pack(*identity, dataset)


def pieces_of(found: dict[Slot, Fragment]) -> list[Piece]:
    """Stored fragments as merging sees them."""
    return [
        Piece(identity, dataset, fragment.stamp, fragment.fields)
        for (identity, dataset), fragment in found.items()
    ]


def members(reader: Reader, scope: Scope, profile: ProfileId) -> tuple[Identity, ...]:
    """The identities of a person; () when there is no such person."""
    component = components_of(reader, scope, (profile,)).get(profile)
    if component is not None:
        return component.members
    alone = identity_of(reader, scope, profile)
    return () if alone is None else (alone,)


def events_of(
    reader: Reader,
    scope: Scope,
    identities: Iterable[Identity],
    *,
    start_ms: int = -FOREVER_MS,
    end_ms: int = FOREVER_MS,
    reverse: bool = False,
) -> Iterator[StoredEvent]:
    """The events kept under these identities from `start_ms` to before `end_ms`, by time."""
    streams = [
        _events(reader, scope, one, (start_ms, end_ms, reverse)) for one in sorted(identities)
    ]
    return heapq.merge(*streams, key=lambda event: event[:3], reverse=reverse)


def event_keys_of(
    reader: Reader, scope: Scope, identity: Identity, limit: int | None = None
) -> list[bytes]:
    """The keys of the events kept under one identity."""
    prefix = pack(*identity)
    rows = reader.scan(EVENT, scope, start=prefix, end=after(prefix), limit=limit)
    return [key for key, _ in rows]


def digest_of_key(key: bytes) -> bytes:
    """The delivery digest of a stored event."""
    _, _, _, event_id, dataset = unpack(key, "ssiss")
    return event_digest(str(dataset), str(event_id))


def count(reader: Reader, scope: Scope, noun: str) -> int:
    """A counter."""
    row = reader.get_many(COUNT, scope, (noun.encode(),)).get(noun.encode())
    return 0 if row is None else _INT.decode(row)


def _events(
    reader: Reader, scope: Scope, identity: Identity, span: tuple[int, int, bool]
) -> Iterator[StoredEvent]:
    start_ms, end_ms, reverse = span
    rows = reader.scan(
        EVENT,
        scope,
        start=pack(*identity, start_ms),
        end=pack(*identity, end_ms),
        reverse=reverse,
    )
    for key, value in rows:
        _, _, at_ms, event_id, dataset = unpack(key, "ssiss")
        row = _EVENT.decode(value)
        yield StoredEvent(
            int(at_ms), str(event_id), str(dataset), identity, row.received_ms, row.body
        )
