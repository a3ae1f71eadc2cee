"""Which classes, field groups and data types does everybody have?

The standard library: data files beside this module, read once. Field paths are those of the
published data model; titles and descriptions are ours. Behaviour: platform-collect.md §3.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from amity.platform.schema.names import PATHS, Kind, alt_id

_FILES = ("behaviors", "classes", "datatypes", "profile_groups", "event_groups")


@cache
def standard_resources() -> MappingProxyType[str, dict[str, Any]]:
    """Short name → resource, in the order of the files."""
    folder = resources.files("amity.platform.schema").joinpath("library")
    found: dict[str, dict[str, Any]] = {}
    for name in _FILES:
        for resource in json.loads(folder.joinpath(f"{name}.json").read_text("utf-8")):
            found[alt_id(resource["$id"])] = resource
    return MappingProxyType(found)


def standard_kind(resource: dict[str, Any]) -> Kind:
    """The kind of a standard resource."""
    return PATHS[resource["meta:resourceType"]]


@cache
def standard_fields() -> frozenset[str]:
    """The names standard classes and field groups give to top-level fields."""
    names: set[str] = set()
    for resource in standard_resources().values():
        if resource["meta:resourceType"] in ("classes", "mixins", "behaviors"):
            names.update(resource.get("properties", {}))
    return frozenset(names)
