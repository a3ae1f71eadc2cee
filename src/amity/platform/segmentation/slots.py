"""Which events must be kept for a rule, and what of them?

Every place where a rule looks through the profile's events becomes a slot: the events for which the
part of the condition holds that speaks of the event alone and not of the clock. A slot keeps only
the fields that the rest of the rule reads, and only as long as the rule can still look at them.
Rules that look for the same events share a slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from amity.expression.evaluators.closures import compile_test
from amity.expression.times import FIXED, MONTHS
from amity.expression.tree import (
    TRUE,
    Call,
    Chain,
    Field,
    Items,
    Lambda,
    Let,
    Literal,
    Moment,
    Node,
    Occurs,
    Param,
    Slot,
    Step,
    Var,
    children,
    conjunction,
    conjuncts,
    free,
    is_events,
    path_of,
    rebuild,
    rename,
    uses_now,
    walk,
)
from amity.kernel.clock import DAY_MS
from amity.kernel.ids import digest

Path = tuple[str, ...]
Paths = frozenset[Path]
WHOLE: Path = ()
"""The path that asks for everything."""

_EVENT = "event"
_MONTH_MS_MAX = 31 * DAY_MS


@dataclass(frozen=True, slots=True)
class SlotSpec:
    """What one slot keeps.

    Attributes:
        name: Made of the condition, so that it stays the same between starts.
        types: The event types it takes; None = any.
        values: Field → the texts of which it must be one.
        plain: Whether `values` say all: an event that has them needs no test.
        test: Whether an event belongs into it.
        paths: The fields it keeps beside `_id` and `timestamp`.
        keep_ms: How old an event may get before no rule can look at it any more; None = for ever.
    """

    name: str
    types: frozenset[str] | None
    values: Mapping[Path, frozenset[str]]
    plain: bool
    test: Callable[[Any], bool]
    paths: Paths
    keep_ms: int | None


@dataclass(frozen=True, slots=True)
class SlotDraft:
    """A slot as one rule needs it."""

    name: str
    condition: Node
    keep_ms: int | None
    paths: Paths = frozenset()

    def merged(self, other: SlotDraft) -> SlotDraft:
        """A slot that serves both rules."""
        both = (self.keep_ms, other.keep_ms)
        return replace(
            self,
            keep_ms=None if None in both else max(keep for keep in both if keep is not None),
            paths=self.paths | other.paths,
        )

    def spec(self) -> SlotSpec:
        """The slot, compiled."""
        values = _values(self.condition)
        return SlotSpec(
            name=self.name,
            types=_types(self.condition),
            values=values,
            plain=len(values) == len(conjuncts(self.condition)),
            test=compile_test((_EVENT,), self.condition),
            paths=frozenset((WHOLE,)) if WHOLE in self.paths else self.paths,
            keep_ms=self.keep_ms,
        )


@dataclass(frozen=True, slots=True)
class Needs:
    """What a rule needs: itself over slots, the slots, attributes and other audiences."""

    rule: Node
    slots: Mapping[str, SlotDraft]
    attributes: Paths
    audiences: frozenset[str]


def needs_of(rule: Node) -> Needs:
    """What a rule needs.

    >>> from amity.expression.syntax.pql import parse
    >>> needs = needs_of(parse('a.b = 1 and xEvent[eventType = "x" and c > 2].count() > 3'))
    >>> sorted(needs.attributes), [draft.paths for draft in needs.slots.values()]
    ([('a', 'b')], [frozenset()])
    """
    drafts: dict[str, SlotDraft] = {}
    rewritten = _Rewriter(drafts).rewrite(rule)
    reading = _Reading()
    reading.visit(rewritten, {})
    slots = {
        name: replace(draft, paths=frozenset(reading.of_slots.get(name, ())))
        for name, draft in drafts.items()
    }
    return Needs(rewritten, slots, frozenset(reading.attributes), audiences_in(rule))


def audiences_in(rule: Node) -> frozenset[str]:
    """The audiences that a rule asks for by `inSegment`."""
    return frozenset(
        str(part.args[0].value)
        for part in walk(rule)
        if isinstance(part, Call) and part.name == "inSegment" and isinstance(part.args[0], Literal)
    )


def fields_in(rule: Node) -> tuple[Path, ...]:
    """Every field that a rule reads, of the profile and of its events, as schemas name them."""
    needs = needs_of(rule)
    reading = _Reading()
    reading.visit(rule, {})
    paths = {path for path in reading.attributes if path}
    conditions = [draft.condition for draft in needs.slots.values()]
    found = {
        path
        for draft, condition in zip(needs.slots.values(), conditions, strict=True)
        for path in (*draft.paths, *_paths_on(condition))
    }
    return tuple(sorted(paths | {path for path in found if path}))


def _paths_on(condition: Node) -> set[Path]:
    reading = _Reading()
    reading.visit(condition, {_EVENT: frozenset((_EVENT,))})
    return reading.of_slots.get(_EVENT, set())


class _Rewriter:
    """Replaces the profile's events by slots."""

    def __init__(self, drafts: dict[str, SlotDraft]) -> None:
        self._drafts = drafts

    def rewrite(self, node: Node) -> Node:
        if isinstance(node, Call) and node.name in {"filter", "exists"} and is_events(node.args[0]):
            return self._filtered(node)
        if isinstance(node, Chain) and is_events(node.array):
            return self._chained(node)
        if is_events(node):
            return self._slot(TRUE, None)
        return rebuild(node, self.rewrite)

    def _filtered(self, node: Call) -> Node:
        test = node.args[1]
        assert isinstance(test, Lambda)  # noqa: S101 - the reader makes no other
        (name,) = test.names
        parts = conjuncts(test.body)
        fixed = tuple(part for part in parts if _speaks_of_event_alone(part, name))
        rest = tuple(self.rewrite(part) for part in parts if part not in fixed)
        slot = self._slot(_canonical(fixed, name), _keep_ms(parts, name))
        return Call(node.name, (slot, Lambda((name,), conjunction(rest))))

    def _chained(self, node: Chain) -> Node:
        options: list[Node] = []
        keeps: list[int | None] = []
        for step in node.steps:
            (name,) = step.what.names
            parts = conjuncts(step.what.body)
            fixed = tuple(part for part in parts if _speaks_of_event_alone(part, name))
            options.append(_canonical(fixed, name))
            keeps.append(_keep_ms((*parts, *_when(step, name)), name))
        condition = options[0] if len(options) == 1 else Call("or", tuple(options))
        bounds = [keep for keep in keeps if keep is not None]
        keep_ms = max(bounds) if len(bounds) == len(keeps) else None
        slot = self._slot(TRUE if TRUE in options else condition, keep_ms)
        return rebuild(node, lambda part: slot if is_events(part) else self.rewrite(part))

    def _slot(self, condition: Node, keep_ms: int | None) -> Slot:
        name = digest("slot", repr(condition), length=8)
        draft = SlotDraft(name, condition, keep_ms)
        known = self._drafts.get(name)
        self._drafts[name] = known.merged(draft) if known else draft
        return Slot(name)


