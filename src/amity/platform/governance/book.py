"""Which labels, marketing actions and policies does this sandbox have, and which are on?

The book keeps custom ones as documents and joins them with the core ones of the data files. It
checks form only; whether a change breaks a running activation is asked of `service.Governance`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from amity.kernel.clock import BusinessClock
from amity.kernel.ids import IdSource
from amity.kernel.scope import Scope
from amity.platform.governance.errors import (
    BadPolicy,
    StillReferenced,
    UnknownResource,
)
from amity.platform.governance.labels import Label, core_labels, custom_label
from amity.platform.governance.policies import (
    MarketingAction,
    Policy,
    Status,
    action_ref,
    core_actions,
    core_policies,
    expression_body,
    parse_expression,
)
from amity.storage.ports import Document, Documents

LABEL_KIND = "usage_label"
ACTION_KIND = "marketing_action"
POLICY_KIND = "usage_policy"
ENABLED_KIND = "enabled_core_policies"
_ENABLED_ID = "core"
_STATUSES = ("DRAFT", "ENABLED", "DISABLED")


class PolicyBook:
    """Labels, marketing actions and policies of every sandbox."""

    def __init__(self, *, documents: Documents, ids: IdSource, clock: BusinessClock) -> None:
        self._documents = documents
        self._ids = ids
        self._clock = clock

    def labels(self, scope: Scope, *, core: bool) -> list[Label]:
        """The core labels, or the custom ones."""
        if core:
            return list(core_labels().values())
        return [
            custom_label(found.id, found.body) for found in self._documents.find(scope, LABEL_KIND)
        ]

    def put_label(self, scope: Scope, name: str, body: Mapping[str, Any]) -> tuple[Label, bool]:
        """Define a custom label; answers whether it is new."""
        label = custom_label(name, body)
        new = self._documents.get(scope, LABEL_KIND, name) is None
        self._documents.put(scope, LABEL_KIND, name, _label_body(label))
        return label, new

    def actions(self, scope: Scope, *, core: bool) -> list[MarketingAction]:
        """The core marketing actions, or the custom ones."""
        if core:
            return list(core_actions().values())
        return [_action(found) for found in self._documents.find(scope, ACTION_KIND)]

    def action(self, scope: Scope, reference: str) -> MarketingAction:
        """The marketing action of a reference (``core/emailTargeting`` or any URI that ends so)."""
        kind, _, name = action_ref(reference).partition("/")
        if kind == "core" and name in core_actions():
            return core_actions()[name]
        found = self._documents.get(scope, ACTION_KIND, name) if kind == "custom" else None
        if found is None:
            raise UnknownResource(
                f"no marketing action {reference!r}; GET /marketingActions/core and /custom list them"
            )
        return _action(found)

    def put_action(
        self, scope: Scope, name: str, body: Mapping[str, Any]
    ) -> tuple[MarketingAction, bool]:
        """Define a custom marketing action; answers whether it is new."""
        if body.get("name") != name:
            raise BadPolicy(
                f"the body names {body.get('name')!r}, the path {name!r}: make them one"
            )
        kept = {
            "name": name,
            "description": str(body.get("description", "")),
            "consent": str(body.get("consent", "")),
        }
        new = self._documents.get(scope, ACTION_KIND, name) is None
        return _action(self._documents.put(scope, ACTION_KIND, name, kept)), new

    def delete_action(self, scope: Scope, name: str) -> None:
        """Take a custom marketing action away; refused while a policy names it."""
        self.action(scope, f"custom/{name}")
        users = [
            policy.id
            for policy in self.policies(scope, core=False)
            if f"custom/{name}" in policy.actions
        ]
        if users:
            raise StillReferenced(
                f"marketing action {name} is named by policies {', '.join(users)}; "
                "take it out of them first",
                policies=users,
            )
        self._documents.delete(scope, ACTION_KIND, name)

    def policies(self, scope: Scope, *, core: bool | None = None) -> list[Policy]:
        """Core policies, custom ones, or both (None)."""
        found: list[Policy] = []
        if core is not False:
            found += self._core(scope)
        if core is not True:
            found += [_policy(one) for one in self._documents.find(scope, POLICY_KIND)]
        return found

    def policy(self, scope: Scope, id: str, *, core: bool) -> Policy:
        """One policy."""
        for policy in self.policies(scope, core=core):
            if policy.id == id:
                return policy
        raise UnknownResource(f"no {'core' if core else 'custom'} policy {id!r} in {scope.sandbox}")

    def document(self, scope: Scope, id: str) -> Document:
        """A custom policy as it is stored."""
        found = self._documents.get(scope, POLICY_KIND, id)
        if found is None:
            raise UnknownResource(f"no custom policy {id!r} in {scope.sandbox}")
        return found

    def draft(self, scope: Scope, body: Mapping[str, Any], *, id: str = "") -> Policy:
        """The policy that a request body means; nothing is stored."""
        name, status = body.get("name"), body.get("status", "DRAFT")
        if not isinstance(name, str) or not name:
            raise BadPolicy("a policy needs a `name`")
        if status not in _STATUSES:
            raise BadPolicy(f"`status` is one of {', '.join(_STATUSES)}, not {status!r}")
        references = body.get("marketingActionRefs")
        if not isinstance(references, list) or not references:
            raise BadPolicy("`marketingActionRefs` must list one marketing action or more")
        return Policy(
            id=id or self._ids.hex(24),
            name=name,
            status=cast("Status", status),
            description=str(body.get("description", "")),
            actions=tuple(self._known(scope, str(reference)) for reference in references),
            deny=parse_expression(body.get("deny")),
        )

    def save(self, scope: Scope, policy: Policy, *, by: str) -> Document:
        """Keep a custom policy."""
        old = self._documents.get(scope, POLICY_KIND, policy.id)
        now = self._clock.now_ms()
        born = (
            {key: old.body[key] for key in ("created", "createdClient", "createdUser")}
            if old
            else {"created": now, "createdClient": by, "createdUser": by}
        )
        body = {
            "name": policy.name,
            "status": policy.status,
            "description": policy.description,
            "marketingActionRefs": list(policy.actions),
            "deny": expression_body(policy.deny),
            **born,
            "updated": now,
            "updatedClient": by,
            "updatedUser": by,
        }
        return self._documents.put(scope, POLICY_KIND, policy.id, body)

    def delete(self, scope: Scope, id: str) -> None:
        """Take a custom policy away."""
        if not self._documents.delete(scope, POLICY_KIND, id):
            raise UnknownResource(f"no custom policy {id!r} in {scope.sandbox}")

    def enabled_core(self, scope: Scope) -> list[str]:
        """The ids of the core policies that are on."""
        return [policy.id for policy in self._core(scope) if policy.status == "ENABLED"]

    def with_core(self, scope: Scope, enabled: Sequence[str]) -> list[Policy]:
        """All policies as they would be with these core ones on and the others back to draft."""
        known = {policy.id for policy in core_policies()}
        unknown = sorted(set(enabled) - known)
        if unknown:
            raise BadPolicy(
                f"no core policy {', '.join(unknown)}; known: {', '.join(sorted(known))}",
                policyIds=unknown,
            )
        return [*_switched(enabled), *self.policies(scope, core=False)]

    def save_core(self, scope: Scope, enabled: Sequence[str]) -> None:
        """Keep which core policies are on."""
        self._documents.put(scope, ENABLED_KIND, _ENABLED_ID, {"policyIds": list(enabled)})

    def _core(self, scope: Scope) -> Iterable[Policy]:
        kept = self._documents.get(scope, ENABLED_KIND, _ENABLED_ID)
        return core_policies() if kept is None else _switched(kept.body["policyIds"])

    def _known(self, scope: Scope, reference: str) -> str:
        try:
            self.action(scope, reference)
        except UnknownResource as unknown:
            raise BadPolicy(unknown.message) from unknown
        return action_ref(reference)


def _switched(enabled: Sequence[str]) -> list[Policy]:
    return [
        Policy(
            id=policy.id,
            name=policy.name,
            description=policy.description,
            status="ENABLED" if policy.id in enabled else "DRAFT",
            actions=policy.actions,
            deny=policy.deny,
            core=True,
        )
        for policy in core_policies()
    ]


def _policy(found: Document) -> Policy:
    return Policy(
        id=found.id,
        name=found.body["name"],
        status=found.body["status"],
        description=found.body["description"],
        actions=tuple(found.body["marketingActionRefs"]),
        deny=parse_expression(found.body["deny"]),
    )


def _action(found: Document) -> MarketingAction:
    return MarketingAction(
        name=found.id,
        description=found.body["description"],
        consent=found.body["consent"],
    )


def _label_body(label: Label) -> dict[str, Any]:
    return {
        "name": label.name,
        "category": label.category,
        "friendlyName": label.friendly_name,
        "description": label.description,
    }
