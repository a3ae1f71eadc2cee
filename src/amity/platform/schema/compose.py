"""What are the fields of a resource once every `$ref` and `allOf` is followed?

`composed` gives the resource as people read it (titles, suggestions, `meta:xdmType`); `strict`
turns that into the JSON schema records are checked by: declared fields only, no null, enumerations
enforced. `meta:enum` alone only suggests. Behaviour: platform-collect.md §2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from amity.kernel.json_patch import pointer_parts
from amity.platform.schema.errors import ResourceInvalid
from amity.platform.schema.names import plain_name

Node = dict[str, Any]
Lookup = Callable[[str], Node | None]
"""Gives the resource of a URI or short name, None when there is none."""

DEPTH_MAX = 64
"""Nesting of references and fields. Ours."""

NODES_MAX = 20_000
"""Nodes of a schema put together: twice the 10,000 fields of a row. Behaviour:
platform-collect.md §10."""

_CHECKED = (
    "enum", "const", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "format", "minItems", "maxItems", "uniqueItems",
    "minProperties", "maxProperties",
)  # fmt: skip
_OWN = ("$id", "$schema", "$ref", "allOf", "definitions", "meta:altId", "meta:resourceType")
_NOT_COPIED = (*_OWN, "properties", "items", "additionalProperties", "required")
_INT_TYPES = ((128, "byte"), (32_768, "short"), (2_147_483_648, "int"))


def composed(resource: Node, lookup: Lookup) -> Node:
    """The resource's fields as one tree of `properties`; nothing of the input is shared."""
    follower = _Follower(resource.get("title", resource.get("$id")), lookup)
    place = f"{resource.get('$id')} "
    return _typed(follower.follow(resource, resource, (place,), 0))


def strict(node: Node) -> Node:
    """The JSON schema that a record must meet.

    >>> strict({"type": "object", "properties": {"a": {"type": "string", "title": "A"}}})
    {'type': 'object', 'properties': {'a': {'type': 'string'}}, 'additionalProperties': False}
    """
    kind = _kind(node)
    checks: Node = {"type": kind} if kind else {}
    checks |= {key: node[key] for key in _CHECKED if key in node}
    if kind == "array" and isinstance(node.get("items"), dict):
        checks["items"] = strict(node["items"])
    if kind == "object":
        checks |= _strict_object(node)
    return checks


