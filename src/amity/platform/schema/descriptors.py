"""What is said about a schema's fields beside the schema itself?

Descriptors: which field is an identity, which points at another entity, how a field is called,
which labels it carries. Behaviour: platform-collect.md §2 (table of descriptors).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from amity.platform.schema.compose import Node, field_at
from amity.platform.schema.errors import ResourceInvalid
from amity.platform.schema.model import IdentityField, Relationship

IDENTITY = "xdm:descriptorIdentity"
ALTERNATE = "xdm:alternateDisplayInfo"
ONE_TO_ONE = "xdm:descriptorOneToOne"
REFERENCE_IDENTITY = "xdm:descriptorReferenceIdentity"
RELATIONSHIP = "xdm:descriptorRelationship"
DEPRECATED = "xdm:descriptorDeprecated"
LABEL = "xdm:descriptorLabel"
PRIMARY_KEY = "xdm:descriptorPrimaryKey"
GRANULARITY = "xdm:descriptorTimeSeriesGranularity"

REQUIRED: Mapping[str, tuple[str, ...]] = {
    IDENTITY: ("xdm:sourceProperty", "xdm:namespace"),
    ALTERNATE: ("xdm:sourceProperty",),
    ONE_TO_ONE: ("xdm:sourceProperty", "xdm:destinationSchema"),
    REFERENCE_IDENTITY: ("xdm:sourceProperty", "xdm:identityNamespace"),
    RELATIONSHIP: ("xdm:sourceProperty", "xdm:destinationSchema"),
    DEPRECATED: ("xdm:sourceProperty",),
    LABEL: ("xdm:sourceProperty",),
    PRIMARY_KEY: ("xdm:sourceProperty",),
    "xdm:descriptorVersion": ("xdm:sourceProperty",),
    "xdm:descriptorTimestamp": ("xdm:sourceProperty",),
    GRANULARITY: ("xdm:granularity",),
}
"""Type → fields it must have beside @type and xdm:sourceSchema."""

_TEXTS = (
    "xdm:sourceProperty", "xdm:namespace", "xdm:destinationSchema", "xdm:destinationProperty",
    "xdm:destinationNamespace", "xdm:identityNamespace", "xdm:granularity", "xdm:cardinality",
    "xdm:property",
)  # fmt: skip
_MANY_PATHS = frozenset({DEPRECATED, LABEL, PRIMARY_KEY})
IDENTITY_PROPERTIES = frozenset({"xdm:code", "xdm:id"})
CARDINALITIES = frozenset({"M:1", "1:1", "1:0", "M:0"})
GRANULARITIES = frozenset({"hour", "day", "week", "month", "quarter", "year"})


def checked(body: Any, full: Node) -> dict[str, Any]:
    """A descriptor body in the form it is kept; `full` is the composed source schema."""
    kind = body.get("@type")
    missing = [name for name in REQUIRED[kind] if not body.get(name)]
    if missing:
        raise ResourceInvalid(f"a {kind} needs {', '.join(missing)}", missing=missing)
    kept = {**body, "xdm:sourceVersion": body.get("xdm:sourceVersion", 1)}
    _check_texts(kind, body)
    for path in _paths(body):
        _check_path(kind, path, full)
    if kind == IDENTITY:
        kept["xdm:property"] = body.get("xdm:property", "xdm:code")
        _one_of(kept["xdm:property"], IDENTITY_PROPERTIES, "xdm:property")
        kept["xdm:isPrimary"] = _boolean(body.get("xdm:isPrimary", False))
    if kind == RELATIONSHIP:
        _one_of(kept.setdefault("xdm:cardinality", "M:1"), CARDINALITIES, "xdm:cardinality")
    if kind == GRANULARITY:
        _one_of(body["xdm:granularity"], GRANULARITIES, "xdm:granularity")
    if kind == LABEL and not labels_of(body):
        raise ResourceInvalid("an xdm:descriptorLabel needs xdm:labels, a list of label names")
    if kind == ALTERNATE:
        _check_excluded(body, full)
    return kept


def check_type(body: Any) -> str:
    """The descriptor's type; refuses what is none."""
    kind = body.get("@type") if isinstance(body, dict) else None
    if not isinstance(kind, str) or kind not in REQUIRED:
        raise ResourceInvalid(f"@type {kind!r} is none of {', '.join(REQUIRED)}")
    if not isinstance(body.get("xdm:sourceSchema"), str):
        raise ResourceInvalid(f"a {kind} needs xdm:sourceSchema, the $id of a schema")
    return kind


