"""Which functions calculate?"""

from __future__ import annotations

import math

from amity.expression.function import Function
from amity.expression.values import Value, arithmetic


def _remainder(left: float, right: float) -> float:
    """With the sign of the dividend, as SQL has it."""
    if isinstance(left, int) and isinstance(right, int):
        return _exact(left, right)
    return math.fmod(left, right)


def _exact(left: int, right: int) -> int:
    rest = abs(left) % abs(right)
    return rest if left >= 0 else -rest


def _add(left: Value, right: Value) -> Value:
    return arithmetic(left, right, lambda a, b: a + b)


def _subtract(left: Value, right: Value) -> Value:
    return arithmetic(left, right, lambda a, b: a - b)


def _multiply(left: Value, right: Value) -> Value:
    return arithmetic(left, right, lambda a, b: a * b)


def _divide(left: Value, right: Value) -> Value:
    return arithmetic(left, right, lambda a, b: float(a) / float(b))


def _modulo(left: Value, right: Value) -> Value:
    return arithmetic(left, right, _remainder)


FUNCTIONS = tuple(
    Function(
        name=name,
        signature=f"number {name} number -> number",
        summary=f"{summary}; null when it cannot be.",
        example=f"loyalty.points {name} 10 = 0",
        gives="number",
        arity=(2, 2),
        apply=apply,
    )
    for name, summary, apply in (
        ("+", "The sum", _add),
        ("-", "The difference", _subtract),
        ("*", "The product", _multiply),
        ("/", "The quotient, a double", _divide),
        ("%", "The remainder, with the sign of the dividend", _modulo),
    )
)
