"""Which HTTP calls define recipients and tell of them?

Base ``/campaign``: schemas and the records of the customer's own tables, recipients with their
history, lists, services, the organisational unit, the quarantine.
"""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response

from amity.campaign.recipients.http_shapes import (
    EDIT,
    VIEW,
    After,
    Id,
    Json,
    JsonBody,
    Limit,
    convert,
    filters,
    ids_of,
    page_shown,
)
from amity.campaign.recipients.opt_outs import OptOutChannel
from amity.campaign.recipients.org_units import OrgUnits
from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.quarantine_routes import Addresses, add_quarantine_routes
from amity.campaign.recipients.schema_routes import add_schema_routes
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.service import Recipients
from amity.kernel.clock import BusinessClock
from amity.storage.ports import Tables

PREFIX = "/campaign"


def router(
    *,
    tables: Tables,
    schemas: CampaignSchemas,
    recipients: Recipients,
    quarantine: Quarantine,
    org_units: OrgUnits,
    clock: BusinessClock,
) -> APIRouter:
    """All routes of the recipients stage, for the one organisational unit alone."""
    only = org_units.only("view-recipients")
    routes = APIRouter(prefix=PREFIX, tags=["recipients"], dependencies=[only])
    add_schema_routes(routes, tables, schemas, clock)
    _recipient_routes(routes, tables, recipients, clock)
    _list_routes(routes, tables, recipients, clock)
    _service_routes(routes, tables, recipients, clock)
    _org_unit_routes(routes, org_units)
    add_quarantine_routes(routes, Addresses(tables, schemas, quarantine, clock))
    return routes


def _recipient_routes(
    routes: APIRouter, tables: Tables, recipients: Recipients, clock: BusinessClock
) -> None:
    @routes.get("/recipients", dependencies=VIEW)
    def find(request: Request, limit: Limit = 100, after: After = 0) -> Json:
        return page_shown(recipients.find(filters(request), limit=limit, after=after), "recipients")

    @routes.post("/recipients", status_code=201, dependencies=EDIT)
    def create(body: JsonBody) -> Json:
        return recipients.create(body)

    @routes.get("/recipients/{id}", dependencies=VIEW)
    def get(id: Id) -> Json:
        return recipients.get(id)

    @routes.patch("/recipients/{id}", dependencies=EDIT)
    def update(id: Id, body: JsonBody) -> Json:
        return recipients.update(id, body)

    @routes.delete("/recipients/{id}", status_code=204, dependencies=EDIT)
    def delete(id: Id) -> Response:
        recipients.delete(id)
        return Response(status_code=204)

    @routes.get("/recipients/{id}/history", dependencies=VIEW)
    def history(id: Id, limit: Limit = 100) -> Json:
        return recipients.history(id, limit=limit)

    @routes.post("/recipients/{id}/optOut", dependencies=EDIT)
    def opt_out(id: Id, body: JsonBody) -> Json:
        asked = convert(body, _OptOut)
        recipients.get(id)
        with tables.begin() as connection:
            recipients.opt_out(
                connection, [id], asked.channel, origin=asked.origin, now_ms=clock.now_ms()
            )
        return recipients.get(id)


class _OptOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    channel: OptOutChannel
    origin: str = "api"


def _list_routes(
    routes: APIRouter, tables: Tables, recipients: Recipients, clock: BusinessClock
) -> None:
    lists = recipients.lists

    @routes.get("/lists", dependencies=VIEW)
    def all_lists() -> Json:
        with tables.connect() as connection:
            return {"lists": lists.all(connection)}

    @routes.post("/lists", status_code=201, dependencies=EDIT)
    def create(body: JsonBody) -> Json:
        with tables.begin() as connection:
            return lists.get(connection, lists.create(connection, body, clock.now_ms()))

    @routes.get("/lists/{name}", dependencies=VIEW)
    def get(name: str) -> Json:
        with tables.connect() as connection:
            return lists.get(connection, lists.id(connection, name))

    @routes.delete("/lists/{name}", status_code=204, dependencies=EDIT)
    def delete(name: str) -> Response:
        with tables.begin() as connection:
            lists.delete(connection, lists.id(connection, name))
        return Response(status_code=204)

    @routes.get("/lists/{name}/members", dependencies=VIEW)
    def members(name: str, limit: Limit = 100, after: After = 0) -> Json:
        with tables.connect() as connection:
            id = lists.id(connection, name)
            return page_shown(lists.members(connection, id, limit=limit, after=after), "recipients")

    @routes.post("/lists/{name}/members", dependencies=EDIT)
    def add(name: str, body: JsonBody) -> Json:
        with tables.begin() as connection:
            id = lists.id(connection, name)
            return {"added": lists.add(connection, id, ids_of(body), clock.now_ms())}

    @routes.delete("/lists/{name}/members/{recipient}", dependencies=EDIT)
    def remove(name: str, recipient: Id) -> Json:
        with tables.begin() as connection:
            return {"removed": lists.remove(connection, lists.id(connection, name), [recipient])}


def _service_routes(
    routes: APIRouter, tables: Tables, recipients: Recipients, clock: BusinessClock
) -> None:
    services = recipients.services

    @routes.get("/services", dependencies=VIEW)
    def all_services() -> Json:
        with tables.connect() as connection:
            return {"services": services.all(connection)}

    @routes.post("/services", status_code=201, dependencies=EDIT)
    def create(body: JsonBody) -> Json:
        with tables.begin() as connection:
            return services.get(connection, services.create(connection, body, clock.now_ms()))

    @routes.patch("/services/{name}", dependencies=EDIT)
    def update(name: str, body: JsonBody) -> Json:
        with tables.begin() as connection:
            id = services.id(connection, name)
            services.update(connection, id, body, clock.now_ms())
            return services.get(connection, id)

    @routes.post("/services/{name}/subscriptions", dependencies=EDIT)
    def subscribe(name: str, body: JsonBody) -> Json:
        with tables.begin() as connection:
            done = services.subscribe(
                connection,
                service_id=services.id(connection, name),
                recipient_ids=ids_of(body),
                origin="api",
                now_ms=clock.now_ms(),
            )
        return {"subscribed": done}

    @routes.delete("/services/{name}/subscriptions/{recipient}", dependencies=EDIT)
    def unsubscribe(name: str, recipient: Id) -> Json:
        with tables.begin() as connection:
            done = services.unsubscribe(
                connection,
                service_id=services.id(connection, name),
                recipient_ids=[recipient],
                origin="api",
                now_ms=clock.now_ms(),
            )
        return {"unsubscribed": done}


def _org_unit_routes(routes: APIRouter, org_units: OrgUnits) -> None:
    @routes.get("/orgUnits", dependencies=VIEW)
    def all_units() -> Json:
        return {"orgUnits": org_units.all()}

    @routes.post("/orgUnits", status_code=201, dependencies=EDIT)
    def create(body: JsonBody) -> None:
        org_units.create(body.get("name"))
