"""How is a tree written as the text of a query?

The text parses back to the same tree (property test). Operands that are no single words stand in
parentheses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from amity.expression.errors import UnsupportedHere
from amity.expression.times import moment_of
from amity.expression.tree import (
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
)
from amity.expression.values import Instant

_INFIX = frozenset(
    {"=", "!=", "<", "<=", ">", ">=", "in", "notIn", "like", "+", "-", "*", "/", "%"}
)
_OPERATORS = _INFIX | {"and", "or", "not"}
_NO_OBJECT = frozenset({"if", "inSegment", "mapEntry"})


def text_of(node: Node) -> str:
    """The query text of a tree.

    >>> from amity.expression.syntax.pql import parse
    >>> text_of(parse('xEvent[eventType = "a" and b.c > 1].count() >= 2'))
    'xEvent[(eventType = "a") and (b.c > 1)].count() >= 2'
    """
    return _Writer(()).write(node)


class _Writer:
    """Writes one place of the tree; `implicit` are the variables whose fields are written bare."""

    def __init__(self, implicit: tuple[str, ...]) -> None:
        self._implicit = implicit

    def write(self, node: Node) -> str:
        return _WRITERS[type(node)](self, node)

    def part(self, node: Node) -> str:
        """An operand, in parentheses unless it is one word."""
        text = self.write(node)
        plain = (
            isinstance(node, Field | Var | Param | Items | Entries)
            or (isinstance(node, Literal) and not _negative(node.value))
            or (isinstance(node, Call) and node.name not in _OPERATORS)
        )
        return text if plain else f"({text})"

    def literal(self, node: Literal) -> str:
        if type(node.value) is Instant:
            moment = moment_of(node.value)
            return f"date({moment.year}, {moment.month}, {moment.day})"
        if type(node.value) is float:
            return repr(node.value) if "e" in repr(node.value) else f"{node.value!r}"
        return msgspec.json.encode(node.value).decode()

    def items(self, node: Items) -> str:
        return f"[{', '.join(self.write(item) for item in node.items)}]"

    def entries(self, node: Entries) -> str:
        pairs = (f"{_quoted(key)}: {self.write(value)}" for key, value in node.pairs)
        return f"{{{', '.join(pairs)}}}"

    def param(self, node: Param) -> str:
        return f"${node.position}"

    def var(self, node: Var) -> str:
        if node.name in self._implicit:
            if node.name != self._implicit[-1]:
                raise UnsupportedHere("an outer item as a whole has no form in query text")
            return "this"
        return node.name

    def field(self, node: Field) -> str:
        root = node.object
        if root == Param(1):
            bare = not self._implicit or node.name == "xEvent"
            return node.name if bare else f"{'^' * len(self._implicit)}.{node.name}"
        if isinstance(root, Var) and root.name in self._implicit:
            levels = len(self._implicit) - 1 - self._implicit.index(root.name)
            return f"{'^' * levels}{node.name}"
        return f"{self.part(root)}.{node.name}"

    def call(self, node: Call) -> str:
        if node.name in {"and", "or"}:
            return f" {node.name} ".join(self.part(arg) for arg in node.args)
        if node.name == "not":
            return f"not ({self.write(node.args[0])})"
        if node.name in _INFIX:
            return f"{self.part(node.args[0])} {node.name} {self.part(node.args[1])}"
        if node.name == "filter" and isinstance(node.args[1], Lambda) and _bare(node.args[1]):
            return f"{self.part(node.args[0])}[{self.function(node.args[1])}]"
        if node.name in _NO_OBJECT or not node.args:
            return f"{node.name}({', '.join(self.argument(arg) for arg in node.args)})"
        rest = ", ".join(self.argument(arg) for arg in node.args[1:])
        return f"{self.part(node.args[0])}.{node.name}({rest})"

    def argument(self, node: Node) -> str:
        return self.function(node) if isinstance(node, Lambda) else self.write(node)

    def function(self, node: Lambda) -> str:
        if _bare(node):
            return _Writer((*self._implicit, *node.names)).write(node.body)
        return f"({', '.join(node.names)}) => {self.write(node.body)}"

    def let(self, node: Let) -> str:
        return f"let {node.name} = ({self.write(node.value)}) in ({self.write(node.body)})"

    def moment(self, node: Moment) -> str:
        return f"{node.word} {node.unit}".strip()

    def occurs(self, node: Occurs) -> str:
        return f"{self.part(node.time)} occurs {self.when(node)}"

    def when(self, node: Occurs) -> str:
        refs = [
            self.write(ref) if isinstance(ref, Moment | Literal) else self.part(ref)
            for ref in node.refs
        ]
        if node.form == "distance":
            return f"{node.op} {node.amount} {node.unit}s {node.direction} {refs[0]}".replace(
                "centurys", "centuries"
            ).replace("millenniums", "millennia")
        if node.form == "between":
            return f"between {refs[0]} and {refs[1]}"
        return f"{node.direction if node.form == 'side' else 'on'} {refs[0]}"

    def chain(self, node: Chain) -> str:
        inner = _Writer((*self._implicit, *node.timestamp.names))
        steps = ", ".join(inner.step(step) for step in node.steps)
        return f"chain({self.write(node.array)}, {inner.write(node.timestamp.body)}, [{steps}])"

    def step(self, step: Step) -> str:
        parts = [f"WHAT({self.write(step.what.body)})"]
        if step.when is not None:
            if not isinstance(step.when.body, Occurs):
                raise UnsupportedHere("a WHEN that is no occurs has no form in query text")
            parts.append(f"WHEN({self.when(step.when.body)})")
        if step.count != 1:
            parts.append(f"COUNT({step.count})")
        if step.gap_ms:
            parts.append(f"GAP(>= {step.gap_ms} milliseconds)")
        return f"{step.label}: {' '.join(parts)}"


def _bare(node: Lambda) -> bool:
    return len(node.names) == 1 and node.names[0].startswith("_")


def _negative(value: Any) -> bool:
    return type(value) in {int, float} and value < 0


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


_WRITERS: dict[type[Node], Callable[[_Writer, Any], str]] = {
    Literal: _Writer.literal,
    Items: _Writer.items,
    Entries: _Writer.entries,
    Param: _Writer.param,
    Var: _Writer.var,
    Field: _Writer.field,
    Call: _Writer.call,
    Let: _Writer.let,
    Moment: _Writer.moment,
    Occurs: _Writer.occurs,
    Chain: _Writer.chain,
}
