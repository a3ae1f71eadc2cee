"""HTTP of what came back: tracking logs, delivery logs, returned mails, what servers said."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Query, Response

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.campaign.tracking.reports import Paging, TrackingReports
from amity.kernel.limits import LIST_START_MAX

BASE = "/campaign"
LIST_MAX = 1_000
Viewer = Annotated[Principal, needs("view-deliveries")]
Manager = Annotated[Principal, needs("manage-deliveries")]
Limit = Annotated[int, Query(ge=1, le=LIST_MAX)]
Start = Annotated[int, Query(ge=0, le=LIST_START_MAX)]
ID_MAX = 1 << 62
Id = Annotated[int, Query(ge=0, le=ID_MAX)]


def router(reports: TrackingReports) -> APIRouter:
    """`/campaign/{trackingLogs,broadLogs,returns,qualifications}`."""
    routes = APIRouter(tags=["tracking and returns"])

    @routes.get(f"{BASE}/trackingLogs")
    def tracking_logs(
        _: Viewer,
        delivery_id: Annotated[Id, Query(alias="deliveryId")] = 0,
        recipient_id: Annotated[Id, Query(alias="recipientId")] = 0,
        type: str = "",
        limit: Limit = 100,
        start: Start = 0,
    ) -> dict[str, Any]:
        """Opens, clicks, opt-outs and mirror pages, newest first."""
        wanted = {"deliveryId": delivery_id, "recipientId": recipient_id, "type": type}
        return reports.tracking_logs(wanted, Paging(start, limit))

    @routes.get(f"{BASE}/broadLogs")
    def broad_logs(
        _: Viewer,
        delivery_id: Annotated[Id, Query(alias="deliveryId")] = 0,
        recipient_id: Annotated[Id, Query(alias="recipientId")] = 0,
        status: str = "",
        limit: Limit = 100,
        start: Start = 0,
    ) -> dict[str, Any]:
        """What became of each message, newest first."""
        wanted = {"deliveryId": delivery_id, "recipientId": recipient_id, "status": status}
        return reports.broad_logs(wanted, Paging(start, limit))

    @routes.get(f"{BASE}/returns")
    def returned(
        _: Viewer,
        delivery_id: Annotated[Id, Query(alias="deliveryId")] = 0,
        kind: str = "",
        limit: Limit = 100,
        start: Start = 0,
    ) -> dict[str, Any]:
        """Mails that came back and what was made of them, newest first; counted by kind."""
        return reports.returned(delivery_id, kind, Paging(start, limit))

    @routes.get(f"{BASE}/returns/failed")
    def refused(_: Viewer, limit: Limit = 100, start: Start = 0) -> dict[str, Any]:
        """Mails of which nothing was made, and why."""
        return reports.refused(Paging(start, limit))

    @routes.get(f"{BASE}/returns/failed/{{id}}/raw")
    def raw(id: str, _: Viewer) -> Response:
        """Such a mail as it came, for download."""
        headers = {
            "Content-Disposition": "attachment; filename=returned.eml",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(reports.raw(id), media_type="message/rfc822", headers=headers)

    @routes.get(f"{BASE}/qualifications")
    def qualifications(
        _: Viewer,
        status: Literal["", "toQualify", "keep", "ignore"] = "",
        limit: Limit = 100,
        start: Start = 0,
    ) -> dict[str, Any]:
        """What servers said, each distinct text once, the most frequent first."""
        return reports.qualifications(status, Paging(start, limit))

    @routes.patch(f"{BASE}/qualifications/{{id}}")
    def overrule(
        id: Annotated[int, Path(ge=0, le=ID_MAX)],
        body: Annotated[dict[str, Any], Body()],
        _: Manager,
    ) -> dict[str, Any]:
        """Say what a text means from now on: `status`, `failureType`, `failureReason` by name."""
        return reports.overrule(id, body)

    return routes
