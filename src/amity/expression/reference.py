"""What does the reference page of the query language say?

Made from the functions themselves and from each evaluator's list of what it cannot do, so that it is
never behind them (docs/reference/pql.md; a test holds the two equal).
"""

from __future__ import annotations

from collections.abc import Iterator

from amity.expression.evaluators import closures, rows, sql
from amity.expression.function import Function
from amity.expression.functions import FUNCTIONS

_HEAD = """\
# Functions of the query language

Every rule has one meaning, the row evaluator's; closures evaluate it at every event, SQL in batch
jobs. What an evaluator cannot do is refused by name: such an audience is still evaluated at every event.
"""


def page() -> str:
    """The page, in Markdown."""
    parts = [_HEAD, *(_entry(function) for function in _in_order())]
    return "\n".join(parts)


def _in_order() -> Iterator[Function]:
    yield from (FUNCTIONS[name] for name in sorted(FUNCTIONS, key=lambda one: (one.lower(), one)))


def _entry(function: Function) -> str:
    lines = [
        f"## `{function.name}`",
        "",
        f"`{function.signature}`",
        "",
        function.summary,
        "",
        f"Example: `{function.example}`",
        "",
    ]
    for evaluator, refuses in (
        ("rows", rows.UNSUPPORTED),
        ("closures", closures.UNSUPPORTED),
        ("SQL", sql.UNSUPPORTED),
    ):
        if function.name in refuses:
            lines += [f"Not in {evaluator}: {refuses[function.name]}.", ""]
    return "\n".join(lines)
