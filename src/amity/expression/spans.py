"""What does an `occurs` ask, once its words are read?

Turns the tree's form into spans (`amity.expression.times`): constant references are worked out
once, references to fields are made for each value.
"""

from __future__ import annotations

from collections.abc import Callable

from amity.expression.errors import TypeFault
from amity.expression.times import (
    End,
    Span,
    distance,
    moment_end,
    moment_start,
    side,
)
from amity.expression.tree import Literal, Moment, Node, Occurs
from amity.expression.values import Value, to_ms
from amity.kernel.clock import DAY_MS

Bounds = tuple[End, End]
"""A reference: its start, and the instant after it; for an instant, itself and one later.

A constant midnight is what `date(2024, 2, 29)` means: a day.
"""


def constant(ref: Node) -> Bounds | None:
    """The bounds of a time word or date; None for a reference that is a value of the data."""
    if isinstance(ref, Moment):
        return moment_start(ref.word, ref.unit), moment_end(ref.word, ref.unit)
    if isinstance(ref, Literal):
        at_ms = to_ms(ref.value)
        if at_ms is None:
            raise TypeFault(f"occurs needs an instant, {ref.value!r} is none")
        return _of_date(at_ms) if at_ms % DAY_MS == 0 else of_instant(at_ms)
    return None


def _of_date(at_ms: int) -> Bounds:
    """The bounds of a date: its midnight, and that of the day after it."""
    start = End(moving=False, base=at_ms)
    return start, start.later(DAY_MS)


def of_instant(at_ms: int) -> Bounds:
    """The bounds of one instant."""
    end = End(moving=False, base=at_ms)
    return end, end.later(1)


def spans(occurs: Occurs, refs: tuple[Bounds, ...]) -> tuple[Span, ...]:
    """Where the time must lie."""
    return _FORMS[occurs.form](occurs, refs)


def _distance(occurs: Occurs, refs: tuple[Bounds, ...]) -> tuple[Span, ...]:
    return distance(refs[0][0], occurs.op, occurs.amount, (occurs.unit, occurs.direction))


def _side(occurs: Occurs, refs: tuple[Bounds, ...]) -> tuple[Span, ...]:
    return side(refs[0][0], occurs.direction)


def _on(occurs: Occurs, refs: tuple[Bounds, ...]) -> tuple[Span, ...]:
    ref = occurs.refs[0]
    if isinstance(ref, Moment) and ref.word != "now":
        return (refs[0],)
    day = End(moving=refs[0][0].moving, base=refs[0][0].base, floor_unit="day")
    return ((day, day.shift(1, "day")),)


def _between(_: Occurs, refs: tuple[Bounds, ...]) -> tuple[Span, ...]:
    return ((refs[0][0], refs[1][1]),)


_FORMS: dict[str, Callable[[Occurs, tuple[Bounds, ...]], tuple[Span, ...]]] = {
    "distance": _distance,
    "side": _side,
    "on": _on,
    "between": _between,
}


def of_value(value: Value) -> Bounds | None:
    """The bounds of a value of the data; None when it is no instant."""
    at_ms = to_ms(value)
    return None if at_ms is None else of_instant(at_ms)
