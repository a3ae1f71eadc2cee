"""How does a daily schedule start its job at the right moment?

A schedule that is made, changed or taken away says so on a topic; a small stage keeps a timer a
schedule, and when it fires orders a job, which a sink starts. Behaviour: platform-audiences.md §5.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from amity.flow.timetable import Plan, TimetableStage
from amity.kernel.clock import DAY_MS
from amity.kernel.scope import Scope
from amity.platform.segmentation.jobs import Jobs
from amity.storage.ports import LogRecord

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


_DUE = msgspec.msgpack.Decoder(JobDue)


def next_due(after_ms: int, of_day_ms: int) -> int:
    """The first moment of that time of day after an instant (UTC).

    >>> next_due(0, 3_600_000), next_due(3_600_000, 3_600_000)
    (3600000, 90000000)
    """
    due = after_ms - after_ms % DAY_MS + of_day_ms
    return due if due > after_ms else due + DAY_MS


_PLAN = Plan(
    table=TABLE,
    changed=ScheduleChanged,
    standing=Standing,
    orders=JOBS_TOPIC,
    key=lambda changed: changed.schedule,
    stand=lambda changed, version: Standing(version, changed.of_day_ms, changed.audiences),
    first_ms=lambda changed, now_ms: next_due(now_ms, changed.of_day_ms),
    again_ms=lambda known, after_ms: next_due(after_ms, known.of_day_ms),
    order=lambda timer, known: JobDue(
        timer.scope.key, timer.key.decode(), timer.due_ms, known.audiences
    ),
)


class ScheduleStage(TimetableStage[ScheduleChanged, Standing]):
    """Keeps a timer for every active schedule."""

    name = "segment_schedules"
    consumes = (SCHEDULES_TOPIC,)

    def __init__(self) -> None:
        super().__init__(_PLAN)


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
