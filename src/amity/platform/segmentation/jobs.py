"""How is a segment job run, and what does it find?

A job evaluates audiences over everything in the lake with one query, compares the outcome with what
streaming says, and has every person evaluated anew about whom the two differ: the stage that keeps the
memberships stays the only one that changes them. Behaviour: platform-audiences.md §5.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from amity.kernel.clock import BusinessClock, SystemClock
from amity.kernel.errors import AmityError, Conflict, Invalid
from amity.kernel.ids import IdSource, ProfileId, digest
from amity.kernel.scope import Scope
from amity.platform.profile.model import ProfileChanged
from amity.platform.segmentation.errors import UnknownAudience, UnknownJob
from amity.platform.segmentation.service import Audiences
from amity.platform.segmentation.store import Members
from amity.storage.ports import Documents, State

Json = dict[str, Any]
KIND = "segment_job"
JOB_AUDIENCES_MAX = 1_500
"""Audiences listed in one job. Behaviour: platform-audiences.md §5.3."""

_ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


class Outcome(Protocol):
    """What a batch evaluation found."""

    @property
    def total_profiles(self) -> int: ...
    @property
    def members(self) -> Mapping[str, frozenset[ProfileId]]: ...
    @property
    def refused(self) -> Mapping[str, str]: ...


class Evaluates(Protocol):
    """Evaluates audiences over the lake."""

    def evaluate(self, scope: Scope, audiences: Sequence[str], now_ms: int) -> Outcome: ...


class Jobs:
    """Segment jobs of every sandbox.

    Args:
        documents: Where jobs are kept.
        ids: Names them.
        clock: The instant a job evaluates at.
        system: How long it takes.
        audiences: What is evaluated.
        batch: Evaluates over the lake.
        members: What streaming says.
        state: Where streaming says it.
        submit: Runs a job apart from the caller.
        reevaluate: Has profiles made anew (appends the messages to the log).
        evaluated: Tells later stages that these audiences were evaluated.
    """

    def __init__(  # noqa: PLR0913 - the ports it is wired with
        self,
        *,
        documents: Documents,
        ids: IdSource,
        clock: BusinessClock,
        system: SystemClock,
        audiences: Audiences,
        batch: Evaluates,
        members: Members,
        state: State,
        submit: Callable[[Callable[[], None]], None],
        reevaluate: Callable[[Sequence[ProfileChanged]], None],
        evaluated: Callable[[Scope, tuple[str, ...], int], None],
    ) -> None:
        self._documents = documents
        self._ids = ids
        self._clock = clock
        self._system = system
        self._audiences = audiences
        self._batch = batch
        self._members = members
        self._state = state
        self._submit = submit
        self._reevaluate = reevaluate
        self._evaluated = evaluated

    def find(self, scope: Scope) -> list[Json]:
        """All jobs, newest first."""
        return [document.body for document in reversed(self._documents.find(scope, KIND))]

    def get(self, scope: Scope, id: str) -> Json:
        """One job."""
        document = self._documents.get(scope, KIND, id)
        if document is None:
            raise UnknownJob(f"segment job {id} not found; list them by GET /segment/jobs", id=id)
        return document.body

    def start(self, scope: Scope, asked: Sequence[Mapping[str, Any]], *, actor: str) -> Json:
        """Take a job and have it run."""
        return self._start(scope, self._asked(scope, asked), self._ids.uuid(), (actor, "api"))

    def start_scheduled(
        self, scope: Scope, schedule: str, due_ms: int, audiences: Sequence[str]
    ) -> None:
        """Start the job of a schedule, once for each due time; with no audience there is none."""
        id = digest("job", scope.key, schedule, str(due_ms))
        known = [body["id"] for body in self._audiences.find(scope)]
        wanted = known if "*" in audiences else [one for one in known if one in audiences]
        if wanted and self._documents.get(scope, KIND, id) is None:
            self._start(scope, wanted, id, ("scheduler", "scheduler"))

    def _start(self, scope: Scope, ids: Sequence[str], id: str, by: tuple[str, str]) -> Json:
        actor, source = by
        now_ms = self._clock.now_ms()
        body: Json = {
            "id": id,
            "imsOrgId": scope.org,
            "sandbox": scope.shown,
            "source": source,
            "status": "QUEUED",
            "batchId": "",
            "segments": [{"segmentId": one, "segment": {"id": one}} for one in ids],
            "creationTime": now_ms,
            "updateTime": now_ms,
            "createdBy": actor,
            "metrics": {},
            "requestId": self._ids.hex(),
        }
        path = f"/segment/jobs/{body['id']}"
        body["_links"] = {
            "cancel": {"href": path, "method": "DELETE"},
            "checkStatus": {"href": path, "method": "GET"},
        }
        self._put(scope, body)
        self._submit(lambda: self.run(scope, id))
        return body

    def cancel(self, scope: Scope, id: str) -> None:
        """Take a job back that has not ended."""
        body = self.get(scope, id)
        if body["status"] in _ENDED:
            raise Conflict(f"segment job {id} has ended: {body['status']}")
        self._put(scope, body | {"status": "CANCELLED"})

    def run(self, scope: Scope, id: str) -> None:
        """Do the work of a job; a failure is told by its status."""
        body = self.get(scope, id)
        if body["status"] in _ENDED:
            return
        started_s = self._system.monotonic_s()
        now_ms = self._clock.now_ms()
        self._put(scope, body | {"status": "PROCESSING"})
        audiences = tuple(one["segmentId"] for one in body["segments"])
        try:
            outcome = self._batch.evaluate(scope, audiences, now_ms)
        except AmityError as error:
            failed = {"status": "FAILED", "errors": [{"message": error.message}]}
            self._put(scope, body | failed)
            return
        if self.get(scope, id)["status"] == "CANCELLED":
            return
        differing = self._compare(scope, outcome, now_ms)
        took_ms = round((self._system.monotonic_s() - started_s) * 1_000)
        ended = {"status": "SUCCEEDED", "metrics": _metrics(outcome, now_ms, took_ms, differing)}
        self._put(scope, body | ended)
        self._evaluated(scope, audiences, now_ms)

    def _asked(self, scope: Scope, asked: Sequence[Mapping[str, Any]]) -> list[str]:
        ids = [str(one.get("segmentId", "")) for one in asked]
        known = [body["id"] for body in self._audiences.find(scope)]
        if ids == ["*"]:
            return known
        if not 0 < len(ids) <= JOB_AUDIENCES_MAX:
            raise Invalid(f'name 1 to {JOB_AUDIENCES_MAX} audiences, or [{{"segmentId": "*"}}]')
        missing = sorted(set(ids) - set(known))
        if missing:
            raise UnknownAudience(f"audience {', '.join(missing)} not found", ids=missing)
        return ids

    def _compare(self, scope: Scope, outcome: Outcome, now_ms: int) -> int:
        """Have everyone evaluated anew about whom batch and streaming differ; how many."""
        differing: set[ProfileId] = set()
        with self._state.read() as reader:
            for audience, found in outcome.members.items():
                streamed = {one.profile for one in self._members.members(reader, scope, audience)}
                differing |= streamed ^ found
        self._reevaluate(
            [
                ProfileChanged(
                    scope=scope.key, profile=profile, at_ms=now_ms, rebuild=True, cause="batch"
                )
                for profile in sorted(differing)
            ]
        )
        return len(differing)

    def _put(self, scope: Scope, body: Json) -> None:
        made = body | {"updateTime": self._clock.now_ms()}
        self._documents.put(scope, KIND, str(body["id"]), made)


def _metrics(outcome: Outcome, now_ms: int, took_ms: int, differing: int) -> Json:
    time = {
        "startTimeInMs": now_ms,
        "endTimeInMs": now_ms + took_ms,
        "totalTimeInMs": took_ms,
    }
    counts = {id: len(found) for id, found in outcome.members.items()}
    return {
        "totalTime": time,
        "profileSegmentationTime": time,
        "totalProfiles": outcome.total_profiles,
        "segmentedProfileCounter": counts,
        "segmentedProfileByStatusCounter": {
            id: {"realized": count, "exited": 0} for id, count in counts.items()
        },
        "evaluatedAnew": differing,
        "evaluatedContinuouslyOnly": dict(outcome.refused),
    }
