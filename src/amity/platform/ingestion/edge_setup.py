"""Which schemas and datasets does the first data stream feed?

One of events as browsers send them and one of consents, made once for a sandbox from standard field
groups.
"""

from __future__ import annotations

from typing import Any

from amity.kernel.scope import Scope
from amity.platform.catalog.service import Catalog
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS
from amity.platform.schema.service import SchemaRegistry

_CONTEXT = "https://ns.adobe.com/xdm/context"
_EVENT = f"{_CONTEXT}/experienceevent"
EVENT_TITLE = "Edge: events"
CONSENT_TITLE = "Edge: consents"
PARTS = {
    EVENT_TITLE: (
        EVENT_CLASS,
        f"{_CONTEXT}/identitymap",
        f"{_EVENT}-commerce",
        f"{_EVENT}-web",
        f"{_EVENT}-environment-details",
        f"{_EVENT}-implementation-details",
        f"{_EVENT}-application",
        f"{_EVENT}-channel",
        f"{_EVENT}-marketing",
    ),
    CONSENT_TITLE: (
        PROFILE_CLASS,
        f"{_CONTEXT}/identitymap",
        "https://ns.adobe.com/xdm/mixins/profile-consents",
    ),
}
"""Title of schema and dataset → class and standard field groups."""


def default_datastream(registry: SchemaRegistry, catalog: Catalog, scope: Scope) -> dict[str, Any]:
    """The order of the first data stream; creates what is missing of schemas and datasets."""
    event, consent = (
        _dataset(catalog, scope, title, _schema(registry, scope, title)) for title in PARTS
    )
    return {
        "name": "Default data stream",
        "eventDataset": event,
        "profileDataset": consent,
        "access": "mixed",
        "enabled": True,
    }


def _schema(registry: SchemaRegistry, scope: Scope, title: str) -> str:
    for one in registry.snapshot(scope).of_kind("schema"):
        if one.body.get("title") == title:
            return one.id
    body = {
        "title": title,
        "type": "object",
        "description": "What Edge clients send.",
        "allOf": [{"$ref": part} for part in PARTS[title]],
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
