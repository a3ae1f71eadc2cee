"""Is a posted class, field group, data type or schema of the form it must have?

Behaviour: platform-collect.md §2 (resources, namespace, types).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import re2

from amity.platform.schema.compose import DEPTH_MAX, Node, references
from amity.platform.schema.errors import ResourceInvalid
from amity.platform.schema.names import Kind, plain_name
from amity.platform.schema.snapshot import ADHOC_V2, Snapshot
from amity.platform.schema.standard import standard_fields

TYPES = ("string", "number", "integer", "boolean", "object", "array")
_NODE_TYPES = (*TYPES, "null")
MAP_KEYS_MAX = 16
"""Keys a custom map may name. Behaviour: platform-collect.md §2."""

TITLE_CHARS_MAX = 512
"""Ours."""

SERVER_KEYS = (
    "$id", "meta:altId", "meta:resourceType", "version", "imsOrg", "meta:extensible",
    "meta:abstract", "meta:class", "meta:containerId", "meta:tenantNamespace", "refs",
    "meta:registryMetadata", "meta:sandboxId", "meta:sandboxType", "meta:descriptors",
)  # fmt: skip
"""What the registry says of a resource; in a request body it is ignored."""

_FORMS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("$ref", "title", "description", "pattern", "format", "meta:xdmType"), (str,)),
    **dict.fromkeys(("properties", "definitions", "meta:enum", "items"), (dict,)),
    **dict.fromkeys(("allOf", "enum", "required", "meta:labels"), (list,)),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), (int, float)),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), (int, float)),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), (int,)),
    **dict.fromkeys(("minProperties", "maxProperties"), (int,)),
    "type": (str, list),
    "additionalProperties": (dict, bool),
    "uniqueItems": (bool,),
}
"""Keyword → the Python types of its value; null is none of them."""

_NAME = re2.compile(r"^[A-Za-z0-9$][A-Za-z0-9_$-]*$")
_BEHAVIOR_PART = "/xdm/data/"


def kept_body(body: Any) -> Node:
    """The part of a request body that is kept."""
    if not isinstance(body, dict):
        raise ResourceInvalid("the body is a JSON object that describes the resource")
    kept = {key: value for key, value in body.items() if key not in SERVER_KEYS}
    if kept.get("meta:extends") != [ADHOC_V2]:
        kept.pop("meta:extends", None)
    kept.setdefault("type", "object")
    return kept


def check(kind: Kind, body: Node, snapshot: Snapshot, tenant: str) -> None:
    """Refuse a body that cannot become a resource of this kind."""
    title = body.get("title")
    if not isinstance(title, str) or not title.strip():
        raise ResourceInvalid(f"a {kind.replace('_', ' ')} needs a title")
    if len(title) > TITLE_CHARS_MAX:
        raise ResourceInvalid(f"a title has at most {TITLE_CHARS_MAX} characters")
    tags = body.get("meta:immutableTags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ResourceInvalid('meta:immutableTags is a list of tags: ["union"]')
    _check_nodes(body, f"{kind.replace('_', ' ')} {title!r}")
    for reference in references(body):
        if snapshot.get(reference) is None:
            raise ResourceInvalid(
                f"the reference {reference!r} leads nowhere: create that resource first",
                reference=reference,
            )
    _CHECKS[kind](body, snapshot, tenant)


def _check_schema(body: Node, snapshot: Snapshot, _tenant: str) -> None:
    parts = _parts(body)
    if body.get("meta:extends") == [ADHOC_V2]:
        return
    classes = [ref for ref in _refs(parts) if snapshot.find(ref).kind == "class"]
    if len(classes) != 1:
        raise ResourceInvalid(
            f"allOf of a schema names exactly one class; this one names {len(classes)}",
            classes=classes,
        )
    others = [
        ref for ref in _refs(parts) if snapshot.find(ref).kind not in ("class", "field_group")
    ]
    if others:
        raise ResourceInvalid(f"a schema is made of one class and field groups, not {others[0]!r}")
    if body.get("properties") or body.get("definitions"):
        raise ResourceInvalid("a schema has no fields of its own: put them into a field group")


def _check_class(body: Node, snapshot: Snapshot, tenant: str) -> None:
    behaviors = [ref for ref in _refs(_parts(body)) if _BEHAVIOR_PART in ref]
    extended = [ref for ref in _refs(_parts(body)) if snapshot.find(ref).kind == "class"]
    if len(behaviors) + len(extended) != 1:
        raise ResourceInvalid(
            "allOf of a class names one behaviour: https://ns.adobe.com/xdm/data/record, "
            ".../time-series or .../adhoc"
        )
    _check_namespace(body, tenant)


def _check_field_group(body: Node, snapshot: Snapshot, tenant: str) -> None:
    intended = body.get("meta:intendedToExtend")
    if not isinstance(intended, list) or not intended:
        raise ResourceInvalid(
            "a field group needs meta:intendedToExtend, the list of class URIs it is made for"
        )
    unknown = [each for each in intended if not _is_class(each, snapshot)]
    if unknown:
        raise ResourceInvalid(f"meta:intendedToExtend names {unknown[0]!r}, which is no class")
    if "properties" not in body and "definitions" not in body and not _refs(_parts(body)):
        raise ResourceInvalid("a field group needs definitions and allOf, or properties")
    _check_namespace(body, tenant)


def _check_data_type(body: Node, _snapshot: Snapshot, _tenant: str) -> None:
    parts = ("properties", "items", "definitions", "allOf", "additionalProperties")
    if body.get("type") not in TYPES:
        raise ResourceInvalid(f"a data type needs a type, one of {', '.join(TYPES)}")
    if body["type"] in ("object", "array") and not any(part in body for part in parts):
        raise ResourceInvalid("a data type needs properties (object) or items (array)")


_CHECKS = {
    "schema": _check_schema,
    "class": _check_class,
    "field_group": _check_field_group,
    "data_type": _check_data_type,
}


def top_fields(body: Node) -> Iterator[str]:
    """The names of the top-level fields a resource declares itself."""
    for part in [body, *body.get("definitions", {}).values(), *body.get("allOf", ())]:
        if isinstance(part, dict):
            yield from part.get("properties", {})


def _check_namespace(body: Node, tenant: str) -> None:
    own = f"_{tenant}"
    allowed = (own, body.get("meta:datasetNamespace"))
    for name in top_fields(body):
        plain = plain_name(name)
        if plain not in allowed and plain not in standard_fields():
            raise ResourceInvalid(
                f"the field {name!r} must lie under {own!r}: only standard fields lie at the top",
                path=f"/{name}",
            )


def _check_nodes(body: Node, place: str) -> None:
    for at, node in _nodes(body, ""):
        for key, forms in _FORMS.items():
            if key in node and not _is_form(node[key], forms):
                raise ResourceInvalid(f"{place}: {key} of {at or '/'} is {node[key]!r}", path=at)
        kind = node.get("type")
        kinds = kind if isinstance(kind, list) else [kind]
        if kind is not None and not all(each in _NODE_TYPES for each in kinds):
            raise ResourceInvalid(f"{place}: {at} has the unknown type {kind!r}", path=at)
        if node.get("enum") == []:
            raise ResourceInvalid(f"{place}: enum of {at} allows no value at all", path=at)
        _check_pattern(node.get("pattern"), f"{place}: {at}")
        for name in node.get("properties", {}):
            _check_name(name, at, place)


def _is_form(value: Any, forms: tuple[type, ...]) -> bool:
    """Whether a keyword's value is of one of its forms; true and false are no numbers."""
    if isinstance(value, bool):
        return bool in forms
    return isinstance(value, forms)


