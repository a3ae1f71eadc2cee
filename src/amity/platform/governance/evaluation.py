"""Does a lineage break a policy, and what does one tell the person who is refused?

Policies look inside one audience only: C1 in one audience and C2 in another do not trip
``C1 AND C2``. Behaviour: platform-activation.md §2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from amity.platform.governance.lineage import Carrier, Lineage
from amity.platform.governance.policies import Policy, causes, expression_body

_VERBS = {
    "dataset": "which lies on the dataset",
    "audience": "which lies on the audience",
    "rule": "which the audience's rule reads",
    "mapping": "which is mapped to the destination",
}


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One policy broken by one activation for one marketing action."""

    policy: Policy
    action: str
    lineage: Lineage
    carriers: tuple[Carrier, ...]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two findings the same one."""
        activation = self.lineage.activation
        return (activation.flow, activation.audience, self.policy.id, self.action)


def violations(lineage: Lineage, policies: Iterable[Policy]) -> tuple[Violation, ...]:
    """Every enabled policy that a lineage breaks."""
    found = []
    for policy in policies:
        if policy.status != "ENABLED":
            continue
        guilty = causes(policy.deny, lineage.labels)
        if not guilty:
            continue
        carriers = tuple(carrier for carrier in lineage.carriers if carrier.label in guilty)
        found += [
            Violation(policy=policy, action=action, lineage=lineage, carriers=carriers)
            for action in lineage.activation.actions
            if action in policy.actions
        ]
    return tuple(found)


def explain(violation: Violation) -> str:
    """Reason, way and remedy in words."""
    lineage, policy = violation.lineage, violation.policy
    refusal = (
        f"Audience {lineage.audience.name!r} may not go to destination "
        f"{lineage.activation.destination!r}: policy {policy.name!r} ({policy.id}) denies "
        f"marketing action {violation.action!r} to this data."
    )
    lines = [refusal]
    for carrier in violation.carriers:
        lines.append(f"- {_place(carrier)} carries {carrier.label}, {_VERBS[carrier.means]}")
        lines.append(f"  {lineage.path(carrier)}")
    lines.append(f"Remedy: {_remedy(violation)}.")
    return "\n".join(lines)


def violation_body(violation: Violation) -> dict[str, Any]:
    """The documented form of one violation, with our lineage beside."""
    lineage = violation.lineage
    return {
        "enforcementRef": f"/dulepolicy/marketingActions/{violation.action}/constraints",
        "entities": _entities(violation),
        "violatedPolicies": [
            {
                "id": violation.policy.id,
                "name": violation.policy.name,
                "status": violation.policy.status,
                "marketingActionRefs": [
                    f"/dulepolicy/marketingActions/{action}" for action in violation.policy.actions
                ],
                "description": violation.policy.description,
                "deny": expression_body(violation.policy.deny),
            }
        ],
        "reason": explain(violation),
        "lineage": [
            {
                "label": carrier.label,
                "on": carrier.means,
                "field": carrier.field,
                "datasetId": carrier.dataset,
                "path": lineage.path(carrier),
            }
            for carrier in violation.carriers
        ],
    }


def _entities(violation: Violation) -> list[dict[str, Any]]:
    lineage = violation.lineage
    datasets: dict[str, dict[str, Any]] = {}
    for carrier in violation.carriers:
        if not carrier.dataset:
            continue
        entity = datasets.setdefault(
            carrier.dataset,
            {
                "name": carrier.dataset_name,
                "entityId": {"namespace": "AEP", "id": carrier.dataset, "type": "dataset"},
                "parents": [],
                "labels": [],
                "optionalLabels": [],
                "flattenedLabels": [],
            },
        )
        if carrier.field:
            entity["optionalLabels"].append(
                {
                    "option": {
                        "schemaPath": "/properties/" + carrier.field.replace(".", "/properties/")
                    },
                    "labels": [carrier.label],
                }
            )
        else:
            entity["labels"].append(carrier.label)
        if carrier.label not in entity["flattenedLabels"]:
            entity["flattenedLabels"].append(carrier.label)
    audience = {
        "name": lineage.audience.name,
        "entityId": {"namespace": "AEP", "id": lineage.audience.id, "type": "segment"},
        "parents": [entity["entityId"] for entity in datasets.values()],
        "labels": sorted(lineage.audience.labels),
        "optionalLabels": [],
        "flattenedLabels": sorted(lineage.labels),
    }
    flow = {
        "name": lineage.activation.destination,
        "entityId": {"namespace": "AEP", "id": lineage.activation.flow, "type": "dataflow"},
        "parents": [audience["entityId"]],
        "labels": [],
        "optionalLabels": [],
        "flattenedLabels": sorted(lineage.labels),
    }
    return [*datasets.values(), audience, flow]


def _place(carrier: Carrier) -> str:
    if carrier.field:
        return f"field {carrier.field} of dataset {carrier.dataset_name!r}"
    if carrier.dataset:
        return f"dataset {carrier.dataset_name!r}"
    return "the audience"


def _remedy(violation: Violation) -> str:
    means = {carrier.means for carrier in violation.carriers}
    ways = []
    if "mapping" in means:
        ways.append("take the field out of the mapping")
    if "rule" in means:
        ways.append("take the field out of the audience's rule")
    if means != {"audience"}:
        ways.append("remove the label if it is wrong")
    ways.append("choose a destination with another marketing action")
    ways.append(f"or change policy {violation.policy.id}")
    return ", ".join(ways)
