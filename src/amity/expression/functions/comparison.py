"""Which functions compare, and which look for a value among others?"""

from __future__ import annotations

from amity.expression.function import Function
from amity.expression.values import (
    Value,
    at_least,
    at_most,
    equal,
    items,
    less,
    more,
    unequal,
)


def _in(value: Value, among: Value) -> bool:
    return equal(value, items(among))


def _not_in(value: Value, among: Value) -> bool:
    """Both must be there: not the negation of `in`. Behaviour: platform-audiences.md §6."""
    return value is not None and among is not None and not _in(value, among)


FUNCTIONS = (
    Function(
        name="=",
        signature="a = b -> boolean",
        summary="Both are there and equal; over an array, any item is.",
        example='homeAddress.countryCode = "US"',
        gives="boolean",
        arity=(2, 2),
        apply=equal,
    ),
    Function(
        name="!=",
        signature="a != b -> boolean",
        summary="Both are there and differ; over an array, any item does.",
        example='homeAddress.countryCode != "US"',
        gives="boolean",
        arity=(2, 2),
        apply=unequal,
    ),
    Function(
        name="<",
        signature="a < b -> boolean",
        summary="Less than.",
        example="person.birthYear < 2000",
        gives="boolean",
        arity=(2, 2),
        apply=less,
    ),
    Function(
        name="<=",
        signature="a <= b -> boolean",
        summary="Less than or equal.",
        example="person.birthYear <= 2000",
        gives="boolean",
        arity=(2, 2),
        apply=at_most,
    ),
    Function(
        name=">",
        signature="a > b -> boolean",
        summary="Greater than.",
        example="loyalty.points > 100",
        gives="boolean",
        arity=(2, 2),
        apply=more,
    ),
    Function(
        name=">=",
        signature="a >= b -> boolean",
        summary="Greater than or equal.",
        example="loyalty.points >= 100",
        gives="boolean",
        arity=(2, 2),
        apply=at_least,
    ),
    Function(
        name="in",
        signature="value in array -> boolean",
        summary="The value is one of the items.",
        example='homeAddress.countryCode in ["US", "MX"]',
        gives="boolean",
        arity=(2, 2),
        apply=_in,
    ),
    Function(
        name="notIn",
        signature="value notIn array -> boolean",
        summary="Value and array are there, and the value is none of the items.",
        example='homeAddress.countryCode notIn ["US", "MX"]',
        gives="boolean",
        arity=(2, 2),
        apply=_not_in,
    ),
)
