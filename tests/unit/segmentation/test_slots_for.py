"""Which slots take an event?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.expression.syntax.pql import parse
from amity.platform.segmentation.ruleset import Definition, RuleSet

RULES = (
    'xEvent[eventType = "a"].count() > 1',
    'xEvent[eventType = "a" and shop.area = "x"].count() > 1',
    'xEvent[eventType = "a" and shop.area in ["x", "y"]].count() > 1',
    'xEvent[eventType in ["a", "b"] and shop.area = "y" and total > 3].count() > 1',
    'xEvent[shop.area = "x"].count() > 1',
    'xEvent[kind = "x" and shop.area = "y"].count() > 1',
    "xEvent[total > 3].count() > 1",
    'xEvent[eventType = "a" or shop.area = "x"].count() > 1',
    'xEvent[eventType = "a" and shop.area = "x" and shop.area = "y"].count() > 1',
)
TEXTS = st.sampled_from("abxyz")
ANYTHING = st.one_of(TEXTS, st.none(), st.integers(0, 5), st.lists(TEXTS, max_size=2))
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "eventType": ANYTHING,
        "kind": ANYTHING,
        "total": st.integers(0, 6),
        "shop": st.one_of(ANYTHING, st.fixed_dictionaries({}, optional={"area": ANYTHING})),
    },
)


@pytest.mark.thorough
@settings(max_examples=200, deadline=None)
@given(event=EVENTS)
def test_looking_it_up_finds_the_slots_whose_condition_holds(event: dict[str, Any]) -> None:
    """By type and text or one by one: the same slots take an event, whatever it looks like."""
    rules = RuleSet(Definition(str(n), parse(rule)) for n, rule in enumerate(RULES))

    found = {slot.name for slot in rules.slots_for(event)}

    assert found == {slot.name for slot in rules.slots.values() if slot.test(event)}
