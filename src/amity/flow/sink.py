"""Who carries records out of the flow, into a lake or a file?

A sink has side effects that no transaction of the state database covers, so it may see a record
again after a crash: it must be idempotent by the record's position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from amity.flow import failed
from amity.flow.failed import FAILED_TOPIC, FailedRecord
from amity.flow.intake import SYSTEM, Intake
from amity.flow.work import Refused, reason_of
from amity.kernel.clock import RealSystemClock, SystemClock
from amity.kernel.errors import Terminal, Transient
from amity.kernel.ids import digest
from amity.kernel.limits import STEP_BATCH_RECORDS_MAX, STEP_TRIES_MAX
from amity.kernel.machine import is_of_the_machine
from amity.storage.ports import Entry, Log, LogRecord, State

BACKOFF_S_MIN = 0.1
"""Wait after the first failure; doubles with each. Ours."""

BACKOFF_S_MAX = 30.0
"""Longest wait between two tries. Ours."""


class Sink(Protocol):
    """Takes records to the outside."""

    @property
    def name(self) -> str:
        """Names its progress; never changes once data exists."""

    @property
    def consumes(self) -> tuple[str, ...]:
        """Topics it reads."""

    def handle(self, records: Sequence[LogRecord], now_ms: int) -> None:
        """Carry them out. `Transient`: all again later; `Terminal`: the records are to blame."""


class SinkRunner:
    """Hosts one sink: at least once, in order, past what cannot be carried out.

    Args:
        sink: What it hosts.
        log: Read from; failed records are appended to it.
        state: Keeps its progress.
        system: Times the back-off.
    """

    def __init__(
        self, sink: Sink, *, log: Log, state: State, system: SystemClock | None = None
    ) -> None:
        self.name = sink.name
        self._sink = sink
        self._log = log
        self._state = state
        self._system = system or RealSystemClock()
        self._intake = Intake(sink.consumes, log=log, state=state, name=sink.name)
        self._tries = 0
        self._not_before_s = 0.0
        self.trouble = ""
        """Why it waits, "" when it does not."""

    def run_once(self, now_ms: int, limit: int = STEP_BATCH_RECORDS_MAX) -> int:
        """Carry out up to `limit` records; how many. 0 while it waits to try again."""
        if self._system.monotonic_s() < self._not_before_s:
            return 0
        return sum(self._run_topic(topic, now_ms, limit) for topic in self._sink.consumes)

    def lag(self) -> int:
        """Log records not yet carried out."""
        return self._intake.lag()

    def positions(self) -> dict[str, dict[int, int]]:
        """Topic → partition → the offset it reads next; all before is durably done."""
        return self._intake.positions()

    def quiet(self) -> bool:
        """Whether nothing is left to do until a record comes."""
        return not self._intake.waiting()

    def retry_in_s(self) -> float:
        """How long it still waits before it tries again."""
        return max(self._not_before_s - self._system.monotonic_s(), 0.0)

    def _run_topic(self, topic: str, now_ms: int, limit: int) -> int:
        records = self._intake.read(topic, limit)[:limit]
        if not records:
            return 0
        try:
            self._carry_out(self._intake.fresh(records), now_ms)
        except Transient as error:
            self._back_off(error, error.retry_after_s)
            return 0
        except Exception as error:  # noqa: BLE001 - kept as trouble, in the end as failed records
            self._back_off(error, 0)
            return 0
        self._tries, self._not_before_s, self.trouble = 0, 0.0, ""
        self._move(records, now_ms)
        return len(records)

    def _carry_out(self, records: Sequence[LogRecord], now_ms: int) -> None:
        """All of them, by halves when one is to blame."""
        if not records:
            return
        try:
            self._sink.handle(records, now_ms)
        except Transient:
            raise
        except Exception as error:
            if is_of_the_machine(error):
                raise
            if not isinstance(error, Terminal) and self._tries + 1 < STEP_TRIES_MAX:
                raise
            if len(records) == 1:
                self._log.append([_refusal(self.name, records[0], reason_of(error), now_ms)])
                return
            half = len(records) // 2
            self._carry_out(records[:half], now_ms)
            self._carry_out(records[half:], now_ms)

    def _move(self, records: Sequence[LogRecord], now_ms: int) -> None:
        with self._state.write() as writer:
            now_ms = max(now_ms, self._intake.standing.now_ms)
            self._intake.move(writer, records, now_ms=now_ms, outbox_seq=0)
        self._intake.moved(records)

    def _back_off(self, error: Exception, at_least_s: float) -> None:
        wait_s = min(BACKOFF_S_MIN * 2.0**self._tries, BACKOFF_S_MAX)
        self._tries += 1
        self._not_before_s = self._system.monotonic_s() + max(wait_s, at_least_s)
        self.trouble = f"{type(error).__name__}: {error}"


def _refusal(sink: str, record: LogRecord, refused: Refused, now_ms: int) -> Entry:
    place = (record.topic, str(record.partition), str(record.offset))
    filed = FailedRecord(
        id=digest(sink, *place),
        scope=SYSTEM.key,
        source=sink,
        code=refused.code,
        reason=refused.reason,
        where="/".join(place),
        received_ms=now_ms,
        raw=record.body,
    )
    return Entry(FAILED_TOPIC, filed.id.encode(), failed.ENCODER.encode(filed))
