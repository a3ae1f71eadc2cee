"""What was refused, why, and what has become of it?

The failures stage files failed records in the state database; `Failures` finds them. Marks
(replayed, deleted) travel through the log as well, so that the state has one writer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal

import msgspec

from amity.flow import failed
from amity.flow.failed import FAILED_TOPIC, FailedRecord
from amity.flow.step import Outcome, Timer
from amity.kernel.errors import Corrupt
from amity.kernel.scope import Scope
from amity.storage.keys import after, pack, unpack
from amity.storage.ports import Entry, LogRecord, Reader, State, Writer

MARKS_TOPIC = "flow.failed_marks"
"""`FailedMark`: what has become of failed records."""

RECORD_TABLE = "failed_record"
TIME_TABLE = "failed_by_time"
BATCH_TABLE = "failed_by_batch"

Status = Literal["open", "replayed", "deleted"]


class FailedMark(msgspec.Struct, frozen=True, array_like=True):
    """Failed records of one scope were replayed or are to be deleted."""

    scope: str
    ids: list[str]
    status: Literal["replayed", "deleted"]
    at_ms: int


class Filed(msgspec.Struct, frozen=True, array_like=True):
    """A failed record as it is kept; a deleted one without its bytes."""

    record: FailedRecord
    status: Status = "open"
    marked_ms: int = 0


class _Brief(msgspec.Struct, frozen=True, array_like=True):
    """What a listing filters by without opening the record."""

    code: str
    source: str
    dataset: str
    status: Status


_ENCODER = msgspec.msgpack.Encoder()
_FILED = msgspec.msgpack.Decoder(Filed)
_BRIEF = msgspec.msgpack.Decoder(_Brief)
_MARK = msgspec.msgpack.Decoder(FailedMark)

Place = tuple[str, str]


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Which failed records are asked for; what is left empty does not matter.

    `text` is looked for in reason and path.
    """

    source: str = ""
    code: str = ""
    text: str = ""
    status: Status | None = None
    newest_first: bool = False


def mark_entries(
    scope: Scope, ids: Sequence[str], status: Literal["replayed", "deleted"], at_ms: int
) -> list[Entry]:
    """The log entries that mark failed records."""
    body = _ENCODER.encode(FailedMark(scope.key, list(ids), status, at_ms))
    return [Entry(MARKS_TOPIC, pack(scope.key), body)]


class FilingState(msgspec.Struct):
    """The records that messages speak of: as known, and as they have become."""

    known: dict[Place, Filed]
    changed: dict[Place, Filed]


class FailuresStage:
    """Files failed records, each once, and marks them."""

    name = "failures"
    consumes: tuple[str, ...] = (FAILED_TOPIC, MARKS_TOPIC)

    def decode(self, record: LogRecord) -> Sequence[FailedRecord | FailedMark]:
        """One message a record."""
        try:
            if record.topic == MARKS_TOPIC:
                return [_MARK.decode(record.body)]
            return [failed.DECODER.decode(record.body)]
        except msgspec.DecodeError as error:
            raise Corrupt(f"neither failed record nor mark: {error}") from error

    def encode(self, message: Any) -> bytes:
        """The log body of a message."""
        return _ENCODER.encode(message)

    def load(
        self,
        reader: Reader,
        messages: Sequence[FailedRecord | FailedMark],
        fired: Sequence[Timer],  # noqa: ARG002 - the stage's own signature
    ) -> FilingState:
        """The records known under the messages' ids."""
        by_scope: dict[str, set[str]] = {}
        for message in messages:
            named = message.ids if isinstance(message, FailedMark) else [message.id]
            by_scope.setdefault(message.scope, set()).update(named)
        known: dict[Place, Filed] = {}
        for scope, ids in by_scope.items():
            keys = [pack(name) for name in sorted(ids)]
            found = reader.get_many(RECORD_TABLE, Scope.parse(scope), keys)
            for value in found.values():
                filed = _FILED.decode(value)
                known[scope, filed.record.id] = filed
        return FilingState(known, {})

    def step(
        self,
        state: FilingState,
        messages: Sequence[FailedRecord | FailedMark],
        fired: Sequence[Timer],  # noqa: ARG002 - the stage's own signature
        now_ms: int,  # noqa: ARG002 - the stage's own signature
    ) -> Outcome[FilingState]:
        """A record that is known already is not filed again."""
        for message in messages:
            if isinstance(message, FailedMark):
                _mark(state, message)
                continue
            place = (message.scope, message.id)
            if place not in state.known and place not in state.changed:
                state.changed[place] = Filed(message)
        return Outcome(state=state)

    def save(self, writer: Writer, state: FilingState) -> None:
        """Write records and listings."""
        by_scope: dict[str, list[Filed]] = {}
        for (scope, _), filed in state.changed.items():
            by_scope.setdefault(scope, []).append(filed)
        for scope, changed in by_scope.items():
            _save(writer, Scope.parse(scope), changed)


