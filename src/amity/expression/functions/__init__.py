"""The functions of the language, by family."""

from __future__ import annotations

from amity.expression.function import Function
from amity.expression.functions import (
    aggregates,
    arithmetic,
    arrays,
    comparison,
    dates,
    logic,
    strings,
)

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for family in (aggregates, arithmetic, arrays, comparison, dates, logic, strings)
    for function in family.FUNCTIONS
}
