"""Where does the identity stage keep what it knows?

identity_member     (ns, id)                      → profile id; no row: the identity is alone
identity_component  profile id                    → members, floor, links at it, sets since
identity_sighting   (set, time, record, dataset)  → nothing; every record that links
identity_set        (ns, id, set)                 → the identities of the set
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.identity.graph import BEGINNING, SeenSet, Sighting, Stamp
from amity.platform.identity.model import Identity
from amity.platform.identity.step import Component, Known
from amity.storage.keys import after, pack, unpack
from amity.storage.ports import Reader, Writer

MEMBER = "identity_member"
COMPONENT = "identity_component"
SIGHTING = "identity_sighting"
SET = "identity_set"
XID = "identity_xid"

_NOTHING = b"\x00"
_ENCODE = msgspec.msgpack.Encoder().encode
_COMPONENT = msgspec.msgpack.Decoder(Component)
_IDENTITY = msgspec.msgpack.Decoder(Identity)
_IDENTITIES = msgspec.msgpack.Decoder(tuple[Identity, ...])


class Row(NamedTuple):
    """A sighting with the dataset that shows it."""

    seen: Sighting
    dataset: str


@dataclass(slots=True, kw_only=True)
class Changes:
    """What is to be written of one scope."""

    members: dict[Identity, ProfileId] = field(default_factory=dict)
    components: dict[ProfileId, Component] = field(default_factory=dict)
    gone: set[ProfileId] = field(default_factory=set)
    rows: list[Row] = field(default_factory=list)
    sets: dict[str, tuple[Identity, ...]] = field(default_factory=dict)


def members_of(
    reader: Reader, scope: Scope, identities: Iterable[Identity]
) -> dict[Identity, ProfileId]:
    """The profile ids of those identities that are linked, or once were."""
    keys = {pack(*identity): identity for identity in identities}
    rows = reader.get_many(MEMBER, scope, keys)
    return {keys[key]: ProfileId(value.decode()) for key, value in rows.items()}


def homes(reader: Reader, scope: Scope) -> Iterator[tuple[bytes, bytes]]:
    """All identities that are linked, or once were, and their profile ids, in one walk.

    As they are kept, for whoever takes them by the hundred thousand: ``ns NUL id NUL``.
    """
    return reader.scan(MEMBER, scope)


def profile_of(reader: Reader, scope: Scope, identity: Identity) -> ProfileId:
    """The person who holds an identity; an identity never linked is a person of its own."""
    return members_of(reader, scope, (identity,)).get(identity, ProfileId(identity.xid))


def identity_of_xid(reader: Reader, scope: Scope, xid: str) -> Identity | None:
    """The identity an xid names, when it was ever linked."""
    row = reader.get_many(XID, scope, (xid.encode(),)).get(xid.encode())
    return None if row is None else _IDENTITY.decode(row)


def components_of(
    reader: Reader, scope: Scope, profiles: Iterable[ProfileId]
) -> dict[ProfileId, Component]:
    """The components of those profiles that have one."""
    rows = reader.get_many(COMPONENT, scope, {name.encode() for name in profiles})
    return {ProfileId(key.decode()): _COMPONENT.decode(value) for key, value in rows.items()}


def know(reader: Reader, scope: Scope, known: Known, identities: Iterable[Identity]) -> None:
    """Add what is stored of these identities."""
    fresh = members_of(reader, scope, identities)
    missing = {name for name in fresh.values() if name not in known.components}
    rows = reader.get_many(COMPONENT, scope, {name.encode() for name in missing})
    known.members.update(fresh)
    known.components.add({ProfileId(key.decode()): row for key, row in rows.items()})


def are_stored(reader: Reader, scope: Scope, rows: Iterable[Row]) -> set[Row]:
    """Those sightings that were taken in before."""
    keys = {_sighting_key(row): row for row in rows}
    return {keys[key] for key in reader.get_many(SIGHTING, scope, keys)}


def sightings_since(reader: Reader, scope: Scope, name: str, held: SeenSet) -> Iterator[Sighting]:
    """The sightings of one identity set after its `since`."""
    prefix = pack(name)
    start = prefix if held.since == BEGINNING else pack(name, held.since.at_ms)
    for key, _ in reader.scan(SIGHTING, scope, start=start, end=after(prefix)):
        stamp = _stamp(key)
        if stamp > held.since:
            yield Sighting(stamp, held.identities)


def set_bounds(reader: Reader, scope: Scope, name: str, since: Stamp) -> tuple[Stamp, Stamp] | None:
    """The first and the newest stamp of a set after `since`."""
    prefix = pack(name)
    start = prefix if since == BEGINNING else pack(name, since.at_ms + 1)
    ends = [
        next(
            reader.scan(SIGHTING, scope, start=start, end=after(prefix), limit=1, reverse=back),
            None,
        )
        for back in (False, True)
    ]
    first, last = ends
    return None if first is None or last is None else (_stamp(first[0]), _stamp(last[0]))


def datasets_of_set(reader: Reader, scope: Scope, name: str) -> set[str]:
    """The datasets whose records show this set."""
    prefix = pack(name)
    rows = reader.scan(SIGHTING, scope, start=prefix, end=after(prefix))
    return {str(unpack(key, "siss")[3]) for key, _ in rows}


def sets_with(reader: Reader, scope: Scope, identity: Identity) -> dict[str, tuple[Identity, ...]]:
    """Every identity set that ever held this identity."""
    prefix = pack(*identity)
    rows = reader.scan(SET, scope, start=prefix, end=after(prefix))
    return {str(unpack(key, "sss")[2]): _IDENTITIES.decode(value) for key, value in rows}


def write(writer: Writer, scope: Scope, changes: Changes) -> None:
    """Write what a step has changed."""
    if changes.rows:
        keys = {_sighting_key(row) for row in changes.rows}
        writer.put_many(SIGHTING, scope, [(key, _NOTHING) for key in sorted(keys)])
    if changes.sets:
        writer.put_many(
            SET,
            scope,
            [
                (pack(*identity, name), _ENCODE(identities))
                for name, identities in changes.sets.items()
                for identity in identities
            ],
        )
    if changes.gone:
        writer.delete_many(COMPONENT, scope, [name.encode() for name in changes.gone])
    if changes.components:
        writer.put_many(
            COMPONENT,
            scope,
            [(name.encode(), _ENCODE(held)) for name, held in changes.components.items()],
        )
    if changes.members:
        writer.put_many(
            MEMBER,
            scope,
            [(pack(*identity), name.encode()) for identity, name in changes.members.items()],
        )
        writer.put_many(XID, scope, [(one.xid.encode(), _ENCODE(one)) for one in changes.members])


def _sighting_key(row: Row) -> bytes:
    stamp = row.seen.stamp
    return pack(stamp.set, stamp.at_ms, stamp.record, row.dataset)


def _stamp(key: bytes) -> Stamp:
    name, at_ms, record, _ = unpack(key, "siss")
    return Stamp(int(at_ms), str(record), str(name))
