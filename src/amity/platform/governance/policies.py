"""Which labels may not meet which marketing action?

A policy denies a set of marketing actions to data whose labels satisfy its expression. Core ones
come from a data file and are all off; custom ones are documents. Behaviour:
platform-activation.md §2.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import msgspec

from amity.kernel.limits import JSON_DEPTH_MAX
from amity.platform.governance.errors import BadExpression

Status = Literal["DRAFT", "ENABLED", "DISABLED"]


class HasLabel(msgspec.Struct, frozen=True):
    """True of data that carries the label. Case-sensitive."""

    label: str


class Combined(msgspec.Struct, frozen=True):
    """True when all (AND) or any (OR) of the operands are."""

    operator: Literal["AND", "OR"]
    operands: tuple[Expression, ...]


Expression = HasLabel | Combined


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One rule. `actions` are short references such as ``core/emailTargeting``."""

    id: str
    name: str
    status: Status
    actions: tuple[str, ...]
    deny: Expression
    description: str = ""
    core: bool = False


class MarketingAction(msgspec.Struct, frozen=True, kw_only=True):
    """What data may be used for. `consent` names the consent a person must not have refused."""

    name: str
    description: str = ""
    title: str = ""
    consent: str = ""


def parse_expression(body: Any, *, depth: int = 0) -> Expression:
    """An expression from its JSON form.

    >>> parse_expression({"label": "C1"})
    HasLabel(label='C1')
    """
    if not isinstance(body, Mapping) or depth > JSON_DEPTH_MAX:
        raise BadExpression(f'{str(body)[:80]} is no expression; write {{"label": "C1"}}')
    has_label, has_operator = "label" in body, "operator" in body or "operands" in body
    if has_label == has_operator:
        raise BadExpression("an expression has either `label`, or `operator` with `operands`")
    if has_label:
        label = body["label"]
        if not isinstance(label, str) or not label:
            raise BadExpression("`label` must be a label's name")
        return HasLabel(label)
    operator, operands = body.get("operator"), body.get("operands")
    if operator not in ("AND", "OR"):
        raise BadExpression(f"`operator` is AND or OR, not {operator!r}")
    if not isinstance(operands, list) or not operands:
        raise BadExpression("`operands` must list one expression or more")
    return Combined(operator, tuple(parse_expression(one, depth=depth + 1) for one in operands))


def expression_body(expression: Expression) -> dict[str, Any]:
    """The JSON form of an expression.

    >>> expression_body(Combined("OR", (HasLabel("C1"), HasLabel("C2"))))["operator"]
    'OR'
    """
    match expression:
        case HasLabel(label):
            return {"label": label}
        case Combined(operator, operands):
            return {
                "operator": operator,
                "operands": [expression_body(operand) for operand in operands],
            }


def holds(expression: Expression, labels: AbstractSet[str]) -> bool:
    """Whether data with these labels satisfies the expression.

    >>> holds(Combined("AND", (HasLabel("C1"), HasLabel("C2"))), {"C1"})
    False
    """
    match expression:
        case HasLabel(label):
            return label in labels
        case Combined("AND", operands):
            return all(holds(operand, labels) for operand in operands)
        case Combined(_, operands):
            return any(holds(operand, labels) for operand in operands)


def causes(expression: Expression, labels: AbstractSet[str]) -> frozenset[str]:
    """The labels by which an expression that holds does so; empty when it does not.

    >>> sorted(causes(Combined("OR", (HasLabel("C4"), HasLabel("C5"))), {"C5", "I1"}))
    ['C5']
    """
    if not holds(expression, labels):
        return frozenset()
    match expression:
        case HasLabel(label):
            return frozenset({label})
        case Combined(_, operands):
            return frozenset().union(*(causes(operand, labels) for operand in operands))


def labels_of(expression: Expression) -> frozenset[str]:
    """Every label an expression names."""
    match expression:
        case HasLabel(label):
            return frozenset({label})
        case Combined(_, operands):
            return frozenset().union(*(labels_of(operand) for operand in operands))


def action_ref(reference: str) -> str:
    """The short form of any reference to a marketing action.

    >>> action_ref("/dulepolicy/marketingActions/core/exportToThirdParty/constraints")
    'core/exportToThirdParty'
    >>> action_ref("https://platform.example/data/foundation/dulepolicy/marketingActions/custom/x")
    'custom/x'
    """
    tail = reference.rpartition("marketingActions/")[2].strip("/")
    return tail.removesuffix("/constraints")


@cache
def core_actions() -> Mapping[str, MarketingAction]:
    """The marketing actions every organisation has, by name."""
    listed = msgspec.json.decode(_data("core_actions.json"), type=list[MarketingAction])
    return {action.name: action for action in listed}


@cache
def core_policies() -> tuple[Policy, ...]:
    """The policies every organisation has; all off until it says otherwise."""
    return tuple(
        Policy(
            id=one["id"],
            name=one["name"],
            description=one["description"],
            status="DISABLED",
            actions=(f"core/{one['action']}",),
            deny=parse_expression(one["deny"]),
            core=True,
        )
        for one in msgspec.json.decode(_data("core_policies.json"))
    )


def _data(name: str) -> bytes:
    return files("amity.platform.governance").joinpath(name).read_bytes()
