"""Where are schemas kept, and what may be done with them?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

import jsonschema_rs

from amity.kernel.clock import BusinessClock, to_iso
from amity.kernel.ids import IdSource
from amity.kernel.json_patch import apply_patch
from amity.kernel.scope import Scope
from amity.platform.schema.compose import Node, strict
from amity.platform.schema.definitions import check, kept_body
from amity.platform.schema.descriptors import IDENTITY, check_type, checked
from amity.platform.schema.errors import (
    BreakingChange,
    ResourceInUse,
    ResourceInvalid,
    ResourceNotFound,
    ResourceReadOnly,
    UnionRefused,
)
from amity.platform.schema.evolution import breaking, conflicts
from amity.platform.schema.model import ResolvedSchema
from amity.platform.schema.names import UNION_SUFFIX, Kind, alt_id, resource_id
from amity.platform.schema.snapshot import Snapshot, Stored
from amity.platform.schema.standard import standard_fields
from amity.storage.ports import Document, Documents

DESCRIPTOR = "descriptor"
DESCRIPTORS_MAX = 4_000
"""Descriptors in a sandbox. Behaviour: platform-collect.md §2."""

HISTORY = "schema_history"
_KINDS: tuple[Kind, ...] = ("class", "data_type", "field_group", "schema")
_ADHOC_FIELD = "_adhoc"


class Dependents(Protocol):
    """Who holds data under a schema: the catalog."""

    def schema_in_use(self, scope: Scope, schema_id: str) -> bool:
        """Whether a dataset was made from it."""

    def schema_has_data(self, scope: Scope, schema_id: str) -> bool:
        """Whether data was collected under it."""


class NamespaceCodes(Protocol):
    """Knows identity namespaces: the identity stage."""

    def by_number(self, scope: Scope, number: str) -> dict[str, Any] | None:
        """The namespace of an id number, with its `code`."""


P = ParamSpec("P")
R = TypeVar("R")


def _one_at_a_time(
    verb: Callable[Concatenate[SchemaRegistry, P], R],
) -> Callable[Concatenate[SchemaRegistry, P], R]:
    """What a change was checked against is still so when it is written."""

    @wraps(verb)
    def alone(self: SchemaRegistry, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._changing:
            return verb(self, *args, **kwargs)

    return alone


class _Held(NamedTuple):
    version: int
    signature: tuple[Any, ...]
    snapshot: Snapshot


class SchemaRegistry:
    """Schemas, field groups, classes, data types and descriptors of every sandbox.

    Args:
        documents: Where they are kept.
        ids: Names for new ones.
        clock: Business time, for their history.
        tenant: The organisation's namespace, without underscore.
    """

    def __init__(
        self, *, documents: Documents, ids: IdSource, clock: BusinessClock, tenant: str
    ) -> None:
        if f"_{tenant}" in standard_fields():
            raise ResourceInvalid(
                f"{tenant!r} cannot be a tenant's name: _{tenant} is a standard field; choose another"
            )
        self.tenant = tenant
        self._documents = documents
        self._ids = ids
        self._clock = clock
        self._held: dict[Scope, _Held] = {}
        self._changing = threading.RLock()
        self._dependents: list[Dependents] = []
        self.namespaces: NamespaceCodes | None = None
        """Reads `xdm:id` in identity descriptors (wired in `app`); None: only codes are read."""

    def add_dependents(self, dependents: Dependents) -> None:
        """Let a later stage say which schemas it holds data under (wired in `app`)."""
        self._dependents.append(dependents)

    def snapshot(self, scope: Scope) -> Snapshot:
        """All resources as they are now; the same object while nothing was written."""
        version = self._documents.version()
        held = self._held.get(scope)
        if held is not None and held.version == version:
            return held.snapshot
        found = [(kind, self._documents.find(scope, kind)) for kind in _KINDS]
        described = self._documents.find(scope, DESCRIPTOR)
        signature = tuple(
            (kind, each.id, each.version)
            for kind, documents in (*found, (DESCRIPTOR, described))
            for each in documents
        )
        if held is not None and held.signature == signature:
            snapshot = held.snapshot
        else:
            stored = [_stored(kind, each) for kind, documents in found for each in documents]
            snapshot = Snapshot(stored, [each.body for each in described])
        self._held[scope] = _Held(version, signature, snapshot)
        return snapshot

    def resolved(self, scope: Scope, id: str) -> ResolvedSchema:
        """The schema (by `$id` or short name) with all its parts put together."""
        return self.snapshot(scope).resolved(id)

    def union(self, scope: Scope, class_id: str) -> ResolvedSchema:
        """All fields of a class's schemas that are enabled for Profile."""
        return self.snapshot(scope).resolved(alt_id(class_id) + UNION_SUFFIX)

    def find(self, scope: Scope, id: str, kind: Kind | None = None) -> Stored:
        """One resource; raises `ResourceNotFound`."""
        found = self.snapshot(scope).find(id)
        if kind is not None and found.kind != kind:
            raise ResourceNotFound(f"{id!r} is a {found.kind.replace('_', ' ')}, no {kind}", id=id)
        return found

    def create_schema(self, scope: Scope, body: Any, *, actor: str = "") -> Stored:
        """Create a schema."""
        return self.create(scope, "schema", body, actor=actor)

    def create_field_group(self, scope: Scope, body: Any, *, actor: str = "") -> Stored:
        """Create a field group."""
        return self.create(scope, "field_group", body, actor=actor)

    @_one_at_a_time
    def create(
        self, scope: Scope, kind: Kind, body: Any, *, actor: str = "", id: str = ""
    ) -> Stored:
        """Create a resource of any kind but behaviours, which are given.

        `id` is the URI it had elsewhere, when it is imported.
        """
        snapshot = self.snapshot(scope)
        kept = kept_body(body)
        id = id or resource_id(self.tenant, kind, self._ids.hex(40))
        digest = alt_id(id).rpartition(".")[2]
        kept = {"$id": id, **_namespaced(kind, kept, digest)}
        check(kind, kept, snapshot, self.tenant)
        self._check_title(snapshot, kind, kept)
        fresh = Stored(kind, alt_id(id), kept, 1, 0, 0, standard=False)
        after = snapshot.with_resource(fresh)
        _check_usable(after.full(id))
        if kind == "schema" and fresh.in_union:
            _check_union(after, fresh)
        document = self._documents.put(scope, kind, fresh.alt_id, kept, if_version=0)
        self._remember(scope, fresh.alt_id, actor, [{"action": "created", "path": "/"}])
        return _stored(kind, document)

    @_one_at_a_time
    def replace(self, scope: Scope, kind: Kind, id: str, body: Any, *, actor: str = "") -> Stored:
        """Give a resource a new definition."""
        old = self._own(scope, kind, id)
        return self._change(scope, old, kept_body(body), actor)

    @_one_at_a_time
    def patch(
        self, scope: Scope, kind: Kind, id: str, operations: Any, *, actor: str = ""
    ) -> Stored:
        """Apply a JSON Patch to a resource as the API shows it."""
        old = self._own(scope, kind, id)
        shown = {**old.body, "meta:extends": self.snapshot(scope).extends(old)}
        if old.body.get("meta:extends"):
            shown["meta:extends"] = old.body["meta:extends"]
        patched = apply_patch(shown, operations)
        return self._change(scope, old, kept_body(patched), actor)

    @_one_at_a_time
    def delete(self, scope: Scope, kind: Kind, id: str, *, actor: str = "") -> None:
        """Delete a resource nothing is made of."""
        old = self._own(scope, kind, id)
        snapshot = self.snapshot(scope)
        users = [
            each.body.get("title", each.id)
            for each in snapshot.stored.values()
            if not each.standard and old.id in snapshot.extends(each)
        ]
        if users:
            raise ResourceInUse(f"{old.body['title']!r} is part of {users[0]!r}", users=users)
        if kind == "schema" and (old.in_union or self._in_use(scope, old.id)):
            raise ResourceInUse(
                f"schema {old.body['title']!r} is enabled for Profile or has datasets: it stays"
            )
        for each in self.descriptors(scope):
            if each["xdm:sourceSchema"] == old.id:
                self._documents.delete(scope, DESCRIPTOR, each["@id"])
        self._documents.delete(scope, kind, old.alt_id)
        self._remember(scope, old.alt_id, actor, [{"action": "deleted", "path": "/"}])

    def history(self, scope: Scope, id: str) -> list[dict[str, Any]]:
        """Who changed what, the newest first."""
        self.find(scope, id)
        document = self._documents.get(scope, HISTORY, alt_id(id))
        return list(reversed(document.body["entries"])) if document else []

    def now_ms(self) -> int:
        """Business time."""
        return self._clock.now_ms()

    def report(self, message: str) -> dict[str, Any]:
        """What an error of the registry carries beside its text."""
        return {
            "registryRequestId": self._ids.uuid(),
            "timestamp": stamp(self._clock.now_ms()),
            "detailed-message": message,
            "sub-errors": [],
        }

    def descriptors(self, scope: Scope) -> list[dict[str, Any]]:
        """All descriptors, in order of creation."""
        return self.snapshot(scope).descriptors

    def descriptor(self, scope: Scope, id: str) -> dict[str, Any]:
        """One descriptor; raises `ResourceNotFound`."""
        document = self._documents.get(scope, DESCRIPTOR, id)
        if document is None:
            raise ResourceNotFound(f"there is no descriptor {id!r}", id=id)
        return document.body

    @_one_at_a_time
    def create_descriptor(self, scope: Scope, body: Any, *, actor: str = "") -> dict[str, Any]:
        """Say something about a schema's field."""
        if len(self.descriptors(scope)) >= DESCRIPTORS_MAX:
            raise ResourceInvalid(f"a sandbox has at most {DESCRIPTORS_MAX} descriptors")
        return self._put_descriptor(scope, self._ids.hex(40), body, actor)

    @_one_at_a_time
    def replace_descriptor(
        self, scope: Scope, id: str, body: Any, *, actor: str = ""
    ) -> dict[str, Any]:
        """Say something else instead."""
        check_type(body)
        self._check_primary_free(scope, self.descriptor(scope, id), body)
        return self._put_descriptor(scope, id, body, actor)

    @_one_at_a_time
    def delete_descriptor(self, scope: Scope, id: str, *, actor: str = "") -> None:
        """Take back what was said."""
        old = self.descriptor(scope, id)
        self._check_primary_free(scope, old, {})
        self._documents.delete(scope, DESCRIPTOR, id)
        what = {"action": "descriptor removed", "path": old.get("xdm:sourceProperty"), "value": id}
        self._remember(scope, alt_id(old["xdm:sourceSchema"]), actor, [what])

    def _put_descriptor(self, scope: Scope, id: str, body: Any, actor: str) -> dict[str, Any]:
        kind = check_type(body)
        snapshot = self.snapshot(scope)
        schema = self.find(scope, body["xdm:sourceSchema"])
        kept = {"@id": id, **checked({**body}, snapshot.full(schema.id))}
        kept |= {"@id": id, "xdm:sourceSchema": schema.id}
        _check_targets(snapshot, kept)
        if kind == IDENTITY:
            kept |= self._namespace_code(scope, kept)
            _check_identity(snapshot, schema, kept)
        self._documents.put(scope, DESCRIPTOR, id, kept)
        what = {"action": "descriptor set", "path": kept.get("xdm:sourceProperty"), "value": kind}
        self._remember(scope, schema.alt_id, actor, [what])
        return kept

    def _namespace_code(self, scope: Scope, kept: Mapping[str, Any]) -> dict[str, Any]:
        """A namespace named by number is kept by its code."""
        if kept["xdm:property"] != "xdm:id":
            return {}
        number = kept["xdm:namespace"]
        found = self.namespaces.by_number(scope, number) if self.namespaces else None
        if found is None:
            raise ResourceInvalid(
                f"there is no identity namespace with the id {number!r}; send its code with "
                "xdm:property xdm:code"
            )
        return {"xdm:namespace": found["code"], "xdm:property": "xdm:code"}

    def _check_primary_free(self, scope: Scope, old: dict[str, Any], new: dict[str, Any]) -> None:
        if not (old["@type"] == IDENTITY and old.get("xdm:isPrimary")):
            return
        watched = ("@type", "xdm:sourceSchema", "xdm:sourceProperty", "xdm:namespace")
        if new.get("xdm:isPrimary") and all(new.get(key) == old.get(key) for key in watched):
            return
        schema = old["xdm:sourceSchema"]
        has_data = any(each.schema_has_data(scope, schema) for each in self._dependents)
        if self.find(scope, schema).in_union or has_data:
            raise BreakingChange(
                "the primary identity stays once the schema is enabled for Profile or holds data"
            )

    def _own(self, scope: Scope, kind: Kind, id: str) -> Stored:
        found = self.find(scope, id, kind)
        if found.standard:
            raise ResourceReadOnly(id=found.id)
        return found

    def _change(self, scope: Scope, old: Stored, body: Node, actor: str) -> Stored:
        snapshot = self.snapshot(scope)
        kept = {"$id": old.id, **_namespaced(old.kind, body, old.alt_id.rpartition(".")[2])}
        check(old.kind, kept, snapshot, self.tenant)
        self._check_title(snapshot, old.kind, kept)
        fresh = old._replace(body=kept, version=old.version + 1)
        after = snapshot.with_resource(fresh)
        _check_usable(after.full(old.id))
        if old.in_union and not fresh.in_union:
            raise BreakingChange("a schema once enabled for Profile stays so: keep the union tag")
        if fresh.in_union and not old.in_union:
            _check_union(after, fresh)
        self._check_evolution(scope, old, snapshot, after)
        document = self._documents.put(scope, old.kind, old.alt_id, kept, if_version=old.version)
        self._remember(scope, old.alt_id, actor, _differences(old.body, kept))
        return _stored(old.kind, document)

    def _check_evolution(
        self, scope: Scope, old: Stored, before: Snapshot, after: Snapshot
    ) -> None:
        for schema in before.of_kind("schema"):
            if schema.alt_id != old.alt_id and old.id not in before.extends(schema):
                continue
            new = strict(after.full(schema.id))
            if schema.alt_id != old.alt_id:
                _check_usable(after.full(schema.id))
            if not (schema.in_union or self._in_use(scope, schema.id)):
                continue
            if schema.in_union:
                _check_agreement(after, schema)
            changes = list(breaking(strict(before.full(schema.id)), new))
            if changes:
                title = schema.body.get("title")
                raise BreakingChange(
                    f"schema {title!r} is enabled for Profile or has datasets: {changes[0]}. "
                    "Add fields beside the old ones instead",
                    changes=changes,
                )

    def _in_use(self, scope: Scope, schema_id: str) -> bool:
        return any(each.schema_in_use(scope, schema_id) for each in self._dependents)

    def _check_title(self, snapshot: Snapshot, kind: Kind, body: Mapping[str, Any]) -> None:
        for each in snapshot.of_kind(kind):
            same = each.body.get("title") == body["title"]
            if same and not each.standard and each.id != body["$id"]:
                raise ResourceInvalid(
                    f"there is a {kind.replace('_', ' ')} titled {body['title']!r} already: "
                    f"{each.id}; titles are unique",
                    id=each.id,
                )

    def _remember(
        self, scope: Scope, resource: str, actor: str, updates: list[dict[str, Any]]
    ) -> None:
        document = self._documents.get(scope, HISTORY, resource)
        entries = document.body["entries"] if document else []
        entry = {
            "id": self._ids.uuid(),
            "updatedUser": actor,
            "updatedTime": self._clock.now_ms(),
            "updates": updates,
        }
        self._documents.put(scope, HISTORY, resource, {"entries": [*entries, entry]})


