"""Which identities a record carries."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.platform.ingestion.identities import (
    RecordIdentity,
    identities_of,
    identity_faults,
    plainly_usable,
)
from amity.platform.schema.model import IdentityField


class Fields(NamedTuple):
    """What the functions need of a schema."""

    identities: tuple[IdentityField, ...] = ()


LOYALTY = Fields(
    (
        IdentityField(path=("_shop", "loyaltyId"), namespace="Loyalty", primary=True),
        IdentityField(path=("personalEmail", "address"), namespace="Email", primary=False),
    )
)
PLAIN = Fields()


def test_descriptor_field_marked_primary_is_the_primary() -> None:
    """A primary descriptor wins over a primary entry of the map."""
    found = identities_of(
        {
            "_shop": {"loyaltyId": "L1"},
            "personalEmail": {"address": "a@example.test"},
            "identityMap": {"ECID": [{"id": "1" * 38, "primary": True}]},
        },
        LOYALTY,
    )

    assert found.primary == ("Loyalty", "L1")
    assert found.all == (("Loyalty", "L1"), ("Email", "a@example.test"), ("ECID", "1" * 38))


def test_map_entry_marked_primary_is_the_primary() -> None:
    """Without a primary descriptor value, the map's primary entry is it."""
    found = identities_of(
        {"identityMap": {"A": [{"id": "1"}], "B": [{"id": "2", "primary": True}]}}, PLAIN
    )

    assert found.primary == RecordIdentity("B", "2")


def test_only_identity_is_the_primary() -> None:
    """A record of one identity is kept under it, marked or not."""
    assert identities_of({"identityMap": {"A": [{"id": "1"}]}}, PLAIN).primary == ("A", "1")


def test_several_unmarked_identities_have_no_primary() -> None:
    """Which of two is meant cannot be told."""
    found = identities_of({"identityMap": {"A": [{"id": "1"}, {"id": "2"}]}}, PLAIN)

    assert found.primary is None
    assert len(found.all) == 2


def test_equal_identities_count_once_and_keep_the_mark() -> None:
    """The same value in field and map is one identity."""
    found = identities_of(
        {
            "personalEmail": {"address": "a@example.test"},
            "identityMap": {"Email": [{"id": "a@example.test", "primary": True}]},
        },
        LOYALTY,
    )

    assert found.all == (("Email", "a@example.test"),)
    assert found.primary == ("Email", "a@example.test")


@pytest.mark.parametrize("value", ["", "  ", "null", "NULL", "anonymous", "Invalid"])
def test_blocked_values_name_nobody(value: str) -> None:
    """Placeholders never become identities; the others of the record stay."""
    found = identities_of(
        {"identityMap": {"A": [{"id": value, "primary": True}, {"id": "x"}]}}, PLAIN
    )

    assert found.all == (("A", "x"),)
    assert found.primary == ("A", "x")


@pytest.mark.parametrize(
    ("ns", "value", "faulty"),
    [
        ("ECID", "1" * 38, False),
        ("ECID", "1" * 37, True),
        ("ECID", "1" * 39, True),
        ("ECID", "x" * 38, True),
        ("ECID", "\u0661" * 38, True),
        ("CRMID", "x" * 1024, False),
        ("CRMID", "x" * 1025, True),
        ("CRMID", "a\x00b", True),
    ],
)
def test_faulty_identities_are_told(ns: str, value: str, faulty: bool) -> None:
    """ECIDs of another form, values too long and NUL make a record unusable, at the edge exactly."""
    faults = list(identity_faults({"identityMap": {ns: [{"id": value}]}}, PLAIN))

    assert bool(faults) == faulty


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON, JSON)
@settings(max_examples=80, deadline=None)
def test_any_shape_is_survived(entries: Any, shop: Any) -> None:
    """Whatever stands where identities should, no exception; the primary is one of all."""
    found = identities_of({"identityMap": entries, "_shop": shop}, LOYALTY)

    assert found.primary is None or found.primary in found.all


ENTRIES = st.dictionaries(
    st.sampled_from(["A", "B", "ECID"]),
    st.lists(
        st.fixed_dictionaries(
            {"id": st.sampled_from(["1", "2", "null", "", "9" * 38])},
            optional={"primary": st.booleans()},
        ),
        max_size=3,
    ),
    max_size=3,
)


@given(ENTRIES)
@settings(max_examples=100, deadline=None)
def test_short_way_agrees_with_the_long_one(entries: Any) -> None:
    """What is plainly usable has a primary identity and no fault."""
    body = {"identityMap": entries}
    if plainly_usable(body, PLAIN):
        assert identities_of(body, PLAIN).primary is not None
        assert list(identity_faults(body, PLAIN)) == []
