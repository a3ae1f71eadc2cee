"""Where do activation's facts lie in the state database?

    activation_member   (audience, profile)        where a profile stands
    activation_change   (audience, revision)       the profile whose newest change this is
    activation_head     (audience)                 newest revision, how many are in
    activation_slot     (flow, audience)           schedule and how far it has come
    activation_exported (flow, audience, mapping)  what the destination has been told

A profile has one row in `activation_change`, that of its newest change, so the table never grows
beyond the members there have been.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

import msgspec

from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.activation.model import (
    AudienceHead,
    Exported,
    ExportOrder,
    Member,
    Qualified,
    Slot,
)
from amity.storage.keys import after, pack, unpack
from amity.storage.ports import Reader, Writer

MEMBERS = "activation_member"
CHANGES = "activation_change"
HEADS = "activation_head"
SLOTS = "activation_slot"
EXPORTED = "activation_exported"

PAGE_PEOPLE = 1_000
"""People whose profiles are read at once. Ours."""

encode = msgspec.msgpack.Encoder().encode
decode_member = msgspec.msgpack.Decoder(Member).decode
decode_head = msgspec.msgpack.Decoder(AudienceHead).decode
decode_slot = msgspec.msgpack.Decoder(Slot).decode
_decode_exported = msgspec.msgpack.Decoder(Exported).decode
T = TypeVar("T")


def head(reader: Reader, scope: Scope, audience: str) -> AudienceHead:
    """The newest revision of an audience."""
    found = reader.get_many(HEADS, scope, [pack(audience)])
    return decode_head(next(iter(found.values()))) if found else AudienceHead()


def member(reader: Reader, scope: Scope, audience: str, profile: str) -> Member | None:
    """Where a profile stands in an audience."""
    found = reader.get_many(MEMBERS, scope, [pack(audience, profile)])
    return decode_member(next(iter(found.values()))) if found else None


def exported(reader: Reader, scope: Scope, order: ExportOrder) -> Exported | None:
    """What the destination has been told under this mapping."""
    found = reader.get_many(EXPORTED, scope, [_exported_key(order)])
    return _decode_exported(next(iter(found.values()))) if found else None


def put_exported(writer: Writer, scope: Scope, order: ExportOrder, revision: int) -> None:
    """Note what the destination has been told."""
    told = Exported(revision, order.run, order.scheduled_ms)
    writer.put_many(EXPORTED, scope, [(_exported_key(order), encode(told))])


def everyone(reader: Reader, scope: Scope, audience: str) -> Iterator[list[Qualified]]:
    """Who is in an audience, in pages, by profile id."""
    prefix = pack(audience)
    rows = reader.scan(MEMBERS, scope, start=prefix, end=after(prefix))
    members = (
        Qualified(ProfileId(_profile(key)), member.active, member.at_ms)
        for key, member in ((key, decode_member(value)) for key, value in rows)
        if member.active
    )
    yield from _pages(members)


def changed(
    reader: Reader, scope: Scope, audience: str, told: int
) -> Iterator[list[tuple[Qualified, Member]]]:
    """Whose membership has changed after revision `told`, in pages, in order of change."""
    prefix = pack(audience)
    rows = reader.scan(CHANGES, scope, start=pack(audience, told + 1), end=after(prefix))
    for page in _pages(value.decode() for _, value in rows):
        keys = {pack(audience, profile): profile for profile in page}
        found = reader.get_many(MEMBERS, scope, keys)
        members = [(keys[key], decode_member(found[key])) for key in keys if key in found]
        yield [
            (Qualified(ProfileId(profile), member.active, member.at_ms), member)
            for profile, member in members
        ]


def _pages(rows: Iterator[T]) -> Iterator[list[T]]:
    while page := list(islice(rows, PAGE_PEOPLE)):
        yield page


def _profile(key: bytes) -> str:
    return str(unpack(key, "ss")[1])


def _exported_key(order: ExportOrder) -> bytes:
    return pack(order.flow, order.audience, order.mapping)
