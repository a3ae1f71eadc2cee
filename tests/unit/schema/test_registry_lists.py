"""Lists page by key without losing anything; Accept headers are held to their rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.platform.schema.accept import list_ids_only, lookup_wants
from amity.platform.schema.errors import (
    ListAcceptRefused,
    LookupAcceptRefused,
    ResourceInvalid,
)
from amity.platform.schema.listing import ListQuery, page_of


def walked(items: list[dict[str, Any]], orderby: str, limit: int) -> list[int]:
    """The numbers of all items, page after page."""
    seen: list[int] = []
    start = ""
    for _ in range(len(items) + 2):
        page = page_of(items, ListQuery((), orderby, start, limit))
        seen += [item["n"] for item in page.items]
        if page.next is None:
            return seen
        start = page.next
    raise AssertionError(seen)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from(["", "a", "b", "ba", "Z", "é"]), max_size=12),
    st.integers(1, 4),
    st.sampled_from(["title", "-title", "+title,n", "n", "-n"]),
)
def test_pages_hold_each_item_once(titles: list[str], limit: int, orderby: str) -> None:
    """Walking the pages gives every item exactly once, equal keys and empty ones included."""
    items = [{"title": title, "n": number} for number, title in enumerate(titles)]
    if any(title == "" for title in titles) and "title" in orderby:
        items = [item for item in items if item["title"]]

    assert sorted(walked(items, orderby, limit)) == [item["n"] for item in items]


def test_limit_needs_orderby_and_has_bounds() -> None:
    """Without orderby the limit is not heeded; above 500 it is refused."""
    items = [{"title": str(number)} for number in range(5)]

    assert len(page_of(items, ListQuery(limit=2)).items) == 5
    assert len(page_of(items, ListQuery(orderby="title", limit=2)).items) == 2
    assert page_of(items, ListQuery(orderby="title", limit=500)).next is None
    with pytest.raises(ResourceInvalid):
        page_of(items, ListQuery(orderby="title", limit=501))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("title==b", [2]),
        ("title!=b", [1, 3]),
        ("n>=2", [2, 3]),
        ("n<2", [1]),
        ("tags==x", [1]),
        ("tags!=x", [2, 3]),
        ("tags", [1, 2]),
        ("on==true", [3]),
    ],
)
def test_property_conditions(condition: str, expected: list[int]) -> None:
    """A condition compares a value, looks into a list, or asks whether there is one."""
    items: list[dict[str, Any]] = [
        {"n": 1, "title": "a", "tags": ["x", "y"]},
        {"n": 2, "title": "b", "tags": ["y"]},
        {"n": 3, "title": "c", "on": True},
    ]

    assert expected == [each["n"] for each in page_of(items, ListQuery((condition,), "n")).items]


@pytest.mark.parametrize(
    "accept",
    [
        "application/vnd.adobe.xed-id+json; version=1",
        "application/vnd.adobe.xed-full+json",
        "text/html",
    ],
)
def test_list_accept(accept: str) -> None:
    """A list takes no version and no resolved form."""
    with pytest.raises(ListAcceptRefused):
        list_ids_only(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "application/vnd.adobe.xed+json",
        "application/vnd.adobe.xed-full+json; version=2",
        "application/vnd.adobe.xed-whole+json; version=1",
        "*/*",
        "",
    ],
)
def test_lookup_accept(accept: str) -> None:
    """A look-up needs the major version and a known form."""
    with pytest.raises(LookupAcceptRefused):
        lookup_wants(accept)


def test_lookup_forms() -> None:
    """The parts of the media type say what is wanted."""
    wanted = lookup_wants("application/vnd.adobe.xed-full-notext-desc+json;version=1.3")

    assert (wanted.full, wanted.text, wanted.descriptors) == (True, False, True)
