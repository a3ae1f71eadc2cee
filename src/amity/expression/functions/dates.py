"""Which functions take an instant apart?

They read the calendar in UTC. [PROP]
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from amity.expression.function import Function
from amity.expression.times import in_calendar, moment_of
from amity.expression.values import Value, to_ms


def _part(read: Callable[[datetime], int]) -> Callable[[Value], Value]:
    def apply(value: Value) -> Value:
        at_ms = to_ms(value)
        return read(moment_of(at_ms)) if at_ms is not None and in_calendar(at_ms) else None

    return apply


def _of(name: str, what: str, read: Callable[[datetime], int]) -> Function:
    return Function(
        name=f"get{name}",
        signature=f"timestamp.get{name}() -> number",
        summary=f"The {what} of an instant.",
        example=f"person.birthDate.get{name}() = 2",
        gives="number",
        arity=(1, 1),
        apply=_part(read),
    )


def _now(name: str, what: str) -> Function:
    return Function(
        name=f"current{name}",
        signature=f"current{name}() -> number",
        summary=f"The {what} at the moment of evaluation.",
        example=f"person.birthMonth = current{name}()",
        gives="number",
        arity=(0, 0),
    )


FUNCTIONS = (
    _of("Year", "year", lambda moment: moment.year),
    _of("Month", "month (1 to 12)", lambda moment: moment.month),
    _of("DayOfMonth", "day of the month", lambda moment: moment.day),
    _now("Year", "year"),
    _now("Month", "month (1 to 12)"),
    _now("DayOfMonth", "day of the month"),
)
