"""How does every accepted record come into the lake, exactly once?

Frames become rows of their dataset's table: the schema's columns and those that say where a row
comes from. What is there already is left out, by log position (a replay after a crash) and by
content: an event of an `_id` seen before, a record equal to the newest one of its identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import msgspec
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import sqlglot.expressions as sge

from amity.kernel.errors import Corrupt
from amity.kernel.scope import Scope
from amity.platform.ingestion.identities import RecordIdentities
from amity.platform.ingestion.lake_ledger import LakeLedger, Standing
from amity.platform.ingestion.model import FRAME_DECODER, INGEST_TOPIC, Frame
from amity.platform.schema.arrow import RecordColumns, arrow_schema
from amity.platform.schema.model import ResolvedSchema
from amity.storage.ports import Lake, LakeTable, LogRecord, State

APPEND_ROWS_MAX = 100_000
"""Rows held in memory and added in one commit. Ours."""

MAINTAIN_APPENDS = 100
"""Appends to a table between two compactions. Ours."""

META = pa.schema(
    [
        ("_amity_id", pa.string()),
        ("_amity_time", pa.int64()),
        ("_amity_received", pa.int64()),
        ("_amity_identity", pa.string()),
        ("_amity_batch", pa.string()),
        ("_amity_partition", pa.int32()),
        ("_amity_offset", pa.int64()),
        ("_amity_n", pa.int32()),
    ]
)
"""What stands beside a record's own columns: the event's `_id` or "", its time (a record's receipt)
and receipt in milliseconds, `ns:id` of its primary identity or "", its batch or "", and where in the
log it stood."""

Resolve = Callable[[Scope, str], ResolvedSchema]
IdentitiesOf = Callable[[dict[str, Any], ResolvedSchema], RecordIdentities]
PrimaryOf = Callable[[Scope, RecordIdentities, ResolvedSchema], tuple[str, str] | None]


class Batches(Protocol):
    """Is told when a batch is in the lake."""

    def finished(self, scope: Scope, batch: str) -> None:
        """All records of the batch can be queried. May be told twice."""


class _Taken(NamedTuple):
    """A frame and where it stands."""

    partition: int
    offset: int
    frame: Frame


class _Row(NamedTuple):
    """A record on its way into a table."""

    taken: _Taken
    n: int
    text: bytes
    id: str
    identity: str


@dataclass(frozen=True, slots=True)
class _Columns:
    schema: ResolvedSchema
    reader: RecordColumns


def marked_primary(_: Scope, found: RecordIdentities, __: ResolvedSchema) -> tuple[str, str] | None:
    """The identity that descriptor or map says is the primary one."""
    return found.primary


class LakeSink:
    """Carries frames into the lake.

    Args:
        lake: Where rows go.
        state: Says what is there already.
        resolve: The schema of a frame.
        identities: The identities of a record.
        primary: Which of them a row is filed under; the linking rules decide for events.
        batches: Told of each batch that is in the lake whole.
    """

    name = "lake"
    consumes = (INGEST_TOPIC,)

    def __init__(
        self,
        *,
        lake: Lake,
        state: State,
        resolve: Resolve,
        identities: IdentitiesOf,
        batches: Batches,
        primary: PrimaryOf = marked_primary,
    ) -> None:
        self._lake = lake
        self._resolve = resolve
        self._identities = identities
        self._primary = primary
        self._batches = batches
        self._ledger = LakeLedger(state=state, lake=lake, app=self.name)
        self._columns: dict[LakeTable, _Columns] = {}
        self._appends: dict[LakeTable, int] = {}

    def handle(self, records: Sequence[LogRecord], now_ms: int) -> None:  # noqa: ARG002 - the port's
        """Add the records of these frames; then tell which batches are whole."""
        taken = [_taken(record) for record in records]
        for part in _parts(taken):
            by_table: dict[LakeTable, list[_Taken]] = {}
            for one in part:
                table = LakeTable(Scope.parse(one.frame.scope), one.frame.dataset)
                by_table.setdefault(table, []).append(one)
            for table, frames in by_table.items():
                self._add(table, frames)
        for one in taken:
            if one.frame.batch and not one.frame.records:
                self._batches.finished(Scope.parse(one.frame.scope), one.frame.batch)

    def take_out(self, scope: Scope, dataset: str, batch: str) -> int:
        """Remove the rows of a batch; the same records are news when they come again."""
        table = LakeTable(scope, dataset)
        if self._lake.schema(table) is None:
            return 0
        # Marks first: after a crash in between, the rows still say which they were.
        self._ledger.forget(table, self._keys_of(table, batch))
        return self._lake.delete(table, "_amity_batch", [batch])

    def _keys_of(self, table: LakeTable, batch: str) -> set[bytes]:
        rows = self._lake.query(
            sge.select("_amity_id", "_amity_identity")
            .from_("t")
            .where(sge.column("_amity_batch").eq(sge.Literal.string(batch))),
            {"t": table},
        )
        names = zip(*(column.to_pylist() for column in rows.columns), strict=True)
        return {key for id, identity in names if (key := _key(table.dataset, id, identity))}

    def _add(self, table: LakeTable, frames: Sequence[_Taken]) -> None:
        standing = self._ledger.standing(table, {one.partition for one in frames})
        fresh = [
            one
            for one in frames
            if one.frame.records and standing.is_new(one.partition, one.offset)
        ]
        if not fresh:
            return
        columns = self._columns_of(table, fresh[-1].frame.schema)
        rows = list(self._rows(fresh, columns.schema))
        news, marks = self._news(standing, rows)
        if news:
            timed = columns.schema.behavior == "time-series"
            data = _table(columns.reader, news, timed=timed)
            offsets = {one.partition: one.offset for one in fresh}
            self._append(table, data, self._ledger.begin(standing, offsets, marks))

    def _append(self, table: LakeTable, data: pa.Table, attempt: int) -> None:
        if not self._lake.append(table, data, app=self.name, version=attempt):
            raise Corrupt(
                f"dataset {table.dataset}: the lake already holds append {attempt}; another process "
                "writes to it",
            )
        self._appends[table] = self._appends.get(table, 0) + 1
        if self._appends[table] % MAINTAIN_APPENDS == 0:
            self._lake.maintain(table)

    def _columns_of(self, table: LakeTable, schema_id: str) -> _Columns:
        """The columns of the dataset, anew when its schema has changed."""
        schema = self._resolve(table.scope, schema_id)
        known = self._columns.get(table)
        if known is not None and known.schema is schema:
            return known
        wanted = arrow_schema(schema)
        same = known is not None and known.reader.schema.equals(wanted)
        reader = known.reader if known is not None and same else RecordColumns(wanted)
        self._columns[table] = made = _Columns(schema, reader)
        return made

    def _rows(self, frames: Sequence[_Taken], schema: ResolvedSchema) -> Iterator[_Row]:
        timed = schema.behavior == "time-series"
        for taken in frames:
            scope = Scope.parse(taken.frame.scope)
            for n, raw in enumerate(taken.frame.records):
                body = orjson.loads(raw)
                primary = self._primary(scope, self._identities(body, schema), schema)
                identity = "" if primary is None else f"{primary[0]}:{primary[1]}"
                event_id = str(body.get("_id", "")) if timed else ""
                # Written anew: the column reader wants each key once.
                yield _Row(taken, n, orjson.dumps(body), event_id, identity)

    def _news(
        self, standing: Standing, rows: Sequence[_Row]
    ) -> tuple[list[_Row], dict[bytes, bytes]]:
        """The rows that say something new, and the marks they leave."""
        keyed = [_key_and_mark(standing.table.dataset, row) for row in rows]
        self._ledger.recall(standing, {key for key, _ in keyed if key})
        news, marks = [], {}
        for row, (key, mark) in zip(rows, keyed, strict=True):
            if not key:
                news.append(row)
            elif standing.takes(key, mark):
                news.append(row)
                marks[key] = mark
        return news, marks


def _taken(record: LogRecord) -> _Taken:
    try:
        frame = FRAME_DECODER.decode(record.body)
    except msgspec.DecodeError as wrong:
        raise Corrupt(
            f"{record.topic}/{record.partition}/{record.offset} is no frame: {wrong}"
        ) from None
    return _Taken(record.partition, record.offset, frame)


def _parts(taken: Sequence[_Taken]) -> Iterator[list[_Taken]]:
    """Frames in order, in parts of bounded size."""
    part: list[_Taken] = []
    rows = 0
    for one in taken:
        part.append(one)
        rows += len(one.frame.records)
        if rows >= APPEND_ROWS_MAX:
            yield part
            part, rows = [], 0
    if part:
        yield part


def _key_and_mark(dataset: str, row: _Row) -> tuple[bytes, bytes]:
    """What a row is known by, and what it says: an event nothing more, a record its content."""
    timed = row.taken.frame.behavior == "time-series"
    key = _key(dataset, row.id, "" if timed else row.identity)
    if row.id or not key:
        return key, bytes(16)
    content = orjson.dumps(orjson.loads(row.text), option=orjson.OPT_SORT_KEYS)
    return key, blake2b(content, digest_size=16).digest()


def _key(dataset: str, id: str, identity: str) -> bytes:
    """16 bytes for an event by its `_id`, else for the holder of a record; none for neither."""
    if id:
        return blake2b(f"e\0{dataset}\0{id}".encode(), digest_size=16).digest()
    if identity:
        return blake2b(f"r\0{dataset}\0{identity}".encode(), digest_size=16).digest()
    return b""


def _table(reader: RecordColumns, rows: Sequence[_Row], *, timed: bool) -> pa.Table:
    made = reader.table([row.text for row in rows])
    received = pa.array([row.taken.frame.received_ms for row in rows], pa.int64())
    meta = [
        pa.array([row.id for row in rows], pa.string()),
        _times(made, received) if timed else received,
        received,
        pa.array([row.identity for row in rows], pa.string()),
        pa.array([row.taken.frame.batch for row in rows], pa.string()),
        pa.array([row.taken.partition for row in rows], pa.int32()),
        pa.array([row.taken.offset for row in rows], pa.int64()),
        pa.array([row.n for row in rows], pa.int32()),
    ]
    return pa.Table.from_arrays(
        [*meta, *made.columns], schema=pa.schema([*META, *made.schema.remove_metadata()])
    )


def _times(made: pa.Table, received: pa.Array) -> pa.ChunkedArray | pa.Array:
    """The events' own times in milliseconds; where there are none, the times of receipt."""
    at = made.schema.get_field_index("timestamp")
    if at < 0 or not pa.types.is_timestamp(made.schema.field(at).type):
        return received
    return pc.coalesce(made.column(at).cast(pa.int64()), received)
