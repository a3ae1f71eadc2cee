"""Rows give the meaning; closures must agree, and both know when an answer changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.expression.evaluators.closures import compile_rule
from amity.expression.evaluators.rows import evaluate, ordered
from amity.expression.syntax.pql import parse
from amity.expression.times import NEVER
from amity.kernel.clock import DAY_MS, HOUR_MS, from_iso, to_iso

NOW = from_iso("2024-03-31T10:30:00Z")

TYPES = ["view", "buy", "click"]
UNITS = ["hours", "days", "weeks", "months"]

numbers = st.one_of(st.none(), st.integers(-3, 40), st.sampled_from([0.5, 2.25]))
times = st.one_of(
    st.integers(NOW - 40 * DAY_MS, NOW + 3 * DAY_MS),
    st.integers(0, 40).map(lambda days: NOW - days * DAY_MS),
    st.integers(-3, 48).map(lambda hours: NOW - hours * HOUR_MS),
)
items = st.fixed_dictionaries(
    {}, optional={"SKU": st.sampled_from(["a", "b", "B"]), "quantity": numbers}
)
events = st.lists(
    st.fixed_dictionaries(
        {"timestamp": times.map(to_iso), "eventType": st.sampled_from(TYPES)},
        optional={"total": numbers, "items": st.lists(items, max_size=3)},
    ),
    max_size=7,
).map(lambda found: [{"_id": f"e{at}", **event} for at, event in enumerate(found)])
profiles = st.fixed_dictionaries(
    {},
    optional={
        "age": numbers,
        "city": st.sampled_from(["Rome", "rome", "Paris", ""]),
        "tags": st.lists(st.sampled_from(["x", "y", "z"]), max_size=3),
        "birth": times.map(to_iso),
        "address": st.fixed_dictionaries({}, optional={"code": st.sampled_from(["US", "MX"])}),
    },
)


@st.composite
def windows(draw: st.DrawFn, time: str, other: str | None = None) -> str:
    ref = draw(
        st.sampled_from(
            ["now", "today", "yesterday", "this month", "last week", "date(2024,3,30)"]
            + ([other] if other else [])
        )
    )
    amount, unit = draw(st.integers(0, 20)), draw(st.sampled_from(UNITS))
    op = draw(st.sampled_from(["<=", "<", ">", ">=", "="]))
    side = draw(st.sampled_from(["before", "after", "from"]))
    return draw(
        st.sampled_from(
            [
                f"{time} occurs {op} {amount} {unit} {side} {ref}",
                f"{time} occurs <= {amount} {unit} before now",
                f"{time} occurs {side} {ref}",
                f"{time} occurs on {ref}",
                f"{time} occurs between {ref} and now",
            ]
        )
    )


@st.composite
def event_tests(draw: st.DrawFn, event: str, other: str | None = None) -> str:
    kind = draw(st.sampled_from(TYPES))
    return draw(
        st.one_of(
            st.just(f'{event}.eventType = "{kind}"'),
            st.just(f'{event}.eventType in ["{kind}", "view"]'),
            st.just(f"{event}.total >= 2"),
            st.just(f'{event}.items.exists(SKU = "a" and quantity > 1)'),
            st.just(f'{event}.items[SKU.equals("b", false)].sum(quantity) > 1'),
            windows(f"{event}.timestamp", other),
        )
    )


@st.composite
def selections(draw: st.DrawFn) -> str:
    parts = draw(st.lists(event_tests("E"), min_size=1, max_size=3))
    return f"(select E from xEvent where {' and '.join(parts)})"  # noqa: S608 - PQL


@st.composite
def atoms(draw: st.DrawFn) -> str:
    chosen = draw(selections())
    first, second = draw(event_tests("V")), draw(event_tests("W", "V.timestamp"))
    count = draw(st.integers(0, 3))
    return draw(
        st.sampled_from(
            [
                f"{chosen}.count() >= {count}",
                f"{chosen}.sum(total) > {count}",
                f"{chosen}.average(total) < 5",
                f"{chosen}.max(total) = {chosen}.min(total)",
                f"({chosen})",
                f"exists V from xEvent where {first}, W from xEvent where {second}",
                f"(forall V from xEvent where {first})",
                (f'chain(xEvent, timestamp, [A: WHAT(eventType = "view") COUNT({max(count, 1)}), '
                "B: WHAT(total > 1) WHEN(<= 9 days before now)])"),
                "age > 18",
                "age % 3 = 1",
                "not (age + 1 <= 5)",
                'city in ["Rome", "Paris"]',
                'city notIn ["Rome"]',
                'city.contains("OM", false)',
                'city like "R%e"',
                'tags.intersects(["x", "y"])',
                '"x" in tags',
                'address.code != "US"',
                "address.code.isNull()",
                draw(windows("birth")),
                "birth.getMonth() = currentMonth()",
                'inSegment("seg")',
            ]
        )
    )  # fmt: skip


@st.composite
def rules(draw: st.DrawFn) -> str:
    parts = draw(st.lists(atoms(), min_size=1, max_size=3))
    out = f"({parts[0]})"
    for part in parts[1:]:
        word = draw(st.sampled_from(["and", "or", "and not"]))
        out = f"{out} {word} ({part})"
    return out


@settings(max_examples=150, deadline=None)
@given(rules(), profiles, events, st.booleans())
def test_closures_agree_with_rows(
    text: str, profile: dict[str, Any], found: list[dict[str, Any]], member: bool
) -> None:
    """The value is the same for every rule, profile and list of events.

    The closures may know better until when it stands; until then the rows must agree.
    """
    audiences = {"seg"} if member else set()
    expected = evaluate(parse(text), profile, found, NOW, audiences=audiences)

    value, changes_at = compile_rule(parse(text))(
        {**profile, "xEvent": ordered(found)}, {}, NOW, audiences
    )

    assert (bool(expected.value) if expected.value != [] else False) == value
    assert (expected.changes_at or NEVER) <= changes_at
    last = min(changes_at, NOW + 400 * DAY_MS) - 1
    assert evaluate(parse(text), profile, found, last, audiences=audiences).value == expected.value


@settings(max_examples=100, deadline=None)
@given(rules(), profiles, events, st.data())
def test_the_answer_stands_until_it_says_it_changes(
    text: str, profile: dict[str, Any], found: list[dict[str, Any]], data: st.DataObject
) -> None:
    """At every instant before `changes_at` the answer is the one given now."""
    rule = parse(text)
    now = evaluate(rule, profile, found, NOW)
    last = (now.changes_at or NOW + 400 * DAY_MS) - 1
    moments = data.draw(st.lists(st.integers(NOW, last), max_size=5))

    answers = [evaluate(rule, profile, found, at).value for at in (*moments, last)]

    assert answers == [now.value] * (len(moments) + 1)


@pytest.mark.parametrize(
    ("before_ms", "inside"), [(28 * DAY_MS, False), (28 * DAY_MS - 1, True), (0, True), (-1, False)]
)
def test_a_window_lets_go_at_its_very_millisecond(before_ms: int, inside: bool) -> None:
    """`<= 28 days before now` is (now - 28 days, now]."""
    rule = parse("xEvent[timestamp occurs <= 28 days before now].count() = 1")
    event = {"_id": "e", "timestamp": to_iso(NOW - before_ms)}

    assert evaluate(rule, {}, [event], NOW).value is inside


@pytest.mark.parametrize(
    ("after_ms", "inside"), [(-1, False), (0, True), (DAY_MS, True), (DAY_MS + 1, False)]
)
def test_within_a_day_after_takes_both_ends_in(after_ms: int, inside: bool) -> None:
    """`<= 24 hours after X` is [X, X + 24 hours]."""
    rule = parse("b occurs <= 24 hours after a")
    profile = {"a": to_iso(NOW), "b": to_iso(NOW + after_ms)}

    assert evaluate(rule, profile, [], NOW).value is inside
