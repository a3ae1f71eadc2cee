"""Which evaluation method does a rule qualify for, as the followed system decides it?

Amity evaluates every audience exactly, at each event and at each instant its answer turns; the method
is told because clients read it. Behaviour: platform-audiences.md §5.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from amity.expression.times import FIXED
from amity.expression.tree import (
    EVENTS,
    Call,
    Chain,
    Field,
    Moment,
    Node,
    Occurs,
    Param,
    children,
    is_events,
    walk,
)
from amity.kernel.clock import DAY_MS

Method = Literal["batch", "continuous", "synchronous"]


class Evaluation(NamedTuple):
    """The method, and why."""

    method: Method
    reason: str


def eligible(rule: Node) -> Evaluation:
    """The quickest method that the followed system would let the rule have.

    >>> from amity.expression.syntax.pql import parse
    >>> eligible(parse('homeAddress.city = "Rome"')).method
    'continuous'
    >>> eligible(parse("xEvent.count() > 3")).method
    'batch'
    """
    if not any(is_events(part) for part in walk(rule)):
        return Evaluation("continuous", "it reads attributes and other audiences only")
    hindrance = next(_hindrances(rule), None)
    if hindrance:
        return Evaluation("batch", hindrance)
    return Evaluation("continuous", "it looks at events of the last 24 hours")


def _hindrances(rule: Node) -> Iterator[str]:
    if any(isinstance(part, Call) and part.name == "inSegment" for part in walk(rule)):
        yield "it looks at events and asks for another audience"
    if _only_negated(rule):
        yield "every event it looks for must be missing"
    if _aggregates(rule):
        yield "it aggregates events"
    window = _window_ms(rule)
    if window is None or window > DAY_MS:
        yield "it looks at events of more than 24 hours"
    looks = sum(is_events(part) for part in walk(rule))
    if looks > 1 and not any(isinstance(part, Chain) for part in walk(rule)):
        yield "it looks for several events in no strict order of time"


def chosen(rule: Node, asked: str) -> Evaluation:
    """The method an audience gets that asked for one of them ("" = none)."""
    best = eligible(rule)
    if asked in {"", "batch"}:
        return Evaluation("batch", "batch was asked for")
    if best.method == "batch":
        return Evaluation("batch", f"{asked} was asked for, but {best.reason}")
    return Evaluation("synchronous" if asked == "synchronous" else "continuous", best.reason)


_COUNTING = frozenset({"count", "sum", "average", "min", "max", "topN", "bottomN", "groupBy"})


def _aggregates(rule: Node) -> bool:
    return any(
        isinstance(part, Call)
        and part.name in _COUNTING
        and any(is_events(below) for below in walk(part))
        for part in walk(rule)
    )


def _only_negated(rule: Node) -> bool:
    found = list(_looks(rule, negated=False))
    return bool(found) and all(found)


def _looks(node: Node, *, negated: bool) -> Iterator[bool]:
    """For each look at the events, whether it stands under a negation."""
    if is_events(node):
        yield negated
        return
    turned = negated ^ (isinstance(node, Call) and node.name == "not")
    for child in children(node):
        yield from _looks(child, negated=turned)


def _window_ms(rule: Node) -> int | None:
    """The longest window before now; None when some look at events has none."""
    windows = [
        part.amount * FIXED[part.unit]
        for part in walk(rule)
        if isinstance(part, Occurs)
        and part.form == "distance"
        and part.direction == "before"
        and part.op in {"<", "<="}
        and part.refs == (Moment("now"),)
        and part.unit in FIXED
    ]
    today = sum(
        isinstance(part, Occurs) and part.form == "on" and part.refs == (Moment("today"),)
        for part in walk(rule)
    )
    looks = sum(part == Field(Param(1), EVENTS) for part in walk(rule))
    return max(windows, default=DAY_MS) if len(windows) + today >= looks else None
