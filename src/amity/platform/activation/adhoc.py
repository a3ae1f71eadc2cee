"""When may people ask for a file now, outside the schedule?

The file is full, extra to the schedule, and does not move what the destination has been told.
Behaviour: platform-activation.md §4.7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from amity.kernel.clock import DAY_MS, BusinessClock
from amity.kernel.ids import IdSource
from amity.kernel.scope import Scope
from amity.platform.activation import runs
from amity.platform.activation.errors import CannotRunNow, UnknownDestination
from amity.platform.activation.flow_body import DestinationFlow, MappedAudience, read_flow
from amity.platform.activation.flow_kind import Append, StoredActivations
from amity.platform.activation.model import ENCODER, EXPORTS_TOPIC, ExportOrder
from amity.platform.governance.service import Governance
from amity.storage.keys import pack
from amity.storage.ports import Entry

ADHOC_AUDIENCES_MAX = 80
"""Audiences in one call. Behaviour: platform-activation.md §4.7."""


class Runs(Protocol):
    """What is asked of the flow service."""

    def runs(self, scope: Scope, flow_id: str = "") -> list[dict[str, Any]]: ...

    def put_run(self, scope: Scope, run: dict[str, Any]) -> None: ...


class AdhocRuns:
    """Orders exports on demand."""

    def __init__(
        self,
        *,
        activations: StoredActivations,
        runs: Runs,
        governance: Governance,
        ids: IdSource,
        clock: BusinessClock,
        append: Append,
    ) -> None:
        self._activations = activations
        self._runs = runs
        self._governance = governance
        self._ids = ids
        self._clock = clock
        self._append = append

    def order(self, scope: Scope, wanted: Mapping[str, Sequence[str]]) -> list[ExportOrder]:
        """Order a file for each audience of each destination; all or none."""
        if sum(len(audiences) for audiences in wanted.values()) > ADHOC_AUDIENCES_MAX:
            raise CannotRunNow(f"at most {ADHOC_AUDIENCES_MAX} audiences in one call")
        orders: list[ExportOrder] = []
        bodies = {body["id"]: body for body in self._activations.flows(scope)}
        for flow_id, audiences in wanted.items():
            if flow_id not in bodies:
                raise UnknownDestination(f"there is no destination flow {flow_id}")
            orders += self._of_flow(scope, bodies[flow_id], audiences)
        now_ms = self._clock.now_ms()
        for order in orders:
            self._runs.put_run(scope, runs.started(order, runs.Span(now_ms)))
        self._append([_entry(order) for order in orders])
        return orders

    def _of_flow(
        self, scope: Scope, body: Mapping[str, Any], audiences: Sequence[str]
    ) -> list[ExportOrder]:
        flow = read_flow(body)
        now_ms = self._clock.now_ms()
        found = [flow.audience(audience) for audience in audiences]
        mapped = [one for one in found if one is not None and _covers(one, now_ms)]
        outside = sorted(set(audiences) - {one.id for one in mapped})
        if outside or not flow.enabled:
            names = ", ".join(outside or audiences)
            raise CannotRunNow(
                f"Segments {names} are not part of this dataflow or out of schedule range!"
            )
        self._check_idle(scope, flow, audiences)
        name = self._activations.target(scope, body).name
        wanted = [one for one in flow.activations(name) if one.audience in set(audiences)]
        self._governance.check_activations(scope, wanted)
        return [self._order(scope, flow.id, audience) for audience in audiences]

    def _check_idle(self, scope: Scope, flow: DestinationFlow, audiences: Sequence[str]) -> None:
        for run in self._runs.runs(scope, flow.id):
            busy = runs.status_of(run) == runs.IN_PROGRESS
            segment = run["order"]["segment"]
            if busy and segment in audiences:
                raise CannotRunNow(
                    f"Run already going on for audience {segment} for order {flow.id} "
                    f"with run id {run['id']}"
                )

    def _order(self, scope: Scope, flow: str, audience: str) -> ExportOrder:
        return ExportOrder(
            scope=scope.key,
            flow=flow,
            audience=audience,
            mode="full",
            scheduled_ms=self._clock.now_ms(),
            run=self._ids.uuid(),
            on_demand=True,
        )


def _covers(audience: MappedAudience, now_ms: int) -> bool:
    """Whether the schedule reaches over today."""
    schedule = audience.schedule
    begun = schedule.start_ms // DAY_MS <= now_ms // DAY_MS
    return begun and (schedule.end_ms is None or now_ms < schedule.end_ms)


def _entry(order: ExportOrder) -> Entry:
    return Entry(EXPORTS_TOPIC, pack(order.flow, order.audience), ENCODER.encode(order))
