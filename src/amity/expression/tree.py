"""What is an expression, whatever syntax it was written in?

Frozen nodes. Every name is resolved: a bare field inside `xEvent[...]` is a field of a variable,
`^f` a field of an outer one, and `exists V from a where p, W from b where q` is
``exists(a, V => p and exists(b, W => q))``. So an evaluator knows fields, variables, calls and
lambdas, and no scoping rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

EVENTS = "xEvent"
"""The field of the profile that holds its events."""


@dataclass(frozen=True, slots=True)
class Node:
    """Any part of an expression."""


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A constant: null, boolean, int64, double, string or instant."""

    value: Any


TRUE = Literal(value=True)


@dataclass(frozen=True, slots=True)
class Items(Node):
    """`[a, b]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entries(Node):
    """`{"k": v}`."""

    pairs: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Param(Node):
    """`$1`: the profile."""

    position: int


@dataclass(frozen=True, slots=True)
class Var(Node):
    """A variable that a lambda or `let` binds."""

    name: str


@dataclass(frozen=True, slots=True)
class Field(Node):
    """A field of an object; over an array, that field of every item."""

    object: Node
    name: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function or operator by its name (`amity.expression.functions`)."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Lambda(Node):
    """A condition or value for each item. Only as an argument of a call."""

    names: tuple[str, ...]
    body: Node


@dataclass(frozen=True, slots=True)
class Let(Node):
    """`let S = (value) in (body)`."""

    name: str
    value: Node
    body: Node


@dataclass(frozen=True, slots=True)
class Moment(Node):
    """A time word: `now`, `today`, `yesterday`, `tomorrow`, or this/last/next + unit."""

    word: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Occurs(Node):
    """`time occurs <= 3 days before now` in all its forms.

    `form` is `distance` (op, amount, unit, direction), `side` (direction), `on` or `between`.
    """

    time: Node
    form: str
    refs: tuple[Node, ...]
    op: str = ""
    amount: int = 0
    unit: str = ""
    direction: str = ""


@dataclass(frozen=True, slots=True)
class Step(Node):
    """One element of a chain: `count` events for which `what` and `when` hold.

    `gap_ms` is the least time since the step before was complete.
    """

    label: str
    what: Lambda
    when: Lambda | None = None
    count: int = 1
    gap_ms: int = 0


@dataclass(frozen=True, slots=True)
class Chain(Node):
    """Steps that must happen one after the other, each strictly later than the one before."""

    array: Node
    timestamp: Lambda
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Slot(Node):
    """The events that a streaming rule set keeps under this name; made by no syntax."""

    name: str


def _children(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from _children(one)


def children(node: Node) -> Iterator[Node]:
    """The direct parts of a node.

    >>> list(children(Field(Param(1), "a")))
    [Param(position=1)]
    """
    for field in fields(node):
        yield from _children(getattr(node, field.name))


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, outermost first."""
    yield node
    for child in children(node):
        yield from walk(child)


def rebuild(node: Node, change: Callable[[Node], Node]) -> Node:
    """The node with each direct part replaced by `change(part)`.

    >>> rebuild(Field(Param(1), "a"), lambda part: Var("x"))
    Field(object=Var(name='x'), name='a')
    """
    new: dict[str, Any] = {}
    for field in fields(node):
        old = getattr(node, field.name)
        made = _changed(old, change)
        if made is not old:
            new[field.name] = made
    return replace(node, **new) if new else node


def _changed(value: Any, change: Callable[[Node], Node]) -> Any:
    if isinstance(value, Node):
        return change(value)
    if isinstance(value, tuple):
        made = tuple(_changed(one, change) for one in value)
        return made if any(a is not b for a, b in zip(made, value, strict=True)) else value
    return value


def path_of(node: Node) -> tuple[Node, tuple[str, ...]]:
    """The root of a chain of fields, and the names from there.

    >>> path_of(Field(Field(Param(1), "person"), "name"))
    (Param(position=1), ('person', 'name'))
    """
    names: list[str] = []
    while isinstance(node, Field):
        names.append(node.name)
        node = node.object
    return node, tuple(reversed(names))


def free(node: Node) -> frozenset[str]:
    """The variables that a node uses and does not bind itself.

    >>> sorted(free(Lambda(("x",), Call("=", (Var("x"), Var("y"))))))
    ['y']
    """
    if isinstance(node, Var):
        return frozenset((node.name,))
    below = frozenset(name for child in children(node) for name in _free_of_child(node, child))
    return below - frozenset(node.names) if isinstance(node, Lambda) else below


def _free_of_child(node: Node, child: Node) -> frozenset[str]:
    names = free(child)
    if isinstance(node, Let) and child is node.body:
        return names - {node.name}
    return names


def rename(node: Node, old: str, new: Node) -> Node:
    """The node with the free variable `old` replaced."""
    if isinstance(node, Var):
        return new if node.name == old else node
    if isinstance(node, Lambda) and old in node.names:
        return node
    if isinstance(node, Let) and node.name == old:
        return replace(node, value=rename(node.value, old, new))
    return rebuild(node, lambda part: rename(part, old, new))


def conjuncts(node: Node) -> tuple[Node, ...]:
    """The conditions that must all hold.

    >>> len(conjuncts(Call("and", (TRUE, Call("and", (Var("a"), Var("b")))))))
    2
    """
    if isinstance(node, Call) and node.name == "and":
        return tuple(part for arg in node.args for part in conjuncts(arg))
    return () if node == TRUE else (node,)


def conjunction(parts: tuple[Node, ...]) -> Node:
    """One condition that holds when all do.

    >>> conjunction(())
    Literal(value=True)
    """
    if len(parts) == 1:
        return parts[0]
    return Call("and", parts) if parts else TRUE


def is_events(node: Node) -> bool:
    """Whether it is the profile's whole list of events."""
    return node == Field(Param(1), EVENTS)


def uses_now(node: Node) -> bool:
    """Whether its answer may depend on the moment of evaluation."""
    return any(
        isinstance(part, Moment) or (isinstance(part, Call) and part.name in CLOCKED)
        for part in walk(node)
    )


CLOCKED = frozenset({"currentMonth", "currentYear", "currentDayOfMonth"})
