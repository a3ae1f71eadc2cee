"""What does HTTP offer of profiles? Entities and merge policies, in the documented shapes.

Behaviour: platform-audiences.md §3.1, §3.2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Body, Depends, Query, Response
from fastapi.responses import JSONResponse

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.kernel.clock import BusinessClock
from amity.kernel.errors import AmityError
from amity.platform.identity.model import Identity
from amity.platform.profile.entities import EVENTS_MAX, PROPERTIES_MAX, Asked, read_cursor
from amity.platform.profile.errors import InvalidEntityRequest
from amity.platform.profile.lookup import EVENTS, PROFILE, Lookup, Span
from amity.platform.profile.model import ERASURES_TOPIC, EraseProfile
from amity.platform.profile.policies import MergePolicies
from amity.platform.profile.stage import ENCODER
from amity.storage.ports import Entry

Appender = Callable[[list[Entry]], Awaitable[None]]
"""Appends to the log; returns once durable."""

View = Annotated[Principal, needs("view-profiles")]
Manage = Annotated[Principal, needs("manage-profiles")]
ViewPolicies = Annotated[Principal, needs("view-merge-policies")]
ManagePolicies = Annotated[Principal, needs("manage-merge-policies")]
JsonBody = Annotated[dict[str, Any], Body()]


class EntityQuery:
    """The query string of the entities API."""

    def __init__(
        self,
        schema: Annotated[str, Query(alias="schema.name")] = PROFILE,
        entity_id: Annotated[str, Query(alias="entityId")] = "",
        entity_ns: Annotated[str, Query(alias="entityIdNS")] = "",
        related_id: Annotated[str, Query(alias="relatedEntityId")] = "",
        related_ns: Annotated[str, Query(alias="relatedEntityIdNS")] = "",
        related_schema: Annotated[str, Query(alias="relatedSchema.name")] = "",
        policy: Annotated[str, Query(alias="mergePolicyId")] = "",
        fields: str = "",
    ) -> None:
        self.schema = schema
        self.related_schema = related_schema
        self.id = related_id or entity_id if schema == EVENTS else entity_id
        self.ns = related_ns or entity_ns if schema == EVENTS else entity_ns
        self.policy = policy
        self.fields = tuple(part for part in fields.split(",") if part)


class EventsQuery:
    """What of the query string only events know."""

    def __init__(
        self,
        start_ms: Annotated[int | None, Query(alias="startTime")] = None,
        end_ms: Annotated[int | None, Query(alias="endTime")] = None,
        limit: Annotated[int, Query(ge=1)] = EVENTS_MAX,
        orderby: str = "+timestamp",
        property: Annotated[list[str] | None, Query()] = None,
        start: str = "",
        offsets: str = "",
    ) -> None:
        self.span = Span.between(start_ms, end_ms)
        self.limit = min(limit, EVENTS_MAX)
        self.orderby = orderby.strip()
        self.properties = tuple(property or ())
        self.start = start or offsets

    @property
    def reverse(self) -> bool:
        """Newest first; a plus sign in a query string reads as a space."""
        if self.orderby.lstrip("+-") != "timestamp":
            raise InvalidEntityRequest(f"orderby {self.orderby!r}: write +timestamp or -timestamp")
        return self.orderby.startswith("-")

    def asked(self, xid: str, fields: tuple[str, ...]) -> Asked:
        """The events asked for."""
        if len(self.properties) > PROPERTIES_MAX:
            raise InvalidEntityRequest(f"at most {PROPERTIES_MAX} property filters may be given")
        return Asked(
            xid, self.limit, self.reverse, fields, self.properties, read_cursor(self.start)
        )


def router(
    *, lookup: Lookup, policies: MergePolicies, append: Appender, clock: BusinessClock
) -> APIRouter:
    """All routes of the profile stage."""
    routes = APIRouter(prefix="/data/core/ups", tags=["profile"])
    _entities(routes, lookup, append, clock)
    _policies(routes, policies)
    _policy(routes, policies)
    return routes


def _entities(routes: APIRouter, lookup: Lookup, append: Appender, clock: BusinessClock) -> None:
    @routes.get("/access/entities")
    def get_entity(
        who: View,
        query: Annotated[EntityQuery, Depends()],
        events: Annotated[EventsQuery, Depends()],
    ) -> dict[str, Any]:
        identity = lookup.identity(who.scope, query.id, query.ns)
        if query.schema == EVENTS:
            asked = events.asked(identity.xid, query.fields)
            return _with_links(
                lookup.events(who.scope, identity, asked, events.span), query, events
            )
        if query.schema == PROFILE:
            return lookup.profile(who.scope, identity, query.policy, query.fields)
        return lookup.entity(who.scope, identity, query.fields)

    @routes.post("/access/entities")
    def post_entities(who: View, body: JsonBody) -> JSONResponse:
        found, failed = lookup.many(who.scope, body)
        return JSONResponse(found, status_code=207 if failed else 200)

    @routes.delete("/access/entities", status_code=202)
    async def delete_entity(who: Manage, query: Annotated[EntityQuery, Depends()]) -> Response:
        if query.schema != PROFILE:
            raise InvalidEntityRequest(f"only {PROFILE} entities can be deleted")
        identity: Identity = lookup.identity(who.scope, query.id, query.ns)
        erasure = EraseProfile(who.scope.key, identity.ns, identity.id, clock.now_ms())
        key = f"{who.scope.key}/{identity.xid}".encode()
        await append([Entry(ERASURES_TOPIC, key, ENCODER.encode(erasure))])
        return Response(status_code=202)


def _with_links(found: dict[str, Any], query: EntityQuery, events: EventsQuery) -> dict[str, Any]:
    """The next link: to be put after `/access`, as documented."""
    cursor = found["_page"]["next"]
    href = ""
    if cursor:
        parts = {
            "start": cursor,
            "offsets": cursor,
            "orderby": events.orderby,
            "limit": events.limit,
            "schema.name": query.schema,
            "relatedSchema.name": query.related_schema or PROFILE,
            "relatedEntityId": query.id,
            "relatedEntityIdNS": query.ns,
            "fields": ",".join(query.fields),
            "startTime": events.span.start_ms if events.span.is_from else "",
            "endTime": events.span.end_ms if events.span.is_to else "",
        }
        given = [(name, value) for name, value in parts.items() if value != ""]
        href = "/entities?" + urlencode([*given, *(("property", p) for p in events.properties)])
    page = {**found["_page"], "orderby": events.orderby, "start": events.start}
    return {**found, "_page": page, "_links": {"next": {"href": href}}}


def _policies(routes: APIRouter, policies: MergePolicies) -> None:
    @routes.get("/config/mergePolicies")
    def list_policies(
        who: ViewPolicies,
        *,
        limit: Annotated[int, Query(ge=1)] = 20,
        start: Annotated[int, Query(ge=0)] = 0,
        order_by: Annotated[str, Query(alias="orderBy")] = "",
        default: bool | None = None,
        active: Annotated[bool | None, Query(alias="isActiveOnEdge")] = None,
        schema: Annotated[str, Query(alias="schema.name")] = "",
        graph: Annotated[str, Query(alias="identityGraph.type")] = "",
        merge: Annotated[str, Query(alias="attributeMerge.type")] = "",
    ) -> dict[str, Any]:
        wanted = {
            "default": default,
            "isActiveOnEdge": active,
            "schema.name": schema or None,
            "identityGraph.type": graph or None,
            "attributeMerge.type": merge or None,
        }
        found = [one for one in policies.all(who.scope) if _fits(one, wanted)]
        if order_by:
            found.sort(
                key=lambda one: str(_at(one, order_by.lstrip("+-"))),
                reverse=order_by.startswith("-"),
            )
        shown = found[start : start + limit]
        more = start + limit < len(found)
        href = f"/config/mergePolicies?start={start + limit}&limit={limit}" if more else ""
        return {
            "_page": {"totalCount": len(found), "pageSize": len(shown)},
            "children": shown,
            "_links": {"next": {"href": href}},
        }

    @routes.post("/config/mergePolicies", status_code=201)
    def create_policy(who: ManagePolicies, body: JsonBody) -> dict[str, Any]:
        return policies.create(who.scope, body)

    @routes.post("/config/mergePolicies/bulk-get")
    def bulk_get(who: ViewPolicies, body: JsonBody) -> JSONResponse:
        asked = body.get("ids", [])
        if not isinstance(asked, list):
            raise InvalidEntityRequest('ids must be a list of {"id"}')
        results: dict[str, Any] = {}
        for one in asked:
            id = str(one.get("id")) if isinstance(one, dict) else str(one)
            try:
                results[id] = policies.get(who.scope, id)
            except AmityError as error:
                results[id] = {"statusCode": error.status, "message": error.message}
        return JSONResponse({"results": results}, status_code=207)


def _policy(routes: APIRouter, policies: MergePolicies) -> None:
    @routes.get("/config/mergePolicies/{id}")
    def get_policy(who: ViewPolicies, id: str) -> dict[str, Any]:
        return policies.get(who.scope, id)

    @routes.put("/config/mergePolicies/{id}")
    def put_policy(who: ManagePolicies, id: str, body: JsonBody) -> dict[str, Any]:
        return policies.replace(who.scope, id, body)

    @routes.patch("/config/mergePolicies/{id}")
    def patch_policy(
        who: ManagePolicies, id: str, changes: Annotated[Any, Body()]
    ) -> dict[str, Any]:
        return policies.patch(who.scope, id, changes)

    @routes.delete("/config/mergePolicies/{id}")
    def delete_policy(who: ManagePolicies, id: str) -> Response:
        policies.delete(who.scope, id)
        return Response(status_code=200)


def _fits(policy: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(_at(policy, path) == value for path, value in wanted.items() if value is not None)


def _at(policy: dict[str, Any], path: str) -> Any:
    value: Any = policy
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
