"""Both sides' models beside each other: what is missing, what maps, what is suggested."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from routed import Client

from amity.access.principal import Permission, Principal
from amity.app import problems
from amity.app.assembly import Platform, assemble
from amity.app.core import HTTP_WRITER, open_core
from amity.app.exchange_plan import router
from amity.app.folder import DataFolder
from amity.campaign.recipients.model import Attribute, Key, Schema
from amity.campaign.recipients.org_units import OrgUnits
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.exchange.guardrails import check_org_units
from amity.kernel.scope import Scope
from amity.platform.ingestion.segment_setup import bootstrap
from amity.platform.schema.model import PROFILE_CLASS
from amity.storage.sqlite.tables import SqliteTables

SCOPE = Scope("O@AmityOrg", "prod")
STORE = Schema(namespace="cus", name="store", kind="lookup", attributes=(Attribute(name="region"),))
LOYALTY = Schema(
    namespace="cus",
    name="recipient",
    extends="nms:recipient",
    attributes=(
        Attribute(name="shoeSize", type="double"),
        Attribute(name="nothingLikeIt"),
        Attribute(name="favourites", type="double"),
    ),
)
OFFER = Schema(
    namespace="cus",
    name="offer",
    kind="personalisation",
    attributes=(Attribute(name="code", required=True),),
    keys=(Key(name="code", fields=("code",)),),
)


class LetIn:
    def __init__(self, scope: Scope = SCOPE) -> None:
        self._scope = scope

    def authorize(self, request: object, permission: Permission) -> Principal:
        return Principal(
            id="someone", kind="api_client", scope=self._scope, permissions=frozenset()
        )


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform whose profiles have names, addresses and a field of the shop's own."""
    folder = DataFolder(tmp_path / "data")
    folder.create()
    core = open_core(folder, clock="", writer=HTTP_WRITER)
    made = assemble(core, tenant="shop", public_url="http://shop.test", append=core.log.append)
    bootstrap(made.registry, made.catalog, SCOPE)
    own = {
        "shoeSize": {"type": "number"},
        "favourites": {"type": "string"},
        "number": {"type": "string"},
    }
    group = made.registry.create_field_group(
        SCOPE,
        {
            "title": "Shoes",
            "type": "object",
            "meta:intendedToExtend": [PROFILE_CLASS],
            "definitions": {
                "own": {"properties": {"_shop": {"type": "object", "properties": own}}}
            },
            "allOf": [{"$ref": "#/definitions/own"}],
        },
    )
    body = {
        "title": "Customers",
        "type": "object",
        "allOf": [{"$ref": PROFILE_CLASS}, {"$ref": group.id}],
    }
    schema = made.registry.create_schema(SCOPE, body).id
    made.namespaces.create(SCOPE, {"code": "crm", "idType": "CROSS_DEVICE", "name": "Customer"})
    made.registry.create_descriptor(
        SCOPE,
        {
            "@type": "xdm:descriptorIdentity",
            "xdm:sourceSchema": schema,
            "xdm:sourceVersion": 1,
            "xdm:sourceProperty": "/_shop/number",
            "xdm:namespace": "crm",
            "xdm:property": "xdm:code",
            "xdm:isPrimary": True,
        },
    )
    made.registry.patch(
        SCOPE,
        "schema",
        schema,
        [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}],
    )
    yield made
    core.close()


def planned(platform: Platform, folder: Path) -> dict[str, Any]:
    tables = SqliteTables(folder / "campaign.db")
    schemas = CampaignSchemas(tables, platform.registry._clock)
    schemas.install()
    for schema in (STORE, LOYALTY, OFFER):
        schemas.save(schema)
    app = FastAPI()
    problems.install(app)
    app.state.gate = LetIn()
    units = OrgUnits(tables=tables, scope=SCOPE, check=check_org_units, clock=schemas._clock)
    app.include_router(router(platform.registry, platform.namespaces, schemas, units.check))
    answer = Client(app).get("/data/core/exchange/plan")
    assert answer.status_code == 200
    app.state.gate = LetIn(Scope(SCOPE.org, "dev"))
    assert Client(app).get("/data/core/exchange/plan").status_code == 403
    found: dict[str, Any] = answer.json()
    return found


def test_what_maps_and_what_does_not(platform: Platform, tmp_path: Path) -> None:
    """Known meanings, equal names of fitting type, fields whose group is missing, the rest told."""
    made = planned(platform, tmp_path)
    lines = {one["attribute"]: one for one in made["mapping"]}

    assert lines["nms:recipient/@firstName"]["path"] == "person.name.firstName"
    assert lines["nms:recipient/@firstName"]["usable"]
    assert lines["nms:recipient/@shoeSize"]["path"] == "_shop.shoeSize"
    assert lines["nms:recipient/@timeZone"]["usable"] is False
    assert lines["nms:recipient/@blackListEmail"]["direction"] == "to platform"
    assert {"nms:recipient/@nothingLikeIt", "nms:recipient/@favourites"} <= set(
        made["unmappedAttributes"]
    )
    assert "_shop.favourites" in made["unmappedFields"]
    assert "person.name.firstName" not in made["unmappedFields"]


def test_which_keys_are_missing(platform: Platform, tmp_path: Path) -> None:
    """The external id is found by the shop's namespace; a table without key is told to have none."""
    keys = {(one["schema"], one["key"]): one for one in planned(platform, tmp_path)["keys"]}

    assert (
        keys["nms:recipient", "externalId"]["foundBy"] == "namespace crm, field _shop.number (crm)"
    )
    assert keys["nms:recipient", "externalId"]["missing"] == ""
    assert "has no key" in keys["cus:store", ""]["missing"]
    assert keys["cus:offer", "code"]["missing"] == ""
    assert {"nms:recipient", "cus:store", "cus:offer"} == {schema for schema, _ in keys}
