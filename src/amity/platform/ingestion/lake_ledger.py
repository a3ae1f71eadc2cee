"""Which records are in the lake already?

The lake and the state database share no transaction. So an append is an attempt with a number of
its own: the state says beforehand, in one transaction, what attempt n will add; the lake stores n in
the very commit that adds it. Whether attempt n came about is seen from the lake's last number
before the next attempt begins, and what did not is void from then on. A crash at any point leaves
either both or neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from amity.storage.keys import pack
from amity.storage.ports import Lake, LakeTable, Reader, State

_TABLE = "lake_table"
_PROGRESS = "lake_progress"
_SEEN = "lake_seen"
_MARK_BYTES = 16


class _Attempts(msgspec.Struct, array_like=True, frozen=True):
    """The attempts of one lake table: the last one's number, and those that came to nothing."""

    last: int = -1
    void: tuple[int, ...] = ()


class _Progress(msgspec.Struct, array_like=True, frozen=True):
    """How far one partition is in one lake table, if `attempt` came about; else `before`."""

    attempt: int
    offset: int
    before: int


_ENCODE = msgspec.msgpack.Encoder().encode
_ATTEMPTS = msgspec.msgpack.Decoder(_Attempts).decode
_PROGRESSES = msgspec.msgpack.Decoder(_Progress).decode


@dataclass(slots=True, kw_only=True)
class Standing:
    """What is known of one lake table before an attempt."""

    table: LakeTable
    attempts: _Attempts
    progress: dict[int, int]
    marks: dict[bytes, bytes] = field(default_factory=dict)

    def is_new(self, partition: int, offset: int) -> bool:
        """Whether the log record at this position is not in the lake yet."""
        return offset > self.progress.get(partition, -1)

    def takes(self, key: bytes, mark: bytes) -> bool:
        """Whether the row is news; if so, it is the newest of its key from now on."""
        if self.marks.get(key) == mark:
            return False
        self.marks[key] = mark
        return True


class LakeLedger:
    """Keeps, in the state database, what is in the lake."""

    def __init__(self, *, state: State, lake: Lake, app: str) -> None:
        self._state = state
        self._lake = lake
        self._app = app

    def standing(self, table: LakeTable, partitions: Iterable[int]) -> Standing:
        """What is in the lake, as far as these partitions go."""
        keys = {pack(table.dataset, partition): partition for partition in partitions}
        with self._state.read() as reader:
            attempts = self._attempts(reader, table)
            found = reader.get_many(_PROGRESS, table.scope, keys)
        progress = {}
        for key, value in found.items():
            row = _PROGRESSES(value)
            progress[keys[key]] = row.before if row.attempt in attempts.void else row.offset
        return Standing(table=table, attempts=attempts, progress=progress)

    def recall(self, standing: Standing, keys: Iterable[bytes]) -> None:
        """Learn the marks of these keys."""
        void = {attempt.to_bytes(8, "big") for attempt in standing.attempts.void}
        with self._state.read() as reader:
            found = reader.get_many(_SEEN, standing.table.scope, keys)
        standing.marks = {
            key: value[:_MARK_BYTES]
            for key, value in found.items()
            if value[_MARK_BYTES:] not in void
        }

    def begin(
        self, standing: Standing, offsets: Mapping[int, int], marks: Mapping[bytes, bytes]
    ) -> int:
        """Write down what the next attempt adds; answers its number."""
        table = standing.table
        attempt = standing.attempts.last + 1
        suffix = attempt.to_bytes(8, "big")
        progress = [
            (
                pack(table.dataset, partition),
                _ENCODE(_Progress(attempt, offset, standing.progress.get(partition, -1))),
            )
            for partition, offset in offsets.items()
        ]
        opened = _Attempts(attempt, standing.attempts.void)
        with self._state.write() as writer:
            writer.put_many(_TABLE, table.scope, [(pack(table.dataset), _ENCODE(opened))])
            writer.put_many(_PROGRESS, table.scope, progress)
            writer.put_many(
                _SEEN, table.scope, [(key, mark + suffix) for key, mark in sorted(marks.items())]
            )
        return attempt

    def forget(self, table: LakeTable, keys: Iterable[bytes]) -> None:
        """Take the marks of these keys away: what they stand for is news again."""
        with self._state.write() as writer:
            writer.delete_many(_SEEN, table.scope, keys)

    def _attempts(self, reader: Reader, table: LakeTable) -> _Attempts:
        """The attempts so far, the last one void if the lake has not got it."""
        key = pack(table.dataset)
        found = reader.get_many(_TABLE, table.scope, [key]).get(key)
        known = _Attempts() if found is None else _ATTEMPTS(found)
        reached = self._lake.last_version(table, self._app)
        if reached > known.last:
            # The state database is an older copy: go on above what the lake has.
            return _Attempts(reached, known.void)
        written = reached == known.last or known.last in known.void
        return known if written else _Attempts(known.last, (*known.void, known.last))