def _when(step: Step, name: str) -> tuple[Node, ...]:
    if step.when is None:
        return ()
    return conjuncts(rename(step.when.body, step.when.names[0], Var(name)))


def _canonical(parts: tuple[Node, ...], name: str) -> Node:
    """The same condition reads the same, whatever its variable is called and in which order."""
    renamed = (rename(part, name, Var(_EVENT)) for part in parts)
    return conjunction(tuple(sorted(renamed, key=repr)))


def _speaks_of_event_alone(part: Node, name: str) -> bool:
    return (
        free(part) <= {name}
        and not uses_now(part)
        and not any(
            isinstance(below, Param | Slot)
            or (isinstance(below, Call) and below.name == "inSegment")
            for below in walk(part)
        )
    )


def _keep_ms(parts: Iterable[Node], name: str) -> int | None:
    """How far back `... occurs <= n units before now` lets the condition look."""
    stamp = Field(Var(name), "timestamp")
    found = [
        part.amount * (FIXED.get(part.unit) or MONTHS[part.unit] * _MONTH_MS_MAX)
        for part in parts
        if isinstance(part, Occurs)
        and part.time == stamp
        and (part.form, part.direction) == ("distance", "before")
        and part.op in {"<", "<="}
        and part.refs == (Moment("now"),)
    ]
    return min(found, default=None)


def _types(condition: Node) -> frozenset[str] | None:
    if isinstance(condition, Call) and condition.name == "or":
        options = [_types(option) for option in condition.args]
        known = [option for option in options if option is not None]
        return frozenset().union(*known) if len(known) == len(options) else None
    found = [types for part in conjuncts(condition) if (types := _types_of(part)) is not None]
    return min(found, key=len, default=None)


def _types_of(part: Node) -> frozenset[str] | None:
    path, texts = _one_of(part) or (WHOLE, _NO_TEXTS)
    return texts if path == ("eventType",) else None


def _values(condition: Node) -> dict[Path, frozenset[str]]:
    return dict(found for part in conjuncts(condition) if (found := _one_of(part)) is not None)


def _one_of(part: Node) -> tuple[Path, frozenset[str]] | None:
    """The field of the event that must be one of these texts, if the part says no more."""
    if not (isinstance(part, Call) and part.name in {"=", "in"}):
        return None
    left, right = part.args
    root, path = path_of(left)
    if root != Var(_EVENT) or not path:
        return None
    values = right.items if isinstance(right, Items) else (right,)
    texts = [v.value for v in values if isinstance(v, Literal) and isinstance(v.value, str)]
    return (path, frozenset(texts)) if len(texts) == len(values) else None


