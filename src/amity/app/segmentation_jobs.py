"""How are segment jobs, previews and schedules joined to the rest?

Long work runs in one thread beside the requests; what a job finds goes to the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import structlog
from fastapi import APIRouter

from amity.app.assembly import Append, Platform
from amity.app.core import Core
from amity.kernel.errors import AmityError
from amity.kernel.scope import Scope
from amity.platform.activation.model import EVALUATIONS_TOPIC, Evaluated
from amity.platform.profile.model import CHANGES_TOPIC, ProfileChanged
from amity.platform.segmentation.batch import BatchEvaluation
from amity.platform.segmentation.daily import SCHEDULES_TOPIC, ScheduleChanged
from amity.platform.segmentation.jobs import Jobs
from amity.platform.segmentation.previews import Previews
from amity.platform.segmentation.routes import router
from amity.platform.segmentation.schedules import Schedules
from amity.storage.ports import Entry

Submit = Callable[[Callable[[], None]], None]
LOG = structlog.get_logger()


class Background:
    """Runs long work, one piece at a time."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="segment-job")

    def submit(self, work: Callable[[], None]) -> None:
        """Run it when its turn comes; the work tells its own failures by its status."""
        self._pool.submit(self._run, work)

    @staticmethod
    def _run(work: Callable[[], None]) -> None:
        try:
            work()
        except AmityError as error:
            LOG.exception("background work failed", error=error.message)


def build_jobs(core: Core, platform: Platform, append: Append, submit: Submit) -> Jobs:
    """Segment jobs; `submit` runs one apart from the caller."""

    def reevaluate(changes: Sequence[ProfileChanged]) -> None:
        append(
            [
                Entry(CHANGES_TOPIC, change.profile.encode(), msgspec.msgpack.encode(change))
                for change in changes
            ]
        )

    def evaluated(scope: Scope, audiences: tuple[str, ...], at_ms: int) -> None:
        told = Evaluated(scope=scope.key, audiences=audiences, at_ms=at_ms)
        append([Entry(EVALUATIONS_TOPIC, scope.key.encode(), msgspec.msgpack.encode(told))])

    return Jobs(
        documents=core.documents,
        ids=core.ids,
        clock=core.clock,
        system=core.system,
        audiences=platform.audiences,
        batch=BatchEvaluation(
            lake=core.lake,
            datasets=platform.catalog,
            audiences=platform.audiences,
            state=core.state,
        ),
        members=platform.members,
        state=core.state,
        submit=submit,
        reevaluate=reevaluate,
        evaluated=evaluated,
    )


def segmentation_routes(core: Core, platform: Platform, append: Append) -> APIRouter:
    """The segmentation routes with everything they need."""
    background = Background()

    def announce(changed: ScheduleChanged) -> None:
        body = msgspec.msgpack.encode(changed)
        append([Entry(SCHEDULES_TOPIC, changed.schedule.encode(), body)])

    previews = Previews(
        documents=core.documents,
        ids=core.ids,
        clock=core.clock,
        audiences=platform.audiences,
        people=platform.profiles,
        members=platform.members,
        state=core.state,
        submit=background.submit,
    )
    return router(
        audiences=platform.audiences,
        members=platform.members,
        people=platform.profiles,
        state=core.state,
        clock=core.clock,
        jobs=build_jobs(core, platform, append, background.submit),
        schedules=Schedules(
            documents=core.documents, ids=core.ids, clock=core.clock, announce=announce
        ),
        previews=previews,
    )