def path_of(pointer: str) -> tuple[str, ...]:
    """The field path of a `xdm:sourceProperty`, with or without `properties` in it.

    >>> path_of("/_shop/loyaltyId")
    ('_shop', 'loyaltyId')
    >>> path_of("/properties/_shop/properties/loyaltyId")
    ('_shop', 'loyaltyId')
    """
    parts = [part.removesuffix("[*]") for part in pointer.strip("/").replace(".", "/").split("/")]
    if len(parts) > 1 and parts[0] == "properties" and len(parts) % 2 == 0:
        parts = parts[1::2]
    return tuple(part.removeprefix("xdm:") for part in parts)


def identities_of(descriptors: Iterable[Mapping[str, Any]]) -> tuple[IdentityField, ...]:
    """The identity fields, the primary one first."""
    found = [
        IdentityField(
            path=path_of(each["xdm:sourceProperty"]),
            namespace=each["xdm:namespace"],
            primary=bool(each.get("xdm:isPrimary")),
        )
        for each in descriptors
        if each["@type"] == IDENTITY
    ]
    return tuple(sorted(found, key=lambda field: not field.primary))


def relationships_of(
    descriptors: Iterable[Mapping[str, Any]], namespaces: Mapping[str, str]
) -> tuple[Relationship, ...]:
    """The fields that point at other entities; `namespaces` is schema → its primary namespace."""
    rows = list(descriptors)
    references = {
        path_of(each["xdm:sourceProperty"]): each["xdm:identityNamespace"]
        for each in rows
        if each["@type"] == REFERENCE_IDENTITY
    }
    found = []
    for each in rows:
        if each["@type"] not in (RELATIONSHIP, ONE_TO_ONE):
            continue
        path, target = path_of(each["xdm:sourceProperty"]), each["xdm:destinationSchema"]
        namespace = each.get("xdm:destinationNamespace") or references.get(path)
        found.append(
            Relationship(
                path=path, schema_id=target, namespace=namespace or namespaces.get(target, "")
            )
        )
    return tuple(found)


def labels_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels a label descriptor gives; both spellings clients use are read."""
    given = body.get("xdm:labels", body.get("xdm:label", ()))
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, list):
        return ()
    return tuple(label for label in given if isinstance(label, str))


def field_labels(
    descriptors: Iterable[Mapping[str, Any]], declared: Iterable[tuple[tuple[str, ...], Node]]
) -> dict[str, tuple[str, ...]]:
    """Field path (joined by "/") → its labels, from descriptors and from the fields themselves."""
    found: dict[str, set[str]] = {}
    for path, node in declared:
        own = node.get("meta:labels", node.get("meta:usageLabels", ()))
        names = [label for label in own if isinstance(label, str)] if isinstance(own, list) else []
        if names:
            found.setdefault("/".join(path), set()).update(names)
    for each in descriptors:
        if each["@type"] == LABEL:
            for pointer in _paths(each):
                found.setdefault("/".join(path_of(pointer)), set()).update(labels_of(each))
    return {path: tuple(sorted(labels)) for path, labels in found.items()}


def _check_texts(kind: str, body: Mapping[str, Any]) -> None:
    for name in _TEXTS:
        value = body.get(name, "")
        many = name == "xdm:sourceProperty" and kind in _MANY_PATHS
        if many and isinstance(value, list) and all(isinstance(each, str) for each in value):
            continue
        if not isinstance(value, str):
            raise ResourceInvalid(f"{name} of a {kind} is a text, not {value!r}")


def _paths(body: Mapping[str, Any]) -> Iterator[str]:
    given = body.get("xdm:sourceProperty")
    for pointer in given if isinstance(given, list) else [given]:
        if isinstance(pointer, str):
            yield pointer


def _check_path(kind: str, pointer: str, full: Node) -> None:
    path = path_of(pointer)
    node = field_at(full, path)
    if node is None:
        title = full.get("title")
        raise ResourceInvalid(f"schema {title!r} has no field {pointer!r}", path=pointer)
    if kind == IDENTITY and node.get("type") != "string":
        raise ResourceInvalid(f"an identity is a string field; {pointer} is {node.get('type')}")


def _check_excluded(body: Mapping[str, Any], full: Node) -> None:
    """A suggestion is left out only by its exact key and label."""
    excluded = body.get("xdm:excludeMetaEnum") or body.get("meta:excludeMetaEnum") or {}
    node = field_at(full, path_of(body["xdm:sourceProperty"])) or {}
    offered = node.get("meta:enum", {})
    for key, label in excluded.items() if isinstance(excluded, dict) else ():
        if offered.get(key) != label:
            raise ResourceInvalid(f"the field suggests no {key!r} called {label!r}")


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ResourceInvalid(f"xdm:isPrimary is true or false, not {value!r}")


def _one_of(value: Any, allowed: frozenset[str], name: str) -> None:
    if value not in allowed:
        raise ResourceInvalid(f"{name} {value!r} is none of {', '.join(sorted(allowed))}")