def _check_name(name: str, at: str, place: str) -> None:
    plain = plain_name(name)
    # A leading underscore marks a namespace: it stands at the top or is one of the standard's own.
    if plain.startswith("_") and (at.count("/") <= 3 or plain in ("_id", "_schema", "_type")):
        plain = plain[1:]
    if not _NAME.match(plain):
        raise ResourceInvalid(
            f"{place}: the field name {name!r} holds letters, digits, - and _ only "
            "and does not begin with _",
            path=f"{at}/{name}",
        )


def _check_pattern(pattern: Any, place: str) -> None:
    if pattern is None:
        return
    try:
        re2.compile(pattern)
    except (re2.error, TypeError) as error:
        raise ResourceInvalid(f"{place} has the pattern {pattern!r}, no RE2 expression") from error


def _nodes(node: Any, at: str) -> Iterator[tuple[str, Node]]:
    """Every schema node below, with the JSON pointer to it."""
    if not isinstance(node, dict):
        raise ResourceInvalid(f"{at or '/'} describes a field: it is an object", path=at)
    if at.count("/") > 2 * DEPTH_MAX:
        raise ResourceInvalid(f"fields are nested deeper than {DEPTH_MAX} levels")
    yield at, node
    for key in ("properties", "definitions"):
        children = node.get(key, {})
        if not isinstance(children, dict):
            raise ResourceInvalid(f"{at}/{key} is an object of fields", path=f"{at}/{key}")
        for name, child in children.items():
            yield from _nodes(child, f"{at}/{key}/{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from _nodes(node[key], f"{at}/{key}")
    for number, part in enumerate(_parts(node) if "allOf" in node else ()):
        yield from _nodes(part, f"{at}/allOf/{number}")


def _parts(body: Node) -> list[Node]:
    parts = body.get("allOf")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ResourceInvalid("allOf is a list of objects with $ref or properties")
    return parts


def _refs(parts: list[Node]) -> list[str]:
    found = [str(part.get("$ref", "")) for part in parts]
    return [reference for reference in found if reference and not reference.startswith("#")]


def _is_class(id: Any, snapshot: Snapshot) -> bool:
    found = snapshot.get(id) if isinstance(id, str) else None
    return found is not None and found.kind == "class"