_NO_TEXTS: frozenset[str] = frozenset()

Held = frozenset[str]
"""The slots whose whole events a value may hold."""

_NONE: Held = frozenset()
_PASS = frozenset({"filter", "topN", "bottomN", "head", "get", "values", "groupBy", "distinct"})
_LOOK = frozenset({"exists", "forall", "count", "isNull", "isNotNull", "and", "or", "not"})
_WHOLE = frozenset({"distinct"})


@dataclass(slots=True)
class _Reading:
    """Follows events through a rule and notes which of their fields are read."""

    of_slots: dict[str, set[Path]] = field(default_factory=dict)
    attributes: set[Path] = field(default_factory=set)

    def visit(self, node: Node, env: Mapping[str, Held]) -> Held:
        """Note what the node reads; answers which events its value holds whole."""
        visitor = _VISITORS.get(type(node))
        if visitor is not None:
            return visitor(self, node, env)
        for child in children(node):
            self.needs(self.visit(child, env), WHOLE)
        return _NONE

    def needs(self, held: Held, path: Path) -> None:
        for slot in held:
            self.of_slots.setdefault(slot, set()).add(path)

    def field(self, node: Field, env: Mapping[str, Held]) -> Held:
        root, names = path_of(node)
        if root == Param(1):
            self.attributes.add(names)
        else:
            self.needs(self.visit(root, env), names)
        return _NONE

    def call(self, node: Call, env: Mapping[str, Held]) -> Held:
        held = self.visit(node.args[0], env) if node.args else _NONE
        others = _NONE
        for arg in node.args[1:]:
            inner = env
            body: Node = arg
            if isinstance(arg, Lambda):
                inner = {**env, **dict.fromkeys(arg.names, held)}
                body = arg.body
            others |= self.visit(body, inner)
        if node.name not in _LOOK and node.name != "filter":
            self.needs(others, WHOLE)
        if node.name in _LOOK:
            return _NONE
        if node.name == "if":
            return others
        if node.name not in _PASS or node.name in _WHOLE:
            self.needs(self._whole(node, held), WHOLE)
        return held if node.name in _PASS else _NONE

    def _whole(self, node: Call, held: Held) -> Held:
        """A lambda says what it reads of each item; without one the items count as they are."""
        return _NONE if any(isinstance(arg, Lambda) for arg in node.args[1:]) else held

    def let(self, node: Let, env: Mapping[str, Held]) -> Held:
        return self.visit(node.body, {**env, node.name: self.visit(node.value, env)})

    def chain(self, node: Chain, env: Mapping[str, Held]) -> Held:
        held = self.visit(node.array, env)
        lambdas = [node.timestamp, *(step.what for step in node.steps)]
        lambdas += [step.when for step in node.steps if step.when]
        for one in lambdas:
            self.visit(one.body, {**env, **dict.fromkeys(one.names, held)})
        return _NONE

    def param(self, _: Param, __: Mapping[str, Held]) -> Held:
        self.attributes.add(WHOLE)
        return _NONE


_VISITORS: dict[type[Node], Callable[[_Reading, Any, Mapping[str, Held]], Held]] = {
    Field: _Reading.field,
    Call: _Reading.call,
    Let: _Reading.let,
    Chain: _Reading.chain,
    Param: _Reading.param,
    Slot: lambda _, node, __: frozenset((node.name,)),
    Var: lambda _, node, env: env.get(node.name, _NONE),
    Literal: lambda *_: _NONE,
    Moment: lambda *_: _NONE,
}

Trie = Mapping[str, Any]


def trie(paths: Iterable[Path]) -> Trie | None:
    """The paths as a tree of names; None = everything.

    >>> trie([("a", "b"), ("a", "b", "c"), ("d",)])
    {'d': None, 'a': {'b': None}}
    """
    out: dict[str, Any] = {}
    for path in sorted(paths, key=len):
        if not path:
            return None
        at = out
        for name in path[:-1]:
            below = at.setdefault(name, {})
            if below is None:
                break
            at = below
        else:
            at[path[-1]] = None
    return out


def project(value: Any, wanted: Trie | None) -> Any:
    """What the paths name of a value; over an array, of every item.

    >>> project({"a": [{"b": 1, "c": 2}], "d": 3}, trie([("a", "b")]))
    {'a': [{'b': 1}]}
    """
    if wanted is None:
        return value
    if type(value) is dict:
        found: dict[str, Any] = {}
        for name, below in wanted.items():
            inner = value.get(name)
            if inner is not None:
                found[name] = inner if below is None else project(inner, below)
        return found
    if type(value) is list:
        return [project(item, wanted) for item in value]
    return value


def at(value: Any, path: Sequence[str]) -> Any:
    """The value at a path, before arrays."""
    for name in path:
        if type(value) is not dict:
            return value
        value = value.get(name)
    return value
