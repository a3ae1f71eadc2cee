"""What do all schema resources of a sandbox say together, at one moment?

A snapshot never changes; the registry takes a new one when something was written. What is worked
out once (composed trees, resolved schemas) stays with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from amity.platform.schema.compose import (
    Node,
    composed,
    field_at,
    fields,
    references,
    strict,
)
from amity.platform.schema.descriptors import (
    IDENTITY,
    LABEL,
    field_labels,
    identities_of,
    path_of,
    relationships_of,
)
from amity.platform.schema.errors import ResourceNotFound
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS, Behavior, ResolvedSchema
from amity.platform.schema.names import UNION_SUFFIX, Kind, alt_id
from amity.platform.schema.standard import standard_kind, standard_resources

ADHOC_V2 = "https://ns.adobe.com/xdm/data/adhoc-v2"
_BEHAVIORS: Mapping[str, Behavior] = {
    "https://ns.adobe.com/xdm/data/record": "record",
    "https://ns.adobe.com/xdm/data/time-series": "time-series",
    "https://ns.adobe.com/xdm/data/adhoc": "adhoc",
    ADHOC_V2: "adhoc",
}
_LABELLED_PARTS = ("class", "field_group")
_UNION_EXTRAS = ("https://ns.adobe.com/xdm/context/identitymap",)
_PROFILE_EXTRAS = ("https://ns.adobe.com/xdm/context/profile-segmentation",)


class Stored(NamedTuple):
    """One schema resource as it is kept."""

    kind: Kind
    alt_id: str
    body: dict[str, Any]
    version: int
    created_ms: int
    updated_ms: int
    standard: bool

    @property
    def id(self) -> str:
        """Its URI."""
        return str(self.body["$id"])

    @property
    def version_text(self) -> str:
        """Major and minor version; every change raises the minor one."""
        return f"1.{self.version - 1}"

    @property
    def in_union(self) -> bool:
        """Whether it is enabled for Profile."""
        return "union" in self.body.get("meta:immutableTags", ())


class Snapshot:
    """All schema resources and descriptors of one sandbox."""

    def __init__(self, stored: Iterable[Stored], descriptors: Iterable[dict[str, Any]]) -> None:
        self.stored = {each.alt_id: each for each in (*_standard(), *stored)}
        self.descriptors = list(descriptors)
        self._full: dict[str, Node] = {}
        self._resolved: dict[str, ResolvedSchema] = {}

    def with_resource(self, changed: Stored) -> Snapshot:
        """The snapshot as it would be with one resource changed."""
        kept = (each for each in self.stored.values() if each.alt_id != changed.alt_id)
        return Snapshot((*kept, changed), self.descriptors)

    def get(self, id: str) -> Stored | None:
        """The resource of a URI or short name."""
        return self.stored.get(alt_id(id))

    def find(self, id: str) -> Stored:
        """The resource of a URI or short name; raises when there is none."""
        found = self.get(id)
        if found is None:
            raise ResourceNotFound(
                f"there is no schema resource {id!r}; list /tenant and /global to see what exists",
                id=id,
            )
        return found

    def of_kind(self, kind: Kind) -> Iterator[Stored]:
        """All of a kind, the standard ones first, then in order of creation."""
        return (each for each in self.stored.values() if each.kind == kind)

    def lookup(self, id: str) -> Node | None:
        """The body of a resource, for composition."""
        found = self.get(id)
        return found.body if found else None

    def full(self, id: str) -> Node:
        """The resource with every reference followed."""
        found = self.find(id)
        kept = self._full.get(found.alt_id)
        if kept is None:
            kept = self._full[found.alt_id] = composed(self._placed(found), self.lookup)
        return kept

    def class_of(self, schema: Stored) -> str:
        """The URI of a schema's class."""
        if schema.kind == "class":
            return schema.id
        for part in schema.body.get("allOf", ()):
            found = self.get(part.get("$ref", ""))
            if found is not None and found.kind == "class":
                return found.id
        return ADHOC_V2

    def extends(self, resource: Stored) -> list[str]:
        """Every resource it is made of, directly or not."""
        seen: dict[str, None] = {}
        waiting = [*references(resource.body), *resource.body.get("meta:extends", ())]
        while waiting:
            id = waiting.pop(0)
            found = self.get(id)
            uri = found.id if found else id
            if uri in seen:
                continue
            seen[uri] = None
            if found is not None:
                waiting += [*references(found.body), *found.body.get("meta:extends", ())]
        return list(seen)

    def behavior(self, class_id: str) -> Behavior:
        """Whether records of a class are things, events or plain columns."""
        if class_id in _BEHAVIORS:
            return _BEHAVIORS[class_id]
        found = self.find(class_id)
        return next(
            (_BEHAVIORS[each] for each in self.extends(found) if each in _BEHAVIORS), "record"
        )

    def descriptors_of(self, schema_id: str) -> list[dict[str, Any]]:
        """What is said about the fields of one schema; labels of its class and groups are its own."""
        wanted = alt_id(schema_id)
        found = self.get(schema_id)
        extended = (self.get(each) for each in (self.extends(found) if found else ()))
        parts = {each.alt_id for each in extended if each and each.kind in _LABELLED_PARTS}
        return [
            each
            for each in self.descriptors
            if (said_of := alt_id(each["xdm:sourceSchema"])) == wanted
            or (each["@type"] == LABEL and said_of in parts)
        ]

    def resolved(self, id: str) -> ResolvedSchema:
        """The schema (or the union, by its name) put together."""
        key = alt_id(id)
        kept = self._resolved.get(key)
        if kept is None:
            if key.endswith(UNION_SUFFIX):
                kept = self._resolve_union(key.removesuffix(UNION_SUFFIX))
            else:
                kept = self._resolve(self.find(id))
            self._resolved[key] = kept
        return kept

    def union_members(self, class_id: str) -> list[Stored]:
        """The schemas of a class that are enabled for Profile."""
        wanted = alt_id(class_id)
        return [
            each
            for each in self.of_kind("schema")
            if each.in_union and alt_id(self.class_of(each)) == wanted
        ]

    def union_body(self, class_id: str) -> Node:
        """The union of a class, before its references are followed."""
        of = self.find(class_id)
        extras = _UNION_EXTRAS + (_PROFILE_EXTRAS if of.id == PROFILE_CLASS else ())
        parts = dict.fromkeys((of.id, *extras))
        for member in self.union_members(class_id):
            parts |= dict.fromkeys(
                part["$ref"] for part in member.body.get("allOf", ()) if "$ref" in part
            )
        body: Node = {
            "$id": of.id + UNION_SUFFIX,
            "meta:altId": of.alt_id + UNION_SUFFIX,
            "title": f"{of.body.get('title', of.id)} union",
            "type": "object",
            "allOf": [{"$ref": part} for part in parts],
            "meta:class": of.id,
        }
        if of.id == PROFILE_CLASS:
            events = {"type": "array", "items": {"type": "object", "$ref": EVENT_CLASS}}
            body["properties"] = {"timeSeriesEvents": events}
        return body

    def primary_namespaces(self) -> dict[str, str]:
        """Schema → the namespace of its primary identity."""
        return {
            each["xdm:sourceSchema"]: each["xdm:namespace"]
            for each in self.descriptors
            if each["@type"] == IDENTITY and each.get("xdm:isPrimary")
        }

    def has_primary(self, schema: Stored) -> bool:
        """Whether records of a schema can say who they are about."""
        marked = [d for d in self.descriptors_of(schema.id) if d.get("xdm:isPrimary")]
        return bool(marked) or field_at(self.full(schema.id), ("identityMap",)) is not None

    def _placed(self, found: Stored) -> Node:
        """The body with its class's behaviour as one more part."""
        if found.kind != "class":
            return found.body
        named = {part.get("$ref") for part in found.body.get("allOf", ())}
        more = [each for each in found.body.get("meta:extends", ()) if each not in named]
        parts = [*({"$ref": each} for each in more), *found.body.get("allOf", ())]
        return {**found.body, "allOf": parts}

    def _resolve(self, found: Stored) -> ResolvedSchema:
        full = self.full(found.id)
        class_id = self.class_of(found)
        descriptors = self.descriptors_of(found.id)
        return ResolvedSchema(
            id=found.id,
            alt_id=found.alt_id,
            title=str(found.body.get("title", "")),
            version=found.version_text,
            class_id=class_id,
            behavior=self.behavior(class_id),
            json_schema=strict(full),
            identities=identities_of(descriptors),
            relationships=relationships_of(descriptors, self.primary_namespaces()),
            profile_enabled=found.in_union,
            labels=field_labels(descriptors, fields(full)),
        )

    def _resolve_union(self, class_alt_id: str) -> ResolvedSchema:
        body = self.union_body(class_alt_id)
        members = self.union_members(class_alt_id)
        full = composed(body, self.lookup)
        descriptors = _by_field(
            each for member in members for each in self.descriptors_of(member.id)
        )
        return ResolvedSchema(
            id=body["$id"],
            alt_id=body["meta:altId"],
            title=body["title"],
            version="1.0",
            class_id=body["meta:class"],
            behavior=self.behavior(body["meta:class"]),
            json_schema=strict(full),
            identities=identities_of(descriptors),
            relationships=relationships_of(descriptors, self.primary_namespaces()),
            profile_enabled=True,
            labels=field_labels(descriptors, fields(full)),
        )


def _by_field(descriptors: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One identity a field: several schemas of a union may say the same; labels stay all."""
    seen: dict[Any, dict[str, Any]] = {}
    for number, each in enumerate(descriptors):
        if each["@type"] == IDENTITY:
            key: Any = (path_of(each["xdm:sourceProperty"]), each["xdm:namespace"])
        else:
            key = number
        seen.setdefault(key, each)
    return list(seen.values())


def _standard() -> Iterator[Stored]:
    for short, resource in standard_resources().items():
        yield Stored(standard_kind(resource), short, resource, 1, 0, 0, standard=True)
