"""The reference page is what the code says."""

from __future__ import annotations

from pathlib import Path

from amity.expression.reference import page

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "pql.md"


def test_the_page_is_not_behind_the_functions() -> None:
    """Write it anew with `python -c "from amity.expression.reference import page; print(page())"`."""
    assert PAGE.read_text().rstrip() == page().rstrip()
