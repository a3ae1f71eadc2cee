"""What does an expression mean?

This is the meaning: the plain recursive evaluation of one profile and its events at one instant. The
other evaluators are held equal to it by property tests. Beside the value it answers `changes_at`,
the next instant at which the value may change by itself: every look at the clock that the answer
rests on notes when it would turn out otherwise, and the earliest of them is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from amity.expression.errors import TypeFault, UnsupportedHere
from amity.expression.functions import FUNCTIONS
from amity.expression.spans import constant, of_value, spans
from amity.expression.times import (
    NEVER,
    changes,
    floor,
    holds,
    moment_of,
    shifted,
)
from amity.expression.tree import (
    EVENTS,
    Call,
    Chain,
    Entries,
    Field,
    Items,
    Lambda,
    Let,
    Literal,
    Node,
    Occurs,
    Param,
    Step,
    Var,
)
from amity.expression.values import Instant, Value, field_of, items, to_ms, truth

UNSUPPORTED: Mapping[str, str] = {}
"""What this evaluator cannot do: nothing, it is the meaning."""

Env = Mapping[str, Value]


class Answer(NamedTuple):
    """The value, and the next instant at which it may change by itself (None = it does not)."""

    value: Value
    changes_at: int | None


def evaluate(
    node: Node,
    profile: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    now_ms: int,
    *,
    audiences: Collection[str] = (),
) -> Answer:
    """The value of an expression for one profile.

    >>> from amity.expression.syntax.pql import parse
    >>> rule = parse("xEvent[timestamp occurs <= 1 seconds before now].count() > 0")
    >>> evaluate(rule, {}, [{"_id": "e", "timestamp": "1970-01-01T00:00:10Z"}], 10_500)
    Answer(value=True, changes_at=11000)

    Args:
        node: The expression.
        profile: The merged view.
        events: The events of the profile, in any order.
        now_ms: The instant of evaluation.
        audiences: The audiences that the profile is a member of, for `inSegment`.
    """
    run = _Run(now_ms, audiences)
    root = {**profile, EVENTS: ordered(events)}
    value = run.value(node, {"$1": root})
    return Answer(value, None if run.changes_at >= NEVER else run.changes_at)


def ordered(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The events by time, with their timestamp as an instant; those without one are left out."""
    timed = [(at, event) for event in events if (at := to_ms(event.get("timestamp"))) is not None]
    timed.sort(key=lambda pair: (pair[0], str(pair[1].get("_id", ""))))
    return [{**event, "timestamp": Instant(at)} for at, event in timed]


class _Run:
    """One evaluation: the clock it looks at, and what it noted."""

    def __init__(self, now_ms: int, audiences: Collection[str]) -> None:
        self.now_ms = now_ms
        self.audiences = audiences
        self.changes_at = NEVER

    def note(self, at_ms: int) -> None:
        """The answer may be another one from `at_ms` on."""
        self.changes_at = min(self.changes_at, at_ms)

    def value(self, node: Node, env: Env) -> Value:
        """The value of a node."""
        return _NODES[type(node)](self, node, env)

    def function(self, node: Lambda, env: Env) -> Callable[..., Value]:
        """A lambda as a function of its items."""
        return lambda *given: self.value(
            node.body, {**env, **dict(zip(node.names, given, strict=True))}
        )

    def occurs(self, node: Occurs, env: Env) -> bool:
        """Whether the time lies where it should, noting when that turns."""
        at_ms = to_ms(self.value(node.time, env))
        bounds = tuple(constant(ref) or of_value(self.value(ref, env)) for ref in node.refs)
        known = tuple(bound for bound in bounds if bound is not None)
        if at_ms is None or len(known) < len(bounds):
            return False
        wanted = spans(node, known)
        self.note(changes(wanted, at_ms, self.now_ms))
        return holds(wanted, at_ms, self.now_ms)


def _literal(_: _Run, node: Literal, __: Env) -> Value:
    return node.value


def _items(run: _Run, node: Items, env: Env) -> Value:
    return [run.value(item, env) for item in node.items]


def _entries(run: _Run, node: Entries, env: Env) -> Value:
    return {key: run.value(value, env) for key, value in node.pairs}


