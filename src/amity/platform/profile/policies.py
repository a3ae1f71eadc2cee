"""Which merge policies does a sandbox have?

A sandbox begins with one default policy: ordered by timestamp, over the whole graph.
Behaviour: platform-audiences.md §3.2.
"""

from __future__ import annotations

from typing import Any

from amity.kernel.ids import IdSource, digest
from amity.kernel.limits import MERGE_POLICIES_MAX
from amity.kernel.scope import Scope
from amity.platform.profile.errors import (
    InvalidMergePolicy,
    MergePolicyInUse,
    NoSuchMergePolicy,
)
from amity.platform.profile.merge import DATASET_PRECEDENCE, TIMESTAMP_ORDERED, Policy
from amity.storage.ports import Document, Documents

KIND = "merge_policy"
PROFILE_SCHEMA = "_xdm.context.profile"
_PATHS = {
    "/name": ("name",),
    "/identityGraph.type": ("identityGraph", "type"),
    "/attributeMerge.type": ("attributeMerge", "type"),
    "/attributeMerge.order": ("attributeMerge", "order"),
    "/schema.name": ("schema", "name"),
    "/version": ("version",),
    "/default": ("default",),
    "/isActiveOnEdge": ("isActiveOnEdge",),
}


class MergePolicies:
    """The merge policies of a sandbox; there is one default for each schema class."""

    def __init__(self, *, documents: Documents, ids: IdSource) -> None:
        self._documents = documents
        self._ids = ids
        self._kept: dict[Scope, Policy] = {}
        self._version = -1

    def all(self, scope: Scope) -> list[dict[str, Any]]:
        """Every policy as the API shows it, in order of creation."""
        found = self._documents.find(scope, KIND)
        if not found:
            return [_shown(scope, _first(scope), 0)]
        return [_shown(scope, document.body, document.updated_ms) for document in found]

    def get(self, scope: Scope, id: str) -> dict[str, Any]:
        """One policy."""
        for policy in self.all(scope):
            if policy["id"] == id:
                return policy
        raise NoSuchMergePolicy(f"there is no merge policy {id!r}", id=id)

    def policy(self, scope: Scope, id: str | None) -> Policy:
        """The policy to merge by; the default one when none is named."""
        return _policy(self.get(scope, id)) if id else self.default(scope)

    def default(self, scope: Scope) -> Policy:
        """The default policy for profiles; kept until something changes."""
        version = self._documents.version()
        if version != self._version:
            self._kept.clear()
            self._version = version
        found = self._kept.get(scope)
        if found is None:
            held = self.all(scope)
            chosen = next((one for one in held if _leads(one)), held[0])
            found = self._kept[scope] = _policy(chosen)
        return found

    def create(self, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
        """A new policy."""
        stored = _checked(body)
        self._settle(scope)
        if len(self._documents.find(scope, KIND)) >= MERGE_POLICIES_MAX:
            raise InvalidMergePolicy(
                f"a sandbox has at most {MERGE_POLICIES_MAX} merge policies; delete one first"
            )
        stored |= {"id": self._ids.uuid(), "version": 1}
        self._make_room(scope, stored)
        document = self._documents.put(scope, KIND, stored["id"], stored, if_version=0)
        return _shown(scope, document.body, document.updated_ms)

    def replace(self, scope: Scope, id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Another definition; its version rises."""
        self._settle(scope)
        old = self._stored(scope, id)
        stored = _checked(body) | {"id": id, "version": int(old.body["version"]) + 1}
        self._make_room(scope, stored)
        document = self._documents.put(scope, KIND, id, stored, if_version=old.version)
        return _shown(scope, document.body, document.updated_ms)

    def patch(self, scope: Scope, id: str, changes: Any) -> dict[str, Any]:
        """Change single fields by `{op: "add", path, value}`."""
        body = self.get(scope, id)
        for change in changes if isinstance(changes, list) else [changes]:
            _apply(body, change)
        return self.replace(scope, id, body)

    def delete(self, scope: Scope, id: str) -> None:
        """Take a policy away; not one that is active on edge."""
        self._settle(scope)
        if self._stored(scope, id).body["isActiveOnEdge"]:
            raise MergePolicyInUse(
                f"merge policy {id} is active on edge: make another one active first", id=id
            )
        self._documents.delete(scope, KIND, id)

    def _stored(self, scope: Scope, id: str) -> Document:
        document = self._documents.get(scope, KIND, id)
        if document is None:
            raise NoSuchMergePolicy(f"there is no merge policy {id!r}", id=id)
        return document

    def _settle(self, scope: Scope) -> None:
        """Write the first default policy down before anything is changed."""
        if not self._documents.find(scope, KIND):
            first = _first(scope)
            self._documents.put(scope, KIND, first["id"], first)

    def _make_room(self, scope: Scope, coming: dict[str, Any]) -> None:
        """There is one default for each schema class, and one policy active on edge."""
        for document in self._documents.find(scope, KIND):
            body = document.body
            if body["id"] == coming["id"]:
                continue
            left = dict(body)
            if coming["default"] and body["schema"] == coming["schema"]:
                left["default"] = False
            if coming["isActiveOnEdge"]:
                left["isActiveOnEdge"] = False
            if left != body:
                self._documents.put(scope, KIND, body["id"], left)


def _first(scope: Scope) -> dict[str, Any]:
    name = digest(scope.key, "default merge policy")
    uuid = f"{name[:8]}-{name[8:12]}-4{name[13:16]}-a{name[17:20]}-{name[20:32]}"
    return {
        "id": uuid,
        "name": "Default timebased",
        "schema": {"name": PROFILE_SCHEMA},
        "version": 1,
        "identityGraph": {"type": "pdg"},
        "attributeMerge": {"type": TIMESTAMP_ORDERED},
        "isActiveOnEdge": False,
        "default": True,
    }


def _shown(scope: Scope, body: dict[str, Any], updated_ms: int) -> dict[str, Any]:
    return {
        **body,
        "imsOrgId": scope.org,
        "sandbox": scope.shown,
        "updateEpoch": updated_ms // 1_000,
    }


def _leads(body: dict[str, Any]) -> bool:
    return bool(body["default"]) and body["schema"]["name"] == PROFILE_SCHEMA


def _policy(body: dict[str, Any]) -> Policy:
    merge = body["attributeMerge"]
    return Policy(
        body["id"], body["identityGraph"]["type"], merge["type"], tuple(merge.get("order", ()))
    )


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    name = body.get("name", "")
    schema = body.get("schema")
    if not isinstance(schema, dict) or not isinstance(schema.get("name"), str):
        raise InvalidMergePolicy('schema is required: {"name": "_xdm.context.profile"}')
    graph = body.get("identityGraph")
    if not isinstance(graph, dict) or graph.get("type") not in ("none", "pdg"):
        raise InvalidMergePolicy('identityGraph is required: {"type": "pdg"} or {"type": "none"}')
    for flag in ("default", "isActiveOnEdge"):
        if not isinstance(body.get(flag, False), bool):
            raise InvalidMergePolicy(f"{flag} must be true or false")
    return {
        "name": name if isinstance(name, str) else "",
        "schema": {"name": schema["name"]},
        "identityGraph": {"type": graph["type"]},
        "attributeMerge": _merge(body.get("attributeMerge")),
        "isActiveOnEdge": body.get("isActiveOnEdge", False),
        "default": body.get("default", False),
    }


def _merge(merge: Any) -> dict[str, Any]:
    kind = merge.get("type") if isinstance(merge, dict) else None
    if kind not in (TIMESTAMP_ORDERED, DATASET_PRECEDENCE):
        raise InvalidMergePolicy(
            f"attributeMerge is required: its type is {TIMESTAMP_ORDERED} or {DATASET_PRECEDENCE}"
        )
    order = merge.get("order", [])
    if not isinstance(order, list) or not all(isinstance(one, str) for one in order):
        raise InvalidMergePolicy("attributeMerge/order must be a list of dataset ids")
    if kind == TIMESTAMP_ORDERED:
        return {"type": kind}
    if not order or len(set(order)) != len(order):
        raise InvalidMergePolicy(
            "attributeMerge/order must list each dataset once, the one that wins first"
        )
    return {"type": kind, "order": order}


def _apply(body: dict[str, Any], change: Any) -> None:
    path = _PATHS.get(str(change.get("path"))) if isinstance(change, dict) else None
    if path is None or change.get("op") not in {"add", "replace"} or "value" not in change:
        raise InvalidMergePolicy(
            f'a change is {{"op": "add", "path", "value"}} with a path of {", ".join(_PATHS)}'
        )
    target = body
    for step in path[:-1]:
        target = target.setdefault(step, {})
    target[path[-1]] = change["value"]
