"""How does the text of a query become a tree?

A grammar (`pql.lark`) makes a parse tree; the reader below resolves names: which variable a bare
field belongs to, what `^` climbs to, which condition a `from` clause filters by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import lark
import msgspec

from amity.expression.errors import SyntaxFault, UnknownFunction
from amity.expression.functions import FUNCTIONS
from amity.expression.syntax.bounds import check_spelled
from amity.expression.syntax.places import check_depth, check_length, place_of
from amity.expression.times import FIXED, date_ms, unit_of
from amity.expression.tree import (
    EVENTS,
    TRUE,
    Call,
    Chain,
    Entries,
    Field,
    Items,
    Lambda,
    Let,
    Literal,
    Moment,
    Node,
    Occurs,
    Param,
    Step,
    Var,
    conjunction,
    conjuncts,
)
from amity.expression.values import INT64_MAX, Instant

_PARSER = lark.Lark.open(
    str(Path(__file__).with_name("pql.lark")),
    parser="lalr",
    propagate_positions=True,
    maybe_placeholders=True,
)


def parse(text: str) -> Node:
    """The tree of a query text.

    >>> parse('homeAddress.city = "Rome"')
    Call(name='=', args=(Field(object=Field(object=Param(position=1), name='homeAddress'), name='city'), Literal(value='Rome')))

    Raises:
        SyntaxFault: With line, column, the place and a hint.
        UnknownFunction: For a function that there is not.
    """
    check_length(text)
    return _parse(text)


@lru_cache(maxsize=1_024)
def _parse(text: str) -> Node:
    try:
        tree = _PARSER.parse(text)
    except lark.exceptions.UnexpectedInput as error:
        raise _fault(text, error) from error
    check_depth(tree, "split it by let")
    node = _Reader(_Names()).start(tree)
    check_spelled(node)
    return node


def _fault(text: str, error: lark.exceptions.UnexpectedInput) -> SyntaxFault:
    place = place_of(text, error)
    hint = _hint(text, error, at_end=place.at_end)
    return SyntaxFault(
        f"the expression does not parse at line {place.line}, column {place.column}: {hint}\n"
        f"{place.context}",
        line=place.line,
        column=place.column,
        context=place.context,
        hint=hint,
    )


def _hint(text: str, error: lark.exceptions.UnexpectedInput, *, at_end: bool) -> str:
    for opening, closing in ("()", "[]"):
        if text.count(opening) != text.count(closing):
            return f"{text.count(opening)} of {opening!r} but {text.count(closing)} of {closing!r}"
    if text.count('"') % 2:
        return 'a string is not closed: write "text"'
    if at_end:
        return "something is missing at the end"
    position: Any = error.pos_in_stream
    rest = text[position or 0 :][:2]
    for found, hint in _HINTS:
        if rest.startswith(found):
            return hint
    return f"{rest[:1]!r} is not expected here; put parentheses around the parts"


_HINTS = (
    ("'", 'strings are written in double quotes: "text"'),
    ("==", "equality is written with one ="),
    ("=", "a comparison cannot follow a comparison: put parentheses around the first"),
    ("<>", "inequality is written !="),
    ("&&", "write and"),
    ("||", "write or"),
    (")", "this closes nothing, or something is missing before it"),
)


@dataclass(frozen=True, slots=True)
class _Names:
    """What names mean at a place: bound variables, and the items bare fields belong to."""

    bound: tuple[tuple[str, Node], ...] = ()
    implicit: tuple[Node, ...] = (Param(1),)

    def binding(self, name: str, node: Node) -> _Names:
        return replace(self, bound=((name, node), *self.bound))

    def item(self) -> tuple[str, _Names]:
        """A fresh variable for the items of an array, and the names inside its condition."""
        name = f"_{len(self.implicit)}"
        inside = replace(self, implicit=(*self.implicit, Var(name)))
        return name, inside

    def find(self, name: str) -> Node:
        for bound, node in self.bound:
            if bound == name:
                return node
        if name == "this":
            return self.implicit[-1]
        return Field(Param(1) if name == EVENTS else self.implicit[-1], name)


Tree = Any
"""A parse tree or token of lark; its own classes are not precise."""


class _Reader:
    """Reads one place of the parse tree; a new reader for every change of scope."""

    def __init__(self, names: _Names) -> None:
        self._names = names

    def start(self, tree: Tree) -> Node:
        """The whole expression; `(P) => ...` names the profile."""
        head, body = tree.children
        names = self._names
        for at, name in enumerate(_lambda_names(head)):
            names = names.binding(name, Param(at + 1))
        return _Reader(names).read(body)

    def read(self, tree: Tree) -> Node:
        """The node of a parse tree."""
        rule: Callable[[Tree], Node] = getattr(self, f"_{tree.data}")
        return rule(tree.children)

    def _let(self, parts: Tree) -> Node:
        _, name, value, _, body = parts
        names = self._names.binding(str(name), Var(str(name)))
        return Let(str(name), self.read(value), _Reader(names).read(body))

    def _or_chain(self, parts: Tree) -> Node:
        return self._joined("or", parts)

    def _and_chain(self, parts: Tree) -> Node:
        return self._joined("and", parts)

    def _joined(self, name: str, parts: Tree) -> Node:
        if len(parts) == 1:
            return self.read(parts[0])
        return Call(name, tuple(self.read(part) for part in parts[::2]))

    def _negation(self, parts: Tree) -> Node:
        return Call("not", (self.read(parts[1]),))

    def _binary(self, parts: Tree) -> Node:
        left, op, right = parts
        name = _OPERATORS.get(op.type, str(op))
        return Call(name, (self.read(left), self.read(right)))

    def _operators(self, parts: Tree) -> Node:
        node = self.read(parts[0])
        for op, right in zip(parts[1::2], parts[2::2], strict=True):
            node = Call(str(op), (node, self.read(right)))
        return node

    def _minus(self, parts: Tree) -> Node:
        node = self.read(parts[1])
        if isinstance(node, Literal) and type(node.value) in {int, float}:
            return Literal(-node.value)
        return Call("-", (Literal(0), node))

    def _occurs(self, parts: Tree) -> Node:
        time, _, when = parts
        return self._when(self.read(time), when)

    def _when(self, time: Node, when: Tree) -> Occurs:
        parts = when.children
        if when.data == "distance":
            op, amount, unit, direction, ref = parts
            return Occurs(
                time, "distance", (self.read(ref),), str(op or "="), int(amount),
                _unit(unit), _word(direction),
            )  # fmt: skip
        if when.data == "side":
            return Occurs(time, "side", (self.read(parts[1]),), direction=_word(parts[0]))
        refs = tuple(self.read(part) for part in parts if isinstance(part, lark.Tree))
        return Occurs(time, str(when.data), refs)

    def _moment(self, parts: Tree) -> Node:
        word, *unit = str(parts[0]).lower().split()
        return Moment(word, unit_of(unit[0]) if unit else "")

    def _member(self, parts: Tree) -> Node:
        return Field(self.read(parts[0]), str(parts[1]))

    def _method(self, parts: Tree) -> Node:
        return self._call(parts[1], (parts[0], *parts[2].children))

    def _function(self, parts: Tree) -> Node:
        if str(parts[0]) == "date":
            return _date(parts[0], [self.read(part) for part in parts[1].children if part])
        return self._call(parts[0], tuple(parts[1].children))

    def _call(self, name: Tree, arguments: tuple[Tree, ...]) -> Node:
        function = FUNCTIONS.get(str(name))
        arguments = tuple(argument for argument in arguments if argument is not None)
        if function is None:
            raise UnknownFunction(
                f"there is no function {str(name)!r} (line {name.line}, column {name.column}); "
                f"{_near(str(name))}",
                line=name.line,
                column=name.column,
            )
        least, most = function.arity
        if not least <= len(arguments) <= most:
            raise UnknownFunction(
                f"{name} takes {least - 1} to {most - 1} arguments after the dot, as in "
                f"{function.signature} (line {name.line}, column {name.column})",
                line=name.line,
                column=name.column,
            )
        return Call(
            function.name,
            tuple(
                self._lambda(argument) if at in function.lambdas else self.read(argument)
                for at, argument in enumerate(arguments)
            ),
        )

    def _lambda(self, tree: Tree) -> Lambda:
        if tree.data == "lambda_argument":
            names = self._names
            variables = _lambda_names(tree.children[0])
            for variable in variables:
                names = names.binding(variable, Var(variable))
            return Lambda(variables, _Reader(names).read(tree.children[1]))
        variable, names = self._names.item()
        return Lambda((variable,), _Reader(names).read(tree))

    def _lambda_argument(self, parts: Tree) -> Node:
        head = parts[0].children[0]
        raise SyntaxFault(
            f"a lambda is not expected at line {head.line}, column {head.column}",
            line=head.line,
            column=head.column,
        )

    def _subset(self, parts: Tree) -> Node:
        return Call("filter", (self.read(parts[0]), self._lambda(parts[1])))

    def _name(self, parts: Tree) -> Node:
        return self._names.find(str(parts[0]))

    def _outer(self, parts: Tree) -> Node:
        levels = parts[0].count("^")
        implicit = self._names.implicit
        if levels >= len(implicit):
            raise SyntaxFault(
                f"{parts[0]}{parts[1]} climbs {levels} levels, but there are {len(implicit) - 1} "
                f"around line {parts[0].line}, column {parts[0].column}",
                line=parts[0].line,
                column=parts[0].column,
            )
        return Field(implicit[-1 - levels], str(parts[1]))

    def _param(self, parts: Tree) -> Node:
        return Param(int(parts[0][1:]))

    def _array(self, parts: Tree) -> Node:
        return Items(tuple(self.read(part) for part in parts if part is not None))

    def _object(self, parts: Tree) -> Node:
        pairs = (part.children for part in parts if part is not None)
        return Entries(tuple((_string(key), self.read(value)) for key, value in pairs))

    def _literal(self, parts: Tree) -> Node:
        (token,) = parts
        read = _LITERALS[token.type]
        return Literal(read(token))

    def _quantified(self, parts: Tree) -> Node:
        word = str(parts[0]).lower()
        generators = [part for part in parts if isinstance(part, lark.Tree)]
        return self._generated("filter" if word == "select" else word, generators)

    def _generated(self, call: str, generators: list[Tree]) -> Node:
        """The first generator filters; each further one must have an item too."""
        name, _, source, *condition = generators[0].children
        variable = str(name)
        inner = _Reader(self._names.binding(variable, Var(variable)))
        where = [part for part in condition if isinstance(part, lark.Tree)]
        tests = tuple(inner.read(part) for part in where)
        if len(generators) > 1:
            again = "exists" if call == "filter" else call
            tests = (*tests, inner._generated(again, generators[1:]))
        body = conjunction(tuple(part for test in tests for part in conjuncts(test)))
        return Call(call, (self.read(source), Lambda((variable,), body)))

    def _aggregate(self, parts: Tree) -> Node:
        word, value, _, *rest = parts
        generators = [part for part in rest if isinstance(part, lark.Tree)]
        source = self._generated("filter", generators)
        name = str(word).lower()
        if name == "count":
            return Call(name, (source,))
        variable = str(generators[0].children[0])
        inner = _Reader(self._names.binding(variable, Var(variable)))
        return Call(name, (source, Lambda((variable,), inner.read(value))))

    def _chain(self, parts: Tree) -> Node:
        _, array, timestamp, *steps = parts
        variable, names = self._names.item()
        inside = _Reader(names)
        return Chain(
            self.read(array),
            Lambda((variable,), inside.read(timestamp)),
            tuple(inside.step(step.children, variable, timestamp) for step in steps),
        )

    def step(self, parts: Tree, variable: str, timestamp: Tree) -> Step:
        """One element of a chain, read with its item in scope."""
        tests: list[Node] = []
        made = Step(str(parts[0]), Lambda((variable,), TRUE))
        for clause in parts[1:]:
            word, *rest = clause.children
            if word.type in {"WHAT", "WHERE"}:
                tests.append(self.read(rest[0]))
            elif word.type == "WHEN":
                when = self._when(self.read(timestamp), rest[0])
                made = replace(made, when=Lambda((variable,), when))
            elif word.type == "COUNT":
                made = replace(made, count=int(rest[0]))
            else:
                made = replace(made, gap_ms=_gap(word, rest))
        return replace(made, what=Lambda((variable,), conjunction(tuple(tests))))


def _gap(word: Tree, rest: Tree) -> int:
    op, amount, unit = rest
    if str(op) not in {">=", ">"} or _unit(unit) not in FIXED:
        raise SyntaxFault(
            f"GAP takes >= or > and a unit up to weeks (line {word.line}, column {word.column})",
            line=word.line,
            column=word.column,
        )
    return int(amount) * FIXED[_unit(unit)] + (1 if str(op) == ">" else 0)


_OPERATORS = {"IN": "in", "NOTIN": "notIn", "LIKE": "like"}


def _lambda_names(head: Tree) -> tuple[str, ...]:
    if head is None:
        return ()
    inside = str(head.children[0]).partition("(")[2].rpartition(")")[0]
    return tuple(name.strip() for name in inside.split(","))


def _unit(token: Tree) -> str:
    return unit_of(str(token))


def _word(tree: Tree) -> str:
    return str(tree.children[0]).lower()


def _string(token: Tree) -> str:
    try:
        return msgspec.json.decode(str(token).encode(), type=str)
    except msgspec.DecodeError as error:
        raise SyntaxFault(
            f"the string at line {token.line}, column {token.column} cannot be read ({error}); "
            'a backslash is doubled: "\\\\d+"',
            line=token.line,
            column=token.column,
        ) from error


def _integer(token: Tree) -> int:
    value = int(token)
    if value > INT64_MAX:
        raise SyntaxFault(
            f"{token} at line {token.line}, column {token.column} is greater than {INT64_MAX}",
            line=token.line,
            column=token.column,
        )
    return value


_LITERALS: dict[str, Callable[[Tree], Any]] = {
    "STRING": _string,
    "INT": _integer,
    "FLOAT": float,
    "TRUE": lambda _: True,
    "FALSE": lambda _: False,
    "NULL": lambda _: None,
}


def _date(token: Tree, parts: list[Node]) -> Node:
    numbers = [part.value for part in parts if isinstance(part, Literal)]
    if len(parts) != 3 or [type(number) for number in numbers] != [int] * 3:
        raise SyntaxFault(
            f"date takes year, month and day: date(2024, 2, 29) (line {token.line}, "
            f"column {token.column})",
            line=token.line,
            column=token.column,
        )
    return Literal(Instant(date_ms(*numbers)))


def _near(name: str) -> str:
    low = name.lower()
    alike = [known for known in FUNCTIONS if known.lower() == low or low in known.lower()]
    known = alike or [known for known in FUNCTIONS if known.isidentifier()]
    return (
        f"did you mean {', '.join(sorted(known))}?"
        if alike
        else f"known: {', '.join(sorted(known))}"
    )
