"""HTTP of the flow service. Behaviour: platform-collect.md §8, platform-activation.md §4.2."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.kernel.errors import Invalid
from amity.platform.catalog.flow_service import FlowService, NoSuchFlowThing, Noun, Shown

PAGE_MAX = 100
Viewer = Annotated[Principal, needs("view-destinations")]
Manager = Annotated[Principal, needs("manage-destinations")]


def router(flows: FlowService) -> APIRouter:
    """`/data/foundation/flowservice/…`."""
    routes = APIRouter(prefix="/data/foundation/flowservice", tags=["flow service"])
    _specs(routes, flows, "connectionSpecs", "connectionSpec")
    _specs(routes, flows, "flowSpecs", "flowSpec")
    for noun in ("connections", "sourceConnections", "targetConnections", "flows"):
        _objects(routes, flows, noun)
    _runs(routes, flows)

    @routes.post("/flows/{id}/action")
    def action(
        principal: Manager, id: str, op: Annotated[Literal["enable", "disable"], Query()]
    ) -> dict[str, Any]:
        state: Literal["enabled", "disabled"] = "enabled" if op == "enable" else "disabled"
        return _named(flows.set_state(principal.scope, id, state))

    @routes.get("/connections/{id}/test")
    def test(principal: Viewer, id: str) -> dict[str, Any]:
        flows.get(principal.scope, "connections", id)
        return {"id": id, "state": "success"}

    return routes


def _specs(
    routes: APIRouter,
    flows: FlowService,
    plural: str,
    kind: Literal["connectionSpec", "flowSpec"],
) -> None:
    viewing = [needs("view-destinations")]

    @routes.get(f"/{plural}", name=f"list {plural}", dependencies=viewing)
    def find(property: Annotated[list[str] | None, Query()] = None) -> dict[str, Any]:
        return {"items": _matching(flows.specs(kind), property or []), "_links": {}}

    @routes.get(f"/{plural}/{{id}}", name=f"get {plural}", dependencies=viewing)
    def get(id: str) -> dict[str, Any]:
        found = [spec for spec in flows.specs(kind) if spec["id"] == id]
        if not found:
            raise NoSuchFlowThing(f"there is no {kind} {id}")
        return {"items": found}


def _objects(routes: APIRouter, flows: FlowService, noun: Noun) -> None:
    @routes.post(f"/{noun}", status_code=201, name=f"create {noun}")
    def create(principal: Manager, body: dict[str, Any]) -> dict[str, Any]:
        return _named(flows.create(principal.scope, noun, body))

    @routes.get(f"/{noun}", name=f"list {noun}")
    def find(
        principal: Viewer,
        property: Annotated[list[str] | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 20,
        continuationToken: str = "",  # noqa: N803 - the documented name
        count: bool = False,  # noqa: FBT001, FBT002 - the documented switch
    ) -> dict[str, Any]:
        bodies = [shown.body for shown in flows.find(principal.scope, noun)]
        found = _matching(bodies, property or [])
        if count:
            return {"count": len(found)}
        return _page(found, noun, limit, continuationToken)

    @routes.get(f"/{noun}/{{id}}", name=f"get {noun}")
    def get(principal: Viewer, id: str) -> JSONResponse:
        shown = flows.get(principal.scope, noun, id)
        return JSONResponse({"items": [shown.body]}, headers={"ETag": f'"{shown.etag}"'})

    @routes.patch(f"/{noun}/{{id}}", name=f"change {noun}")
    def patch(
        principal: Manager,
        id: str,
        body: list[dict[str, Any]],
        if_match: Annotated[str, Header(alias="If-Match")] = "",
    ) -> dict[str, Any]:
        return _named(flows.patch(principal.scope, noun, id, body, if_match=if_match))

    @routes.delete(f"/{noun}/{{id}}", status_code=204, name=f"delete {noun}")
    def delete(principal: Manager, id: str) -> None:
        flows.delete(principal.scope, noun, id)


def _runs(routes: APIRouter, flows: FlowService) -> None:
    @routes.get("/runs")
    def find(
        principal: Viewer,
        property: Annotated[list[str] | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 20,
        continuationToken: str = "",  # noqa: N803 - the documented name
        count: bool = False,  # noqa: FBT001, FBT002 - the documented switch
    ) -> dict[str, Any]:
        found = _matching(flows.runs(principal.scope)[::-1], property or [])
        return {"count": len(found)} if count else _page(found, "runs", limit, continuationToken)

    @routes.get("/runs/{id}")
    def get(principal: Viewer, id: str) -> dict[str, Any]:
        return {"items": [flows.run(principal.scope, id)]}


def _named(shown: Shown) -> dict[str, Any]:
    return {"id": shown.body["id"], "etag": f'"{shown.etag}"'}


def _page(found: list[dict[str, Any]], path: str, limit: int, token: str) -> dict[str, Any]:
    """One page; the token `START.LIMIT` is the link's only parameter, as clients cut it at `=`."""
    start, limit = _place(token, limit)
    answer: dict[str, Any] = {"items": found[start : start + limit], "_links": {}}
    if start + limit < len(found):
        href = f"/{path}?continuationToken={start + limit}.{limit}"
        answer["_links"] = {"next": {"href": href}}
    return answer


def _place(token: str, limit: int) -> tuple[int, int]:
    if not token:
        return 0, limit
    start, _, kept = token.partition(".")
    if not (start.isdigit() and kept.isdigit() and 1 <= int(kept) <= PAGE_MAX):
        raise Invalid(f"continuationToken {token!r} is none of ours: take it from _links/next/href")
    return int(start), int(kept)


def _matching(bodies: list[dict[str, Any]], properties: list[str]) -> list[dict[str, Any]]:
    for one in properties:
        path, equals, wanted = one.partition("==")
        if not equals:
            raise Invalid(f"cannot filter by {one!r}; write property=PATH==VALUE")
        bodies = [body for body in bodies if wanted in _values(body, path.split("."))]
    return bodies


def _values(value: Any, path: list[str]) -> list[str]:
    """The texts at a dotted path; a part ending in `[]` (or any list) fans out."""
    if isinstance(value, list):
        return [text for one in value for text in _values(one, path)]
    if not path:
        return [str(value).lower() if isinstance(value, bool) else str(value)]
    if not isinstance(value, dict):
        return []
    return _values(value.get(path[0].removesuffix("[]")), path[1:])
