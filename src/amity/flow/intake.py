"""How far has a reader of the log come, and is it still the one who may go on?

Progress lies in the state database, so that it moves in the transaction of what was done with the
records. Whoever starts takes the next epoch; the one before finds its epoch gone and stops.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from amity.kernel.errors import LostOwnership
from amity.kernel.limits import LOG_PARTITIONS, STEP_BATCH_RECORDS_MAX
from amity.kernel.scope import Scope
from amity.storage.keys import pack
from amity.storage.ports import Log, LogRecord, Reader, State, Writer

SYSTEM = Scope("amity", "system")
"""Whose keys the flow's own tables lie under; no sandbox of an organisation."""

PROGRESS_TABLE = "flow_progress"


class Standing(msgspec.Struct, array_like=True, frozen=True):
    """What a reader knows of itself: epoch, business time reached, last number of its outbox."""

    epoch: int = 0
    now_ms: int = 0
    outbox_seq: int = 0


class Positions(msgspec.Struct, array_like=True, frozen=True):
    """Of one topic: partition → next offset, and partition → origin → highest number seen."""

    next: dict[int, int] = {}
    seen: dict[int, dict[str, int]] = {}


_ENCODER = msgspec.msgpack.Encoder()
_STANDING = msgspec.msgpack.Decoder(Standing)
_POSITIONS = msgspec.msgpack.Decoder(Positions)


class Intake:
    """The reading side of a runner.

    Args:
        topics: The topics it reads.
        log: Where from.
        state: Where progress is kept.
        name: Names the progress; never changes once data exists.
    """

    def __init__(self, topics: Sequence[str], *, log: Log, state: State, name: str) -> None:
        self._log = log
        self._state = state
        self._name = name
        self._ahead: dict[str, list[LogRecord]] = {topic: [] for topic in topics}
        self._positions: dict[str, Positions] = {}
        self._moved: tuple[Standing, dict[str, Positions]] | None = None
        self.standing = Standing()
        self.take()

    def take(self) -> None:
        """Become the owner: whoever was it before cannot commit any more."""
        with self._state.write() as writer:
            standing = self._load_standing(writer)
            self.standing = Standing(standing.epoch + 1, standing.now_ms, standing.outbox_seq)
            self._put(writer, "", self.standing)
            self._positions = {topic: self._load(writer, topic) for topic in self._ahead}
        self.forget_ahead()

    def read(self, topic: str, limit: int) -> list[LogRecord]:
        """The next records, the same again until `move` is committed."""
        ahead = self._ahead[topic]
        if not ahead:
            ahead = self._log.poll(topic, self._positions[topic].next, limit)
            self._ahead[topic] = ahead
        return ahead

    def fresh(self, records: Sequence[LogRecord], without: str = "") -> list[LogRecord]:
        """Those not published twice, nor by `without` itself."""
        seen: dict[tuple[str, int, str], int] = {}
        found = []
        for record in records:
            origin = record.origin
            if origin:
                place = (record.topic, record.partition, origin)
                known = self._positions[record.topic].seen.get(record.partition, {})
                if record.origin_seq <= seen.get(place, known.get(origin, 0)):
                    continue
                seen[place] = record.origin_seq
                if origin == without:
                    continue
            found.append(record)
        return found

    def check(self, reader: Reader) -> None:
        """Raise `LostOwnership` unless this is still the owner."""
        if self._load_standing(reader) != self.standing:
            raise LostOwnership(f"{self._name}: another process has taken over; this one stops")

    def move(
        self, writer: Writer, records: Sequence[LogRecord], *, now_ms: int, outbox_seq: int
    ) -> None:
        """Write that `records` are done; counts once the transaction has committed."""
        self.check(writer)
        topics: dict[str, Positions] = {}
        for record in records:
            at = topics.get(record.topic)
            if at is None:
                old = self._positions[record.topic]
                if self._load(writer, record.topic) != old:
                    raise LostOwnership(f"{self._name}: its progress was moved by another process")
                at = topics[record.topic] = Positions(
                    dict(old.next), {part: dict(seen) for part, seen in old.seen.items()}
                )
            at.next[record.partition] = record.offset + 1
            if record.origin:
                seen = at.seen.setdefault(record.partition, {})
                seen[record.origin] = max(record.origin_seq, seen.get(record.origin, 0))
        for topic, positions in topics.items():
            self._put(writer, topic, positions)
        standing = Standing(self.standing.epoch, now_ms, outbox_seq)
        if standing != self.standing:
            self._put(writer, "", standing)
        self._moved = (standing, topics)

    def moved(self, records: Sequence[LogRecord]) -> None:
        """The transaction of the last `move` has committed."""
        if self._moved is None:
            return
        self.standing, topics = self._moved
        self._positions |= topics
        self._moved = None
        done = {(record.topic, record.partition, record.offset) for record in records}
        for topic in topics:
            self._ahead[topic] = [
                record
                for record in self._ahead[topic]
                if (topic, record.partition, record.offset) not in done
            ]

    def forget_ahead(self) -> None:
        """Read again from the log what was read ahead."""
        self._moved = None
        for topic in self._ahead:
            self._ahead[topic] = []

    def positions(self) -> dict[str, dict[int, int]]:
        """Topic → partition → next offset, as committed."""
        return {topic: dict(positions.next) for topic, positions in self._positions.items()}

    def waiting(self) -> bool:
        """Whether there is a record to read."""
        return any(self.read(topic, STEP_BATCH_RECORDS_MAX) for topic in self._ahead)

    def lag(self) -> int:
        """Records between its position and the newest, as far as offsets tell."""
        return sum(
            _behind(self._log.ends(topic), self._positions[topic].next) for topic in self._ahead
        )

    def _load_standing(self, reader: Reader) -> Standing:
        key = pack(self._name, "")
        found = reader.get_many(PROGRESS_TABLE, SYSTEM, [key])
        return _STANDING.decode(found[key]) if found else Standing()

    def _load(self, reader: Reader, topic: str) -> Positions:
        key = pack(self._name, topic)
        found = reader.get_many(PROGRESS_TABLE, SYSTEM, [key])
        return _POSITIONS.decode(found[key]) if found else Positions()

    def _put(self, writer: Writer, topic: str, value: Standing | Positions) -> None:
        row = (pack(self._name, topic), _ENCODER.encode(value))
        writer.put_many(PROGRESS_TABLE, SYSTEM, [row])


def _behind(ends: dict[int, int], positions: dict[int, int]) -> int:
    """Offsets run over all partitions of one writer: count from its lowest to its highest."""
    low: dict[int, int] = {}
    high: dict[int, int] = {}
    for partition, end in ends.items():
        at = positions.get(partition, 0)
        if at < end:
            writer = partition // LOG_PARTITIONS
            low[writer] = min(low.get(writer, at), at)
            high[writer] = max(high.get(writer, end), end)
    return sum(high[writer] - max(low[writer], 1) for writer in low)
