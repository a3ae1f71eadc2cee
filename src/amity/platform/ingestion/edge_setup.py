"""Which schemas and datasets does the first data stream feed?

One of events as browsers send them and one of consents, made once for a sandbox from standard field
groups.
"""

from __future__ import annotations

from typing import Any

from amity.kernel.scope import Scope
from amity.platform.catalog.service import Catalog
from amity.platform.ingestion.ready_made import ReadyMade, dataset_of
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS
from amity.platform.schema.service import SchemaRegistry

_CONTEXT = "https://ns.adobe.com/xdm/context"
_EVENT = f"{_CONTEXT}/experienceevent"
EVENT_TITLE = "Edge: events"
CONSENT_TITLE = "Edge: consents"
WHAT = "What Edge clients send."
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
        dataset_of(registry, catalog, scope, ReadyMade(title, parts, WHAT))
        for title, parts in PARTS.items()
    )
    return {
        "name": "Default data stream",
        "eventDataset": event,
        "profileDataset": consent,
        "access": "mixed",
        "enabled": True,
    }
