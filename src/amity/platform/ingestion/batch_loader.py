"""How do the files of a complete batch become records on the log?

All rows are checked first (`batch_spool`): a batch with more bad rows than it tolerates goes in not
at all. Then its frames are appended under numbers that depend on the batch's place in the log
alone, so that a loader killed at any moment may do it again. A last empty frame closes the batch;
the lake declares it a success when it has taken that in. Behaviour: platform-collect.md §5.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson
import pyarrow as pa

from amity.flow.failed import FAILED_TOPIC
from amity.kernel.errors import AmityError, Corrupt, Terminal, Transient
from amity.kernel.limits import STEP_BATCH_RECORDS_MAX
from amity.kernel.machine import is_of_the_machine
from amity.kernel.scope import Scope
from amity.platform.catalog.batches import Batch, BatchStatus
from amity.platform.ingestion.batch_files import BatchFiles, BatchFolder, read_json, write_whole
from amity.platform.ingestion.batch_spool import (
    Spool,
    Summary,
    forget_spool,
    spooled,
    summary_of,
)
from amity.platform.ingestion.batches import BatchBook
from amity.platform.ingestion.model import (
    BATCH_DECODER,
    BATCH_TOPIC,
    ENCODER,
    INGEST_TOPIC,
    BatchComplete,
    Frame,
)
from amity.platform.ingestion.reception import Verdict, refusal
from amity.platform.ingestion.validation import CORRUPT, RecordValidator, Validators, Violation
from amity.platform.schema.model import ResolvedSchema
from amity.storage.ports import Entry, LogRecord
from amity.tabular.errors import EmptyFile, NoHeader, Unreadable
from amity.tabular.formats import JSON_ARRAY, InputFormat
from amity.tabular.read import Row, rows

TOO_MANY_BAD = "INGEST-1212-400"
NO_DIAGNOSTICS = "INGEST-1211-400"
EMPTY_FILE = "106"
EMPTY_HEADER = "118"
"""Behaviour: platform-collect.md §5."""

ORIGIN = "batch_loader"
_FRAMES_BITS = 24
_APPEND_FRAMES = 16
_APPEND_FAILED = 500
_JSON_HEAD = 4_096


class _Task(NamedTuple):
    scope: Scope
    batch: Batch
    folder: BatchFolder
    validator: RecordValidator
    received_ms: int


class BatchLoader:
    """The sink that loads complete batches.

    Args:
        catalog: Keeps batches.
        files: Keeps their files.
        validators: The validators of the datasets.
        append: Appends to the log, durable on return.
        take_out: Takes the records of a batch out of its dataset in the lake.
        columns: The column types of a schema, for cells of CSV files.
    """

    name = "batch_loader"
    consumes = (BATCH_TOPIC,)

    def __init__(
        self,
        *,
        catalog: BatchBook,
        files: BatchFiles,
        validators: Validators,
        append: Callable[[Sequence[Entry]], object],
        take_out: Callable[[Scope, str, str], object],
        columns: Callable[[ResolvedSchema], pa.Schema],
    ) -> None:
        self._catalog = catalog
        self._files = files
        self._validators = validators
        self._append = append
        self._take_out = take_out
        self._columns = columns

    def handle(self, records: Sequence[LogRecord], now_ms: int) -> None:
        """Load or take out the batches that the records speak of, in order."""
        for record in records:
            try:
                message = BATCH_DECODER.decode(record.body)
            except msgspec.DecodeError as error:
                raise Corrupt(f"no message about a batch: {error}") from error
            if message.revert:
                self._revert(message)
            else:
                self._load(message, record, now_ms)

    def _revert(self, message: BatchComplete) -> None:
        scope = Scope.parse(message.scope)
        batch = self._catalog.batch(scope, message.batch)
        if batch.status == "inactive":
            self._take_out(scope, batch.dataset_id, batch.id)

    def _load(self, message: BatchComplete, record: LogRecord, now_ms: int) -> None:
        scope = Scope.parse(message.scope)
        batch = self._catalog.batch(scope, message.batch)
        folder = self._files.of(scope, batch.id)
        if batch.status not in {"loaded", "processing"} or not _claimed(folder, record):
            return
        started_ms = batch.started_ms or now_ms
        batch = self._put(scope, batch, "processing", started_ms, started_ms=started_ms)
        try:
            validator = self._validators.of(scope, batch.dataset_id)
        except Terminal as error:
            told = [{"code": error.code or CORRUPT, "description": error.message}]
            self._put(scope, batch, "failed", now_ms, completed_ms=now_ms, errors=told)
            return
        task = _Task(scope, batch, folder, validator, started_ms)
        summary = summary_of(folder) or self._check(task)
        self._append_failed(folder)
        batch = msgspec.structs.replace(
            batch, metrics=_metrics(summary), errors=_errors(summary, batch)
        )
        if summary.over(batch.partial_percent):
            self._put(scope, batch, "failed", now_ms, completed_ms=now_ms)
        else:
            self._put(scope, batch, "processing", now_ms)
            self._replace_predecessors(scope, batch, now_ms)
            self._append_frames(task, record)
        forget_spool(folder)

    def _check(self, task: _Task) -> Summary:
        files = task.folder.listed()
        with Spool(task.folder, diagnostics=task.batch.diagnostics) as spool:
            spool.summary.files = len(files)
            spool.summary.bytes = sum(file.length for file in files)
            if not files:
                message = "the batch has no files: put one before it is declared complete"
                self._broken(task, spool, "", (EMPTY_FILE, message))
            for file in files:
                self._check_file(task, spool, file.name)
            return spool.close([file.name for file in files])

    def _check_file(self, task: _Task, spool: Spool, name: str) -> None:
        try:
            self._check_rows(task, spool, name)
        except Exception as error:
            # Whatever it is that a file brings about, its batch fails and says so; no other waits.
            if isinstance(error, Transient) or is_of_the_machine(error):
                raise
            code = CORRUPT
            if isinstance(error, NoHeader):
                code = EMPTY_HEADER
            elif isinstance(error, EmptyFile):
                code = EMPTY_FILE
            reason = error.message if isinstance(error, AmityError) else str(error)
            self._broken(task, spool, name, (code, reason))
        spool.end_file(name)

    def _rows(self, task: _Task, name: str) -> Iterator[Row]:
        path = task.folder.path(name)
        declared = InputFormat.parse(task.batch.input_format)
        if declared.kind == "csv":
            columns = self._columns(task.validator.resolved)
            return _as_json(rows(path, declared, schema=columns))
        if declared.kind == "parquet":
            return rows(path, declared)
        return rows(*_json_form(path, declared, task.folder))

    def _check_rows(self, task: _Task, spool: Spool, name: str) -> None:
        """Row by row: a parsed row is let go at once, or the collector would search through it."""
        check, now_ms = task.validator.check, task.received_ms
        accepted: list[bytes] = []
        for row in self._rows(task, name):
            spool.summary.rows += 1
            if row.error is None:
                violations = check(row.value, row.raw, now_ms)
            else:
                violations = [Violation("", "json", row.error)]
            if violations:
                self._refuse(task, spool, name, (row, violations))
                continue
            accepted.append(row.raw)
            if len(accepted) == STEP_BATCH_RECORDS_MAX:
                spool.frame(ENCODER.encode(_frame(task, accepted)), len(accepted))
                accepted = []
        if accepted:  # a frame of no records would close the batch
            spool.frame(ENCODER.encode(_frame(task, accepted)), len(accepted))

    def _refuse(
        self, task: _Task, spool: Spool, name: str, refused: tuple[Row, list[Violation]]
    ) -> None:
        row, violations = refused
        entry = self._refusal(task, row.raw, f"{name}:{row.line}", violations)
        first = violations[0]
        spool.refused(
            entry.body,
            {
                "file": name,
                "line": row.line,
                "raw": row.raw,
                "code": first.code,
                "message": first.message,
                "path": first.path,
            },
        )

    def _broken(self, task: _Task, spool: Spool, name: str, told: tuple[str, str]) -> None:
        code, reason = told
        violation = Violation("", "json", f"file {name!r}: {reason}" if name else reason)
        entry = self._refusal(task, name.encode(), name, [violation])
        spool.broken(entry.body, code, violation.message)

    @staticmethod
    def _refusal(task: _Task, raw: bytes, where: str, violations: list[Violation]) -> Entry:
        source = f"batch:{task.batch.id}"
        verdict = Verdict(task.scope, source, raw, task.validator, violations=violations)
        return refusal(verdict, task.received_ms, where, task.batch.id)

    def _append_failed(self, folder: BatchFolder) -> None:
        key = folder.root.name.encode()
        entries = (Entry(FAILED_TOPIC, key, body) for body in spooled(folder, "failed"))
        while part := list(islice(entries, _APPEND_FAILED)):
            self._append(part)

    def _append_frames(self, task: _Task, record: LogRecord) -> None:
        key = f"{task.scope.key}/batch:{task.batch.id}".encode()
        origin = f"{ORIGIN}:{record.partition}"
        first = record.offset << _FRAMES_BITS
        bodies = _and(spooled(task.folder, "frames"), ENCODER.encode(_frame(task, [])))
        entries = (
            Entry(INGEST_TOPIC, key, body, origin, first + at) for at, body in enumerate(bodies, 1)
        )
        while part := list(islice(entries, _APPEND_FRAMES)):
            self._append(part)

    def _replace_predecessors(self, scope: Scope, batch: Batch, now_ms: int) -> None:
        for id in batch.replay.get("predecessors", ()):
            old = self._catalog.batch(scope, id)
            self._take_out(scope, old.dataset_id, old.id)
            if old.status != "inactive":
                self._put(scope, old, "inactive", now_ms)

    def _put(
        self, scope: Scope, batch: Batch, status: BatchStatus, now_ms: int, **changed: Any
    ) -> Batch:
        after = msgspec.structs.replace(batch, status=status, updated_ms=now_ms, **changed)
        self._catalog.put_batch(scope, after)
        return after


def _claimed(folder: BatchFolder, record: LogRecord) -> bool:
    """Whether this record is the one that loads the batch: a batch told twice is loaded once."""
    place = {"partition": record.partition, "offset": record.offset}
    path = folder.root / "claim"
    claim = read_json(path)
    if claim is None:
        folder.root.mkdir(parents=True, exist_ok=True)
        write_whole(path, orjson.dumps(place))
        return True
    return claim == place


def _frame(task: _Task, records: list[bytes]) -> Frame:
    return Frame(
        scope=task.scope.key,
        dataset=task.batch.dataset_id,
        schema=task.validator.resolved.id,
        behavior=task.validator.behavior,
        received_ms=task.received_ms,
        source=f"batch:{task.batch.id}",
        records=records,
        batch=task.batch.id,
    )


def _json_form(path: Path, declared: InputFormat, folder: BatchFolder) -> tuple[Path, InputFormat]:
    """How a JSON file is really written: clients send arrays, or a file as one JSON text."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        try:
            head = file.read(_JSON_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        except (OSError, EOFError) as error:
            raise Unreadable(f"{path.name}: the gzip data is broken: {error}") from error
    if head == b"[":
        return path, JSON_ARRAY
    if head == b'"' and not packed:
        return _json_form(_unquoted(path, folder), declared, folder)
    return path, declared


def _unquoted(path: Path, folder: BatchFolder) -> Path:
    """The file that was sent as one JSON text, as it was before."""
    try:
        text = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"{path.name} begins like a JSON text, but is none: {error}") from error
    plain = folder.root / "work" / "unquoted"
    plain.write_bytes(str(text).encode())
    return plain


