"""Queries that are small to write and huge to evaluate."""

from __future__ import annotations

import pytest

from amity.expression.errors import SyntaxFault
from amity.expression.syntax import pql, pql_json


def _doubled(lets: int) -> str:
    names = "".join(f"let a{at} = (a{at - 1} or not a{at - 1}) in " for at in range(1, lets))
    return f'let a0 = (person.name.firstName = "x") in {names}a{lets - 1}'


def test_lets_that_double_are_refused() -> None:
    """Twenty lines cannot become a statement of a million parts for the batch engine."""
    with pytest.raises(SyntaxFault, match="let replaced"):
        pql.parse(_doubled(20))


def test_lets_that_double_a_little_are_taken() -> None:
    """A name may be used twice, and again."""
    assert pql.parse(_doubled(6))


@pytest.mark.thorough
def test_a_long_list_without_lets_is_taken() -> None:
    """The bound is about what lets make of a query, not about a long one."""
    listed = ",".join(f'"{at}"' for at in range(6_000))
    assert pql.parse(f"person.name.firstName in [{listed}]")


@pytest.mark.parametrize("levels", [300, 5_000, 15_000])
def test_deep_json_is_a_syntax_fault(levels: int) -> None:
    """No depth of nesting ends in anything but an answer."""
    opened = '{"nodeType":"fnApply","fnName":"not","params":['
    with pytest.raises(SyntaxFault, match="deeper"):
        pql_json.parse(opened * levels + "1" + "]}" * levels)


def test_half_a_character_is_a_syntax_fault() -> None:
    """A text that no file can hold is no query."""
    with pytest.raises(SyntaxFault):
        pql_json.parse("\ud800")
