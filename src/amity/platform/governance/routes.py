"""Which HTTP calls define labels, marketing actions and policies, and try them out?

Base `/data/foundation/dulepolicy`. Behaviour: platform-activation.md §1, §2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Body, Query, Response

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.kernel.clock import BusinessClock
from amity.kernel.errors import AmityError
from amity.kernel.json_patch import apply_patch
from amity.kernel.scope import Scope
from amity.platform.governance.book import PolicyBook
from amity.platform.governance.errors import BadPolicy, UnknownResource
from amity.platform.governance.labels import Label
from amity.platform.governance.lineage import Estate, Source, path_of
from amity.platform.governance.policies import (
    MarketingAction,
    Policy,
    action_ref,
    causes,
    expression_body,
    labels_of,
)
from amity.platform.governance.service import Governance

PREFIX = "/data/foundation/dulepolicy"
_MANY = 1_000

Kind = Literal["core", "custom"]
Json = dict[str, Any]
Viewer = Annotated[Principal, needs("view-policies")]
Editor = Annotated[Principal, needs("manage-policies")]
Labeller = Annotated[Principal, needs("apply-labels")]
Filter = Annotated[list[str] | None, Query(alias="property")]
Limit = Annotated[int, Query(ge=1, le=_MANY)]


class _Bodies:
    """The bodies that the routes answer with."""

    def __init__(self, book: PolicyBook, clock: BusinessClock, public_url: str) -> None:
        self.book = book
        self.clock = clock
        self.base = public_url.rstrip("/") + PREFIX

    def label(self, kind: Kind, label: Label, scope: Scope) -> Json:
        body: Json = msgspec.to_builtins(label)
        return body | self._common(scope, f"/labels/{kind}/{quote(label.name)}")

    def action(self, kind: Kind, action: MarketingAction, scope: Scope) -> Json:
        body: Json = {"name": action.name, "description": action.description}
        if action.consent:
            body["consent"] = action.consent
        return body | self._common(scope, f"/marketingActions/{kind}/{quote(action.name)}")

    def policy(self, policy: Policy, scope: Scope) -> Json:
        body: Json = {
            "id": policy.id,
            "name": policy.name,
            "status": policy.status,
            "marketingActionRefs": [
                f"{self.base}/marketingActions/{action}" for action in policy.actions
            ],
            "description": policy.description,
            "deny": expression_body(policy.deny),
        }
        if not policy.core:
            stored = self.book.document(scope, policy.id).body
            body |= {key: stored[key] for key in stored if key.startswith(("created", "updated"))}
        kind = "core" if policy.core else "custom"
        return body | self._common(scope, f"/policies/{kind}/{policy.id}")

    def constraints(
        self, reference: str, labels: Iterable[str], caller: Principal, *, drafts: bool
    ) -> Json:
        """What a marketing action may do with data of these labels."""
        action = action_ref(reference)
        self.book.action(caller.scope, action)
        carried = set(labels)
        broken = [
            self.policy(policy, caller.scope)
            for policy in self.book.policies(caller.scope)
            if action in policy.actions
            and (policy.status == "ENABLED" or (drafts and policy.status == "DRAFT"))
            and causes(policy.deny, carried)
        ]
        return {
            "timestamp": self.clock.now_ms(),
            "clientId": caller.id,
            "userId": caller.id,
            "imsOrg": caller.scope.org,
            "sandboxName": caller.scope.sandbox,
            "marketingActionRef": f"{self.base}/marketingActions/{action}",
            "duleLabels": sorted(carried),
            "violatedPolicies": broken,
        }

    def _common(self, scope: Scope, path: str) -> Json:
        return {
            "imsOrg": scope.org,
            "sandboxName": scope.sandbox,
            "_links": {"self": {"href": self.base + path}},
        }


def router(
    *,
    book: PolicyBook,
    governance: Governance,
    estate: Estate,
    clock: BusinessClock,
    public_url: str,
) -> APIRouter:
    """The routes of the policy service."""
    api = APIRouter(prefix=PREFIX, tags=["governance"])
    bodies = _Bodies(book, clock, public_url)
    _label_routes(api, bodies)
    _action_routes(api, bodies)
    _policy_routes(api, bodies, governance)
    _core_routes(api, bodies, governance)
    _evaluation_routes(api, bodies, estate)
    return api


def _label_routes(api: APIRouter, bodies: _Bodies) -> None:
    book = bodies.book

    @api.get("/labels/{kind}")
    def labels(
        principal: Viewer,
        kind: Kind,
        property: Filter = None,
        orderby: str = "name",
        start: str = "",
        limit: Limit = 100,
    ) -> Json:
        found = book.labels(principal.scope, core=kind == "core")
        found_bodies = [bodies.label(kind, label, principal.scope) for label in found]
        return _page(
            found_bodies, property, (orderby, start, limit), f"{bodies.base}/labels/{kind}"
        )

    @api.get("/labels/{kind}/{name}")
    def label(principal: Viewer, kind: Kind, name: str) -> Json:
        for found in book.labels(principal.scope, core=kind == "core"):
            if found.name == name:
                return bodies.label(kind, found, principal.scope)
        raise UnknownResource(f"no {kind} label {name!r}; names are case-sensitive")

    @api.put("/labels/custom/{name}")
    def put_label(principal: Labeller, name: str, body: Json, response: Response) -> Json:
        kept, new = book.put_label(principal.scope, name, body)
        response.status_code = 201 if new else 200
        return bodies.label("custom", kept, principal.scope)


def _action_routes(api: APIRouter, bodies: _Bodies) -> None:
    book = bodies.book

    @api.get("/marketingActions/{kind}")
    def actions(
        principal: Viewer,
        kind: Kind,
        property: Filter = None,
        orderby: str = "name",
        start: str = "",
        limit: Limit = 100,
    ) -> Json:
        found = book.actions(principal.scope, core=kind == "core")
        found_bodies = [bodies.action(kind, action, principal.scope) for action in found]
        url = f"{bodies.base}/marketingActions/{kind}"
        return _page(found_bodies, property, (orderby, start, limit), url)

    @api.get("/marketingActions/{kind}/{name}")
    def action(principal: Viewer, kind: Kind, name: str) -> Json:
        return bodies.action(kind, book.action(principal.scope, f"{kind}/{name}"), principal.scope)

    @api.put("/marketingActions/custom/{name}")
    def put_action(principal: Editor, name: str, body: Json, response: Response) -> Json:
        kept, new = book.put_action(principal.scope, name, body)
        response.status_code = 201 if new else 200
        return bodies.action("custom", kept, principal.scope)

    @api.delete("/marketingActions/custom/{name}")
    def delete_action(principal: Editor, name: str) -> Response:
        book.delete_action(principal.scope, name)
        return Response(status_code=200)


def _policy_routes(api: APIRouter, bodies: _Bodies, governance: Governance) -> None:
    book = bodies.book

    def keep(principal: Principal, policy: Policy) -> Json:
        others = [one for one in book.policies(principal.scope) if one.id != policy.id]
        governance.check_policies(principal.scope, [*others, policy])
        book.save(principal.scope, policy, by=principal.id)
        return bodies.policy(policy, principal.scope)

    @api.get("/policies/{kind}")
    def policies(
        principal: Viewer,
        kind: Kind,
        property: Filter = None,
        dule_labels: Annotated[str, Query(alias="duleLabels")] = "",
        marketing_action: Annotated[str, Query(alias="marketingAction")] = "",
        orderby: str = "id",
        start: str = "",
        limit: Limit = 100,
    ) -> Json:
        found = book.policies(principal.scope, core=kind == "core")
        if dule_labels:
            wanted = set(dule_labels.split(","))
            found = [policy for policy in found if labels_of(policy.deny) & wanted]
        if marketing_action:
            found = [policy for policy in found if _names(policy, marketing_action)]
        found_bodies = [bodies.policy(policy, principal.scope) for policy in found]
        return _page(
            found_bodies, property, (orderby, start, limit), f"{bodies.base}/policies/{kind}"
        )

    @api.get("/policies/{kind}/{id}")
    def policy(principal: Viewer, kind: Kind, id: str) -> Json:
        found = book.policy(principal.scope, id, core=kind == "core")
        return bodies.policy(found, principal.scope)

    @api.post("/policies/custom", status_code=201)
    def create(principal: Editor, body: Json) -> Json:
        return keep(principal, book.draft(principal.scope, body))

    @api.put("/policies/custom/{id}")
    def replace(principal: Editor, id: str, body: Json) -> Json:
        book.document(principal.scope, id)
        return keep(principal, book.draft(principal.scope, body, id=id))

    @api.patch("/policies/custom/{id}")
    def patch(principal: Editor, id: str, body: list[Json]) -> Json:
        changed = apply_patch(book.document(principal.scope, id).body, body)
        return keep(principal, book.draft(principal.scope, changed, id=id))

    @api.delete("/policies/custom/{id}")
    def delete(principal: Editor, id: str) -> Response:
        book.delete(principal.scope, id)
        return Response(status_code=200)


def _core_routes(api: APIRouter, bodies: _Bodies, governance: Governance) -> None:
    book = bodies.book

    def answer(scope: Scope) -> Json:
        return {
            "policyIds": book.enabled_core(scope),
            "imsOrg": scope.org,
            "sandboxName": scope.sandbox,
            "_links": {"self": {"href": f"{bodies.base}/enabledCorePolicies"}},
        }

    @api.get("/enabledCorePolicies")
    def enabled(principal: Viewer) -> Json:
        return answer(principal.scope)

    @api.put("/enabledCorePolicies")
    def enable(principal: Editor, body: Annotated[Any, Body()]) -> Json:
        wanted = _policy_ids(body)
        governance.check_policies(principal.scope, book.with_core(principal.scope, wanted))
        book.save_core(principal.scope, wanted)
        return answer(principal.scope)


def _evaluation_routes(api: APIRouter, bodies: _Bodies, estate: Estate) -> None:
    @api.get("/marketingActions/{kind}/{name}/constraints")
    def by_labels(
        principal: Viewer,
        kind: Kind,
        name: str,
        *,
        dule_labels: Annotated[str, Query(alias="duleLabels")],
        include_draft: Annotated[bool, Query(alias="includeDraft")] = False,
    ) -> Json:
        labels = [label for label in dule_labels.split(",") if label]
        return bodies.constraints(f"{kind}/{name}", labels, principal, drafts=include_draft)

    @api.post("/marketingActions/{kind}/{name}/constraints")
    def by_entities(
        principal: Viewer,
        kind: Kind,
        name: str,
        *,
        body: list[Json],
        include_draft: Annotated[bool, Query(alias="includeDraft")] = False,
    ) -> Json:
        discovered, labels = _discover(estate, principal.scope, body)
        found = bodies.constraints(f"{kind}/{name}", labels, principal, drafts=include_draft)
        return found | {"discoveredLabels": discovered}

    @api.post("/bulk-eval")
    def bulk(principal: Viewer, body: list[Json]) -> list[Json]:
        def one(job: Json) -> Json:
            return _bulk_job(bodies, estate, principal, job)

        return [_with_status(one, job) for job in body]


def _bulk_job(bodies: _Bodies, estate: Estate, principal: Principal, job: Json) -> Json:
    if ("labels" in job) == ("entityList" in job):
        raise BadPolicy("a job has either `labels` or `entityList`")
    reference = job.get("evalRef")
    if not isinstance(reference, str):
        raise BadPolicy("a job needs `evalRef`, the path of a marketing action's constraints")
    drafts = bool(job.get("includeDraft", False))
    if "labels" in job:
        return bodies.constraints(reference, _strings(job["labels"]), principal, drafts=drafts)
    discovered, labels = _discover(estate, principal.scope, job["entityList"])
    found = bodies.constraints(reference, labels, principal, drafts=drafts)
    return found | {"discoveredLabels": discovered}


def _with_status(work: Callable[[Json], Json], job: Json) -> Json:
    try:
        return {"status": 200, "body": work(job)}
    except AmityError as error:
        body = {"title": type(error).__name__, "status": error.status, "detail": error.message}
        return {"status": error.status, "body": body}


def _discover(estate: Estate, scope: Scope, entities: Any) -> tuple[list[Json], set[str]]:
    """The labels of the named datasets; with `fields`, of those fields and the dataset alone."""
    discovered: list[Json] = []
    union: set[str] = set()
    if not isinstance(entities, list):
        raise BadPolicy("entities come as a list of {entityType, entityId}")
    for entity in entities:
        if str(entity.get("entityType", "")).lower() != "dataset":
            raise BadPolicy(f"`entityType` is dataSet, not {entity.get('entityType')!r}")
        source = estate.source(scope, str(entity.get("entityId", "")))
        if source is None:
            raise UnknownResource(f"no dataset {entity.get('entityId')!r} in {scope.sandbox}")
        meta = entity.get("entityMeta") or {}
        if not isinstance(meta, dict):
            raise BadPolicy("entityMeta is an object with the paths `fields`")
        fields = _labelled(source, meta.get("fields"))
        union |= source.labels.union(*fields.values())
        discovered.append(
            {
                "entityType": "dataset",
                "entityId": source.dataset,
                "dataSetLabels": {
                    "connection": {"labels": []},
                    "dataSet": {"labels": sorted(source.labels)},
                    "fields": [
                        {"path": _pointer(path), "labels": sorted(labels)}
                        for path, labels in sorted(fields.items())
                    ],
                },
            }
        )
    return discovered, union


def _labelled(source: Source, fields: Any) -> Mapping[tuple[str, ...], frozenset[str]]:
    if fields is None:
        return source.fields
    wanted = {path_of(field) for field in _strings(fields)}
    return {path: labels for path, labels in source.fields.items() if path in wanted}


def _pointer(path: tuple[str, ...]) -> str:
    return "".join(f"/properties/{part}" for part in path)


def _page(
    bodies: Sequence[Json],
    filters: list[str] | None,
    window: tuple[str, str, int],
    url: str,
) -> Json:
    orderby, start, limit = window
    kept = [body for body in bodies if all(_matches(body, one) for one in filters or ())]
    descending = orderby.startswith("-")
    key = orderby.lstrip("+-").split(",")[0]
    kept.sort(key=lambda body: str(body.get(key, "")), reverse=descending)
    if start:
        kept = [body for body in kept if (str(body.get(key, "")) > start) is not descending]
    children = kept[:limit]
    links: Json = {"page": {"href": url + "{?limit,start,property,orderby}", "templated": True}}
    if len(kept) > limit:
        last = quote(str(children[-1].get(key, "")))
        links["next"] = {"href": f"{url}?orderby={quote(orderby)}&start={last}&limit={limit}"}
    return {"_page": {"count": len(children)}, "_links": links, "children": children}


def _matches(body: Json, condition: str) -> bool:
    for operator in ("==", "!="):
        name, found, value = condition.partition(operator)
        if found:
            return (str(body.get(name.strip(), "")) == value.strip()) is (operator == "==")
    return condition.strip() in body


def _names(policy: Policy, reference: str) -> bool:
    wanted = action_ref(reference)
    return any(action == wanted or action.endswith(f"/{wanted}") for action in policy.actions)


def _policy_ids(body: Any) -> list[str]:
    """The documented object, or the bare list that some clients send."""
    return _strings(body.get("policyIds") if isinstance(body, dict) else body)


def _strings(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadPolicy(f"{str(value)[:80]} must be a list of strings")
    return value
