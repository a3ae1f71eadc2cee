"""What does the system know of a function of the expression language?

One `Function` a name, in `functions/` by family. `apply` takes values; where the signature asks for
a lambda it takes a Python callable from item to value. So the row evaluator and the closures share
one meaning for each function, and differ in how they reach it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function or operator.

    Attributes:
        name: As written; operators are functions too (`=`, `and`).
        signature: For people: ``string.contains(part, caseSensitive = true) -> boolean``.
        summary: One sentence.
        example: An expression that uses it.
        gives: The kind of its value (`amity.expression.values.kind`), `any` when it depends.
        arity: Least and most arguments, the object in front of the dot counted.
        lambdas: Which arguments are lambdas over the items of the first.
        apply: The meaning; None for a form that an evaluator treats itself.
    """

    name: str
    signature: str
    summary: str
    example: str
    gives: Literal["boolean", "number", "string", "array", "object", "instant", "any"]
    arity: tuple[int, int]
    lambdas: tuple[int, ...] = ()
    apply: Callable[..., Any] | None = None
