"""HTTP of failed records: listed, downloaded as they came, replayed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.flow.failed import FailedRecord
from amity.flow.failures import Failures, Where
from amity.kernel.clock import to_iso
from amity.kernel.limits import LIST_START_MAX
from amity.platform.ingestion.replays import Replays

BASE = "/data/core/ingestion/failed"
LIST_MAX = 1_000
Viewer = Annotated[Principal, needs("view-failed-records")]
Manager = Annotated[Principal, needs("manage-failed-records")]


def router(failures: Failures, replays: Replays) -> APIRouter:
    """`/data/core/ingestion/failed/…`."""
    routes = APIRouter(tags=["failed records"])

    @routes.get(BASE)
    def find(
        principal: Viewer,
        batch: str = "",
        dataset: str = "",
        source: str = "",
        code: str = "",
        text: str = "",
        status: Literal["open", "replayed"] | None = None,
        limit: Annotated[int, Query(ge=1, le=LIST_MAX)] = 50,
        start: Annotated[int, Query(ge=0, le=LIST_START_MAX)] = 0,
    ) -> dict[str, Any]:
        """Refused records with reason and place, in order of time."""
        found = failures.find(
            principal.scope,
            batch=batch,
            dataset=dataset,
            where=Where(source=source, code=code, text=text, status=status),
            limit=limit + 1,
            start=start,
        )
        page: dict[str, Any] = {"start": start, "limit": limit}
        if len(found) > limit:
            page["next"] = start + limit
        return {
            "items": [_shown(one) for one in found[:limit]],
            "total": failures.count(principal.scope, batch=batch),
            "_page": page,
        }

    @routes.get(f"{BASE}/{{id}}")
    def get(id: str, principal: Viewer) -> dict[str, Any]:
        """One refused record, its text included."""
        filed = replays.filed(principal.scope, id)
        shown = _shown(filed.record) | {"status": filed.status}
        return shown | {"record": filed.record.raw.decode("utf-8", "replace")}

    @routes.get(f"{BASE}/{{id}}/raw")
    def raw(id: str, principal: Viewer) -> Response:
        """The bytes as they came."""
        record = replays.filed(principal.scope, id).record
        return Response(record.raw, media_type="application/octet-stream")

    @routes.post(f"{BASE}/{{id}}/replay")
    async def replay(id: str, principal: Manager) -> dict[str, Any]:
        """Send it through its door again."""
        return await replays.replay(principal.scope, id)

    return routes


def _shown(record: FailedRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "received": to_iso(record.received_ms),
        "source": record.source,
        "dataset": record.dataset,
        "batch": record.batch,
        "where": record.where,
        "path": record.path,
        "code": record.code,
        "reason": record.reason,
        "bytes": len(record.raw),
    }
