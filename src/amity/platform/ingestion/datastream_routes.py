"""HTTP of data streams: ``/data/core/edge/datastreams``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.kernel.limits import LIST_START_MAX
from amity.platform.ingestion.datastreams import DataStreams

LIST_MAX = 100
Viewer = Annotated[Principal, needs("view-sources")]
Manager = Annotated[Principal, needs("manage-sources")]


def router(streams: DataStreams) -> APIRouter:
    """`/data/core/edge/datastreams[/{id}]`."""
    routes = APIRouter(prefix="/data/core/edge/datastreams", tags=["edge"])

    @routes.get("")
    def find(
        principal: Viewer,
        limit: Annotated[int, Query(ge=1, le=LIST_MAX)] = 20,
        start: Annotated[int, Query(ge=0, le=LIST_START_MAX)] = 0,
    ) -> dict[str, Any]:
        """The data streams of the sandbox, in order of creation."""
        found = streams.listed(principal.scope)
        page: dict[str, Any] = {"start": start, "limit": limit}
        if start + limit < len(found):
            page["next"] = start + limit
        return {"items": found[start : start + limit], "total": len(found), "_page": page}

    @routes.post("", status_code=201)
    def create(principal: Manager, body: dict[str, Any]) -> dict[str, Any]:
        """A new data stream; its id is what a client is configured with."""
        return streams.create(principal.scope, body)

    @routes.get("/{id}")
    def get(principal: Viewer, id: str) -> dict[str, Any]:
        """One data stream."""
        return streams.get(principal.scope, id)

    @routes.put("/{id}")
    def replace(principal: Manager, id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Replace a data stream; requests that come from now on go by it."""
        return streams.replace(principal.scope, id, body)

    @routes.delete("/{id}", status_code=204)
    def delete(principal: Manager, id: str) -> Response:
        """Delete a data stream; what has come in by it stays."""
        streams.delete(principal.scope, id)
        return Response(status_code=204)

    return routes
