"""How does a daily schedule start its job at the right moment?

A schedule that is made, changed or taken away says so on a topic; a small stage keeps a timer a
schedule, and when it fires orders a job, which a sink starts. Behaviour: platform-audiences.md §5.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from amity.flow.step import Cancel, Outcome, Output, Timer
from amity.kernel.clock import DAY_MS
from amity.kernel.errors import Corrupt
from amity.kernel.scope import Scope
from amity.platform.segmentation.jobs import Jobs
from amity.storage.ports import LogRecord, Reader, Writer

SCHEDULES_TOPIC = "platform.segment_schedules"
"""`ScheduleChanged`, keyed by schedule."""

JOBS_TOPIC = "platform.segment_jobs"
"""`JobDue`, keyed by schedule."""

TABLE = "segmentation_schedule"


class ScheduleChanged(msgspec.Struct, frozen=True, array_like=True):
    """A schedule is this one now; not active once it is deleted. `of_day_ms` counts from midnight."""

    scope: str
    schedule: str
    at_ms: int
    active: bool
    of_day_ms: int
    audiences: tuple[str, ...]


class JobDue(msgspec.Struct, frozen=True, array_like=True):
    """A schedule orders a job."""

    scope: str
    schedule: str
    due_ms: int
    audiences: tuple[str, ...]


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """A schedule as the stage knows it."""

    version: int
    of_day_ms: int
    audiences: tuple[str, ...]


Key = tuple[Scope, bytes]


@dataclass(slots=True)
class ScheduleState:
    """The touched schedules."""

    known: dict[Key, Standing] = field(default_factory=dict)
    dirty: set[Key] = field(default_factory=set)


_ENCODER = msgspec.msgpack.Encoder()
_CHANGED = msgspec.msgpack.Decoder(ScheduleChanged)
_DUE = msgspec.msgpack.Decoder(JobDue)
_STANDING = msgspec.msgpack.Decoder(Standing)


def next_due(after_ms: int, of_day_ms: int) -> int:
    """The first moment of that time of day after an instant (UTC).

    >>> next_due(0, 3_600_000), next_due(3_600_000, 3_600_000)
    (3600000, 90000000)
    """
    due = after_ms - after_ms % DAY_MS + of_day_ms
    return due if due > after_ms else due + DAY_MS


class ScheduleStage:
    """Keeps a timer for every active schedule."""

    name = "segment_schedules"
    consumes = (SCHEDULES_TOPIC,)

    def decode(self, record: LogRecord) -> Sequence[ScheduleChanged]:
        """One message a record."""
        try:
            return [_CHANGED.decode(record.body)]
        except msgspec.DecodeError as error:
            raise Corrupt(f"no message of {record.topic}: {error}") from error

    def encode(self, message: Any) -> bytes:
        """The log body of an order."""
        return _ENCODER.encode(message)

    def load(
        self, reader: Reader, messages: Sequence[ScheduleChanged], fired: Sequence[Timer]
    ) -> ScheduleState:
        """The schedules that messages and timers name."""
        keys: set[Key] = {(timer.scope, timer.key) for timer in fired}
        keys |= {(Scope.parse(one.scope), one.schedule.encode()) for one in messages}
        state = ScheduleState()
        for scope, key in keys:
            for value in reader.get_many(TABLE, scope, [key]).values():
                state.known[scope, key] = _STANDING.decode(value)
        return state

    def step(
        self,
        state: ScheduleState,
        messages: Sequence[ScheduleChanged],
        fired: Sequence[Timer],
        now_ms: int,
    ) -> Outcome[ScheduleState]:
        """The pure step."""
        outcome = Outcome(state=state)
        for timer in fired:
            _fire(outcome, timer, now_ms)
        for message in messages:
            _change(outcome, message, now_ms)
        return outcome

    def save(self, writer: Writer, state: ScheduleState) -> None:
        """Write the schedules that have changed."""
        for scope, key in sorted(state.dirty, key=lambda one: (one[0].key, one[1])):
            row = _ENCODER.encode(state.known[scope, key])
            writer.put_many(TABLE, scope, [(key, row)])


def _change(outcome: Outcome[ScheduleState], message: ScheduleChanged, now_ms: int) -> None:
    scope, key = Scope.parse(message.scope), message.schedule.encode()
    known = outcome.state.known.get((scope, key))
    version = known.version + 1 if known else 1
    outcome.state.known[scope, key] = Standing(version, message.of_day_ms, message.audiences)
    outcome.state.dirty.add((scope, key))
    if message.active:
        due_ms = next_due(now_ms, message.of_day_ms)
        outcome.timers.append(Timer(scope, key, due_ms, version))
    else:
        outcome.timers.append(Cancel(scope, key))


def _fire(outcome: Outcome[ScheduleState], timer: Timer, now_ms: int) -> None:
    known = outcome.state.known.get((timer.scope, timer.key))
    if known is None or known.version != timer.version:
        return
    schedule = timer.key.decode()
    order = JobDue(timer.scope.key, schedule, timer.due_ms, known.audiences)
    outcome.outputs.append(Output(JOBS_TOPIC, timer.scope, timer.key, order))
    # A server that was down for days catches up with one job, not with one a day.
    again_ms = next_due(max(now_ms, timer.due_ms), known.of_day_ms)
    outcome.timers.append(Timer(timer.scope, timer.key, again_ms, known.version))


class JobStarter:
    """Starts the jobs that schedules order; an order seen twice starts one job."""

    name = "segment_job_starter"
    consumes = (JOBS_TOPIC,)

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def handle(self, records: Sequence[LogRecord], now_ms: int) -> None:  # noqa: ARG002 - the order knows its time
        """Start what is ordered."""
        for record in records:
            order = _DUE.decode(record.body)
            self._jobs.start_scheduled(
                Scope.parse(order.scope), order.schedule, order.due_ms, order.audiences
            )