class Failures:
    """Finds failed records. Deleted ones are not found."""

    def __init__(self, state: State) -> None:
        self._state = state

    def find(
        self,
        scope: Scope,
        *,
        batch: str = "",
        dataset: str = "",
        where: Where = Where(),  # noqa: B008 - frozen
        limit: int = 100,
        start: int = 0,
    ) -> list[FailedRecord]:
        """In order of time, from the `start`-th on."""
        with self._state.read() as reader:
            filed = (
                _get(reader, scope, name)
                for name, brief in _briefs(reader, scope, batch, newest_first=where.newest_first)
                if dataset in ("", brief.dataset) and _fits(brief, where)
            )
            found = (one.record for one in filed if one and _says(one.record, where.text))
            return list(islice(found, start, start + limit))

    def get(self, scope: Scope, id: str) -> Filed | None:
        """One failed record and what has become of it; None when unknown or deleted."""
        with self._state.read() as reader:
            filed = _get(reader, scope, id)
        return None if filed is None or filed.status == "deleted" else filed

    def count(self, scope: Scope, *, batch: str = "") -> int:
        """How many failed records are kept."""
        if batch:
            return sum(self.counts(scope, batch=batch).values())
        with self._state.read() as reader:
            return reader.count(TIME_TABLE, scope)

    def counts(self, scope: Scope, *, batch: str = "") -> dict[str, int]:
        """How many by code."""
        with self._state.read() as reader:
            return dict(Counter(brief.code for _, brief in _briefs(reader, scope, batch)))


def _mark(state: FilingState, mark: FailedMark) -> None:
    for name in mark.ids:
        place = (mark.scope, name)
        filed = state.changed.get(place) or state.known.get(place)
        if filed is None or filed.status == "deleted":
            continue
        record = filed.record
        if mark.status == "deleted":
            record = msgspec.structs.replace(record, raw=b"", reason="", path="", where="")
        state.changed[place] = Filed(record, mark.status, mark.at_ms)


def _save(writer: Writer, scope: Scope, changed: list[Filed]) -> None:
    kept = [filed for filed in changed if filed.status != "deleted"]
    gone = [filed.record for filed in changed if filed.status == "deleted"]
    rows = [(pack(filed.record.id), _ENCODER.encode(filed)) for filed in changed]
    writer.put_many(RECORD_TABLE, scope, rows)
    writer.put_many(TIME_TABLE, scope, [(_time_key(f.record), _brief(f)) for f in kept])
    writer.delete_many(TIME_TABLE, scope, [_time_key(record) for record in gone])
    in_batch = [(_batch_key(f.record), _brief(f)) for f in kept if f.record.batch]
    writer.put_many(BATCH_TABLE, scope, in_batch)
    writer.delete_many(BATCH_TABLE, scope, [_batch_key(r) for r in gone if r.batch])


def _time_key(record: FailedRecord) -> bytes:
    return pack(record.received_ms, record.id)


def _batch_key(record: FailedRecord) -> bytes:
    return pack(record.batch, record.received_ms, record.id)


def _brief(filed: Filed) -> bytes:
    record = filed.record
    return _ENCODER.encode(_Brief(record.code, record.source, record.dataset, filed.status))


def _briefs(
    reader: Reader, scope: Scope, batch: str, *, newest_first: bool = False
) -> Iterator[tuple[str, _Brief]]:
    start = pack(batch) if batch else b""
    rows = reader.scan(
        BATCH_TABLE if batch else TIME_TABLE,
        scope,
        start=start,
        end=after(start) if batch else None,
        reverse=newest_first,
    )
    for key, value in rows:
        yield str(unpack(key[len(start) :], "is")[1]), _BRIEF.decode(value)


def _fits(brief: _Brief, where: Where) -> bool:
    return (
        where.source in ("", brief.source)
        and where.code in ("", brief.code)
        and where.status in (None, brief.status)
    )


def _get(reader: Reader, scope: Scope, id: str) -> Filed | None:
    found = reader.get_many(RECORD_TABLE, scope, [pack(id)])
    return next(map(_FILED.decode, found.values()), None)


def _says(record: FailedRecord, text: str) -> bool:
    return not text or text.casefold() in f"{record.reason}\n{record.path}".casefold()