def _stored(kind: Kind, document: Document) -> Stored:
    return Stored(
        kind,
        document.id,
        document.body,
        document.version,
        document.created_ms,
        document.updated_ms,
        standard=False,
    )


def _namespaced(kind: Kind, body: Node, digest: str) -> Node:
    """The body with the server's name in the place of an ad-hoc class's `_adhoc`."""
    properties = body.get("properties")
    if kind != "class" or not isinstance(properties, dict) or _ADHOC_FIELD not in properties:
        return body
    fields = dict(properties)
    fields[f"_{digest}"] = fields.pop(_ADHOC_FIELD)
    return {**body, "properties": fields, "meta:datasetNamespace": f"_{digest}"}


def _check_usable(full: Node) -> None:
    """Refuse what no record could be checked against: bad bounds, patterns, enumerations."""
    try:
        jsonschema_rs.Draft7Validator(strict(full), pattern_options=jsonschema_rs.RegexOptions())
    except (jsonschema_rs.ValidationError, ValueError) as error:
        raise ResourceInvalid(f"{full.get('title')!r} is no usable schema: {error}") from error


def _check_union(snapshot: Snapshot, schema: Stored) -> None:
    title = schema.body.get("title")
    if snapshot.behavior(snapshot.class_of(schema)) == "adhoc":
        raise UnionRefused(f"{title!r} is an ad-hoc schema: it has no union")
    if not snapshot.has_primary(schema):
        raise UnionRefused(
            f"{title!r} has no primary identity: add an xdm:descriptorIdentity with "
            "xdm:isPrimary true, or the identityMap field group",
            schema=schema.id,
        )
    _check_agreement(snapshot, schema)