def fields(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Every declared field below a composed node with its path; list items keep the list's path."""
    for name, child in node.get("properties", {}).items():
        yield (*path, name), child
        inner = child.get("items", child) if _kind(child) == "array" else child
        yield from fields(inner, (*path, name))


def field_at(node: Node, path: tuple[str, ...]) -> Node | None:
    """The composed field at a path, None when it is not declared."""
    found: Node | None = node
    for part in path:
        if found is None:
            return None
        inner = found.get("items", found) if _kind(found) == "array" else found
        found = inner.get("properties", {}).get(part)
    return found


def references(node: Any) -> Iterator[str]:
    """Every `$ref` to another resource, in order of appearance."""
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            yield reference.partition("#")[0]
        for key, child in node.items():
            if key != "enum" and not key.startswith("meta:"):
                yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


class _Follower:
    """Follows the references of one resource; bounded, because resources may point in circles."""

    def __init__(self, title: Any, lookup: Lookup) -> None:
        self._title = title
        self._lookup = lookup
        self._nodes = 0

    def follow(self, node: Node, root: Node, trail: tuple[str, ...], depth: int) -> Node:
        self._nodes += 1
        if self._nodes > NODES_MAX or depth > DEPTH_MAX:
            raise ResourceInvalid(
                f"{self._title!r} has more than {NODES_MAX} fields or {DEPTH_MAX} levels"
            )
        result: Node = {}
        reference = node.get("$ref")
        if isinstance(reference, str):
            result = self._referenced(reference, root, trail, depth)
        for part in node.get("allOf", ()):
            found = self.follow(part, root, trail, depth + 1)
            result = _merged(result, {k: v for k, v in found.items() if _is_shape(k)})
        own = {key: copy.deepcopy(value) for key, value in node.items() if key not in _NOT_COPIED}
        return _merged(result, own | self._children(node, root, trail, depth))

    def _referenced(self, reference: str, root: Node, trail: tuple[str, ...], depth: int) -> Node:
        target, target_root = _target(reference, root, self._lookup)
        place = f"{target_root.get('$id')} {reference.partition('#')[2]}"
        if place in trail:
            raise ResourceInvalid(f"{self._title!r} holds itself: {reference!r} leads in a circle")
        found = self.follow(target, target_root, (*trail, place), depth + 1)
        result = {key: value for key, value in found.items() if not _of_resource(key)}
        result["meta:referencedFrom"] = reference
        return result

    def _children(self, node: Node, root: Node, trail: tuple[str, ...], depth: int) -> Node:
        children: Node = {}
        if isinstance(node.get("properties"), dict):
            children["properties"] = {
                plain_name(name): self.follow(child, root, trail, depth + 1)
                for name, child in node["properties"].items()
            }
        for key in ("items", "additionalProperties"):
            if isinstance(node.get(key), dict):
                children[key] = self.follow(node[key], root, trail, depth + 1)
            elif key in node:
                children[key] = node[key]
        if isinstance(node.get("required"), list):
            named = (name for name in node["required"] if isinstance(name, str))
            children["required"] = [plain_name(name) for name in named]
        return children


def _of_resource(key: str) -> bool:
    """Whether a key describes the referenced resource rather than the field that refers to it."""
    return key.startswith("meta:") and key not in (
        "meta:xdmType", "meta:enum", "meta:status",
    )  # fmt: skip


def _is_shape(key: str) -> bool:
    return not (_of_resource(key) or key in ("title", "description"))


def _target(reference: str, root: Node, lookup: Lookup) -> tuple[Node, Node]:
    id, _, pointer = reference.partition("#")
    resource = root if not id else lookup(id)
    if resource is None:
        raise ResourceInvalid(
            f"the reference {reference!r} leads nowhere: create that resource first",
            reference=reference,
        )
    found: Any = resource
    for part in pointer_parts(pointer):
        found = found.get(part) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise ResourceInvalid(f"the reference {reference!r} leads nowhere", reference=reference)
    return found, resource


def _merged(base: Node, more: Node) -> Node:
    result = dict(base)
    for key, value in more.items():
        old = result.get(key)
        if key == "required" and isinstance(old, list):
            result[key] = old + [name for name in value if name not in old]
        elif key == "properties" and isinstance(old, dict):
            names = dict(old)
            for name, child in value.items():
                names[name] = _merged(names[name], child) if name in names else child
            result[key] = names
        elif key in ("items", "additionalProperties") and _both(old, value):
            result[key] = _merged(old or {}, value)
        else:
            result[key] = value
    return result


def _both(old: Any, new: Any) -> bool:
    return isinstance(old, dict) and isinstance(new, dict)


def _typed(node: Node) -> Node:
    """Fill in `type` and `meta:xdmType` where they follow from the rest."""
    kind = _kind(node)
    if kind:
        node["type"] = kind
        node.setdefault("meta:xdmType", _xdm_type(node, kind))
    for child in node.get("properties", {}).values():
        _typed(child)
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            _typed(node[key])
    return node


def _kind(node: Node) -> str:
    kind = node.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), None)
    if kind:
        return str(kind)
    if "properties" in node or isinstance(node.get("additionalProperties"), dict):
        return "object"
    if "items" in node:
        return "array"
    return "string" if "enum" in node else ""


def _xdm_type(node: Node, kind: str) -> str:
    if kind == "object":
        return "map" if _is_map(node) else "object"
    if kind == "integer":
        bound = max(abs(node.get("maximum", 1 << 53)), abs(node.get("minimum", -(1 << 53))))
        return next((name for limit, name in _INT_TYPES if bound <= limit), "long")
    if kind == "string" and node.get("format") in ("date", "date-time"):
        return str(node["format"])
    return kind


def _is_map(node: Node) -> bool:
    return isinstance(node.get("additionalProperties"), dict) and not node.get("properties")


def _strict_object(node: Node) -> Node:
    checks: Node = {}
    if _is_map(node):
        checks["additionalProperties"] = strict(node["additionalProperties"])
    elif "properties" in node:
        checks["properties"] = {name: strict(at) for name, at in node["properties"].items()}
        required = [name for name in node.get("required", ()) if name in node["properties"]]
        if required:
            checks["required"] = required
        checks["additionalProperties"] = False
    return checks
