"""Which audiences are there, and what may be done with their definitions?

A segment definition and an audience are the same document, told in two forms. Whoever changes one
announces it, so that everyone is evaluated anew. Behaviour: platform-audiences.md §5.1, §5.2.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from amity.expression.check import check
from amity.expression.errors import ExpressionError
from amity.expression.syntax import pql, pql_json, pql_text
from amity.expression.tree import Node
from amity.kernel.clock import BusinessClock
from amity.kernel.errors import NotFound, Outdated
from amity.kernel.ids import IdSource
from amity.kernel.scope import Scope
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS, ResolvedSchema
from amity.platform.segmentation.errors import (
    AudienceInUse,
    BadDefinition,
    BadLifecycle,
    NameTaken,
    UnknownAudience,
)
from amity.platform.segmentation.evaluation import chosen
from amity.platform.segmentation.model import DefinitionChanged
from amity.platform.segmentation.ruleset import Definition, RuleSet, in_order
from amity.platform.segmentation.slots import Path, audiences_in, fields_in
from amity.storage.ports import Document, Documents

Json = dict[str, Any]
KIND = "segment_definition"
NAME_CHARS_MAX = 255
METHODS = ("batch", "continuous", "synchronous")
_EVALUATED = frozenset({"draft", "published"})
_MOVES = {
    "draft": {"published", "deleted"},
    "published": {"inactive", "deleted"},
    "inactive": {"published", "deleted"},
}
_ALWAYS: dict[str, dict[str, Any]] = {
    PROFILE_CLASS: {"_id": {}, "identityMap": {}, "segmentMembership": {}},
    EVENT_CLASS: {"_id": {}, "eventType": {}, "timestamp": {}, "identityMap": {}},
}
"""Fields that every profile and event may be asked for, whatever its schemas say."""

_EDITABLE = (
    "name", "description", "expression", "schema", "evaluationInfo", "mergePolicyId", "ttlInDays",
    "labels", "lifecycleState", "payloadSchema", "profileInstanceId", "tags",
)  # fmt: skip


class SchemaSource(Protocol):
    """Where the union schemas come from."""

    def union(self, scope: Scope, class_id: str) -> ResolvedSchema: ...


class AudienceUse(Protocol):
    """What a later stage says of an audience that is to go or to rest."""

    def audience_used(self, scope: Scope, audience: str) -> str | None:
        """Who uses it, for a reader; None when nobody does."""


class AudienceGuard(Protocol):
    """A later stage that may refuse a definition (policies)."""

    def check_definition(
        self, scope: Scope, body: Mapping[str, Any], fields: Sequence[Path]
    ) -> None:
        """Raise when a running activation would break a policy under this definition."""


class _Compiled(NamedTuple):
    version: int
    texts: tuple[tuple[str, str], ...]
    rules: RuleSet


class Audiences:
    """The definitions of every sandbox.

    Args:
        documents: Where they are kept.
        ids: Names new ones.
        clock: Stamps them.
        announce: Tells segmentation that the definitions are other ones now.
        schemas: Checks fields and types; None = rules are not checked against schemas.
        uses: Later stages that may hold an audience fast.
        guards: Later stages that may refuse a definition.
    """

    def __init__(
        self,
        *,
        documents: Documents,
        ids: IdSource,
        clock: BusinessClock,
        announce: Callable[[DefinitionChanged], None],
        schemas: SchemaSource | None = None,
        uses: Sequence[AudienceUse] = (),
        guards: Sequence[AudienceGuard] = (),
    ) -> None:
        self._documents = documents
        self._ids = ids
        self._clock = clock
        self._announce = announce
        self._schemas = schemas
        self._uses = list(uses)
        self._guards = list(guards)
        self._compiled: dict[Scope, _Compiled] = {}
        self._lock = threading.RLock()

    def add_use(self, use: AudienceUse) -> None:
        """A later stage that may hold an audience fast."""
        self._uses.append(use)

    def add_guard(self, guard: AudienceGuard) -> None:
        """A later stage that may refuse a definition."""
        self._guards.append(guard)

    def find(self, scope: Scope) -> list[Json]:
        """All definitions, newest first."""
        documents = self._documents.find(scope, KIND)
        needs = {one.id: audiences_in(parsed(one.body["expression"])) for one in documents}
        found = [
            _shown(one) | {"dependencies": sorted(id for id in needs if one.id in needs[id])}
            for one in documents
        ]
        return sorted(found, key=lambda body: body["creationTime"], reverse=True)

    def get(self, scope: Scope, id: str) -> Json:
        """One definition."""
        self._document(scope, id)
        return next(body for body in self.find(scope) if body["id"] == id)

    def create(self, scope: Scope, body: Mapping[str, Any], *, actor: str = "") -> Json:
        """A new definition."""
        now_ms = self._clock.now_ms()
        with self._lock:
            id = self._ids.uuid()
            made = self._checked(scope, id, {"lifecycleState": "published", **body})
            made |= {"creationTime": now_ms, "createdBy": actor}
            return self._put(scope, made, actor, if_version=0)

    def update(
        self, scope: Scope, id: str, change: Mapping[str, Any], *, actor: str = "", etag: str = ""
    ) -> Json:
        """Replace whole fields of a definition."""
        with self._lock:
            document = self._document(scope, id)
            if etag and etag != document.etag:
                raise Outdated(f"audience {id} is at {document.etag}, not {etag}: read it again")
            wanted = {**document.body, **{k: v for k, v in change.items() if k in _EDITABLE}}
            self._check_move(scope, document.body, wanted)
            made = {**document.body, **self._checked(scope, id, wanted)}
            return self._put(scope, made, actor, if_version=document.version)

    def delete(self, scope: Scope, id: str) -> None:
        """Take a definition away; its members leave."""
        with self._lock:
            self._document(scope, id)
            self._check_free(scope, id)
            self._documents.delete(scope, KIND, id)
        self._announce(DefinitionChanged(scope=scope.key, audience=id))

    def converted(self, body: Mapping[str, Any]) -> Json:
        """The same definition with its expression in the other format."""
        expression = _expression(body)
        rule = parsed(expression)
        text = expression["format"] == "pql/text"
        value = pql_json.text_of(rule) if text else pql_text.text_of(rule)
        other = "pql/json" if text else "pql/text"
        return {**body, "expression": {"type": "PQL", "format": other, "value": value}}

    def rule(self, scope: Scope, id: str) -> Node:
        """The rule of an audience."""
        return parsed(self._document(scope, id).body["expression"])

    def fields(self, scope: Scope, id: str) -> tuple[Path, ...]:
        """The fields an audience's rule reads, also those of the audiences it asks for."""
        seen: set[str] = set()
        found: set[Path] = set()
        waiting = [id]
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            document = self._documents.get(scope, KIND, one)
            if document is not None:
                rule = parsed(document.body["expression"])
                found.update(fields_in(rule))
                waiting.extend(audiences_in(rule))
        return tuple(sorted(found))

    def rules(self, scope: Scope) -> RuleSet:
        """All audiences that are evaluated, compiled; made anew when a definition has changed."""
        version = self._documents.version()
        known = self._compiled.get(scope)
        if known is not None and known.version == version:
            return known.rules
        documents = self._evaluated(scope)
        # Any document of the control plane moves the version; only other rules are compiled anew.
        texts = tuple((one.id, one.body["expression"]["value"]) for one in documents)
        if known is not None and known.texts == texts:
            rules = known.rules
        else:
            rules = RuleSet(_definition(one) for one in documents)
        self._compiled[scope] = _Compiled(version, texts, rules)
        return rules

    def definitions(self, scope: Scope) -> list[Definition]:
        """What evaluation must know of every audience that is evaluated."""
        return [_definition(document) for document in self._evaluated(scope)]

    def _evaluated(self, scope: Scope) -> list[Document]:
        return [
            document
            for document in self._documents.find(scope, KIND)
            if document.body.get("lifecycleState", "published") in _EVALUATED
        ]

    def check_rule(self, scope: Scope, rule: Node) -> None:
        """Refuse a rule that does not fit the union schemas."""
        check(rule, self._union(scope, PROFILE_CLASS), self._union(scope, EVENT_CLASS))

    def _union(self, scope: Scope, class_id: str) -> Mapping[str, Any] | None:
        if self._schemas is None:
            return None
        try:
            schema = self._schemas.union(scope, class_id).json_schema
        except NotFound:
            return None
        return {**schema, "properties": {**_ALWAYS[class_id], **schema.get("properties", {})}}

    def _document(self, scope: Scope, id: str) -> Document:
        document = self._documents.get(scope, KIND, id)
        if document is None:
            raise UnknownAudience(f"audience {id} not found; list them by GET /audiences", id=id)
        return document

    def _checked(self, scope: Scope, id: str, body: Mapping[str, Any]) -> Json:
        """The fields of a definition, checked."""
        name = body.get("name")
        if not isinstance(name, str) or not 0 < len(name.strip()) <= NAME_CHARS_MAX:
            raise BadDefinition(f"name: a text of 1 to {NAME_CHARS_MAX} characters is needed")
        others = [d for d in self._documents.find(scope, KIND) if d.id != id]
        if any(other.body["name"] == name for other in others):
            raise NameTaken(f"an audience named {name!r} exists already; choose another name")
        state = body.get("lifecycleState", "published")
        if state not in {*_MOVES}:
            raise BadDefinition(f"lifecycleState {state!r} is not one of {', '.join(_MOVES)}")
        expression = _expression(body)
        rule = parsed(expression)
        self.check_rule(scope, rule)
        self._check_audiences(id, rule, others)
        made = {key: body[key] for key in _EDITABLE if body.get(key) is not None}
        made |= {"id": id, "expression": expression, "schema": _schema(body)}
        made |= _evaluation(rule, body.get("evaluationInfo"))
        for guard in self._guards:
            guard.check_definition(scope, made, fields_in(rule))
        return made

    def _check_audiences(self, id: str, rule: Node, others: Sequence[Document]) -> None:
        rules = {other.id: parsed(other.body["expression"]) for other in others}
        missing = sorted(audiences_in(rule) - {*rules, id})
        if missing:
            raise BadDefinition(
                f"inSegment asks for {', '.join(missing)}, which is no audience of this sandbox",
                missing=missing,
            )
        in_order({**rules, id: rule})

    def _check_move(self, scope: Scope, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        before, after = (one.get("lifecycleState", "published") for one in (old, new))
        if before == after:
            return
        if after not in _MOVES.get(before, set()):
            raise BadLifecycle(f"an audience that is {before} cannot become {after}")
        if after == "inactive":
            self._check_free(scope, old["id"])

    def _check_free(self, scope: Scope, id: str) -> None:
        dependents = [
            document.id
            for document in self._documents.find(scope, KIND)
            if document.id != id and id in audiences_in(parsed(document.body["expression"]))
        ]
        users = [used for use in self._uses if (used := use.audience_used(scope, id))]
        if dependents or users:
            names = ", ".join([*(f"audience {one}" for one in dependents), *users])
            raise AudienceInUse(
                f"audience {id} is used by {names}: take it out there first", dependents=dependents
            )

    def _put(self, scope: Scope, body: Json, actor: str, *, if_version: int) -> Json:
        body |= {
            "updateTime": self._clock.now_ms(),
            "updatedBy": actor,
            "imsOrgId": scope.org,
            "sandbox": scope.shown,
        }
        document = self._documents.put(scope, KIND, body["id"], body, if_version=if_version)
        self._announce(DefinitionChanged(scope=scope.key, audience=body["id"]))
        return self.get(scope, document.id)


def _definition(document: Document) -> Definition:
    return Definition(document.id, parsed(document.body["expression"]))


def parsed(expression: Mapping[str, Any]) -> Node:
    """The tree of a definition's expression."""
    read = pql_json.parse if expression["format"] == "pql/json" else pql.parse
    return read(expression["value"])


def _expression(body: Mapping[str, Any]) -> Json:
    expression = body.get("expression")
    if not isinstance(expression, Mapping) or not isinstance(expression.get("value"), str):
        raise BadDefinition(
            'expression: {"type": "PQL", "format": "pql/text", "value": …} is needed'
        )
    kind, form = expression.get("type", "PQL"), expression.get("format", "pql/text")
    if kind != "PQL":
        raise BadDefinition(f"expression/type {kind!r} is not supported; write PQL")
    if form not in ("pql/text", "pql/json"):
        raise BadDefinition(f"expression/format {form!r} is not pql/text or pql/json")
    made: Json = {"type": "PQL", "format": form, "value": expression["value"]}
    try:
        parsed(made)
    except ExpressionError as error:
        error.data.setdefault("field", "expression/value")
        raise
    return made


def _schema(body: Mapping[str, Any]) -> Json:
    schema = body.get("schema")
    if not isinstance(schema, Mapping) or not (schema.get("name") or schema.get("id")):
        raise BadDefinition('schema: {"name": "_xdm.context.profile"} is needed')
    name = schema.get("name")
    if name and name != "_xdm.context.profile":
        raise BadDefinition(f"schema/name {name!r}: audiences are made of _xdm.context.profile")
    return dict(schema)


def _evaluation(rule: Node, asked: Any) -> Json:
    info = asked if isinstance(asked, Mapping) else {}
    wanted = [
        method
        for method in METHODS
        if isinstance(info.get(method), Mapping) and info[method].get("enabled")
    ]
    found = chosen(rule, wanted[-1] if wanted else "")
    return {
        "evaluationInfo": {method: {"enabled": method == found.method} for method in METHODS},
        "evaluationReason": found.reason,
    }


def _shown(document: Document) -> Json:
    body = dict(document.body)
    needed = sorted(audiences_in(parsed(body["expression"])))
    body |= {
        "audienceId": document.id,
        "type": "SegmentDefinition",
        "originName": "REAL_TIME_CUSTOMER_PROFILE",
        "namespace": "AEPSegments",
        "dataGovernancePolicy": {"excludeOptOut": True},
        "isSystem": False,
        "overridePerformanceWarnings": False,
        "dependents": needed,
        "definedOn": [],
        "updateEpoch": body["updateTime"] // 1_000,
        "createEpoch": body["creationTime"] // 1_000,
        "baselineTime": body["updateTime"] // 1_000,
        "_etag": document.etag,
    }
    body.setdefault("description", "")
    body.setdefault("labels", [])
    return body
