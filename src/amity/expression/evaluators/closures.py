"""How are rules evaluated for every event, fast?

Each node becomes a Python closure once; no text is ever executed. A closure takes a frame, a list
whose first places hold the clock, what was noted, the audiences and the profile, and whose further
places hold the variables, numbered when compiling. Common shapes get closures of their own: field
paths, comparisons with a constant, windows before now, counts. They may look at less than the row
evaluator does, so their answer may stand longer than it says, never shorter.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, TypeGuard

from amity.expression.errors import TypeFault, UnsupportedHere
from amity.expression.evaluators.rows import calendar_now
from amity.expression.functions import FUNCTIONS
from amity.expression.spans import Bounds, constant, of_value, spans
from amity.expression.times import NEVER, Span, changes, holds, moment_end, moment_start
from amity.expression.tree import (
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
    Slot,
    Step,
    Var,
    path_of,
)
from amity.expression.values import Instant, Value, field_of, items, to_ms, truth

UNSUPPORTED: Mapping[str, str] = {}
"""What this evaluator cannot do: nothing."""

Frame = list[Any]
Run = Callable[[Frame], Value]
Scope = Mapping[str, int]

NOW, CHANGES, AUDIENCES, ROOT, SLOTS = range(5)
_VARIABLES = 5
_EMPTY: list[Any] = []
_ALL = sys.maxsize


class Rule:
    """A compiled expression."""

    __slots__ = ("_run", "_variables")

    def __init__(self, run: Run, size: int) -> None:
        self._run = run
        self._variables = [None] * size

    def __call__(
        self,
        profile: Mapping[str, Any],
        slots: Mapping[str, list[Any]],
        now_ms: int,
        audiences: Collection[str],
    ) -> tuple[bool, int]:
        """Whether it holds, and when that may change by itself (`NEVER` = it does not)."""
        frame: Frame = [now_ms, NEVER, audiences, profile, slots, *self._variables]
        value = self._run(frame)
        holds = value if type(value) is bool else truth(value)
        return holds, frame[CHANGES]

    def value(self, profile: Mapping[str, Any], now_ms: int, audiences: Collection[str]) -> Value:
        """The value itself, for expressions that are no conditions."""
        frame: Frame = [now_ms, NEVER, audiences, profile, {}, *self._variables]
        return self._run(frame)


def compile_rule(node: Node) -> Rule:
    """The closure of an expression.

    >>> from amity.expression.syntax.pql import parse
    >>> compile_rule(parse('a.b = "x"'))({"a": {"b": "x"}}, {}, 0, ())[0]
    True
    """
    compiler = _Compiler()
    run = compiler.compile(node, {})
    return Rule(run, compiler.size)


def compile_test(names: tuple[str, ...], body: Node) -> Callable[[Value], bool]:
    """The closure of a condition on one item that looks at no clock."""
    compiler = _Compiler()
    scope = {name: compiler.place() for name in names}
    run = compiler.compile(body, scope)
    size = compiler.size

    def test(item: Value) -> bool:
        frame: Frame = [0, NEVER, (), {}, {}, item]
        if size > 1:
            frame.extend([None] * (size - 1))
        value = run(frame)
        return value is True or truth(value)

    return test


class _Compiler:
    """Compiles one expression; hands out the places of its variables."""

    def __init__(self) -> None:
        self.size = 0

    def place(self) -> int:
        """A place in the frame for one more variable."""
        self.size += 1
        return _VARIABLES + self.size - 1

    def compile(self, node: Node, scope: Scope) -> Run:
        """The closure of a node."""
        return _NODES[type(node)](self, node, scope)

    def function(self, node: Lambda, scope: Scope) -> Callable[[Frame], Callable[..., Value]]:
        """A closure that answers a function of items."""
        root, names = path_of(node.body)
        if names and isinstance(root, Var) and node.names == (root.name,):
            return _of_path(names)
        places = [self.place() for _ in node.names]
        body = self.compile(node.body, {**scope, **dict(zip(node.names, places, strict=True))})
        if len(places) == 1:
            return _of_one(places[0], body)

        def make(frame: Frame) -> Callable[..., Value]:
            def of_items(*given: Value) -> Value:
                for place, item in zip(places, given, strict=True):
                    frame[place] = item
                return body(frame)

            return of_items

        return make


def _of_path(names: tuple[str, ...]) -> Callable[[Frame], Callable[..., Value]]:
    """A field of the item needs no frame."""

    def of_item(item: Value) -> Value:
        for name in names:
            item = item.get(name) if type(item) is dict else field_of(item, name)
            if item is None:
                return None
        return item

    return lambda _: of_item


def _of_one(place: int, body: Run) -> Callable[[Frame], Callable[..., Value]]:
    def make(frame: Frame) -> Callable[..., Value]:
        def of_item(item: Value) -> Value:
            frame[place] = item
            return body(frame)

        return of_item

    return make


def _literal(_: _Compiler, node: Literal, __: Scope) -> Run:
    value = node.value
    return lambda _: value


def _items(compiler: _Compiler, node: Items, scope: Scope) -> Run:
    if all(isinstance(item, Literal) for item in node.items):
        fixed = [item.value for item in node.items if isinstance(item, Literal)]
        return lambda _: fixed
    parts = [compiler.compile(item, scope) for item in node.items]
    return lambda frame: [part(frame) for part in parts]


def _entries(compiler: _Compiler, node: Entries, scope: Scope) -> Run:
    parts = [(key, compiler.compile(value, scope)) for key, value in node.pairs]
    return lambda frame: {key: part(frame) for key, part in parts}


def _param(_: _Compiler, node: Param, __: Scope) -> Run:
    if node.position != 1:
        raise UnsupportedHere(f"${node.position}: a rule has one parameter, the profile ($1)")
    return lambda frame: frame[ROOT]


def _var(_: _Compiler, node: Var, scope: Scope) -> Run:
    place = scope[node.name]
    return lambda frame: frame[place]


def _slot(_: _Compiler, node: Slot, __: Scope) -> Run:
    name = node.name
    return lambda frame: frame[SLOTS].get(name, _EMPTY)


def _field(compiler: _Compiler, node: Field, scope: Scope) -> Run:
    root, names = path_of(node)
    if isinstance(root, Var):
        return _path(scope[root.name], names)
    if root == Param(1):
        return _path(ROOT, names)
    return _path_of(compiler.compile(root, scope), names)


def _path(place: int, names: tuple[str, ...]) -> Run:
    if len(names) == 1:
        (name,) = names

        def one(frame: Frame) -> Value:
            value = frame[place]
            return value.get(name) if type(value) is dict else field_of(value, name)

        return one

    def run(frame: Frame) -> Value:
        value = frame[place]
        for name in names:
            value = value.get(name) if type(value) is dict else field_of(value, name)
            if value is None:
                return None
        return value

    return run


def _path_of(root: Run, names: tuple[str, ...]) -> Run:
    def run(frame: Frame) -> Value:
        value = root(frame)
        for name in names:
            value = value.get(name) if type(value) is dict else field_of(value, name)
            if value is None:
                return None
        return value

    return run


def _let(compiler: _Compiler, node: Let, scope: Scope) -> Run:
    value = compiler.compile(node.value, scope)
    place = compiler.place()
    body = compiler.compile(node.body, {**scope, node.name: place})

    def run(frame: Frame) -> Value:
        frame[place] = value(frame)
        return body(frame)

    return run


def _occurs(compiler: _Compiler, node: Occurs, scope: Scope) -> Run:
    time = compiler.compile(node.time, scope)
    fixed = tuple(constant(ref) for ref in node.refs)
    known = tuple(bound for bound in fixed if bound is not None)
    if len(known) == len(fixed):
        return _within(time, spans(node, known))
    even = _even(node)
    if even is not None:
        return _beside(time, compiler.compile(node.refs[0], scope), even)
    refs = [
        (bound, None if bound else compiler.compile(ref, scope))
        for bound, ref in zip(fixed, node.refs, strict=True)
    ]
    return _relative(node, time, refs)


Offsets = list[tuple[int, int]]


def _even(node: Occurs) -> Offsets | None:
    """How far from one reference the time may lie, when that is always equally far."""
    if node.form not in {"distance", "side"}:
        return None
    offsets: Offsets = []
    for low, high in spans(node, ((moment_start("now", ""), moment_end("now", "")),)):
        first = -NEVER if low is None else low.fixed_ms()
        last = NEVER if high is None else high.fixed_ms()
        if first is None or last is None:
            return None
        offsets.append((first, last))
    return offsets


def _beside(time: Run, ref: Run, offsets: Offsets) -> Run:
    def run(frame: Frame) -> Value:
        at_ms, ref_ms = to_ms(time(frame)), to_ms(ref(frame))
        if at_ms is None or ref_ms is None:
            return False
        distance = at_ms - ref_ms
        return any(first <= distance < last for first, last in offsets)

    return run


def _relative(node: Occurs, time: Run, refs: list[tuple[Bounds | None, Run | None]]) -> Run:
    def run(frame: Frame) -> Value:
        at_ms = to_ms(time(frame))
        bounds: list[Bounds] = []
        for fixed, ref in refs:
            bound = fixed if ref is None else of_value(ref(frame))
            if bound is None:
                return False
            bounds.append(bound)
        if at_ms is None:
            return False
        return _check(frame, spans(node, tuple(bounds)), at_ms)

    return run


def _check(frame: Frame, wanted: tuple[Span, ...], at_ms: int) -> bool:
    now_ms = frame[NOW]
    frame[CHANGES] = min(frame[CHANGES], changes(wanted, at_ms, now_ms))
    return holds(wanted, at_ms, now_ms)


def _within(time: Run, wanted: tuple[Span, ...]) -> Run:
    """A window whose ends move with now get by on integers when they move evenly."""
    window = _window_of(wanted)
    if window is not None:
        return _window(time, window)

    def run(frame: Frame) -> Value:
        at_ms = to_ms(time(frame))
        return at_ms is not None and _check(frame, wanted, at_ms)

    return run


class _Window(NamedTuple):
    """How long after its instant something enters a window that moves with now, and leaves it."""

    enter_after: int
    leave_after: int


def _window_of(wanted: tuple[Span, ...]) -> _Window | None:
    """``[now + low, now + high)`` as a window: enters at ``at - high + 1``, leaves at ``at - low + 1``."""
    if len(wanted) == 1 and wanted[0][0] is not None and wanted[0][1] is not None:
        low, high = wanted[0][0].fixed_ms(), wanted[0][1].fixed_ms()
        if low is not None and high is not None:
            return _Window(1 - high, 1 - low)
    return None


def _window(time: Run, window: _Window) -> Run:
    enter_after, leave_after = window

    def run(frame: Frame) -> Value:
        at_ms = time(frame)
        if type(at_ms) is not Instant:
            at_ms = to_ms(at_ms)
            if at_ms is None:
                return False
        now_ms = frame[NOW]
        inside = now_ms >= at_ms + enter_after
        turns = at_ms + (leave_after if inside else enter_after)
        if now_ms >= turns:
            return False
        frame[CHANGES] = min(frame[CHANGES], turns)
        return inside

    return run


def _call(compiler: _Compiler, node: Call, scope: Scope) -> Run:
    form = _CALLS.get(node.name)
    if form is not None:
        return form(compiler, node, scope)
    return _applied(compiler, node, scope)


def _applied(compiler: _Compiler, node: Call, scope: Scope) -> Run:
    apply = FUNCTIONS[node.name].apply
    if apply is None:
        raise TypeFault(f"{node.name} has no meaning here")
    parts = [
        compiler.function(arg, scope) if isinstance(arg, Lambda) else compiler.compile(arg, scope)
        for arg in node.args
    ]
    if len(parts) == 1:
        (only,) = parts
        return lambda frame: apply(only(frame))
    if len(parts) == 2:
        first, second = parts
        return lambda frame: apply(first(frame), second(frame))
    return lambda frame: apply(*[part(frame) for part in parts])


def _and(compiler: _Compiler, node: Call, scope: Scope) -> Run:
    parts = tuple(compiler.compile(arg, scope) for arg in node.args)

    def run(frame: Frame) -> Value:
        for part in parts:
            value = part(frame)
            if value is not True and not truth(value):
                return False
        return True

    return run


def _or(compiler: _Compiler, node: Call, scope: Scope) -> Run:
    parts = tuple(compiler.compile(arg, scope) for arg in node.args)

    def run(frame: Frame) -> Value:
        return any(truth(part(frame)) for part in parts)

    return run


def _if(compiler: _Compiler, node: Call, scope: Scope) -> Run:
    condition, then, otherwise = (compiler.compile(arg, scope) for arg in node.args)
    return lambda frame: then(frame) if truth(condition(frame)) else otherwise(frame)


def _in_segment(compiler: _Compiler, node: Call, scope: Scope) -> Run:
    audience = compiler.compile(node.args[0], scope)
    return lambda frame: audience(frame) in frame[AUDIENCES]


def _current(_: _Compiler, node: Call, __: Scope) -> Run:
    name = node.name

    def run(frame: Frame) -> Value:
        value, until = calendar_now(name, frame[NOW])
        frame[CHANGES] = min(frame[CHANGES], until)
        return value

    return run


def _equals(compiler: _Compiler, node: Call, scope: Scope) -> Run:
    """Equality with a constant string is the commonest rule of all."""
    left, right = node.args
    if not (isinstance(right, Literal) and type(right.value) is str):
        return _applied(compiler, node, scope)
    apply = FUNCTIONS["="].apply
    assert apply is not None  # noqa: S101 - `=` is no form
    of, wanted = compiler.compile(left, scope), right.value

    def run(frame: Frame) -> Value:
        value = of(frame)
        return value == wanted if type(value) is str else apply(value, wanted)

    return run


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _orders(compiler: _Compiler, node: Call, scope: Scope) -> Run:
    """Comparison with a constant number; of a count, only as far as needed."""
    left, right = node.args
    if not (isinstance(right, Literal) and type(right.value) in {int, float}):
        return _applied(compiler, node, scope)
    if _is_filtered_count(left) and node.name in {">", ">="} and type(right.value) is int:
        return _at_least(compiler, left, scope, right.value + (node.name == ">"))
    apply, compare = FUNCTIONS[node.name].apply, _ORDERS[node.name]
    assert apply is not None  # noqa: S101 - it is no form
    of, limit = compiler.compile(left, scope), right.value

    def run(frame: Frame) -> Value:
        value = of(frame)
        if type(value) is int or type(value) is float:
            return compare(value, limit)
        return apply(value, limit)

    return run


def _is_filtered_count(node: Node) -> TypeGuard[Call]:
    return (
        isinstance(node, Call)
        and node.name == "count"
        and isinstance(node.args[0], Call)
        and node.args[0].name == "filter"
    )


def _at_least(compiler: _Compiler, node: Call, scope: Scope, limit: int) -> Run:
    """From the newest back until there are enough: those that stay longest decide when it turns."""
    of, select = _filter_parts(compiler, node.args[0], scope)
    if limit < 1:
        return lambda _: True

    def run(frame: Frame) -> Value:
        found = items(of(frame))
        return len(found) >= limit and len(select(frame, reversed(found), limit)) >= limit

    return run


Select = Callable[[Frame, Iterable[Value], int], list[Value]]
"""The items for which a condition holds, looking no further than so many of them."""


def _filter_parts(compiler: _Compiler, node: Node, scope: Scope) -> tuple[Run, Select]:
    """What gives the items of a filter, and what selects of them."""
    assert isinstance(node, Call)  # noqa: S101 - a filter
    source, test = node.args
    assert isinstance(test, Lambda)  # noqa: S101 - the reader makes no other
    of, place = compiler.compile(source, scope), compiler.place()
    window = _window_on(test)
    if window is not None:
        return of, _select_within(*window)
    return of, _select(place, compiler.compile(test.body, {**scope, test.names[0]: place}))


def _select(place: int, body: Run) -> Select:
    def select(frame: Frame, among: Iterable[Value], limit: int) -> list[Value]:
        found = []
        for item in among:
            frame[place] = item
            value = body(frame)
            if value is True or truth(value):
                found.append(item)
                if len(found) >= limit:
                    break
        return found

    return select


def _window_on(test: Lambda) -> tuple[str, _Window] | None:
    """The field of the item that must lie in a window, if the condition says no more."""
    body = test.body
    if not isinstance(body, Occurs):
        return None
    root, names = path_of(body.time)
    bounds = tuple(bound for ref in body.refs if (bound := constant(ref)) is not None)
    if root != Var(test.names[0]) or len(names) != 1 or len(bounds) < len(body.refs):
        return None
    window = _window_of(spans(body, bounds))
    return None if window is None else (names[0], window)


def _select_within(name: str, window: _Window) -> Select:
    """The commonest condition on an event, without a call for each of them."""
    enter_after, leave_after = window

    def select(frame: Frame, among: Iterable[Value], limit: int) -> list[Value]:
        now_ms, soonest = frame[NOW], frame[CHANGES]
        found: list[Value] = []
        for item in among:
            at_ms = item.get(name) if type(item) is dict else field_of(item, name)
            if type(at_ms) is not Instant:
                at_ms = to_ms(at_ms)
                if at_ms is None:
                    continue
            inside = now_ms >= at_ms + enter_after
            turns = at_ms + (leave_after if inside else enter_after)
            if now_ms >= turns:
                continue
            if turns < soonest:  # noqa: PLR1730 - no call for each event
                soonest = turns
            if inside:
                found.append(item)
                if len(found) >= limit:
                    break
        frame[CHANGES] = soonest
        return found

    return select


def _is_in(compiler: _Compiler, node: Call, scope: Scope) -> Run:
    """Membership in constant strings is a look-up."""
    left, right = node.args
    constants = right.items if isinstance(right, Items) else ()
    strings = {c.value for c in constants if isinstance(c, Literal) and type(c.value) is str}
    if not constants or len(strings) < len(constants):
        return _applied(compiler, node, scope)
    apply = FUNCTIONS["in"].apply
    assert apply is not None  # noqa: S101 - `in` is no form
    of, among = compiler.compile(left, scope), sorted(strings)

    def run(frame: Frame) -> Value:
        value = of(frame)
        return value in strings if type(value) is str else apply(value, among)

    return run


def _filter(compiler: _Compiler, node: Call, scope: Scope) -> Run:
    of, select = _filter_parts(compiler, node, scope)
    return lambda frame: select(frame, items(of(frame)), _ALL)


def _exists(compiler: _Compiler, node: Call, scope: Scope) -> Run:
    of, select = _filter_parts(compiler, node, scope)
    return lambda frame: bool(select(frame, reversed(items(of(frame))), 1))


_CALLS: dict[str, Callable[[_Compiler, Call, Scope], Run]] = {
    "and": _and,
    "or": _or,
    "if": _if,
    "inSegment": _in_segment,
    "currentYear": _current,
    "currentMonth": _current,
    "currentDayOfMonth": _current,
    "=": _equals,
    "in": _is_in,
    **dict.fromkeys(_ORDERS, _orders),
    "filter": _filter,
    "exists": _exists,
}


def _chain(compiler: _Compiler, node: Chain, scope: Scope) -> Run:
    array = compiler.compile(node.array, scope)
    stamp = compiler.function(node.timestamp, scope)
    steps = [_compiled_step(compiler, step, scope) for step in node.steps]

    def run(frame: Frame) -> Value:
        of = stamp(frame)
        timed = [(at, item) for item in items(array(frame)) if (at := to_ms(of(item))) is not None]
        timed.sort(key=lambda pair: pair[0])
        done_ms: int | None = None
        for step in steps:
            done_ms = step(frame, timed, done_ms)
            if done_ms is None:
                return False
        return True

    return run


CompiledStep = Callable[[Frame, list[tuple[int, Value]], int | None], int | None]


def _compiled_step(compiler: _Compiler, step: Step, scope: Scope) -> CompiledStep:
    what = compiler.function(step.what, scope)
    when = compiler.function(step.when, scope) if step.when else None
    count, gap_ms = step.count, step.gap_ms

    def run(frame: Frame, timed: list[tuple[int, Value]], after_ms: int | None) -> int | None:
        test, window = what(frame), when(frame) if when else None
        least = None if after_ms is None else max(after_ms + 1, after_ms + gap_ms)
        left = count
        for at, item in timed:
            if least is not None and at < least:
                continue
            if truth(test(item)) and (window is None or truth(window(item))):
                left -= 1
                if left <= 0:
                    return at
        return None

    return run


_NODES: dict[type[Node], Callable[[_Compiler, Any, Scope], Run]] = {
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
    Slot: _slot,
}
