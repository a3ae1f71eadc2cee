"""Which values are there, and when are two of them equal, less or more?

One domain for all evaluators: null, booleans, int64, IEEE doubles, strings of code points,
instants (UTC milliseconds), arrays and objects. The tables, [PROP] where the followed system is
silent (platform-audiences.md §6):

- A comparison with null is false, also `!=`. `not` inverts. What is no boolean is no truth, but a
  list is true when it has items.
- Values of different kinds are not equal, and none is less than the other. An integer and a double
  compare as numbers, an instant and a date-time string as instants.
- An array on either side of a comparison means: any of its items.
- Arithmetic that leaves int64, divides by zero or meets null is null. `/` gives a double, `%` has
  the sign of the dividend.
- Case folding is the simple lower case of each code point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from amity.kernel.clock import from_iso
from amity.kernel.errors import Invalid

INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)

Value = Any
"""None | bool | int | float | str | Instant | list | dict."""


class Instant(int):
    """Milliseconds since the epoch, UTC."""

    __slots__ = ()


def truth(value: Value) -> bool:
    """Whether a value counts as true.

    >>> truth(True), truth([1]), truth([]), truth("x"), truth(None)
    (True, True, False, False, False)
    """
    return value is True or (type(value) is list and len(value) > 0)


@lru_cache(maxsize=65_536)
def _parsed(text: str) -> int | None:
    try:
        return from_iso(text)
    except Invalid:
        return None


def to_ms(value: Value) -> int | None:
    """The instant a value stands for, or None.

    >>> to_ms("1970-01-01T00:00:01Z"), to_ms(5), to_ms("x"), to_ms(None)
    (1000, 5, None, None)
    """
    if type(value) is Instant:
        return value
    if type(value) is str:
        return _parsed(value)
    return value if type(value) is int else None


def kind(value: Value) -> str:
    """The kind by which values are comparable.

    >>> kind(1) == kind(1.5), kind(True) == kind(1)
    (True, False)
    """
    return _KINDS.get(type(value), "other")


_KINDS = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    Instant: "instant",
    list: "array",
    dict: "object",
    type(None): "null",
}


def _pair(left: Value, right: Value) -> tuple[Value, Value] | None:
    """Both as values of one kind; None when they are not comparable."""
    if Instant in (type(left), type(right)):
        one, two = to_ms(left), to_ms(right)
        return None if one is None or two is None else (one, two)
    return (left, right) if kind(left) == kind(right) else None


def _compare(left: Value, right: Value, test: Callable[[Any, Any], bool], *, other: bool) -> bool:
    if left is None or right is None:
        return False
    if type(left) is list:
        return any(_compare(item, right, test, other=other) for item in left)
    if type(right) is list:
        return any(_compare(left, item, test, other=other) for item in right)
    pair = _pair(left, right)
    if pair is None or type(pair[0]) is dict:
        return other if pair is None else test is _SAME and pair[0] == pair[1]
    return test(*pair)


def _same(left: Any, right: Any) -> bool:
    return bool(left == right)


_SAME = _same


def equal(left: Value, right: Value) -> bool:
    """`=`.

    >>> equal(1, 1.0), equal("1", 1), equal(None, None), equal(["a", "b"], "b")
    (True, False, False, True)
    """
    return _compare(left, right, _SAME, other=False)


def unequal(left: Value, right: Value) -> bool:
    """`!=`: both are there, and not equal (over an array: any item is not).

    >>> unequal("a", "b"), unequal("a", 1), unequal(None, 1)
    (True, True, False)
    """
    if left is None or right is None:
        return False
    if type(left) is list:
        return any(unequal(item, right) for item in left)
    if type(right) is list:
        return any(unequal(left, item) for item in right)
    return not equal(left, right)


def less(left: Value, right: Value) -> bool:
    """`<`."""
    return _compare(left, right, lambda a, b: a < b, other=False)


def at_most(left: Value, right: Value) -> bool:
    """`<=`."""
    return _compare(left, right, lambda a, b: a <= b, other=False)


def more(left: Value, right: Value) -> bool:
    """`>`."""
    return _compare(left, right, lambda a, b: a > b, other=False)


def at_least(left: Value, right: Value) -> bool:
    """`>=`."""
    return _compare(left, right, lambda a, b: a >= b, other=False)


def number(value: Value) -> int | float | None:
    """The number, or None when it is none.

    >>> number(3), number(True), number("3")
    (3, None, None)
    """
    return value if type(value) is int or type(value) is float else None


def bounded(value: float) -> int | float | None:
    """The value if it lies in the domain; an integer outside int64 or a NaN is null.

    >>> bounded(1 << 63) is None
    True
    """
    if type(value) is int:
        return value if INT64_MIN <= value <= INT64_MAX else None
    return None if math.isnan(value) or math.isinf(value) else value


def arithmetic(left: Value, right: Value, operate: Callable[[Any, Any], Any]) -> Value:
    """Apply an operation to two numbers; null when either is none or the result leaves the domain."""
    one, two = number(left), number(right)
    if one is None or two is None:
        return None
    try:
        return bounded(operate(one, two))
    except (ZeroDivisionError, OverflowError, ValueError):
        return None


def fold(text: str) -> str:
    """Simple lower case, code point by code point.

    >>> fold("ÄB"), len(fold("İ"))
    ('äb', 1)
    """
    if text.isascii():
        return text.lower()
    return "".join(char.lower()[0] for char in text)


def field_of(value: Value, name: str) -> Value:
    """A field of an object; of every item over an array (nulls left out); else null.

    >>> field_of({"a": 1}, "a"), field_of([{"a": 1}, {}, {"a": [2, 3]}], "a")
    (1, [1, 2, 3])
    """
    if type(value) is dict:
        return value.get(name)
    if type(value) is list:
        found: list[Value] = []
        for item in value:
            one = field_of(item, name)
            if type(one) is list:
                found.extend(one)
            elif one is not None:
                found.append(one)
        return found
    return None


def items(value: Value) -> list[Value]:
    """The items of an array; null has none; a single value is itself the only item.

    >>> items([1]), items(None), items(2)
    ([1], [], [2])
    """
    if type(value) is list:
        return value
    return [] if value is None else [value]
