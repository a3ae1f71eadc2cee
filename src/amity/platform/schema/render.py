"""How does a resource look in an answer?

Behaviour: platform-collect.md §2 (resources, Accept).
"""

from __future__ import annotations

import copy
from typing import Any

from amity.kernel.scope import Scope
from amity.platform.schema.accept import Wanted
from amity.platform.schema.compose import Node, composed, fields, references
from amity.platform.schema.descriptors import ALTERNATE, DEPRECATED, path_of
from amity.platform.schema.names import SEGMENTS, alt_id
from amity.platform.schema.service import stamp
from amity.platform.schema.snapshot import Snapshot, Stored

_TEXTS = ("title", "description", "meta:enum", "meta:titleId", "meta:descriptionId")


class Renderer:
    """Shows resources of one sandbox at one moment."""

    def __init__(self, scope: Scope, snapshot: Snapshot, tenant: str) -> None:
        self._scope = scope
        self._snapshot = snapshot
        self._tenant = tenant

    def brief(self, stored: Stored) -> dict[str, Any]:
        """A line of a list of ids."""
        return {
            "$id": stored.id,
            "meta:altId": stored.alt_id,
            "meta:resourceType": SEGMENTS[stored.kind],
            "version": stored.version_text,
            "title": stored.body.get("title", ""),
        }

    def plain(self, stored: Stored) -> dict[str, Any]:
        """The resource with references left as they are (`xed`)."""
        body = copy.deepcopy(stored.body)
        body |= self.brief(stored)
        body |= {
            "meta:extensible": stored.kind == "class" or _own_part(stored),
            "meta:abstract": stored.kind in ("class", "field_group", "behavior"),
            "meta:containerId": "global" if stored.standard else "tenant",
            "meta:extends": self._snapshot.extends(stored),
            "meta:tenantNamespace": f"_{self._tenant}",
            "meta:xdmType": body.get("type", "object"),
            "refs": list(dict.fromkeys(references(stored.body))),
            "meta:registryMetadata": {
                "repo:createdDate": stored.created_ms,
                "repo:lastModifiedDate": stored.updated_ms,
                "eTag": f"{stored.alt_id[-8:]}-{stored.version}",
            },
        }
        body.setdefault("description", "")
        if stored.kind == "schema":
            body["meta:class"] = self._snapshot.class_of(stored)
        if not stored.standard:
            body |= {"imsOrg": self._scope.org, "meta:sandboxId": self._scope.sandbox}
            body["meta:sandboxType"] = (
                "production" if self._scope.sandbox == "prod" else "development"
            )
        return body

    def lookup(self, stored: Stored, wanted: Wanted) -> dict[str, Any]:
        """The resource in the form a look-up asks for."""
        if wanted.id_only:
            return self.brief(stored)
        body = self.plain(stored)
        if wanted.full:
            body |= _followed(self._snapshot.full(stored.id))
            for key in ("allOf", "definitions"):
                body.pop(key, None)
        descriptors = self._snapshot.descriptors_of(stored.id)
        return _finished(body, wanted, descriptors)

    def unions(self) -> list[dict[str, Any]]:
        """The union of every class that has schemas enabled for Profile."""
        classes = dict.fromkeys(
            self._snapshot.class_of(each)
            for each in self._snapshot.of_kind("schema")
            if each.in_union
        )
        return [_union_head(self._snapshot.union_body(each)) for each in classes]

    def union(self, class_id: str, wanted: Wanted) -> dict[str, Any]:
        """The union of one class."""
        body = self._snapshot.union_body(class_id)
        shown = {**_union_head(body), **body}
        if wanted.full:
            shown |= _followed(composed(body, self._snapshot.lookup))
            shown.pop("allOf")
        members = self._snapshot.union_members(class_id)
        descriptors = [d for each in members for d in self._snapshot.descriptors_of(each.id)]
        return _finished(shown, wanted, descriptors)


def _own_part(stored: Stored) -> bool:
    """A group or type of the tenant: clients take what is not extensible for not editable."""
    return not stored.standard and stored.kind in ("field_group", "data_type")


def _union_head(body: Node) -> dict[str, Any]:
    return {
        **{key: body[key] for key in ("$id", "meta:altId", "title", "type", "meta:class")},
        "meta:resourceType": "unions",
        "version": "1.0",
        "description": "All fields of the class's schemas that are enabled for Profile.",
        "meta:extends": [part["$ref"] for part in body["allOf"]],
        "meta:xdmType": "object",
        "meta:containerId": "tenant",
    }


def _followed(full: Node) -> dict[str, Any]:
    keys = ("properties", "required", "items", "additionalProperties")
    return {key: copy.deepcopy(full[key]) for key in keys if key in full}


def _finished(
    body: dict[str, Any], wanted: Wanted, descriptors: list[dict[str, Any]]
) -> dict[str, Any]:
    if wanted.full:
        _put_names(body, descriptors)
        if not wanted.deprecated:
            _drop_deprecated(body, descriptors)
    if wanted.descriptors:
        body["meta:descriptors"] = descriptors
    if wanted.flat:
        body["properties"] = {"/".join(path): _leaf(node) for path, node in fields(body)}
    return body if wanted.text else _without_texts(body)


def _put_names(body: Node, descriptors: list[dict[str, Any]]) -> None:
    """The names an alternate display descriptor gives a field are the ones people see."""
    for each in descriptors:
        if each["@type"] != ALTERNATE:
            continue
        node = _node_at(body, path_of(each["xdm:sourceProperty"]))
        if node is None:
            continue
        for key, target in (("xdm:title", "title"), ("xdm:description", "description")):
            texts = each.get(key)
            if isinstance(texts, dict) and texts:
                node[target] = next(iter(texts.values()))
        if isinstance(each.get("meta:enum"), dict):
            node["meta:enum"] = {**node.get("meta:enum", {}), **each["meta:enum"]}
        for key in each.get("xdm:excludeMetaEnum") or ():
            node.get("meta:enum", {}).pop(key, None)


def _drop_deprecated(body: Node, descriptors: list[dict[str, Any]]) -> None:
    for each in descriptors:
        if each["@type"] != DEPRECATED:
            continue
        given = each["xdm:sourceProperty"]
        for pointer in given if isinstance(given, list) else [given]:
            path = path_of(pointer)
            parent = _node_at(body, path[:-1])
            if parent is not None:
                parent.get("properties", {}).pop(path[-1], None)


def _node_at(body: Node, path: tuple[str, ...]) -> Node | None:
    found: Any = body
    for part in path:
        inner = found.get("items", found) if found.get("type") == "array" else found
        found = inner.get("properties", {}).get(part)
        if found is None:
            return None
    return found if isinstance(found, dict) else None


def _leaf(node: Node) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in ("properties", "items")}


def _without_texts(value: Any, *, names: bool = False) -> Any:
    if isinstance(value, list):
        return [_without_texts(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_texts(each, names=key == "properties" and not names)
        for key, each in value.items()
        if names or key not in _TEXTS
    }


def history_entry(entry: dict[str, Any], resource: str) -> dict[str, Any]:
    """A change as the audit log of a resource shows it."""
    updates = [{**each, "xdmType": "", "resource": alt_id(resource)} for each in entry["updates"]]
    return {
        **entry,
        "updatedTime": stamp(entry["updatedTime"]),
        "auditTrails": [],
        "updates": updates,
    }
