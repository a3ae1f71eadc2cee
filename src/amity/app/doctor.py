"""Is a live installation well? Lag, counts, failed records, what is paused and why."""

from __future__ import annotations

from typing import Annotated, Any

import sqlglot.expressions as sge
from fastapi import APIRouter

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.app.assembly import Platform
from amity.app.campaign_doctor import CampaignDoctor
from amity.app.core import Core
from amity.app.worker_link import WorkerLink
from amity.flow.failures import Failures
from amity.kernel.clock import VirtualBusinessClock, to_iso
from amity.kernel.scope import Scope
from amity.platform.governance.evaluation import explain
from amity.storage.ports import LakeTable


class Doctor:
    """Looks; changes nothing."""

    def __init__(
        self, core: Core, platform: Platform, link: WorkerLink, campaign: CampaignDoctor
    ) -> None:
        self._campaign = campaign
        self._core = core
        self._platform = platform
        self._link = link

    def report(self, scope: Scope) -> dict[str, Any]:
        """What it found."""
        counts = self._platform.members.counts(scope)
        return {
            "clock": {
                "now": to_iso(self._core.clock.now_ms()),
                "virtual": isinstance(self._core.clock, VirtualBusinessClock),
            },
            "worker": {
                "ready": self._link.ready,
                "restarts": max(self._link.restarts, 0),
                **self._link.status,
            },
            "lake": self._lake_rows(scope),
            "profiles": self._platform.profiles.counts(scope),
            "audiences": {
                id: {"realized": totals.realized, "exited": totals.exited}
                for id, totals in counts.items()
            },
            "campaign": self._campaign.report(scope),
            "failed_records": Failures(self._core.state).counts(scope),
            "paused_activations": [
                explain(violation) for violation in self._platform.governance.paused(scope)
            ],
        }

    def _lake_rows(self, scope: Scope) -> dict[str, int]:
        """Dataset → how many rows the lake holds of it."""
        counted = sge.select(sge.Count(this=sge.Star()).as_("rows")).from_("kept")
        lake = self._core.lake
        tables = {
            one.id: LakeTable(scope, one.id) for one in self._platform.catalog.datasets(scope)
        }
        return {
            id: lake.query(counted, {"kept": table})["rows"][0].as_py()
            for id, table in tables.items()
            if lake.schema(table) is not None
        }


def router(doctor: Doctor) -> APIRouter:
    """`GET /admin/doctor`."""
    routes = APIRouter(prefix="/admin", tags=["health"])

    @routes.get("/doctor")
    def report(principal: Annotated[Principal, needs("view-failed-records")]) -> dict[str, Any]:
        return doctor.report(principal.scope)

    return routes
