"""Which schemas and datasets does a write key feed?

One profile and one event dataset, made once for a sandbox from standard field groups and one of
the tenant's own for what the Segment specification leaves open.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from amity.kernel.scope import Scope
from amity.platform.catalog.service import Catalog
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS
from amity.platform.schema.names import Kind
from amity.platform.schema.service import SchemaRegistry

_CONTEXT = "https://ns.adobe.com/xdm/context"
PROFILE_GROUPS = (
    f"{_CONTEXT}/identitymap",
    f"{_CONTEXT}/profile-person-details",
    f"{_CONTEXT}/profile-personal-details",
)
EVENT_GROUPS = (
    f"{_CONTEXT}/identitymap",
    f"{_CONTEXT}/experienceevent-commerce",
    f"{_CONTEXT}/experienceevent-web",
    f"{_CONTEXT}/experienceevent-environment-details",
    f"{_CONTEXT}/experienceevent-marketing",
)
PROFILE_TITLE = "Segment calls: people"
EVENT_TITLE = "Segment calls: events"


class SegmentDatasets(NamedTuple):
    """The ids of the two datasets a write key feeds."""

    profile: str
    event: str


def field_groups(tenant: str) -> dict[str, dict[str, Any]]:
    """The tenant's own fields, by title of the field group; `tenant` without underscore."""
    return {
        PROFILE_TITLE: _field_group(
            tenant,
            PROFILE_TITLE,
            PROFILE_CLASS,
            {
                "traits": _texts("Traits", "Traits that have no field of their own."),
                "groupId": {"type": "string", "title": "Group id"},
                "groupTraits": _texts("Group traits", "What is known of the person's group."),
            },
        ),
        EVENT_TITLE: _field_group(
            tenant,
            EVENT_TITLE,
            EVENT_CLASS,
            {
                "eventName": {"type": "string", "title": "Name of the call's event"},
                "properties": _texts("Properties", "Properties of the call, as texts."),
            },
        ),
    }


def bootstrap(registry: SchemaRegistry, catalog: Catalog, scope: Scope) -> SegmentDatasets:
    """Create what is missing of schemas and datasets; the same answer when all is there."""
    groups = field_groups(registry.tenant)
    return SegmentDatasets(
        *(
            _dataset(catalog, scope, title, _schema(registry, scope, (title, groups[title], parts)))
            for title, parts in (
                (PROFILE_TITLE, (PROFILE_CLASS, *PROFILE_GROUPS)),
                (EVENT_TITLE, (EVENT_CLASS, *EVENT_GROUPS)),
            )
        )
    )


def _schema(
    registry: SchemaRegistry, scope: Scope, wanted: tuple[str, dict[str, Any], tuple[str, ...]]
) -> str:
    title, group, parts = wanted
    found = _titled(registry, scope, "schema", title)
    if found:
        return found
    own = _titled(registry, scope, "field_group", title)
    own = own or registry.create_field_group(scope, group, actor="amity").id
    body = {
        "title": title,
        "type": "object",
        "description": "What the calls of a write key become.",
        "allOf": [{"$ref": part} for part in (*parts, own)],
        "meta:immutableTags": ["union"],
    }
    return registry.create_schema(scope, body, actor="amity").id


def _dataset(catalog: Catalog, scope: Scope, title: str, schema: str) -> str:
    for dataset in catalog.datasets(scope):
        if dataset.name == title and dataset.schema_id == schema:
            return dataset.id
    enabled = ["enabled:true"]
    body = {
        "name": title,
        "schemaRef": {"id": schema, "contentType": "application/vnd.adobe.xed+json;version=1"},
        "tags": {"unifiedProfile": enabled, "unifiedIdentity": enabled},
    }
    return catalog.create_dataset(scope, body, actor="amity").id


def _titled(registry: SchemaRegistry, scope: Scope, kind: Kind, title: str) -> str:
    for one in registry.snapshot(scope).of_kind(kind):
        if one.body.get("title") == title and not one.standard:
            return one.id
    return ""


def _field_group(tenant: str, title: str, class_id: str, fields: dict[str, Any]) -> dict[str, Any]:
    own = {f"_{tenant}": {"type": "object", "properties": fields}}
    return {
        "title": title,
        "type": "object",
        "meta:intendedToExtend": [class_id],
        "definitions": {"own": {"properties": own}},
        "allOf": [{"$ref": "#/definitions/own"}],
    }


def _texts(title: str, description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "title": title,
        "description": description,
        "meta:xdmType": "map",
        "additionalProperties": {"type": "string"},
    }
