"""Which HTTP calls define audiences and tell who is in them?

Base `/data/core/ups`. Behaviour: platform-audiences.md §5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import APIRouter, Body, Header, Query, Response
from fastapi.responses import JSONResponse

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.kernel.clock import BusinessClock, to_iso
from amity.kernel.errors import AmityError, Invalid
from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.identity.model import Identity
from amity.platform.segmentation.errors import BadDefinition, UnknownEntity
from amity.platform.segmentation.explain import Explainer
from amity.platform.segmentation.jobs import Jobs
from amity.platform.segmentation.previews import Previews
from amity.platform.segmentation.schedules import Schedules
from amity.platform.segmentation.service import Audiences
from amity.platform.segmentation.stage import ProfileStore
from amity.platform.segmentation.store import Members
from amity.storage.ports import Reader, State

PREFIX = "/data/core/ups"
PROFILE_MODEL = "_xdm.context.profile"
BULK_MAX = 100
"""Definitions in one bulk-get. Behaviour: platform-audiences.md §5.2."""

Json = dict[str, Any]
Viewer = Annotated[Principal, needs("view-segments")]
Editor = Annotated[Principal, needs("manage-segments")]
Evaluator = Annotated[Principal, needs("evaluate-segments")]
Limit = Annotated[int, Query(ge=1, le=100)]
Start = Annotated[int, Query(ge=0)]
Text = Annotated[str, Query()]
IfMatch = Annotated[str, Header(alias="If-Match")]


class People(ProfileStore, Protocol):
    """What explanations need of the profile stage."""

    def profile_of(self, scope: Scope, identity: Identity, /) -> ProfileId: ...


def router(
    *,
    audiences: Audiences,
    members: Members,
    people: People,
    state: State,
    clock: BusinessClock,
    jobs: Jobs,
    schedules: Schedules,
    previews: Previews,
) -> APIRouter:
    """The routes of the segmentation service."""
    api = APIRouter(prefix=PREFIX, tags=["segmentation"])
    _definition_routes(api, audiences)
    _explain_routes(api, audiences, _Explaining(audiences, members, people, state, clock))
    _audience_routes(api, audiences)
    _job_routes(api, jobs)
    _schedule_routes(api, schedules)
    _preview_routes(api, previews)
    return api


class _Explaining:
    """Finds what an explanation is made of."""

    def __init__(
        self,
        audiences: Audiences,
        members: Members,
        people: People,
        state: State,
        clock: BusinessClock,
    ) -> None:
        self._audiences = audiences
        self._members = members
        self._people = people
        self._state = state
        self._clock = clock

    def explain(self, scope: Scope, audience: str, identity: Identity) -> Json:
        rule = self._audiences.rule(scope, audience)
        profile = self._people.profile_of(scope, identity)
        with self._state.read() as reader:
            found = self._explained(reader, scope, profile).explain(audience, rule)
            row = self._members.row_of(reader, scope, audience, profile)
        if row is not None:
            found |= {"since": to_iso(row.since_ms), "cause": row.cause}
        who = {"namespace": identity.ns, "id": identity.id}
        return found | {"profile": profile, "identity": who}

    def _explained(self, reader: Reader, scope: Scope, profile: ProfileId) -> Explainer:
        view = self._people.view(reader, scope, profile)
        events = list(self._people.events(reader, scope, profile))
        if not view and not events:
            raise UnknownEntity(
                "there is no profile with this identity; write entityId and entityIdNS"
            )
        return Explainer(
            view=view,
            events=events,
            standing=self._members.state_of(reader, scope, profile),
            now_ms=self._clock.now_ms(),
        )


def _definition_routes(api: APIRouter, audiences: Audiences) -> None:
    @api.get("/segment/definitions")
    def definitions(
        principal: Viewer,
        start: Start = 0,
        page: Start = 0,
        limit: Limit = 100,
        sort: Text = "",
        continuous: Annotated[str, Query(alias="evaluationInfo.continuous.enabled")] = "",
        synchronous: Annotated[str, Query(alias="evaluationInfo.synchronous.enabled")] = "",
    ) -> Json:
        found = _sorted(audiences.find(principal.scope), sort)
        for method, asked in (("continuous", continuous), ("synchronous", synchronous)):
            if asked:
                wanted = asked.lower() == "true"
                found = [one for one in found if one["evaluationInfo"][method]["enabled"] is wanted]
        first = max(start, page * limit)
        shown = found[first : first + limit]
        return {
            "segments": shown,
            "page": {
                "totalCount": len(found),
                "totalPages": -(-len(found) // limit),
                "sortField": sort.partition(":")[0] or "creationTime",
                "sort": (sort.partition(":")[2] or "asc") if sort else "desc",
                "pageSize": len(shown),
                "limit": limit,
            },
            "link": {},
        }

    @api.post("/segment/definitions")
    def create(principal: Editor, body: Annotated[Json, Body()]) -> Response:
        made = audiences.create(principal.scope, body, actor=principal.id)
        location = f"{PREFIX}/segment/definitions/{made['id']}"
        return JSONResponse(made, headers={"X-Location": location})

    @api.post("/segment/definitions/bulk-get", status_code=207)
    def bulk(principal: Viewer, body: Annotated[Any, Body()]) -> Json:
        return _bulk(audiences, principal.scope, body)

    @api.get("/segment/definitions/{id}")
    def definition(principal: Viewer, id: str) -> Json:
        return audiences.get(principal.scope, id)

    @api.patch("/segment/definitions/{id}")
    def patch(
        principal: Editor, id: str, body: Annotated[Json, Body()], if_match: IfMatch = ""
    ) -> Json:
        return audiences.update(
            principal.scope, id, body, actor=principal.id, etag=if_match.strip('"')
        )

    @api.delete("/segment/definitions/{id}")
    def delete(principal: Editor, id: str) -> Response:
        audiences.delete(principal.scope, id)
        return Response(status_code=200)

    @api.post("/segment/conversion")
    def conversion(principal: Viewer, body: Annotated[Json, Body()]) -> Json:  # noqa: ARG001
        return audiences.converted(body)


def _explain_routes(api: APIRouter, audiences: Audiences, explaining: _Explaining) -> None:
    @api.get("/segment/definitions/{id}/explain")
    def explain(
        principal: Viewer,
        id: str,
        entity: Annotated[str, Query(alias="entityId", min_length=1)],
        namespace: Annotated[str, Query(alias="entityIdNS", min_length=1)],
    ) -> Json:
        shown = audiences.get(principal.scope, id)
        found = explaining.explain(principal.scope, id, Identity(namespace, entity))
        return found | {"name": shown["name"]}


def _audience_routes(api: APIRouter, audiences: Audiences) -> None:
    @api.get("/audiences")
    def listed(
        principal: Viewer,
        start: Start = 0,
        limit: Limit = 100,
        sort: Text = "",
        name: Text = "",
        description: Text = "",
        properties: Annotated[list[str] | None, Query(alias="property")] = None,
        entity_type: Annotated[str, Query(alias="entityType")] = "",
    ) -> Json:
        found = _sorted(audiences.find(principal.scope), sort)
        found = [
            one
            for one in found
            if entity_type in {"", one["schema"].get("name", PROFILE_MODEL)}
            and name.lower() in one["name"].lower()
            and description.lower() in one["description"].lower()
            and all(_has(one, asked) for asked in properties or ())
        ]
        return _page(found, start, limit)

    @api.post("/audiences", status_code=201)
    def create(principal: Editor, body: Annotated[Json, Body()]) -> Json:
        if body.get("type", "SegmentDefinition") != "SegmentDefinition":
            raise BadDefinition(
                "type: only SegmentDefinition can be made here; external audiences come later"
            )
        schema = body.get("schema") or {"name": "_xdm.context.profile"}
        return audiences.create(principal.scope, {**body, "schema": schema}, actor=principal.id)

    @api.post("/audiences/bulk-get", status_code=207)
    def bulk(principal: Viewer, body: Annotated[Any, Body()]) -> Json:
        return _bulk(audiences, principal.scope, body)

    @api.get("/audiences/{id}")
    def audience(principal: Viewer, id: str) -> Json:
        return audiences.get(principal.scope, id)

    @api.patch("/audiences/{id}", status_code=201)
    def patch(
        principal: Editor, id: str, body: Annotated[list[Json], Body()], if_match: IfMatch = ""
    ) -> Json:
        change = _change(body)
        return audiences.update(
            principal.scope, id, change, actor=principal.id, etag=if_match.strip('"')
        )

    @api.put("/audiences/{id}", status_code=201)
    def put(principal: Editor, id: str, body: Annotated[Json, Body()]) -> Json:
        return audiences.update(principal.scope, id, body, actor=principal.id)

    @api.delete("/audiences/{id}", status_code=204)
    def delete(principal: Editor, id: str) -> None:
        audiences.delete(principal.scope, id)


def _job_routes(api: APIRouter, jobs: Jobs) -> None:
    @api.get("/segment/jobs")
    def listed(principal: Viewer, start: Start = 0, limit: Limit = 100, status: Text = "") -> Json:
        found = [job for job in jobs.find(principal.scope) if status in {"", job["status"]}]
        return _page(found, start * limit, limit)

    @api.post("/segment/jobs")
    def create(principal: Evaluator, body: Annotated[list[Json], Body()]) -> Json:
        return jobs.start(principal.scope, body, actor=principal.id)

    @api.get("/segment/jobs/{id}")
    def job(principal: Viewer, id: str) -> Json:
        return jobs.get(principal.scope, id)

    @api.delete("/segment/jobs/{id}", status_code=204)
    def delete(principal: Evaluator, id: str) -> None:
        jobs.cancel(principal.scope, id)


def _schedule_routes(api: APIRouter, schedules: Schedules) -> None:
    @api.get("/config/schedules")
    def listed(principal: Viewer, start: Start = 0, limit: Limit = 100) -> Json:
        return _page(schedules.find(principal.scope), start * limit, limit)

    @api.post("/config/schedules")
    def create(principal: Evaluator, body: Annotated[Json, Body()]) -> Json:
        return schedules.create(principal.scope, body)

    @api.get("/config/schedules/{id}")
    def schedule(principal: Viewer, id: str) -> Json:
        return schedules.get(principal.scope, id)

    @api.patch("/config/schedules/{id}", status_code=204)
    def patch(principal: Evaluator, id: str, body: Annotated[list[Json], Body()]) -> None:
        schedules.update(principal.scope, id, _change(body))

    @api.delete("/config/schedules/{id}", status_code=204)
    def delete(principal: Evaluator, id: str) -> None:
        schedules.delete(principal.scope, id)


def _preview_routes(api: APIRouter, previews: Previews) -> None:
    @api.post("/preview", status_code=201)
    def create(principal: Viewer, body: Annotated[Json, Body()]) -> Json:
        return previews.create(principal.scope, body)

    @api.get("/preview/{id}")
    def preview(principal: Viewer, id: str) -> Json:
        return previews.results(principal.scope, id)

    @api.delete("/preview/{id}")
    def delete(principal: Viewer, id: str) -> Response:
        previews.delete(principal.scope, id)
        return Response(status_code=200)

    @api.get("/estimate/{id}")
    def estimate(principal: Viewer, id: str) -> Json:
        return previews.estimate(principal.scope, id)


def _bulk(audiences: Audiences, scope: Scope, body: Any) -> Json:
    asked = body.get("ids") if isinstance(body, Mapping) else body
    if not isinstance(asked, Sequence) or isinstance(asked, str):
        raise Invalid('write {"ids": [{"id": "…"}]}')
    ids = [str(one.get("id")) if isinstance(one, Mapping) else str(one) for one in asked]
    if not 0 < len(ids) <= BULK_MAX:
        raise Invalid(f"a bulk-get takes 1 to {BULK_MAX} ids, not {len(ids)}")
    return {"results": {id: _found(partial(audiences.get, scope, id)) for id in ids}}


def _found(get: Callable[[], Json]) -> Json:
    try:
        return get()
    except AmityError as error:
        return {"status": error.status, "detail": error.message}


def _page(found: Sequence[Json], start: int, limit: int) -> Json:
    """A page as the clients of the followed system read it: `next` is 0 at the end."""
    end = start + limit
    more = end < len(found)
    link = {"next": {"href": f"?start={end}&limit={limit}"}} if more else {}
    return {
        "children": list(found[start:end]),
        "_page": {
            "totalCount": len(found),
            "totalPages": -(-len(found) // limit),
            "start": start,
            "next": end if more else 0,
            "limit": limit,
        },
        "_links": link,
    }


def _sorted(found: list[Json], sort: str) -> list[Json]:
    if not sort:
        return found
    name, _, direction = sort.partition(":")
    return sorted(
        found,
        key=lambda one: (one.get(name) is None, _key(one.get(name))),
        reverse=direction.lower() == "desc",
    )


def _key(value: Any) -> Any:
    return value if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _has(one: Json, asked: str) -> bool:
    path, equals, wanted = asked.partition("==")
    if not equals:
        raise Invalid(f"property={asked}: write property=attribute==value")
    value: Any = one
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value == wanted or msgspec.json.encode(value).decode() == wanted


def _change(operations: Iterable[Mapping[str, Any]]) -> Json:
    """The fields that a JSON patch of whole fields sets."""
    change: Json = {}
    for operation in operations:
        path, op = str(operation.get("path", "")), operation.get("op")
        if op not in {"add", "replace", "remove"} or not path.startswith("/"):
            raise Invalid(f"{op} {path}: write op add, replace or remove and a path as /name")
        if path.count("/") > 1:
            raise Invalid(f"{path}: only whole fields can be changed")
        change[path[1:]] = None if op == "remove" else operation.get("value")
    return change
