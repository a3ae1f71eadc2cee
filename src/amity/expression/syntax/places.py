"""Where in a text does it stop making sense, and is it too deep to read?"""

from __future__ import annotations

from typing import Any, NamedTuple

import lark

from amity.expression.errors import SyntaxFault

TEXT_CHARS_MAX = 65_536
"""An expression. Behaviour: platform-audiences.md §6 (64 kB)."""

DEPTH_MAX = 120
"""Nesting of an expression. Ours: deeper is an attack, not a rule."""


class Place(NamedTuple):
    """A place in a text, as a person finds it."""

    line: int
    column: int
    context: str
    at_end: bool


def place_of(text: str, error: lark.exceptions.UnexpectedInput) -> Place:
    """Where a parser gave up, with the line and a mark below it."""
    at_end = isinstance(error, lark.exceptions.UnexpectedEOF) or (
        isinstance(error, lark.exceptions.UnexpectedToken) and error.token.type == "$END"
    )
    lines = text.split("\n") or [""]
    line = len(lines) if at_end else error.line
    column = len(lines[-1]) + 1 if at_end else error.column
    shown = lines[line - 1] if 0 < line <= len(lines) else ""
    start = max(column - 41, 0)
    context = f"{shown[start : column + 39]}\n{' ' * (column - 1 - start)}^"
    return Place(line, column, context, at_end)


def check_length(text: str) -> None:
    """Refuse a text that is too long to be an expression."""
    if len(text) > TEXT_CHARS_MAX:
        raise SyntaxFault(
            f"the expression has {len(text)} characters; {TEXT_CHARS_MAX} is the most"
        )


def check_depth(tree: Any, advice: str) -> None:
    """Refuse what would make a recursion without end in sight, without recursion."""
    level, depth = [tree], 0
    while level:
        depth += 1
        below: list[Any] = []
        for node in level:
            children = [part for part in node.children if isinstance(part, lark.Tree)]
            if depth + (len(children) if node.data == "operators" else 0) > DEPTH_MAX:
                raise SyntaxFault(f"the expression nests deeper than {DEPTH_MAX} levels; {advice}")
            below += children
        level = below
