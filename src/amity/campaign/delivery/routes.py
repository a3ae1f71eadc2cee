"""Which HTTP calls make, send and show deliveries?

Base ``/campaign/deliveries``.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Response

from amity.access.guard import needs
from amity.campaign.delivery.errors import BadContent
from amity.campaign.delivery.results import Results
from amity.campaign.delivery.service import Deliveries
from amity.campaign.delivery.shapes import (
    Json,
    NewDelivery,
    Preparation,
    ProofWanted,
)
from amity.campaign.recipients.org_units import OrgUnits
from amity.kernel.asked import converted

PREFIX = "/campaign/deliveries"
ID_MAX = 2**63 - 1

_VIEW = [needs("view-deliveries")]
_EDIT = [needs("manage-deliveries")]
_START = [needs("start-deliveries")]

_Id = Annotated[int, Path(ge=0, le=ID_MAX)]
_Limit = Annotated[int, Query(ge=1, le=1_000)]
_After = Annotated[int, Query(ge=0, le=ID_MAX)]
_Body = Annotated[dict[str, Any], Body()]
_BodyOrNone = Annotated[dict[str, Any] | None, Body()]


def router(*, deliveries: Deliveries, results: Results, org_units: OrgUnits) -> APIRouter:
    """All routes of deliveries, for the one organisational unit alone."""
    only = org_units.only("view-deliveries")
    routes = APIRouter(prefix=PREFIX, tags=["deliveries"], dependencies=[only])
    _records(routes, deliveries)
    _steps(routes, deliveries)
    _results(routes, results)
    return routes


def _records(routes: APIRouter, deliveries: Deliveries) -> None:
    @routes.get("", dependencies=_VIEW)
    def find(limit: _Limit = 100, after: _After = 0, internal_name: str = "") -> Json:
        found = deliveries.find(limit=limit, after=after, name=internal_name)
        return _page("deliveries", found, limit)

    @routes.post("", status_code=201, dependencies=_EDIT)
    def create(body: _Body) -> Json:
        return deliveries.create(converted(body, NewDelivery, BadContent))

    @routes.get("/{id}", dependencies=_VIEW)
    def get(id: _Id) -> Json:
        return deliveries.get(id)

    @routes.patch("/{id}", dependencies=_EDIT)
    def update(id: _Id, body: _Body) -> Json:
        return deliveries.update(id, converted(body, NewDelivery, BadContent))

    @routes.delete("/{id}", status_code=204, dependencies=_EDIT)
    def delete(id: _Id) -> Response:
        deliveries.delete(id)
        return Response(status_code=204)


def _steps(routes: APIRouter, deliveries: Deliveries) -> None:
    @routes.post("/{id}/prepare", dependencies=_EDIT)
    def prepare(id: _Id, body: _Body) -> Json:
        wanted: Preparation = converted(body, Preparation, BadContent)
        return deliveries.prepare(id, wanted.target, wanted.targeting)

    @routes.post("/{id}/proof", status_code=201, dependencies=_START)
    def proof(id: _Id, body: _BodyOrNone = None) -> Json:
        wanted: ProofWanted = converted(body or {}, ProofWanted, BadContent)
        return deliveries.proof(id, wanted.addresses, wanted.recipient)

    @routes.post("/{id}/start", dependencies=_START)
    def start(id: _Id) -> Json:
        return deliveries.start(id)

    @routes.post("/{id}/pause", dependencies=_START)
    def pause(id: _Id) -> Json:
        return deliveries.pause(id)

    @routes.post("/{id}/resume", dependencies=_START)
    def resume(id: _Id) -> Json:
        return deliveries.resume(id)

    @routes.post("/{id}/stop", dependencies=_START)
    def stop(id: _Id) -> Json:
        return deliveries.stop(id)


def _results(routes: APIRouter, results: Results) -> None:
    @routes.get("/{id}/logs", dependencies=_VIEW)
    def logs(id: _Id, status: str = "", limit: _Limit = 100, after: _After = 0) -> Json:
        found = results.logs(id, status=status, limit=limit, after=after)
        return _page("logs", found, limit)

    @routes.get("/{id}/unknown", dependencies=_VIEW)
    def unknown(id: _Id, limit: _Limit = 100, after: _After = 0) -> Json:
        found = results.logs(id, status="unknown", limit=limit, after=after)
        return _page("logs", found, limit)

    @routes.get("/{id}/exclusions", dependencies=_VIEW)
    def exclusions(id: _Id, limit: _Limit = 100, after: _After = 0) -> Json:
        found = results.exclusions(id, limit=limit, after=after)
        return _page("exclusions", found, limit)

    @routes.get("/{id}/indicators", dependencies=_VIEW)
    def indicators(id: _Id) -> Json:
        return results.indicators(id)

    @routes.get("/{id}/preview", dependencies=_VIEW)
    def preview(id: _Id, recipient: Annotated[int, Query(ge=0, le=ID_MAX)]) -> Json:
        return results.preview(id, recipient)


def _page(name: str, found: list[Json], limit: int) -> Json:
    """A part of a list; `after` goes into the next request, null at the end."""
    return {name: found, "after": found[-1]["id"] if len(found) == limit else None}
