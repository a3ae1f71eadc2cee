"""HTTP of access: tokens, the audit log, sandboxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import re2
from fastapi import APIRouter, Form, Query, Request
from starlette.datastructures import URL

from amity.access.audit import EVENTS_PAGE_MAX, AuditEvent, AuditLog
from amity.access.clients import Clients, WrongClient
from amity.access.guard import needs
from amity.access.principal import Principal
from amity.access.tokens import Tokens
from amity.kernel.clock import from_iso, to_iso
from amity.kernel.errors import Invalid, NotFound
from amity.kernel.limits import LIST_START_MAX

_FILTERS = {
    "action": "action",
    "status": "status",
    "user": "actor",
    "assetType": "asset_type",
    "assetId": "asset_id",
    "requestId": "request_id",
}
_TIMESTAMP = re2.compile(r"^timestamp(>=|<=|>|<)(.+)$")


def ims_router(clients: Clients, tokens: Tokens) -> APIRouter:
    """`POST /ims/token/v3`: OAuth 2 client credentials. Behaviour: platform-collect.md §1."""
    routes = APIRouter(tags=["access"])

    @routes.post("/ims/token/v3")
    def token(
        client_id: Annotated[str, Form()],
        client_secret: Annotated[str, Form()],
        grant_type: Annotated[str, Form()] = "client_credentials",
        scope: Annotated[str, Form()] = "",
    ) -> dict[str, Any]:
        if grant_type != "client_credentials":
            raise Invalid(
                f"grant_type {grant_type!r} is not served; send client_credentials",
                error="unsupported_grant_type",
            )
        try:
            client = clients.verify(client_id, client_secret)
        except WrongClient as error:
            error.data["error"] = "invalid_client"
            raise
        access_token, seconds = tokens.issue(client.id, client.org)
        answer = {"access_token": access_token, "token_type": "bearer", "expires_in": seconds}
        return answer | ({"scope": scope} if scope else {})

    return routes


def audit_router(audit: AuditLog, public_url: str = "") -> APIRouter:
    """`GET /data/foundation/audit/events`. Behaviour: platform-activation.md §7.

    Links begin with `public_url`: the host a caller names is the caller's word only.
    """
    routes = APIRouter(tags=["access"])

    @routes.get("/data/foundation/audit/events")
    def events(
        request: Request,
        principal: Annotated[Principal, needs("view-audit-log")],
        property: Annotated[list[str] | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=EVENTS_PAGE_MAX)] = 50,
        start: Annotated[int, Query(ge=0, le=LIST_START_MAX)] = 0,
    ) -> dict[str, Any]:
        given = property or []
        from_ms, to_ms = _window(given)
        found = audit.find(
            principal.scope,
            limit=limit + 1,
            start=start,
            filters=_filters([one for one in given if not one.startswith("timestamp")]),
            from_ms=from_ms,
            to_ms=to_ms,
        )
        page = [_shown(event) for event in found[:limit]]
        base = public_url.rstrip("/")
        links = {"self": {"href": f"{base}{_below_host(request.url)}"}}
        if len(found) > limit:
            following = request.url.include_query_params(start=start + limit)
            links["next"] = {"href": f"{base}{_below_host(following)}"}
        return {"_embedded": {"events": page}, "_links": links}

    return routes


def sandbox_router(
    sandboxes: Callable[[str], list[dict[str, Any]]],
    create: Callable[[str, dict[str, Any]], dict[str, Any]],
) -> APIRouter:
    """`/data/foundation/sandbox-management/sandboxes`. Behaviour: platform-activation.md §7."""
    routes = APIRouter(prefix="/data/foundation/sandbox-management", tags=["access"])

    @routes.get("/sandboxes")
    def find(principal: Annotated[Principal, needs("manage-sandboxes")]) -> dict[str, Any]:
        found = sandboxes(principal.scope.org)
        return {"sandboxes": found, "_page": {"limit": len(found), "count": len(found)}}

    @routes.get("/sandboxes/{name}")
    def get(
        name: str, principal: Annotated[Principal, needs("manage-sandboxes")]
    ) -> dict[str, Any]:
        for one in sandboxes(principal.scope.org):
            if one["name"] == name:
                return one
        raise NotFound(f"there is no sandbox {name!r}", sandbox=name)

    @routes.get("/sandboxTypes", dependencies=[needs("manage-sandboxes")])
    def types() -> dict[str, Any]:
        return {"sandboxTypes": ["production", "development"]}

    @routes.post("/sandboxes", status_code=202)
    def make(
        body: dict[str, Any], principal: Annotated[Principal, needs("manage-sandboxes")]
    ) -> dict[str, Any]:
        return create(principal.scope.org, body)

    return routes


def _below_host(url: URL) -> str:
    return url.path + (f"?{url.query}" if url.query else "")


def _window(properties: list[str]) -> tuple[int, int | None]:
    """The milliseconds that conditions on `timestamp` leave: from (inclusive), to (exclusive)."""
    from_ms, to_ms = 0, None
    for one in properties:
        if not one.startswith("timestamp"):
            continue
        found = _TIMESTAMP.match(one)
        if found is None:
            raise Invalid(f"cannot filter by {one!r}; write timestamp>2017-10-30T00:00:00Z")
        sign, at_ms = found.group(1), from_iso(found.group(2))
        if sign.startswith(">"):
            from_ms = max(from_ms, at_ms + (sign == ">"))
        else:
            before = at_ms + (sign == "<=")
            to_ms = before if to_ms is None else min(to_ms, before)
    return from_ms, to_ms


def _filters(properties: list[str]) -> dict[str, tuple[str, ...]]:
    filters: dict[str, tuple[str, ...]] = {}
    for one in properties:
        name, found, values = one.partition("==")
        if not found or name not in _FILTERS:
            known = ", ".join(sorted(_FILTERS))
            raise Invalid(f"cannot filter by {one!r}; write NAME==a,b with NAME of {known}")
        filters[_FILTERS[name]] = tuple(values.split(","))
    return filters


def _shown(event: AuditEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "imsOrgId": event.org,
        "sandboxName": event.sandbox,
        "userEmail": event.actor,
        "requestId": event.request_id,
        "assetType": event.asset_type,
        "assetId": event.asset_id,
        "action": event.action,
        "status": event.status,
        "failureCode": event.failure_code,
        "timestamp": to_iso(event.at_ms),
    }
