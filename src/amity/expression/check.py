"""Does an expression fit the data it is written for?

Where the schema is known, every field must be in it and what is compared must be comparable. Where
it leaves an object open, anything goes. Schemas are JSON schema fragments, as the registry resolves
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from amity.expression.errors import TypeFault, UnknownField, UnsupportedHere
from amity.expression.functions import FUNCTIONS
from amity.expression.functions.strings import pattern
from amity.expression.syntax.pql_text import text_of
from amity.expression.tree import (
    EVENTS,
    Call,
    Chain,
    Field,
    Items,
    Lambda,
    Let,
    Literal,
    Node,
    Occurs,
    Param,
    Var,
    children,
    path_of,
)
from amity.expression.values import kind as kind_of_value

Type = Mapping[str, Any] | None
"""A fragment of a JSON schema; None = not known."""

_COMPARISONS = frozenset({"=", "!=", "<", "<=", ">", ">="})
_SAME_ITEMS = frozenset({"filter", "topN", "bottomN", "distinct", "intersection"})
_KINDS = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}


def check(rule: Node, profile: Type = None, event: Type = None) -> None:
    """Refuse an expression that cannot mean what it says.

    Raises:
        UnknownField: For a field the schema does not have, with its path.
        TypeFault: For values that do not go together.
    """
    _Checker(profile, event).visit(rule, {})


class _Checker:
    """Follows types through an expression."""

    def __init__(self, profile: Type, event: Type) -> None:
        self._profile = profile
        self._event = event

    def visit(self, node: Node, env: Mapping[str, Type]) -> Type:
        visitor = _VISITORS.get(type(node))
        if visitor is not None:
            return visitor(self, node, env)
        for child in children(node):
            self.visit(child, env)
        return None

    def param(self, node: Param, _: Mapping[str, Type]) -> Type:
        if node.position != 1:
            raise UnsupportedHere(f"${node.position}: a rule has one parameter, the profile ($1)")
        return self._profile

    def field(self, node: Field, env: Mapping[str, Type]) -> Type:
        if node == Field(Param(1), EVENTS):
            return {"type": "array", "items": self._event or {}}
        return _member(self.visit(node.object, env), node)

    def items(self, node: Items, env: Mapping[str, Type]) -> Type:
        types = [self.visit(item, env) for item in node.items]
        return {"type": "array", "items": types[0] or {}} if types else None

    def literal(self, node: Literal, _: Mapping[str, Type]) -> Type:
        return _LITERALS.get(kind_of_value(node.value))

    def let(self, node: Let, env: Mapping[str, Type]) -> Type:
        return self.visit(node.body, {**env, node.name: self.visit(node.value, env)})

    def chain(self, node: Chain, env: Mapping[str, Type]) -> Type:
        item = _item(self.visit(node.array, env))
        lambdas = [node.timestamp, *(step.what for step in node.steps)]
        for one in (*lambdas, *(step.when for step in node.steps if step.when)):
            self.visit(one.body, {**env, **dict.fromkeys(one.names, item)})
        return {"type": "boolean"}

    def occurs(self, node: Occurs, env: Mapping[str, Type]) -> Type:
        for part in (node.time, *node.refs):
            found = _kind(self.visit(part, env))
            if found not in {None, "instant", "string"}:
                raise TypeFault(f"{text_of(part)} is a {found}; occurs needs a date-time")
        return {"type": "boolean"}

    def call(self, node: Call, env: Mapping[str, Type]) -> Type:
        first = self.visit(node.args[0], env) if node.args else None
        types = [first]
        for arg in node.args[1:]:
            if isinstance(arg, Lambda):
                item = _item(first) if len(arg.names) == 1 else None
                types.append(self.visit(arg.body, {**env, **dict.fromkeys(arg.names, item)}))
            else:
                types.append(self.visit(arg, env))
        if node.name in _COMPARISONS or node.name in {"in", "notIn"}:
            _comparable(node, types)
        if node.name in _NUMERIC:
            _numeric(node, types)
        _constants(node)
        if node.name in _SAME_ITEMS:
            return first
        if node.name == "head":
            return _item(first)
        return _LITERALS.get(FUNCTIONS[node.name].gives)


_NUMERIC = frozenset({"+", "-", "*", "/", "%", "sum", "average"})
_LITERALS: dict[str, Type] = {
    "string": {"type": "string"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "instant": {"type": "string", "format": "date-time"},
}
_VISITORS: dict[type[Node], Callable[[_Checker, Any, Mapping[str, Type]], Type]] = {
    Param: _Checker.param,
    Var: lambda _, node, env: env.get(node.name),
    Field: _Checker.field,
    Items: _Checker.items,
    Literal: _Checker.literal,
    Let: _Checker.let,
    Chain: _Checker.chain,
    Occurs: _Checker.occurs,
    Call: _Checker.call,
}


def _item(found: Type) -> Type:
    if found and found.get("type") == "array":
        items = found.get("items")
        return items if isinstance(items, Mapping) else None
    return found


def _member(found: Type, node: Field) -> Type:
    while found and found.get("type") == "array":
        found = _item(found)
    if not found or not (found.get("properties") or found.get("type") in _KINDS):
        more = found.get("additionalProperties") if found else None
        return more if isinstance(more, Mapping) else None
    properties = found.get("properties", {})
    if node.name in properties:
        inner = properties[node.name]
        return inner if isinstance(inner, Mapping) else None
    known = ", ".join(sorted(properties)[:12]) or "none, it is no object"
    root, names = path_of(node)
    shown = [root.name] if isinstance(root, Var) and not root.name.startswith("_") else []
    path = ".".join([*shown, *names])
    raise UnknownField(f"the schema has no field {path}; it has at this place: {known}", path=path)


def _kind(found: Type) -> str | None:
    while found and found.get("type") == "array":
        found = _item(found)
    if not found:
        return None
    if found.get("format") in {"date-time", "date"}:
        return "instant"
    return _KINDS.get(str(found.get("type")))


def _comparable(node: Call, types: list[Type]) -> None:
    left, right = (_kind(found) for found in types[:2])
    if None in (left, right) or left == right or {left, right} == {"instant", "string"}:
        return
    raise TypeFault(
        f"{text_of(node)} compares a {left} with a {right}: it would never hold",
        left=left,
        right=right,
    )


def _constants(node: Call) -> None:
    """A pattern must compile; an audience must be named."""
    if node.name in {"matches", "regexGroup"} and isinstance(node.args[1], Literal):
        pattern(str(node.args[1].value))
    if node.name == "inSegment":
        asked = node.args[0]
        if not (isinstance(asked, Literal) and isinstance(asked.value, str)):
            raise TypeFault('inSegment takes the id of an audience: inSegment("…")')


def _numeric(node: Call, types: list[Type]) -> None:
    asked = types[-1:] if node.name in {"sum", "average"} else types
    for found in asked:
        if _kind(found) not in {None, "number"}:
            raise TypeFault(f"{text_of(node)} needs numbers, not a {_kind(found)}")