def _check_agreement(snapshot: Snapshot, schema: Stored) -> None:
    """In a union a field has one type, whichever schema it comes from."""
    mine = strict(snapshot.full(schema.id))
    for other in snapshot.union_members(snapshot.class_of(schema)):
        found = next(conflicts(mine, strict(snapshot.full(other.id))), None)
        if found is not None:
            raise UnionRefused(
                f"{schema.body.get('title')!r} and {other.body.get('title')!r} disagree in the "
                f"union of their class: {found}. Give the field another name in one of them",
                schema=other.id,
            )


def _check_identity(snapshot: Snapshot, schema: Stored, kept: Mapping[str, Any]) -> None:
    for each in snapshot.descriptors_of(schema.id):
        if each["@type"] != IDENTITY or each["@id"] == kept["@id"]:
            continue
        if each["xdm:sourceProperty"] == kept["xdm:sourceProperty"]:
            raise ResourceInvalid(f"{kept['xdm:sourceProperty']} is an identity already")
        if kept["xdm:isPrimary"] and each.get("xdm:isPrimary"):
            raise ResourceInvalid(
                f"the primary identity is {each['xdm:sourceProperty']} already; there is one"
            )


def _check_targets(snapshot: Snapshot, kept: Mapping[str, Any]) -> None:
    target = kept.get("xdm:destinationSchema")
    if target is None:
        return
    found = snapshot.find(target)
    if alt_id(found.id) not in {alt_id(id) for id in snapshot.primary_namespaces()}:
        raise ResourceInvalid(
            f"{found.body.get('title')!r} cannot be pointed at: give it a primary identity first",
            schema=found.id,
        )


def _differences(old: Node, new: Node) -> list[dict[str, Any]]:
    updates = []
    for key in dict.fromkeys((*old, *new)):
        if old.get(key) != new.get(key):
            action = "added" if key not in old else "removed" if key not in new else "changed"
            updates.append({"action": action, "path": f"/{key}", "value": new.get(key)})
    return updates


def stamp(at_ms: int) -> str:
    """A moment as the registry writes it.

    >>> stamp(0)
    '01-01-1970 00:00:00'
    """
    moment = to_iso(at_ms)
    return f"{moment[5:7]}-{moment[8:10]}-{moment[:4]} {moment[11:19]}"
