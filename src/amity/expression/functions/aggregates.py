"""Which functions make one value of many?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from amity.expression.function import Function
from amity.expression.values import Value, bounded, items, less, number

Of = Callable[[Value], Value]


def _values(array: Value, of: Of | None) -> list[Value]:
    return _flat(_of_each(array, of))


def _of_each(array: Value, of: Of | None) -> list[Value]:
    return items(array) if of is None else [of(item) for item in items(array)]


def _flat(found: list[Value]) -> list[Value]:
    flat: list[Value] = []
    for one in found:
        flat.extend(one) if type(one) is list else flat.append(one)
    return [one for one in flat if one is not None]


def _numbers(array: Value, of: Of | None) -> list[int | float]:
    found = _of_each(array, of)
    numbers = [one for one in found if type(one) is float or type(one) is int]
    if len(numbers) == len(found):
        return numbers
    return [one for value in _flat(found) if (one := number(value)) is not None]


def _total(numbers: list[int | float]) -> int | float | None:
    """Doubles are summed exactly and rounded once, so that the order of items does not matter."""
    if float not in map(type, numbers):
        return bounded(sum(numbers))
    return _exact_sum(numbers)


def _exact_sum(numbers: list[int | float]) -> float | None:
    try:
        return bounded(math.fsum(numbers))
    except OverflowError:
        return None


def _sum(array: Value, of: Of | None = None) -> Value:
    return _total(_numbers(array, of))


def _average(array: Value, of: Of | None = None) -> Value:
    numbers = _numbers(array, of)
    total = _exact_sum(numbers)
    return None if total is None or not numbers else total / len(numbers)


def _extreme(array: Value, of: Of | None, wins: Callable[[Value, Value], bool]) -> Value:
    best: Value = None
    for value in _values(array, of):
        if best is None or wins(value, best):
            best = value
    return best


def _min(array: Value, of: Of | None = None) -> Value:
    return _extreme(array, of, less)


def _max(array: Value, of: Of | None = None) -> Value:
    return _extreme(array, of, lambda value, best: less(best, value))


def _aggregate(name: str, summary: str, apply: Callable[..., Value], gives: Any) -> Function:
    return Function(
        name=name,
        signature=f"array.{name}(value of an item) -> {gives}",
        summary=summary,
        example=f'xEvent[eventType = "commerce.purchases"].{name}(commerce.order.priceTotal) > 100',
        gives=gives,
        arity=(1, 2),
        lambdas=(1,),
        apply=apply,
    )


FUNCTIONS = (
    Function(
        name="count",
        signature="array.count() -> number",
        summary="How many items; a map counts its entries.",
        example='xEvent[eventType = "commerce.purchases"].count() >= 6',
        gives="number",
        arity=(1, 1),
        apply=lambda array: len(array) if type(array) is dict else len(items(array)),
    ),
    _aggregate("sum", "The sum of the numbers; 0 when there is none.", _sum, "number"),
    _aggregate("average", "Their mean; null when there is none.", _average, "number"),
    _aggregate("min", "The least value; null when there is none.", _min, "any"),
    _aggregate("max", "The greatest value; null when there is none.", _max, "any"),
)
