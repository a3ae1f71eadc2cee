"""Which functions combine truths?"""

from __future__ import annotations

from amity.expression.function import Function
from amity.expression.values import truth

FUNCTIONS = (
    Function(
        name="and",
        signature="boolean and boolean -> boolean",
        summary="Both hold.",
        example='person.gender = "female" and loyalty.points > 100',
        gives="boolean",
        arity=(2, 64),
    ),
    Function(
        name="or",
        signature="boolean or boolean -> boolean",
        summary="At least one holds.",
        example='country = "US" or country = "MX"',
        gives="boolean",
        arity=(2, 64),
    ),
    Function(
        name="not",
        signature="not (boolean) -> boolean",
        summary="It does not hold; of null it holds.",
        example='not (country = "US")',
        gives="boolean",
        arity=(1, 1),
        apply=lambda value: not truth(value),
    ),
    Function(
        name="if",
        signature="if(boolean, x, y) -> x or y",
        summary="The first value when the condition holds, else the second.",
        example='if(age >= 18, "adult", "minor") = "adult"',
        gives="any",
        arity=(3, 3),
    ),
    Function(
        name="inSegment",
        signature='inSegment("audience id") -> boolean',
        summary="The profile is a member of another audience.",
        example='inSegment("4afe34ae-8c98-4513-8a1d-67ccaa54bc05")',
        gives="boolean",
        arity=(1, 1),
    ),
)
