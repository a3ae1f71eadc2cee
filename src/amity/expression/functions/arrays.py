"""Which functions look into arrays and maps?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amity.expression.function import Function
from amity.expression.values import Value, equal, items, kind, less, truth

Of = Callable[[Value], Value]


def _has(array: list[Value], value: Value) -> bool:
    return any(same(item, value) for item in array)


def same(left: Value, right: Value) -> bool:
    """Equality of whole items: arrays and objects by content."""
    if kind(left) == "array" or kind(right) == "array":
        return bool(left == right)
    return equal(left, right)


def _distinct(array: Value) -> list[Value]:
    found: list[Value] = []
    for item in items(array):
        if item is not None and not _has(found, item):
            found.append(item)
    return found


def _ordered(array: Value, of: Of, *, highest: bool) -> list[Value]:
    keyed = [(key, item) for item in items(array) if (key := of(item)) is not None]
    out: list[tuple[Any, Value]] = []
    for key, item in keyed:
        at = len(out)
        while at and (less(out[at - 1][0], key) if highest else less(key, out[at - 1][0])):
            at -= 1
        out.insert(at, (key, item))
    return [item for _, item in out]


def _top(array: Value, of: Of, count: Value) -> list[Value]:
    return _ordered(array, of, highest=True)[: count if type(count) is int else 0]


def _bottom(array: Value, of: Of, count: Value) -> list[Value]:
    return _ordered(array, of, highest=False)[: count if type(count) is int else 0]


def _group(array: Value, of: Of) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for item in items(array):
        key = of(item)
        if key is not None:
            found.setdefault(str(key), []).append(item)
    return found


def _map(array: Value, of: Callable[..., Value]) -> Value:
    if type(array) is dict:
        entries = [of(key, value) for key, value in array.items()]
        if all(type(one) is tuple for one in entries):
            return dict(entries)
        return [one for one in entries if one is not None]
    return [one for item in items(array) if (one := of(item)) is not None]


def _exists(array: Value, test: Of) -> bool:
    """From the newest item back: what holds longest is found first."""
    return any(truth(test(item)) for item in reversed(items(array)))


def _method(  # noqa: PLR0917 - a row of the table below
    name: str, how: str, gives: Any, summary: str, apply: Callable[..., Value]
) -> Function:
    arity = 1 + (0 if how.endswith("()") else how.count(",") + 1)
    return Function(
        name=name,
        signature=f"{how} -> {gives}",
        summary=summary,
        example=f"{how} (array and map are fields)",
        gives=gives,
        arity=(arity, arity),
        apply=apply,
    )


def _lambda(name: str, gives: Any, summary: str, apply: Callable[..., Value]) -> Function:
    return Function(
        name=name,
        signature=f"array.{name}(condition or value of an item) -> {gives}",
        summary=summary,
        example=f'productListItems.{name}(SKU = "S1")',
        gives=gives,
        arity=(2, 2),
        lambdas=(1,),
        apply=apply,
    )


def _ranked(name: str, summary: str, apply: Callable[..., Value]) -> Function:
    return Function(
        name=name,
        signature=f"array.{name}(value of an item, n) -> array",
        summary=summary,
        example=f"xEvent.{name}(commerce.order.priceTotal, 3)",
        gives="array",
        arity=(3, 3),
        lambdas=(1,),
        apply=apply,
    )


FUNCTIONS = (
    _lambda(
        "filter",
        "array",
        "The items for which the condition holds; also written `array[condition]`.",
        lambda array, test: [item for item in items(array) if truth(test(item))],
    ),
    _lambda("exists", "boolean", "The condition holds for an item.", _exists),
    _lambda(
        "forall",
        "boolean",
        "The condition holds for every item (also when there is none).",
        lambda array, test: all(truth(test(item)) for item in items(array)),
    ),
    _lambda("map", "array", "The value of each item; nulls are left out.", _map),
    _lambda("groupBy", "object", "A map from the value to the items that have it.", _group),
    _ranked("topN", "The n items with the highest value.", _top),
    _ranked("bottomN", "The n items with the lowest value.", _bottom),
    _method(
        "head", "array.head()", "any", "The first item, or null.",
        lambda array: next(iter(items(array)), None),
    ),
    _method("distinct", "array.distinct()", "array", "Each value once.", _distinct),
    _method(
        "includes", "array.includes(value)", "boolean", "The value is an item.",
        lambda array, value: _has(items(array), value),
    ),
    _method(
        "intersects", "array.intersects(other)", "boolean", "They share an item.",
        lambda array, other: any(_has(items(other), item) for item in items(array)),
    ),
    _method(
        "intersection", "array.intersection(other)", "array", "The items they share.",
        lambda array, other: [i for i in _distinct(array) if _has(items(other), i)],
    ),
    _method(
        "subsetOf", "array.subsetOf(other)", "boolean", "Every item is in the other.",
        lambda array, other: all(_has(items(other), item) for item in items(array)),
    ),
    _method(
        "supersetOf", "array.supersetOf(other)", "boolean", "Every item of the other is in it.",
        lambda array, other: all(_has(items(array), item) for item in items(other)),
    ),
    _method(
        "get", "map.get(key)", "any", "The value under a key.",
        lambda found, key: found.get(key) if type(found) is dict and type(key) is str else None,
    ),
    _method(
        "keys", "map.keys()", "array", "The keys.",
        lambda found: list(found) if type(found) is dict else [],
    ),
    _method(
        "values", "map.values()", "array", "The values.",
        lambda found: list(found.values()) if type(found) is dict else [],
    ),
    Function(
        name="mapEntry",
        signature="mapEntry(key, value) -> entry",
        summary="An entry of the map that `.map((K, V) => ...)` makes.",
        example="xEvent.groupBy(eventType).map((K, V) => mapEntry(K, V.count()))",
        gives="any",
        arity=(2, 2),
        apply=lambda key, value: (key if type(key) is str else str(key), value),
    ),
    _method("isNull", "value.isNull()", "boolean", "It is not there.", lambda value: value is None),
    _method(
        "isNotNull", "value.isNotNull()", "boolean", "It is there.",
        lambda value: value is not None,
    ),
)  # fmt: skip
