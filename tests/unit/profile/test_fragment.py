"""A fragment is the same whatever order its records come in, and loses nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.platform.identity.model import Identity
from amity.platform.profile.fragment import Fragment, ReceiptStamp, overlay, upsert
from amity.platform.profile.merge import Piece, Policy, compose, view_of

LEAF = st.integers(0, 3) | st.lists(st.integers(0, 2), max_size=2) | st.sampled_from(["x", "y"])
BODIES = st.dictionaries(
    st.sampled_from("abc"),
    LEAF | st.dictionaries(st.sampled_from("pq"), LEAF, max_size=2),
    max_size=3,
)


def build(records: list[tuple[int, dict[str, Any]]]) -> Fragment | None:
    fragment = None
    for at, body in records:
        fragment = upsert(fragment, ReceiptStamp(at, 0, 0, 0, 0), body) or fragment
    return fragment


def leaves(fields: dict[str, Any], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for key, value in fields.items():
        found |= leaves(value, (*path, key)) if isinstance(value, dict) else {(*path, key)}
    return found


@pytest.mark.thorough
@settings(max_examples=200, deadline=None)
@given(bodies=st.lists(BODIES, min_size=1, max_size=6), seed=st.integers(0, 1 << 30))
def test_any_order_gives_the_same_fragment(bodies: list[dict[str, Any]], seed: int) -> None:
    """Shuffled and repeated, the same stamped records give the fields of the sorted fold."""
    records = list(enumerate(bodies))
    expected: dict[str, Any] = {}
    for _, body in records:
        expected = overlay(expected, body)
    shuffled = [*records, *records[: len(records) // 2]]
    random.Random(seed).shuffle(shuffled)

    fragment = build(shuffled)

    assert fragment is not None
    assert build(records) == fragment
    assert expected == fragment.fields
    assert fragment.stamp.received_ms == len(bodies) - 1


def test_records_of_the_same_leaves_keep_one_layer() -> None:
    """A record sent again and again does not grow the fragment."""
    fragment = build([(n, {"a": n, "b": {"c": n}}) for n in range(50)])

    assert fragment is not None
    assert len(fragment.layers) == 1


def test_identity_maps_unite() -> None:
    """Two records with other entries of `identityMap` keep both."""
    fragment = build(
        [
            (1, {"identityMap": {"CRM": [{"id": "b"}]}}),
            (2, {"identityMap": {"CRM": [{"id": "a", "primary": True}], "Web": [{"id": "w"}]}}),
        ]
    )

    assert fragment is not None
    piece = Piece(Identity("CRM", "a"), "d", fragment.stamp, fragment.fields)
    assert {
        "identityMap": {"CRM": [{"id": "a", "primary": True}, {"id": "b"}], "Web": [{"id": "w"}]}
    } == view_of([piece], (), Policy("p"))


@pytest.mark.thorough
@settings(max_examples=150, deadline=None)
@given(bodies=st.lists(BODIES, min_size=1, max_size=5))
def test_a_merge_never_loses_a_value(bodies: list[dict[str, Any]]) -> None:
    """Every leaf of every fragment is in the view, with the word of one of the fragments."""
    typed = [
        {key: value for key, value in body.items() if isinstance(value, dict) == (key == "a")}
        for body in bodies
    ]
    pieces = [
        Piece(Identity("CRM", str(n)), "d", ReceiptStamp(n % 3, 0, 0, 0, n), body)
        for n, body in enumerate(typed)
    ]
    merged = compose(pieces, Policy("p"))
    said = {path for body in typed for path in leaves(body)}

    assert said == leaves(merged)
    for path in said:
        words = [_at(body, path) for body in typed if path in leaves(body)]
        assert _at(merged, path) in words


def _at(fields: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = fields
    for step in path:
        value = value[step]
    return value
