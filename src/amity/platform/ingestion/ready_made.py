"""How does a schema with its dataset come ready-made?

What feeds the platform without anybody having modelled it (the calls of a write key, Edge clients,
the campaign's logs) has a schema of standard field groups and one dataset, both by one title. What
is there already is found by that title and not made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from amity.kernel.scope import Scope
from amity.platform.catalog.service import Catalog
from amity.platform.schema.names import Kind
from amity.platform.schema.service import SchemaRegistry

ACTOR = "amity"


class ReadyMade(NamedTuple):
    """A schema and its dataset that are wanted."""

    title: str
    parts: tuple[str, ...]
    """Class and standard field groups."""

    description: str
    group: Mapping[str, Any] | None = None
    """A field group of the tenant's own, of the same title."""


def dataset_of(registry: SchemaRegistry, catalog: Catalog, scope: Scope, wanted: ReadyMade) -> str:
    """The dataset's id, enabled for Profile; creates what is missing of group, schema and dataset."""
    schema = _schema(registry, scope, wanted)
    for dataset in catalog.datasets(scope):
        if dataset.name == wanted.title and dataset.schema_id == schema:
            return dataset.id
    enabled = ["enabled:true"]
    body = {
        "name": wanted.title,
        "schemaRef": {"id": schema, "contentType": "application/vnd.adobe.xed+json;version=1"},
        "tags": {"unifiedProfile": enabled, "unifiedIdentity": enabled},
    }
    return catalog.create_dataset(scope, body, actor=ACTOR).id


def own_group(tenant: str, title: str, class_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The order of a field group whose fields lie under the tenant's name."""
    own = {f"_{tenant}": {"type": "object", "properties": dict(fields)}}
    return {
        "title": title,
        "type": "object",
        "meta:intendedToExtend": [class_id],
        "definitions": {"own": {"properties": own}},
        "allOf": [{"$ref": "#/definitions/own"}],
    }


def _schema(registry: SchemaRegistry, scope: Scope, wanted: ReadyMade) -> str:
    found = _titled(registry, scope, "schema", wanted.title)
    if found:
        return found
    parts = list(wanted.parts)
    if wanted.group is not None:
        own = _titled(registry, scope, "field_group", wanted.title)
        parts.append(own or registry.create_field_group(scope, wanted.group, actor=ACTOR).id)
    body = {
        "title": wanted.title,
        "type": "object",
        "description": wanted.description,
        "allOf": [{"$ref": part} for part in parts],
        "meta:immutableTags": ["union"],
    }
    return registry.create_schema(scope, body, actor=ACTOR).id


def _titled(registry: SchemaRegistry, scope: Scope, kind: Kind, title: str) -> str:
    for one in registry.snapshot(scope).of_kind(kind):
        if one.body.get("title") == title and not one.standard:
            return one.id
    return ""
