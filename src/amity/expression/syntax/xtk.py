"""How does the text of a campaign condition become a tree?

``@email IS NOT NULL AND [store/@region] = 'north'``. The tree is the one of `amity.expression.tree`:
``@email`` is a field of the row (``$1``), a path goes along links, ``EXISTS(nms:broadLogRcp, …)`` is a
call whose condition is a lambda over the records that link to the row. What a name means, and of
which type it is, is decided afterwards (`amity.expression.xtk.resolve`), so every node keeps its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import lark

from amity.expression.errors import SyntaxFault
from amity.expression.syntax.places import check_depth, check_length, place_of
from amity.expression.tree import Call, Field, Lambda, Literal, Node, Param, Var

_PARSER = lark.Lark.open(
    str(Path(__file__).with_name("xtk.lark")),
    parser="lalr",
    propagate_positions=True,
    maybe_placeholders=True,
)

ROW = Param(1)
"""The row a condition is about."""

DATE = "ToDate"
"""A constant ``#2017-10-30#`` is this call on its text."""


class Parsed(NamedTuple):
    """A tree, and where its nodes stand in the text (line, column; the first of equal ones)."""

    node: Node
    places: Mapping[Node, tuple[int, int]]


def parse(text: str) -> Parsed:
    """The tree of a condition or expression.

    >>> parse("@city = 'Rome'").node
    Call(name='=', args=(Field(object=Param(position=1), name='city'), Literal(value='Rome')))

    Raises:
        SyntaxFault: With line, column, the place and a hint.
    """
    check_length(text)
    return _parse(text)


@lru_cache(maxsize=1_024)
def _parse(text: str) -> Parsed:
    try:
        tree = _PARSER.parse(text)
    except lark.exceptions.UnexpectedInput as error:
        raise _fault(text, error) from error
    check_depth(tree, "make it several conditions, one after the other")
    reader = _Reader()
    return Parsed(reader.read(tree.children[0], ROW), reader.places)


def _fault(text: str, error: lark.exceptions.UnexpectedInput) -> SyntaxFault:
    place = place_of(text, error)
    position: Any = error.pos_in_stream
    hint = _hint(text, text[position or 0 :], at_end=place.at_end)
    return SyntaxFault(
        f"the condition does not parse at line {place.line}, column {place.column}: {hint}\n"
        f"{place.context}",
        line=place.line,
        column=place.column,
        context=place.context,
        hint=hint,
    )


def _hint(text: str, rest: str, *, at_end: bool) -> str:
    if not text.strip():
        return "it is empty"
    for opening, closing in ("()", "[]"):
        if text.count(opening) != text.count(closing):
            return f"{text.count(opening)} of {opening!r} but {text.count(closing)} of {closing!r}"
    if text.count("'") % 2:
        return "a string is not closed: write 'text', and '' for a quote inside"
    if at_end:
        return "something is missing at the end"
    for found, hint in _HINTS:
        if rest.startswith(found):
            return hint
    return f"{rest[:1]!r} is not expected here; attributes are written @name or [link/@name]"


_HINTS = (
    ("&&", "write AND"),
    ("||", "write OR"),
    ("!", "write NOT"),
    ("#", "a date is written #2017-10-30#"),
    ("[", "a path is written [link/@name]"),
)

Tree = Any
"""A parse tree or token of lark; its own classes are not precise."""


