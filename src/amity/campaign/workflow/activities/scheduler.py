"""Scheduler: when does a workflow run?

It starts a run at each slot. A slot at which an earlier run is not over is skipped, and the journal
says so; slots that passed while nothing ran are made up for by one run.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import msgspec
from cronsim import CronSim, CronSimError

from amity.campaign.workflow.activity import ActivitySpec, Again, Out, Task
from amity.campaign.workflow.errors import BadOptions
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.time_zone import zone
from amity.kernel.clock import LATEST_MS, SECOND_MS, duration_ms, from_iso, to_iso

INTERVAL_MS_MIN = SECOND_MS
"""Shortest interval. Ours; 15 minutes or more are advised. Source: campaign.md §1.6."""


class SchedulerConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """One of `cron`, `every` and `at`."""

    cron: str = ""
    """Five fields: minute, hour, day of month, month, day of week; also ``@daily``."""

    every: str = ""
    """ISO 8601 duration, e.g. ``PT4H``."""

    at: str = ""
    """Once: RFC 3339. A time that has passed runs at once."""

    time_zone: str = ""
    """IANA name; "" is the workflow's."""

    immediately: bool = False
    """Run once more when the workflow is started."""

    until: str = ""
    """RFC 3339: no run at or after it."""


class Scheduler:
    """Knows the next slot."""

    def __init__(self, config: SchedulerConfig, means: Means) -> None:  # noqa: ARG002
        if sum(map(bool, (config.cron, config.every, config.at))) != 1:
            raise BadOptions("a scheduler needs one of cron (0 6 * * *), every (PT4H) and at")
        self._cron = config.cron
        self._every_ms = duration_ms(config.every) if config.every else 0
        if config.every and self._every_ms < INTERVAL_MS_MIN:
            raise BadOptions(f"every {config.every!r} is too often; one second is the least")
        self._at_ms = from_iso(config.at) if config.at else 0
        self._zone = zone(config.time_zone) if config.time_zone else None
        self._immediately = config.immediately
        self._until_ms = from_iso(config.until) if config.until else LATEST_MS
        if self._cron:
            self._after(0, UTC)

    def run(self, task: Task) -> Again:
        """Start a run if this is a slot; say when the next one is."""
        next_ms = self._next(task)
        if task.due_ms is None and not self._starts_now(task.now_ms):
            return Again(at_ms=next_ms)
        if task.due_ms is not None and task.due_ms >= self._until_ms:
            return Again(at_ms=None)
        if task.busy:
            then = f"the next is {to_iso(next_ms)}" if next_ms is not None else "there is no next"
            task.journal("warning", f"skipped this slot: the run before is not over; {then}")
            return Again(at_ms=next_ms)
        return Again(at_ms=next_ms, outputs={"out": Out()})

    def _starts_now(self, now_ms: int) -> bool:
        return self._immediately or bool(self._at_ms and self._at_ms <= now_ms)

    def _next(self, task: Task) -> int | None:
        """The first slot after now; slots that have passed are not made up for one by one."""
        now_ms = task.now_ms
        if self._at_ms:
            slot = self._at_ms if task.due_ms is None and self._at_ms > now_ms else None
        elif self._every_ms:
            base_ms = task.due_ms if task.due_ms is not None else now_ms
            slot = base_ms + ((now_ms - base_ms) // self._every_ms + 1) * self._every_ms
        else:
            slot = self._after(now_ms, self._zone or zone(task.time_zone))
        return slot if slot is not None and slot < self._until_ms else None

    def _after(self, now_ms: int, local: tzinfo) -> int | None:
        moment = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(local)
        try:
            found = next(CronSim(self._cron, moment), None)
        except CronSimError as error:
            raise BadOptions(
                f"{self._cron!r} is no cron expression ({error}); write minute hour day month "
                "weekday, e.g. 0 6 * * *"
            ) from error
        return round(found.timestamp() * 1000) if found is not None else None


SPEC = ActivitySpec(
    name="scheduler",
    label="Scheduler",
    summary="Starts a run at each slot, and skips a slot while a run is not over.",
    config=SchedulerConfig,
    make=Scheduler,
    effect="transactional",
    inputs=(0, 0),
    persistent=True,
    pauses=True,
)
