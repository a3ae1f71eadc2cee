"""Which HTTP calls make tables, and fill look-up and personalisation tables?"""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response

from amity.campaign.recipients import sql_names
from amity.campaign.recipients.errors import BadSchema, BadValue
from amity.campaign.recipients.http_shapes import (
    EDIT,
    VIEW,
    After,
    Id,
    Json,
    JsonBody,
    Limit,
    filters,
    page_shown,
)
from amity.campaign.recipients.model import Schema
from amity.campaign.recipients.records import Records
from amity.campaign.recipients.schema_rules import RESERVED_NAMESPACES
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.asked import converted
from amity.kernel.clock import BusinessClock
from amity.storage.ports import Tables


def add_schema_routes(
    routes: APIRouter, tables: Tables, schemas: CampaignSchemas, clock: BusinessClock
) -> None:
    """Schemas, and the records of the customer's own tables."""
    _schema_routes(routes, schemas)
    _record_routes(routes, tables, schemas, clock)


def _schema_routes(routes: APIRouter, schemas: CampaignSchemas) -> None:
    @routes.get("/schemas", dependencies=VIEW)
    def all_schemas() -> Json:
        return {"schemas": [_schema_shown(schemas, id) for id in schemas.ids()]}

    @routes.get("/schemas/{id}", dependencies=VIEW)
    def get_schema(id: str) -> Json:
        return _schema_shown(schemas, id) | {"source": msgspec.to_builtins(schemas.saved(id))}

    @routes.post("/schemas", status_code=201, dependencies=EDIT)
    def save_schema(body: JsonBody) -> Json:
        return _schema_shown(schemas, schemas.save(_schema(body)).id)

    @routes.put("/schemas/{id}", dependencies=EDIT)
    def put_schema(id: str, body: JsonBody) -> Json:
        schema = _schema(body)
        if schema.id != id:
            raise BadSchema(f"the body is schema {schema.id}, the path names {id[:80]}")
        return _schema_shown(schemas, schemas.save(schema).id)


def _record_routes(
    routes: APIRouter, tables: Tables, schemas: CampaignSchemas, clock: BusinessClock
) -> None:
    """Records of the customer's tables; built-in ones have routes of their own."""

    @routes.get("/schemas/{id}/records", dependencies=VIEW)
    def find(request: Request, id: str, limit: Limit = 100, after: After = 0) -> Json:
        records = _own(schemas, id)
        with tables.connect() as connection:
            return page_shown(
                records.find(connection, filters(request), limit=limit, after=after), "records"
            )

    @routes.post("/schemas/{id}/records", status_code=201, dependencies=EDIT)
    def create(id: str, body: JsonBody) -> Json:
        records = _own(schemas, id)
        with tables.begin() as connection:
            made = records.insert(connection, body, clock.now_ms())
            return records.get(connection, made)

    @routes.get("/schemas/{id}/records/{record}", dependencies=VIEW)
    def get(id: str, record: Id) -> Json:
        with tables.connect() as connection:
            return _own(schemas, id).get(connection, record)

    @routes.patch("/schemas/{id}/records/{record}", dependencies=EDIT)
    def update(id: str, record: Id, body: JsonBody) -> Json:
        records = _own(schemas, id)
        with tables.begin() as connection:
            records.update(connection, record, body, clock.now_ms())
            return records.get(connection, record)

    @routes.delete("/schemas/{id}/records/{record}", status_code=204, dependencies=EDIT)
    def delete(id: str, record: Id) -> Response:
        with tables.begin() as connection:
            _own(schemas, id).delete(connection, record)
        return Response(status_code=204)


def _schema(body: Json) -> Schema:
    return converted(body, Schema, BadSchema, what="the schema")


def _schema_shown(schemas: CampaignSchemas, id: str) -> Json:
    """A schema with its extensions, and how SQL calls its parts."""
    schema = schemas.schema(id)
    columns = {one.name: sql_names.column(one) for one in schema.attributes}
    columns |= {f"{one.name}-id": sql_names.link(one) for one in schema.links}
    if schema.autopk:
        columns["id"] = sql_names.primary_key(schema)
    body: Json = msgspec.to_builtins(schema)
    return body | {
        "id": schema.id,
        "sqlTable": sql_names.table(schema.id),
        "sqlColumns": columns,
        "extensions": schemas.extensions(schema.id),
    }


def _own(schemas: CampaignSchemas, id: str) -> Records:
    """Records that may be written so: those of a table of the customer with ids."""
    schema = schemas.schema(id)
    if schema.namespace in RESERVED_NAMESPACES or not schema.autopk:
        raise BadValue(
            f"{schema.id}: only records of a table of your own that has an id are kept this way; "
            "recipients lie at /campaign/recipients"
        )
    return Records(schemas, schema.id)
