"""Policy expressions: their form and their meaning."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.platform.governance.errors import BadExpression
from amity.platform.governance.policies import (
    Combined,
    Expression,
    HasLabel,
    causes,
    core_actions,
    core_policies,
    expression_body,
    holds,
    labels_of,
    parse_expression,
)

LABELS = ("C1", "C2", "C4", "C5", "I1")
EXPRESSIONS = st.recursive(
    st.sampled_from(LABELS).map(HasLabel),
    lambda inner: st.builds(
        Combined,
        st.sampled_from(("AND", "OR")),
        st.lists(inner, min_size=1, max_size=3).map(tuple),
    ),
    max_leaves=8,
)
CARRIED = st.frozensets(st.sampled_from(LABELS))


def _as_python(expression: Expression) -> str:
    if isinstance(expression, HasLabel):
        return f"({expression.label!r} in labels)"
    word = " and " if expression.operator == "AND" else " or "
    return "(" + word.join(_as_python(one) for one in expression.operands) + ")"


@pytest.mark.thorough
@settings(max_examples=150)
@given(EXPRESSIONS, CARRIED)
def test_holds_means_what_boolean_logic_means(
    expression: Expression, labels: frozenset[str]
) -> None:
    """An expression holds exactly when Python's own and/or over its labels does."""
    expected = eval(_as_python(expression), {"labels": labels})  # noqa: S307

    assert expected == holds(expression, labels)


@settings(max_examples=100)
@given(EXPRESSIONS, CARRIED, CARRIED)
def test_more_labels_never_lift_a_denial(
    expression: Expression, labels: frozenset[str], more: frozenset[str]
) -> None:
    """Expressions are monotone: what is denied stays denied when data carries more labels."""
    assert not holds(expression, labels) or holds(expression, labels | more)


@settings(max_examples=100)
@given(EXPRESSIONS, CARRIED)
def test_causes_alone_suffice_and_are_carried(
    expression: Expression, labels: frozenset[str]
) -> None:
    """The labels named as cause are carried, named by the expression, and alone make it hold."""
    found = causes(expression, labels)

    assert found <= labels & labels_of(expression)
    assert bool(found) is holds(expression, labels)
    assert not found or holds(expression, found)


@settings(max_examples=60)
@given(EXPRESSIONS)
def test_json_form_round_trips(expression: Expression) -> None:
    """Writing an expression as JSON and reading it again gives the same one."""
    assert expression == parse_expression(expression_body(expression))


@pytest.mark.parametrize(
    "body",
    [
        {},
        "C1",
        {"label": ""},
        {"label": "C1", "operator": "AND", "operands": [{"label": "C2"}]},
        {"operator": "NOT", "operands": [{"label": "C2"}]},
        {"operator": "OR", "operands": []},
        {"operands": [{"label": "C2"}]},
    ],
)
def test_malformed_expressions_are_refused(body: Any) -> None:
    """Neither, both, unknown operators and empty operands are no expression."""
    with pytest.raises(BadExpression):
        parse_expression(body)


def test_core_policies_ship_disabled_and_name_known_actions() -> None:
    """Nothing is enforced before someone enables it; the data file names what exists."""
    assert {"DISABLED"} == {policy.status for policy in core_policies()}
    assert set(core_actions()) >= {
        action.removeprefix("core/") for policy in core_policies() for action in policy.actions
    }
