"""A registry with one shop's schema in it."""

from __future__ import annotations

import random
from typing import Any

from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.ids import SeededIds
from amity.kernel.scope import Scope
from amity.platform.schema.model import PROFILE_CLASS
from amity.platform.schema.service import SchemaRegistry
from amity.platform.schema.snapshot import Stored
from amity.testing.memory import MemoryDocuments

SCOPE = Scope("O@AmityOrg", "prod")
OTHER = Scope("O@AmityOrg", "dev")
CONTACT = "https://ns.adobe.com/xdm/context/profile-personal-details"
RECORD = "https://ns.adobe.com/xdm/data/record"


def new_registry(tenant: str = "shop", seed: int = 1) -> SchemaRegistry:
    """A registry without any resource of the tenant."""
    clock = VirtualBusinessClock(1_500_000_000_000)
    return SchemaRegistry(
        documents=MemoryDocuments(clock),
        ids=SeededIds(random.Random(seed)),
        clock=clock,
        tenant=tenant,
    )


def group_body(title: str = "Shop", **properties: Any) -> dict[str, Any]:
    """A field group of the tenant's fields."""
    return {
        "title": title,
        "type": "object",
        "meta:intendedToExtend": [PROFILE_CLASS],
        "definitions": {
            "shop": {"properties": {"_shop": {"type": "object", "properties": properties}}}
        },
        "allOf": [{"$ref": "#/definitions/shop"}],
    }


def schema_body(*groups: str, title: str = "Customers", of: str = PROFILE_CLASS) -> dict[str, Any]:
    """A schema of a class and groups."""
    return {
        "title": title,
        "type": "object",
        "allOf": [{"$ref": of}, *({"$ref": group} for group in groups)],
    }


def identity_body(schema: str, pointer: str, **more: Any) -> dict[str, Any]:
    """A primary identity descriptor."""
    return {
        "@type": "xdm:descriptorIdentity",
        "xdm:sourceSchema": schema,
        "xdm:sourceVersion": 1,
        "xdm:sourceProperty": pointer,
        "xdm:namespace": "ShopId",
        "xdm:property": "xdm:code",
        "xdm:isPrimary": True,
        **more,
    }


def customers(registry: SchemaRegistry) -> tuple[Stored, Stored]:
    """A customer schema and its field group."""
    group = registry.create_field_group(
        SCOPE,
        group_body(
            shopId={"type": "string", "title": "Shop id"},
            level={"type": "integer", "minimum": 0, "maximum": 9},
            joined={"type": "string", "format": "date"},
            tier={"type": "string", "enum": ["gold", "iron"], "meta:enum": {"gold": "Gold"}},
            mood={"type": "string", "meta:enum": {"good": "Good"}},
            notes={"type": "object", "additionalProperties": {"type": "string"}},
            visits={
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"at": {"type": "string", "format": "date-time"}},
                },
            },
        ),
    )
    return registry.create_schema(SCOPE, schema_body(group.id, CONTACT)), group


UNION = [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
