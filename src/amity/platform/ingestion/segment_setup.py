"""Which schemas and datasets does a write key feed?

One profile and one event dataset, made once for a sandbox from standard field groups and one of
the tenant's own for what the Segment specification leaves open.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from amity.kernel.scope import Scope
from amity.platform.catalog.service import Catalog
from amity.platform.ingestion.ready_made import ReadyMade, dataset_of, own_group
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS
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
WHAT = "What the calls of a write key become."


class SegmentDatasets(NamedTuple):
    """The ids of the two datasets a write key feeds."""

    profile: str
    event: str


def field_groups(tenant: str) -> dict[str, dict[str, Any]]:
    """The tenant's own fields, by title of the field group; `tenant` without underscore."""
    return {
        PROFILE_TITLE: own_group(
            tenant,
            PROFILE_TITLE,
            PROFILE_CLASS,
            {
                "traits": _texts("Traits", "Traits that have no field of their own."),
                "groupId": {"type": "string", "title": "Group id"},
                "groupTraits": _texts("Group traits", "What is known of the person's group."),
            },
        ),
        EVENT_TITLE: own_group(
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
    profile, event = (
        dataset_of(registry, catalog, scope, ReadyMade(title, parts, WHAT, groups[title]))
        for title, parts in (
            (PROFILE_TITLE, (PROFILE_CLASS, *PROFILE_GROUPS)),
            (EVENT_TITLE, (EVENT_CLASS, *EVENT_GROUPS)),
        )
    )
    return SegmentDatasets(profile, event)


def _texts(title: str, description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "title": title,
        "description": description,
        "meta:xdmType": "map",
        "additionalProperties": {"type": "string"},
    }
