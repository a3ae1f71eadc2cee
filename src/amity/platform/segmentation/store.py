"""Where does segmentation keep what it knows, and who is in which audience?

Table `segmentation_profile` (profile → state), `segmentation_member` (audience, profile → status)
and `segmentation_total` (audience → members by status), all in the state database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from amity.kernel.clock import to_iso
from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.segmentation.model import Status
from amity.platform.segmentation.step import (
    Backfill,
    Key,
    MemberRow,
    ProfileState,
    SegmentationState,
)
from amity.storage.keys import after, pack, unpack
from amity.storage.ports import Reader, State, Writer

PROFILES = "segmentation_profile"
MEMBERS = "segmentation_member"
TOTALS = "segmentation_total"
BACKFILLS = "segmentation_backfill"

_ENCODER = msgspec.msgpack.Encoder(enc_hook=int)
"""Instants are kept as plain integers."""

_PROFILE = msgspec.msgpack.Decoder(ProfileState)
_MEMBER = msgspec.msgpack.Decoder(MemberRow)
_BACKFILL = msgspec.msgpack.Decoder(Backfill)


class Totals(msgspec.Struct, array_like=True):
    """How many profiles are in an audience, and how many have left it."""

    realized: int = 0
    exited: int = 0


_TOTALS = msgspec.msgpack.Decoder(Totals)


class Membership(NamedTuple):
    """A profile in an audience."""

    profile: ProfileId
    row: MemberRow


def load_profiles(reader: Reader, keys: Iterable[Key]) -> dict[Key, ProfileState]:
    """The states of those profiles that have one."""
    by_scope: dict[Scope, list[ProfileId]] = {}
    for scope, profile in keys:
        by_scope.setdefault(scope, []).append(profile)
    found: dict[Key, ProfileState] = {}
    for scope, profiles in by_scope.items():
        packed = {pack(profile): profile for profile in profiles}
        for key, value in reader.get_many(PROFILES, scope, packed).items():
            found[scope, packed[key]] = _PROFILE.decode(value)
    return found


def profile_ids(reader: Reader, scope: Scope, after_id: str, limit: int) -> list[ProfileId]:
    """The next profiles that segmentation knows."""
    start = after(pack(after_id)) or b"" if after_id else b""
    rows = reader.scan(PROFILES, scope, start=start, limit=limit)
    return [ProfileId(str(unpack(key, "s")[0])) for key, _ in rows]


def load_backfill(reader: Reader, scope: Scope) -> Backfill:
    """How far the evaluation of changed definitions has come."""
    for value in reader.get_many(BACKFILLS, scope, [b"1"]).values():
        return _BACKFILL.decode(value)
    return Backfill()


def save(writer: Writer, state: SegmentationState) -> None:
    """Write what a step has changed."""
    puts: dict[Scope, list[tuple[bytes, bytes]]] = {}
    for scope, profile in sorted(state.dirty, key=lambda key: (key[0].key, key[1])):
        row = (pack(profile), _ENCODER.encode(state.profiles[scope, profile]))
        puts.setdefault(scope, []).append(row)
    for scope, items in puts.items():
        writer.put_many(PROFILES, scope, items)
    for scope in state.dirty_backfills:
        writer.put_many(BACKFILLS, scope, [(b"1", _ENCODER.encode(state.backfills[scope]))])
    _save_members(writer, state)


def _save_members(writer: Writer, state: SegmentationState) -> None:
    by_scope: dict[Scope, dict[bytes, tuple[str, MemberRow]]] = {}
    for (scope, audience, profile), row in state.members.items():
        by_scope.setdefault(scope, {})[pack(audience, profile)] = (audience, row)
    for scope, rows in by_scope.items():
        before = writer.get_many(MEMBERS, scope, rows)
        moves: dict[str, Totals] = {}
        for key, (audience, row) in rows.items():
            _count(moves.setdefault(audience, Totals()), row.status, 1)
            if key in before:
                _count(moves[audience], _MEMBER.decode(before[key]).status, -1)
        _save_totals(writer, scope, moves)
        items = [(key, _ENCODER.encode(row)) for key, (_, row) in sorted(rows.items())]
        writer.put_many(MEMBERS, scope, items)


def _count(totals: Totals, status: Status, by: int) -> None:
    if status == "realized":
        totals.realized += by
    else:
        totals.exited += by


def _save_totals(writer: Writer, scope: Scope, moves: dict[str, Totals]) -> None:
    known = writer.get_many(TOTALS, scope, [pack(audience) for audience in moves])
    items = []
    for audience, move in sorted(moves.items()):
        raw = known.get(pack(audience))
        totals = _TOTALS.decode(raw) if raw else Totals()
        totals.realized += move.realized
        totals.exited += move.exited
        items.append((pack(audience), _ENCODER.encode(totals)))
    writer.put_many(TOTALS, scope, items)


class Members:
    """Reads who is in which audience."""

    def __init__(self, state: State) -> None:
        self._state = state

    def members(
        self, reader: Reader, scope: Scope, audience: str, status: Status | None = "realized"
    ) -> Iterator[Membership]:
        """The profiles of an audience, in order of their ids; `status` None = both."""
        prefix = pack(audience)
        for key, value in reader.scan(MEMBERS, scope, start=prefix, end=after(prefix)):
            row = _MEMBER.decode(value)
            if status is None or row.status == status:
                yield Membership(ProfileId(str(unpack(key, "ss")[1])), row)

    def of_profile(self, reader: Reader, scope: Scope, profile: ProfileId) -> dict[str, Any]:
        """The `segmentMembership` of a profile. Behaviour: platform-audiences.md §5.5."""
        known = load_profiles(reader, [(scope, profile)]).get((scope, profile))
        found = {
            id: {
                "status": "realized" if standing.inside else "exited",
                "lastQualificationTime": to_iso(standing.since_ms),
                "version": str(standing.version),
            }
            for id, standing in sorted(known.standings.items() if known else ())
            if standing.version
        }
        return {"ups": found} if found else {}

    def totals(self, scope: Scope, audience: str) -> Totals:
        """How many are in an audience."""
        with self._state.read() as reader:
            for value in reader.get_many(TOTALS, scope, [pack(audience)]).values():
                return _TOTALS.decode(value)
        return Totals()

    def counts(self, scope: Scope) -> dict[str, Totals]:
        """The same for all audiences."""
        with self._state.read() as reader:
            return {
                str(unpack(key, "s")[0]): _TOTALS.decode(value)
                for key, value in reader.scan(TOTALS, scope)
            }

    def row_of(
        self, reader: Reader, scope: Scope, audience: str, profile: ProfileId
    ) -> MemberRow | None:
        """Since when and by what a profile stands where it stands; None = it never was in."""
        key = pack(audience, profile)
        found = reader.get_many(MEMBERS, scope, [key]).get(key)
        return None if found is None else _MEMBER.decode(found)

    def state_of(self, reader: Reader, scope: Scope, profile: ProfileId) -> ProfileState | None:
        """Everything kept of a profile."""
        return load_profiles(reader, [(scope, profile)]).get((scope, profile))
