"""Who reads a source when its flow is due?

A sink on the orders of the schedule. Each lot that was not read yet is judged row by row as any
door's records are, and noted as read once all of it is on the log: after a crash it is read again,
and what comes twice changes nothing, for an event goes by its `_id` and a record by its rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple, Protocol

import msgspec

from amity.kernel.clock import BusinessClock
from amity.kernel.errors import Corrupt, Terminal, Transient
from amity.kernel.limits import STEP_BATCH_RECORDS_MAX
from amity.kernel.scope import Scope
from amity.platform.ingestion.reception import Reception, Verdict, frame_entry, refusal
from amity.platform.ingestion.source import Lot, SourceMeans, SourceRow
from amity.platform.ingestion.source_flows import (
    Opener,
    Plugins,
    SourceFlow,
    SourceSpecs,
    find_flow,
)
from amity.platform.ingestion.source_runs import LotRun, run_body
from amity.platform.ingestion.source_stage import DUE_DECODER, RUNS_TOPIC, SourceDue
from amity.platform.ingestion.validation import Violation
from amity.storage.keys import pack
from amity.storage.ports import Entry, LogRecord, State

READ = "source_read"
"""Flow and lot → the digest it had when it was read."""

SOURCE_TRIES_MAX = 3
"""Tries of a source that cannot be reached, before its next time. Ours."""


class Flows(Opener, Protocol):
    """What the reader asks of the flow service."""

    def put_run(self, scope: Scope, run: dict[str, object]) -> None: ...


class _Counts(NamedTuple):
    taken: int
    failed: int


class SourceReader:
    """Reads what flows of sources lead to.

    Args:
        state: Notes which lots have been read.
        flows: Flows, connections and runs.
        specs: The registry of sources.
        means: What is lent to sources.
        reception: Judges records.
        append: Puts entries on the log, durable on return.
        clock: Business time of receipt.
    """

    name = "source_reader"
    consumes = (RUNS_TOPIC,)

    def __init__(
        self,
        *,
        state: State,
        flows: Flows,
        specs: Plugins,
        means: SourceMeans,
        reception: Reception,
        append: Callable[[Sequence[Entry]], object],
        clock: BusinessClock,
    ) -> None:
        self._state = state
        self._flows = flows
        self._specs = SourceSpecs(specs)
        self._means = means
        self._reception = reception
        self._append = append
        self._clock = clock
        self._tries: dict[str, int] = {}

    def handle(self, records: Sequence[LogRecord], now_ms: int) -> None:
        """Carry out orders one by one."""
        del now_ms
        for record in records:
            try:
                order = DUE_DECODER.decode(record.body)
            except msgspec.DecodeError as error:
                raise Corrupt(f"no order to read a source: {error}") from error
            self._carry_out(order)

    def _carry_out(self, order: SourceDue) -> None:
        scope = Scope.parse(order.scope)
        try:
            self._read(scope, order.flow)
        except Transient as error:
            self._tries[order.flow] = self._tries.get(order.flow, 0) + 1
            if self._tries[order.flow] < SOURCE_TRIES_MAX:
                raise
            self._refused(scope, order, error.message, "AMITY-SOURCE-UNREACHABLE")
        except Terminal as error:
            self._refused(scope, order, error.message, error.code or "AMITY-SOURCE-FAILED")
        self._tries.pop(order.flow, None)

    def _refused(self, scope: Scope, order: SourceDue, message: str, code: str) -> None:
        """Nothing could be listed: a run of no lot says so, the last one of its kind."""
        now_ms = self._clock.now_ms()
        run = LotRun(order.flow, "", code, now_ms, now_ms, code=code, error=message)
        self._flows.put_run(scope, run_body(scope, run))

    def _read(self, scope: Scope, id: str) -> None:
        flow = find_flow(self._flows, scope, id, self._specs)
        if flow is None or not flow.enabled:
            return
        source = flow.spec.make(flow.config, means=self._means.of(scope))
        for lot in source.lots():
            if not self._is_read(scope, flow, lot):
                self._take(scope, flow, lot)

    def _is_read(self, scope: Scope, flow: SourceFlow, lot: Lot) -> bool:
        key = pack(flow.id, lot.name)
        with self._state.read() as reader:
            found = reader.get_many(READ, scope, [key])
        return found.get(key) == lot.digest.encode()

    def _take(self, scope: Scope, flow: SourceFlow, lot: Lot) -> None:
        """Take a lot in whole; one that is not what it says it is waits for its next time."""
        started_ms = self._clock.now_ms()
        run = LotRun(flow.id, lot.name, lot.digest, started_ms, started_ms)
        try:
            counts = self._rows(scope, flow, lot)
        except Terminal as error:
            code = error.code or "AMITY-SOURCE-LOT"
            self._flows.put_run(
                scope, run_body(scope, run._replace(code=code, error=error.message))
            )
            return
        ended_ms = self._clock.now_ms()
        done = run._replace(completed_ms=ended_ms, taken=counts.taken, failed=counts.failed)
        self._flows.put_run(scope, run_body(scope, done))
        with self._state.write() as writer:
            writer.put_many(READ, scope, [(pack(flow.id, lot.name), lot.digest.encode())])

    def _rows(self, scope: Scope, flow: SourceFlow, lot: Lot) -> _Counts:
        taken = failed = 0
        rows = lot.rows()
        while page := list(islice(rows, STEP_BATCH_RECORDS_MAX)):
            verdicts = [self._judge(scope, flow, row) for row in page]
            self._append(list(self._entries(page, verdicts, lot)))
            accepted = sum(verdict.accepted for verdict in verdicts)
            taken, failed = taken + accepted, failed + len(page) - accepted
        return _Counts(taken, failed)

    def _judge(self, scope: Scope, flow: SourceFlow, row: SourceRow) -> Verdict:
        source = f"source:{flow.id}"
        verdict = self._reception.record(scope, source, flow.dataset, row.record)
        if row.error:
            # What it would have become is unknown: the row itself is kept.
            wrong = (Violation("", "row", row.error),)
            return verdict._replace(message=row.raw, violations=wrong)
        return verdict

    def _entries(
        self, page: Sequence[SourceRow], verdicts: Sequence[Verdict], lot: Lot
    ) -> Iterator[Entry]:
        """A frame for the rows of one rank, in their order; a failed record for each refused row."""
        now_ms = self._reception.now_ms()
        judged = list(zip(page, verdicts, strict=True))
        accepted = ((row, verdict) for row, verdict in judged if verdict.accepted)
        for rank_ms, rows in groupby(accepted, lambda one: min(one[0].rank_ms or now_ms, now_ms)):
            found = [verdict for _, verdict in rows]
            validator = found[0].validator
            if validator is not None:
                yield frame_entry(validator, found[0].source, rank_ms, found)
        for row, verdict in judged:
            if not verdict.accepted:
                yield refusal(verdict, now_ms, f"{lot.name}, line {row.line}")