def _as_json(found: Iterator[Row]) -> Iterator[Row]:
    """Rows of cells as the JSON records they mean."""
    for row in found:
        if row.value is None:
            yield row
        else:
            try:
                yield row._replace(raw=orjson.dumps(row.value))
            except orjson.JSONEncodeError as error:
                yield row._replace(error=f"a cell has no JSON form: {error}")


def _and(first: Iterator[bytes], last: bytes) -> Iterator[bytes]:
    yield from first
    yield last


def _metrics(summary: Summary) -> dict[str, int]:
    return {
        "inputByteSize": summary.bytes,
        "inputFileCount": summary.files,
        "inputRecordCount": summary.rows,
        "outputRecordCount": summary.accepted,
        "failedRecordCount": summary.refused,
    }


def _errors(summary: Summary, batch: Batch) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = [
        {"code": one.code, "description": one.description} for one in summary.broken
    ]
    if summary.refused:
        told.append(_total(summary, batch))
    for one in summary.errors:
        shown: Iterable[int] = one.rows
        told.append(
            {
                "code": one.code,
                "description": one.description,
                "recordCount": one.count,
                "rows": [str(row) for row in shown],
            }
        )
    return told


def _total(summary: Summary, batch: Batch) -> dict[str, Any]:
    count = f"{summary.refused} of {summary.rows} rows were refused"
    limit = f"the batch tolerates {batch.partial_percent} percent"
    if not batch.diagnostics:
        return {
            "code": NO_DIAGNOSTICS,
            "description": f"{count}; {limit}; diagnostics are off: send enableErrorDiagnostics",
            "recordCount": summary.refused,
        }
    return {
        "code": TOO_MANY_BAD,
        "description": f"{count}; {limit}; see /data/foundation/export/batches/{batch.id}/meta",
        "recordCount": summary.refused,
    }
