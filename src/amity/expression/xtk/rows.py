"""What does a campaign condition mean?

The plain evaluation of one row; SQL is held equal to it by property tests. A comparison with null does
not hold, `NOT` inverts: the meaning of docs/adr/0011-one-meaning-three-evaluators.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from amity.expression.functions.strings import like_pattern, pattern
from amity.expression.tree import Call, Field, Literal, Node, Param, Var
from amity.expression.xtk.functions import FUNCTIONS, OF_NULL, bounded, day_start

Row = Mapping[str, Any]
"""Fields by name; a link is a row of its own, the records that link here a list by schema."""


def evaluate(node: Node, row: Row) -> Any:
    """The value of a resolved tree for one row; conditions are True or False.

    >>> evaluate(Call(">", (Field(Param(1), "age"), Literal(18))), {"age": 20})
    True
    """
    return _value(node, {Param(1): row})


Env = Mapping[Node, Row]


def _value(node: Any, env: Env) -> Any:
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Field):
        held = env[node.object] if node.object in env else _value(node.object, env)
        return None if held is None else held.get(node.name)
    form = _FORMS.get(node.name)
    if form is not None:
        return form(node, env)
    values = [_value(arg, env) for arg in node.args]
    if node.name in _TESTS:
        left, right = values
        return left is not None and right is not None and _TESTS[node.name](left, right)
    if node.name in _OPERATIONS:
        return operate(node.name, values)
    return apply(node.name, values)


def apply(name: str, values: list[Any]) -> Any:
    """The value of a function; null of null, unless it is asked about nulls."""
    if name not in OF_NULL and any(value is None for value in values):
        return None
    return _known(FUNCTIONS[name.lower()].apply(*values))


def operate(name: str, values: list[Any]) -> Any:
    """The value of an operation; null where it has none."""
    if any(value is None for value in values):
        return None
    try:
        return _known(_OPERATIONS[name](*values))
    except ZeroDivisionError:
        return None


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _remainder(left: int, right: int) -> int:
    """With the sign of the first, as in SQL."""
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def _all(node: Call, env: Env) -> bool:
    return all(_value(arg, env) for arg in node.args)


def _any(node: Call, env: Env) -> bool:
    return any(_value(arg, env) for arg in node.args)


def _not(node: Call, env: Env) -> bool:
    return not _value(node.args[0], env)


def _in(node: Call, env: Env) -> bool:
    left, *items = (_value(arg, env) for arg in node.args)
    return left is not None and left in items


def _not_in(node: Call, env: Env) -> bool:
    left, *items = (_value(arg, env) for arg in node.args)
    return left is not None and None not in items and left not in items


def _exists(node: Call, env: Env) -> bool:
    schema: Any
    test: Any
    schema, test = node.args
    depth = int(test.names[0][1:])
    around = env[Var(f"_{depth - 1}")] if depth > 1 else env[Param(1)]
    records = around.get(schema.value) or ()
    return any(_value(test.body, {**env, Var(test.names[0]): record}) for record in records)


def _like(node: Call, env: Env) -> bool:
    text, form = (_value(arg, env) for arg in node.args)
    return text is not None and bool(pattern(like_pattern(form)).search(text))


def _not_like(node: Call, env: Env) -> bool:
    return _value(node.args[0], env) is not None and not _like(node, env)


_FORMS: dict[str, Callable[[Call, Env], Any]] = {
    "and": _all,
    "or": _any,
    "not": _not,
    "in": _in,
    "notIn": _not_in,
    "like": _like,
    "notLike": _not_like,
    "exists": _exists,
    "isNull": lambda node, env: _value(node.args[0], env) is None,
    "isNotNull": lambda node, env: _value(node.args[0], env) is not None,
}
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    "<": lambda left, right: bool(left < right),
    "<=": lambda left, right: bool(left <= right),
    ">": lambda left, right: bool(left > right),
    ">=": lambda left, right: bool(left >= right),
}
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "+": lambda left, right: bounded(left + right),
    "-": lambda left, right: bounded(left - right),
    "*": lambda left, right: bounded(left * right),
    "/": lambda left, right: float(left) / float(right),
    "%": lambda left, right: _remainder(int(left), int(right)),
    "concat": lambda left, right: left + right,
    "midnight": day_start,
}