class _Reader:
    """Makes nodes and notes where they stand."""

    def __init__(self) -> None:
        self.places: dict[Node, tuple[int, int]] = {}

    def read(self, tree: Tree, row: Node) -> Node:
        """The node of a parse tree whose attributes belong to `row`."""
        rule: Callable[[Tree, Node], Node] = getattr(self, f"_{tree.data}")
        node = rule(tree.children, row)
        self.places.setdefault(node, (tree.meta.line, tree.meta.column))
        return node

    def _all(self, parts: Tree, row: Node) -> tuple[Node, ...]:
        return tuple(self.read(part, row) for part in parts if part is not None)

    def _or_chain(self, parts: Tree, row: Node) -> Node:
        return self._joined("or", self._all(parts, row))

    def _and_chain(self, parts: Tree, row: Node) -> Node:
        return self._joined("and", self._all(parts, row))

    def _joined(self, name: str, parts: tuple[Node, ...]) -> Node:
        return Call(name, parts) if len(parts) > 1 else parts[0]

    def _negation(self, parts: Tree, row: Node) -> Node:
        return Call("not", self._all(parts, row))

    def _binary(self, parts: Tree, row: Node) -> Node:
        left, op, right = parts
        return Call(_SAME.get(str(op), str(op)), self._all((left, right), row))

    def _is_null(self, parts: Tree, row: Node) -> Node:
        return Call("isNull", self._all(parts, row))

    def _is_there(self, parts: Tree, row: Node) -> Node:
        return Call("isNotNull", self._all(parts, row))

    def _is_in(self, parts: Tree, row: Node) -> Node:
        return Call("in", self._all(parts, row))

    def _not_in(self, parts: Tree, row: Node) -> Node:
        return Call("notIn", self._all(parts, row))

    def _is_like(self, parts: Tree, row: Node) -> Node:
        return Call("like", self._all(parts, row))

    def _not_like(self, parts: Tree, row: Node) -> Node:
        return Call("notLike", self._all(parts, row))

    def _between(self, parts: Tree, row: Node) -> Node:
        value, low, high = self._all(parts, row)
        made = (Call(">=", (value, low)), Call("<=", (value, high)))
        for node, part in zip(made, parts[1:], strict=True):
            self.places.setdefault(node, (part.meta.line, part.meta.column))
        return Call("and", made)

    def _exists(self, parts: Tree, row: Node) -> Node:
        _, schema, condition = parts
        depth = int(row.name[1:]) if isinstance(row, Var) else 0
        item = Var(f"_{depth + 1}")
        body = Literal(value=True) if condition is None else self.read(condition, item)
        return Call("exists", (Literal(str(schema)), Lambda((item.name,), body)))

    def _operators(self, parts: Tree, row: Node) -> Node:
        node = self.read(parts[0], row)
        for op, right in zip(parts[1::2], parts[2::2], strict=True):
            node = Call(str(op), (node, self.read(right, row)))
            self.places.setdefault(node, (op.line, op.column))
        return node

    def _minus(self, parts: Tree, row: Node) -> Node:
        (node,) = self._all(parts, row)
        if isinstance(node, Literal) and type(node.value) in {int, float}:
            return Literal(-node.value)
        return Call("-", (Literal(0), node))

    def _string(self, parts: Tree, _: Node) -> Node:
        quote = parts[0][0]
        return Literal(str(parts[0][1:-1]).replace(quote * 2, quote))

    def _number(self, parts: Tree, _: Node) -> Node:
        (token,) = parts
        if "." in token:
            return Literal(float(token))
        if len(token) > _DIGITS_MAX:
            raise SyntaxFault(
                f"the number at line {token.line}, column {token.column} has {len(token)} digits; "
                f"{_DIGITS_MAX} is the most",
                line=token.line,
                column=token.column,
            )
        return Literal(int(token))

    def _date(self, parts: Tree, _: Node) -> Node:
        text = str(parts[0][1:-1]).strip()
        return Call("ToDateTime" if ":" in text else DATE, (Literal(text),))

    def _true(self, _: Tree, __: Node) -> Node:
        return Literal(value=True)

    def _false(self, _: Tree, __: Node) -> Node:
        return Literal(value=False)

    def _attribute(self, parts: Tree, row: Node) -> Node:
        node = row
        for name in str(parts[0]).strip("[] \t\r\n").split("/"):
            node = Field(node, name.strip().removeprefix("@"))
        return node

    def _function(self, parts: Tree, row: Node) -> Node:
        name, *args = parts
        return Call(str(name), self._all(args, row))


_SAME = {"==": "=", "<>": "!="}
_DIGITS_MAX = 18
