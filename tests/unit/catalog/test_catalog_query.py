"""Catalog lists are filtered, ordered, projected and paged as documented."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.platform.catalog.errors import QueryInvalid
from amity.platform.catalog.query import page_of

ITEMS: dict[str, dict[str, Any]] = {
    "1": {"name": "Shop a", "created": 10, "n": 1, "tags": {"team": ["web", "shop"]}, "on": True},
    "2": {"name": "Shop b", "created": 20, "n": 2, "tags": {"team": ["mail"]}, "status": "failed"},
    "3": {
        "name": "Till*x",
        "created": 30,
        "n": 3,
        "relatedObjects": [{"type": "dataSet", "id": "d"}],
    },
}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ([], "123"),
        ([("name", "Shop a")], "1"),
        ([("name", "Shop a,Shop b")], "12"),
        ([("name", "!Shop a,Shop b")], "3"),
        ([("name", "Shop*")], "12"),
        ([("name", "Till**x")], "3"),
        ([("name", "Shop**")], ""),
        ([("property", "n>1")], "23"),
        ([("property", "n<=1")], "1"),
        ([("property", "name~^Shop")], "12"),
        ([("property", "!status")], "13"),
        ([("property", "status")], "2"),
        ([("property", "name!=Shop a")], "23"),
        ([("property", "on==true")], "1"),
        ([("property", "n>1"), ("property", "n<3")], "2"),
        ([("property", "tags.team==mail")], "2"),
        ([("property", "relatedObjects.0.id==d")], "3"),
        ([("tags", "team:w*")], "1"),
        ([("tags", "team:web,team:shop")], "1"),
        ([("createdAfter", "10")], "23"),
        ([("createdBefore", "20")], "1"),
        ([("dataSet", "d")], "3"),
        ([("orderBy", "desc:created")], "321"),
        ([("orderBy", "created:desc")], "321"),
        ([("orderBy", "-n")], "321"),
        ([("start", "1"), ("limit", "1")], "2"),
        ([("requestDataSource", "True")], "123"),
    ],
)
def test_query(query: list[tuple[str, str]], expected: str) -> None:
    """Each filter, order and page gives the documented objects in order."""
    assert expected == "".join(page_of(ITEMS, query))


def test_projection_leaves_missing_out() -> None:
    """`properties` shows top-level members; an object without them is empty."""
    found = page_of(ITEMS, [("properties", "status,n")])

    assert found == {"1": {"n": 1}, "2": {"status": "failed", "n": 2}, "3": {"n": 3}}


@pytest.mark.parametrize(
    "query",
    [
        [("limit", "0")],
        [("limit", "101")],
        [("limit", "x")],
        [("start", "-1")],
        [("property", "name~(?=a)")],
        [("property", "n>x")],
        [("createdAfter", "soon")],
    ],
)
def test_bad_query(query: list[tuple[str, str]]) -> None:
    """What cannot be meant is refused."""
    with pytest.raises(QueryInvalid):
        page_of(ITEMS, query)


def test_limit_edges() -> None:
    """One and a hundred are allowed; without limit twenty are shown."""
    many = {str(number): {"n": number} for number in range(150)}

    assert len(page_of(many, [("limit", "1")])) == 1
    assert len(page_of(many, [("limit", "100")])) == 100
    assert len(page_of(many, [])) == 20


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=6))
def test_any_name_finds_itself(name: str) -> None:
    """A name, its stars doubled, finds exactly itself; no text makes a filter fail."""
    if "," in name or name.startswith("!"):
        return
    items = {"1": {"name": name}, "2": {"name": name + "?"}}

    assert list(page_of(items, [("name", name.replace("*", "**"))])) == ["1"]