def _param(_: _Run, node: Param, env: Env) -> Value:
    if node.position != 1:
        raise UnsupportedHere(f"${node.position}: a rule has one parameter, the profile ($1)")
    return env["$1"]


def _var(_: _Run, node: Var, env: Env) -> Value:
    return env[node.name]


def _field(run: _Run, node: Field, env: Env) -> Value:
    return field_of(run.value(node.object, env), node.name)


def _let(run: _Run, node: Let, env: Env) -> Value:
    return run.value(node.body, {**env, node.name: run.value(node.value, env)})


def _occurs(run: _Run, node: Occurs, env: Env) -> Value:
    return run.occurs(node, env)


def _call(run: _Run, node: Call, env: Env) -> Value:
    form = _CALLS.get(node.name)
    if form is not None:
        return form(run, node, env)
    function = FUNCTIONS[node.name]
    if function.apply is None:
        raise TypeFault(f"{node.name} has no meaning here")
    given = [
        run.function(arg, env) if isinstance(arg, Lambda) else run.value(arg, env)
        for arg in node.args
    ]
    return function.apply(*given)


def _and(run: _Run, node: Call, env: Env) -> Value:
    return all(truth(run.value(arg, env)) for arg in node.args)


def _or(run: _Run, node: Call, env: Env) -> Value:
    return any(truth(run.value(arg, env)) for arg in node.args)


def _if(run: _Run, node: Call, env: Env) -> Value:
    condition, then, otherwise = node.args
    return run.value(then if truth(run.value(condition, env)) else otherwise, env)


def _in_segment(run: _Run, node: Call, env: Env) -> Value:
    return run.value(node.args[0], env) in run.audiences


def calendar_now(name: str, now_ms: int) -> tuple[int, int]:
    """The value of `currentMonth` and its kin, and when it changes."""
    unit, read = _CALENDAR[name]
    start = floor(now_ms, unit)
    return read(now_ms), shifted(start, 1, unit)


_CALENDAR: dict[str, tuple[str, Callable[[int], int]]] = {
    "currentYear": ("year", lambda at: moment_of(at).year),
    "currentMonth": ("month", lambda at: moment_of(at).month),
    "currentDayOfMonth": ("day", lambda at: moment_of(at).day),
}


def _current(run: _Run, node: Call, _: Env) -> Value:
    value, until = calendar_now(node.name, run.now_ms)
    run.note(until)
    return value


_CALLS: dict[str, Callable[[_Run, Call, Env], Value]] = {
    "and": _and,
    "or": _or,
    "if": _if,
    "inSegment": _in_segment,
    **dict.fromkeys(_CALENDAR, _current),
}


def _chain(run: _Run, node: Chain, env: Env) -> Value:
    """Each step takes the earliest events that will do: that leaves most to the steps after it."""
    timed = [
        (at, item)
        for item in items(run.value(node.array, env))
        if (at := to_ms(run.function(node.timestamp, env)(item))) is not None
    ]
    timed.sort(key=lambda pair: pair[0])
    done_ms: int | None = None
    for step in node.steps:
        done_ms = _step(run, step, env, (timed, done_ms))
        if done_ms is None:
            return False
    return True


Timed = tuple[list[tuple[int, Value]], int | None]


def _step(run: _Run, step: Step, env: Env, so_far: Timed) -> int | None:
    """When the step is complete; None when it never is."""
    timed, after_ms = so_far
    left = step.count
    for at, item in timed:
        if after_ms is not None and (at <= after_ms or at < after_ms + step.gap_ms):
            continue
        if not truth(run.function(step.what, env)(item)):
            continue
        if step.when is not None and not truth(run.function(step.when, env)(item)):
            continue
        left -= 1
        if left <= 0:
            return at
    return None


_NODES: dict[type[Node], Callable[[_Run, Any, Env], Value]] = {
    Literal: _literal,
    Items: _items,
    Entries: _entries,
    Param: _param,
    Var: _var,
    Field: _field,
    Let: _let,
    Occurs: _occurs,
    Call: _call,
    Chain: _chain,
}
