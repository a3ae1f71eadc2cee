r"""How does a batch go from its creation to being declared complete?

    loading --COMPLETE--> loaded --loader--> processing --lake--> success
       |  \--ABORT--> aborted                     \--too many bad rows--> failed
       \--FAIL--> failed                success --REVERT--> inactive

Until a batch is declared complete this service moves it; then the loader does.
Behaviour: platform-collect.md §5.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

import msgspec

from amity.kernel.clock import BusinessClock
from amity.kernel.errors import NotFound
from amity.kernel.ids import IdSource
from amity.kernel.scope import Scope
from amity.platform.catalog.batches import Batch, BatchStatus
from amity.platform.catalog.model import Dataset
from amity.platform.ingestion.batch_files import BatchFiles, BatchFolder, Draft
from amity.platform.ingestion.errors import BadBatch, UploadIncomplete, WrongBatchStatus
from amity.platform.ingestion.model import BATCH_TOPIC, ENCODER, BatchComplete
from amity.storage.ports import Entry
from amity.tabular.formats import InputFormat

ENDED: frozenset[BatchStatus] = frozenset({"aborted", "abandoned", "failed", "failure"})
TAKEN: frozenset[BatchStatus] = frozenset({"loaded", "processing", "success", "active"})
BATCH_KEY = b"batches"
"""One key: batches are loaded in the order in which they were completed."""

_EXTERNAL_ID_CHARS_MAX = 256
_PREDECESSORS_MAX = 100


class BatchBook(Protocol):
    """What is needed of the catalog."""

    def dataset(self, scope: Scope, id: str) -> Dataset: ...

    def batch(self, scope: Scope, id: str) -> Batch: ...

    def put_batch(self, scope: Scope, batch: Batch) -> None: ...


class BatchImport:
    """The verbs of a batch until it is complete.

    Args:
        catalog: Keeps batches.
        files: Keeps their files.
        append: Appends to the log; returns once durable.
        clock: Business time.
        ids: Names batches and drafts.
    """

    def __init__(
        self,
        *,
        catalog: BatchBook,
        files: BatchFiles,
        append: Callable[[list[Entry]], Awaitable[None]],
        clock: BusinessClock,
        ids: IdSource,
    ) -> None:
        self._catalog = catalog
        self._files = files
        self._append = append
        self._clock = clock
        self._ids = ids

    def create(self, scope: Scope, body: Any) -> Batch:
        """Create a batch from the documented body."""
        if not isinstance(body, dict):
            raise BadBatch("the body is a JSON object with datasetId and inputFormat")
        dataset = body.get("datasetId")
        if not isinstance(dataset, str):
            raise BadBatch("datasetId is missing: the id of the dataset to load", path="/datasetId")
        self._catalog.dataset(scope, dataset)
        percent = _percent(body.get("partialIngestionPercentage", 0))
        diagnostics = _switch(body, "enableErrorDiagnostics") or percent > 0
        now_ms = self._clock.now_ms()
        batch = Batch(
            id=self._ids.hex(32),
            dataset_id=dataset,
            status="loading",
            input_format=_format(body.get("inputFormat")),
            diagnostics=diagnostics,
            partial_percent=percent,
            external_id=_external_id(body.get("externalId")),
            tags=_tags(body.get("tags"), percent, diagnostics=diagnostics),
            replay=self._replay(scope, dataset, body.get("replay")),
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        self._catalog.put_batch(scope, batch)
        return batch

    def draft(self, scope: Scope, batch_id: str, dataset: str, name: str) -> Draft:
        """Begin to receive a small file."""
        return self._loading(scope, batch_id, dataset).draft(name, self._ids.hex(32))

    def part(
        self, scope: Scope, batch_id: str, dataset: str, *, name: str, span: tuple[int, int]
    ) -> Draft:
        """Begin to receive a part of a large file."""
        return self._loading(scope, batch_id, dataset).part(name, span, self._ids.hex(32))

    def begin_large(self, scope: Scope, batch_id: str, dataset: str, *, name: str) -> None:
        """Begin a large file."""
        self._loading(scope, batch_id, dataset).begin_large(name)

    def complete_large(self, scope: Scope, batch_id: str, dataset: str, *, name: str) -> None:
        """Put the parts of a large file together."""
        self._loading(scope, batch_id, dataset).complete_large(name, self._ids.hex(32))

    def received(
        self, scope: Scope, batch_id: str, dataset: str, *, name: str
    ) -> list[tuple[int, int]]:
        """The ranges received of a large file, or the whole range of a finished one."""
        folder = self._folder(scope, batch_id, dataset)
        finished = [info for info in folder.listed() if info.name == name]
        if finished:
            return [(0, finished[0].length - 1)]
        return folder.received(name)

    def folder(self, scope: Scope, batch_id: str) -> BatchFolder:
        """The files of a batch that exists."""
        self._catalog.batch(scope, batch_id)
        return self._files.of(scope, batch_id)

    def previewed(
        self, scope: Scope, batch_id: str, dataset: str
    ) -> tuple[BatchFolder, dict[str, Any]]:
        """The files of a batch and the format they are declared to have."""
        folder = self._folder(scope, batch_id, dataset)
        return folder, self._catalog.batch(scope, batch_id).input_format

    async def act(self, scope: Scope, batch_id: str, action: str) -> Batch:
        """COMPLETE, ABORT, FAIL or REVERT, in any case of letters."""
        match action.upper():
            case "COMPLETE":
                return await self._complete(scope, batch_id)
            case "ABORT":
                return self._end(scope, batch_id, "aborted")
            case "FAIL":
                return self._end(scope, batch_id, "failed")
            case "REVERT":
                return await self._revert(scope, batch_id)
            case _:
                raise BadBatch(
                    f"action {action[:40]!r} is not known: take COMPLETE, ABORT, FAIL or REVERT"
                )

    async def _complete(self, scope: Scope, batch_id: str) -> Batch:
        batch = self._catalog.batch(scope, batch_id)
        if batch.status in TAKEN and batch.status != "loaded":
            return batch
        if batch.status == "loading":
            unfinished = self._files.of(scope, batch_id).unfinished()
            if unfinished:
                raise UploadIncomplete(
                    f"large file {unfinished[0]!r} was begun and not completed: POST it with "
                    "?action=COMPLETE first",
                    files=unfinished,
                )
            batch = self._put(scope, batch, "loaded")
        elif batch.status != "loaded":
            raise _wrong_status(batch, "COMPLETE", ("loading",))
        # Also when it was loaded already: the log may have missed it when the server went down.
        await self._tell(scope, BatchComplete(scope.key, batch_id))
        return batch

    async def _revert(self, scope: Scope, batch_id: str) -> Batch:
        batch = self._catalog.batch(scope, batch_id)
        if batch.status not in {"success", "active", "failed", "failure", "inactive"}:
            raise _wrong_status(batch, "REVERT", ("success", "failed"))
        batch = self._put(scope, batch, "inactive")
        await self._tell(scope, BatchComplete(scope.key, batch_id, revert=True))
        return batch

    def _end(self, scope: Scope, batch_id: str, status: BatchStatus) -> Batch:
        batch = self._catalog.batch(scope, batch_id)
        if batch.status == status:
            return batch
        if batch.status != "loading":
            raise _wrong_status(batch, status, ("loading",))
        return self._put(scope, batch, status)

    def _put(self, scope: Scope, batch: Batch, status: BatchStatus) -> Batch:
        now_ms = self._clock.now_ms()
        changed = msgspec.structs.replace(batch, status=status, updated_ms=now_ms)
        self._catalog.put_batch(scope, changed)
        return changed

    async def _tell(self, scope: Scope, message: BatchComplete) -> None:
        key = BATCH_KEY + scope.key.encode()
        await self._append([Entry(BATCH_TOPIC, key, ENCODER.encode(message))])

    def _loading(self, scope: Scope, batch_id: str, dataset: str) -> BatchFolder:
        batch = self._catalog.batch(scope, batch_id)
        if batch.status != "loading":
            raise _wrong_status(batch, "an upload", ("loading",))
        return self._folder(scope, batch_id, dataset)

    def _folder(self, scope: Scope, batch_id: str, dataset: str) -> BatchFolder:
        batch = self._catalog.batch(scope, batch_id)
        if batch.dataset_id != dataset:
            raise BadBatch(
                f"batch {batch_id} loads dataset {batch.dataset_id}, not {dataset[:64]!r}"
            )
        return self._files.of(scope, batch_id)

    def _replay(self, scope: Scope, dataset: str, replay: Any) -> dict[str, Any]:
        if not replay:
            return {}
        given = replay.get("predecessors") if isinstance(replay, dict) else None
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise BadBatch(
                'replay is {"predecessors": ["$<batch id>"], "reason": "replace"}', path="/replay"
            )
        predecessors = [one.removeprefix("$").strip("{}") for one in given[:_PREDECESSORS_MAX]]
        for one in predecessors:
            old = self._catalog.batch(scope, one)
            if old.dataset_id != dataset:
                raise BadBatch(f"batch {one} loaded dataset {old.dataset_id}, not {dataset}")
            if old.status not in {"success", "active", "inactive"}:
                raise _wrong_status(old, "a replacement", ("success",))
        return {"predecessors": predecessors, "reason": replay.get("reason", "replace")}


class BatchEnds:
    """Declares a batch a success once the lake holds all of it."""

    def __init__(self, *, catalog: BatchBook, clock: BusinessClock) -> None:
        self._catalog = catalog
        self._clock = clock

    def finished(self, scope: Scope, batch_id: str) -> None:
        """All records of the batch can be queried. May be told twice."""
        try:
            batch = self._catalog.batch(scope, batch_id)
        except NotFound:
            return  # deleted meanwhile: nobody asks any more
        if batch.status == "processing":
            now_ms = self._clock.now_ms()
            self._catalog.put_batch(
                scope,
                msgspec.structs.replace(
                    batch, status="success", updated_ms=now_ms, completed_ms=now_ms
                ),
            )


def _wrong_status(batch: Batch, what: str, allowed: Iterable[str]) -> WrongBatchStatus:
    return WrongBatchStatus(
        f"batch {batch.id} is {batch.status!r}; {what} needs {' or '.join(allowed)}",
        batch=batch.id,
        batch_status=batch.status,
    )


def _format(declared: Any) -> dict[str, Any]:
    if declared is None:
        return {"format": "json"}
    if not isinstance(declared, dict):
        raise BadBatch('inputFormat is an object like {"format": "json"}', path="/inputFormat")
    InputFormat.parse(declared)
    return declared


def _percent(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        raise BadBatch(
            "partialIngestionPercentage is a whole number from 0 to 100",
            path="/partialIngestionPercentage",
        )
    return value


def _switch(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise BadBatch(f"{name} is true or false", path=f"/{name}")
    return value


def _external_id(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _EXTERNAL_ID_CHARS_MAX:
        raise BadBatch(
            f"externalId is a text of at most {_EXTERNAL_ID_CHARS_MAX} characters",
            path="/externalId",
        )
    return value


def _tags(given: Any, percent: int, *, diagnostics: bool) -> dict[str, Any]:
    if given is not None and not isinstance(given, dict):
        raise BadBatch("tags is an object of lists of texts", path="/tags")
    tags = dict(given or {})
    if diagnostics:
        tags["acp_enableErrorDiagnostics"] = ["true"]
    if percent:
        tags["acp_partialIngestionPercent"] = [str(percent)]
    return tags
