"""How is a refused record sent through its door again?

As it came, after what was wrong around it has changed: a schema, a dataset, an inlet. It is judged
like a new one; accepted, it is marked as replayed in the same append.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from amity.flow.failed import FailedRecord
from amity.flow.failures import Filed, mark_entries
from amity.kernel.scope import Scope
from amity.platform.ingestion.door import Inlets, WriteKeys
from amity.platform.ingestion.errors import NotReplayable, StillRefused, UnknownFailedRecord
from amity.platform.ingestion.reception import Reception, Verdict
from amity.platform.ingestion.validation import parsed
from amity.storage.ports import Entry


class FailedRecords(Protocol):
    """Where failed records are found."""

    def get(self, scope: Scope, id: str) -> Filed | None: ...


class Replays:
    """Replays failed records.

    Args:
        failures: Finds them.
        reception: Judges them.
        inlets: Finds streaming connections.
        write_keys: Finds write keys.
        append: Appends to the log; returns once durable.
    """

    def __init__(
        self,
        *,
        failures: FailedRecords,
        reception: Reception,
        inlets: Inlets,
        write_keys: WriteKeys,
        append: Callable[[list[Entry]], Awaitable[None]],
    ) -> None:
        self._failures = failures
        self._reception = reception
        self._inlets = inlets
        self._write_keys = write_keys
        self._append = append

    def filed(self, scope: Scope, id: str) -> Filed:
        """A failed record and what has become of it."""
        found = self._failures.get(scope, id)
        if found is None:
            raise UnknownFailedRecord(
                f"there is no failed record {id[:64]!r}; `amity failed` lists them"
            )
        return found

    async def replay(self, scope: Scope, id: str) -> dict[str, Any]:
        """Send a failed record through its door again; raises `StillRefused` with the reason."""
        filed = self.filed(scope, id)
        record = filed.record
        if filed.status != "open":
            raise NotReplayable(f"failed record {id} was {filed.status} already")
        message, broken = parsed(record.raw)
        if broken:
            raise StillRefused(f"{record.where}: {broken.message}", failed_record=id)
        verdict = self._judge(scope, record, message)
        if not verdict.accepted:
            first = verdict.violations[0]
            raise StillRefused(
                f"{record.where}: {first.message}", failed_record=id, path=first.path
            )
        at_ms, _ = self._reception.receipt()
        entries: Sequence[Entry] = self._reception.entries([verdict], at_ms, record.where)
        await self._append([*entries, *mark_entries(scope, [id], "replayed", at_ms)])
        return {"id": id, "status": "replayed", "dataset": record.dataset}

    def _judge(self, scope: Scope, record: FailedRecord, message: Any) -> Verdict:
        kind, _, name = record.source.partition(":")
        if kind == "datastream" and not record.dataset:
            raise NotReplayable(
                "the request was refused as a whole: send it to /ee/v1/interact again, mended"
            )
        if kind in {"batch", "source", "datastream"}:
            return self._reception.record(scope, record.source, record.dataset, message)
        if kind == "write_key":
            key = self._write_keys.find(name)
            if key is None or key.scope != scope:
                raise NotReplayable("the write key that brought this record is no more")
            (verdict,) = self._reception.segment(key, [message], record.received_ms)
            return verdict
        inlet = self._inlets.find(record.source)
        if inlet is None or inlet.scope != scope:
            raise NotReplayable(
                f"{record.source!r} is no streaming connection that still exists: send the record "
                "through another one"
            )
        (verdict,) = self._reception.xdm(inlet, [message])
        return verdict
