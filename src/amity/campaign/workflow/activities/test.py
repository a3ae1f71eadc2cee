"""Test: which way does a branch go on?

The first condition that holds wins. Conditions compare variables: of the event (`recCount`,
`schema`, those that activities set), or of the instance (``instance.x``). No code runs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from amity.campaign.workflow.activity import ActivitySpec, Done, Exclusion, Out, Task
from amity.campaign.workflow.means import Means

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "isSet", "isEmpty"]
INSTANCE = "instance."


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One comparison of a variable with a value."""

    var: str
    op: Operator = "="
    value: Any = None


class Way(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An outbound transition and what must hold for it: all of the comparisons."""

    transition: str
    when: tuple[Comparison, ...]


class TestConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ways, in order, and where to go when none holds."""

    __test__ = False

    ways: tuple[Way, ...]
    default: str = ""
    """Transition taken when nothing holds; "" ends the branch."""


_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Test:
    """Takes one way."""

    __test__ = False

    def __init__(self, config: TestConfig, means: Means) -> None:  # noqa: ARG002
        self._config = config

    def run(self, task: Task) -> Done:
        """Choose by the variables as they are now."""
        known = {f"{INSTANCE}{name}": value for name, value in task.instance_vars.items()}
        known |= task.vars
        for way in self._config.ways:
            if all(_holds(one, known) for one in way.when):
                return _taken(task, way.transition)
        return _taken(task, self._config.default)


def _taken(task: Task, transition: str) -> Done:
    table = task.population
    if transition:
        return Done(outputs={transition: Out(table=table)}, label=transition)
    excluded = [Exclusion(reason="no condition holds", count=table.count)] if table else []
    return Done(excluded=excluded, label="no condition holds")


def _holds(one: Comparison, known: Mapping[str, Any]) -> bool:
    found = known.get(one.var)
    match one.op:
        case "isSet":
            return found is not None and found != ""
        case "isEmpty":
            return found is None or found == ""
        case "=":
            return bool(found == one.value)
        case "!=":
            return bool(found != one.value)
        case "in":
            return isinstance(one.value, list | tuple | str) and found in one.value
        case _:
            return _comparable(found, one.value) and _ORDER[one.op](found, one.value)


def _comparable(left: Any, right: Any) -> bool:
    """Numbers with numbers, texts with texts: nothing else has an order."""
    numbers = all(isinstance(side, int | float) for side in (left, right))
    return numbers or all(isinstance(side, str) for side in (left, right))


SPEC = ActivitySpec(
    name="test",
    label="Test",
    summary="Takes the first way whose condition holds.",
    config=TestConfig,
    make=Test,
    effect="transactional",
    inputs=(0, None),
    transitions=lambda config: tuple(
        dict.fromkeys(
            [way.transition for way in config.ways] + ([config.default] if config.default else [])
        )
    ),
    each=True,
)
