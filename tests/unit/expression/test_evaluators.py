"""Rows give the meaning; closures must agree, and both know when an answer changes."""

from __future__ import annotations

import itertools
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.expression.evaluators.closures import compile_rule
from amity.expression.evaluators.rows import evaluate, ordered
from amity.expression.syntax.pql import parse
from amity.expression.times import NEVER
from amity.expression.values import truth
from amity.flow.step import Position
from amity.kernel.clock import DAY_MS, HOUR_MS, from_iso, to_iso
from amity.platform.profile.fragment import ReceiptStamp
from amity.platform.segmentation.batch import bitmaps_of
from amity.platform.segmentation.fused import Table, fused
from amity.platform.segmentation.slots import needs_of

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


@pytest.mark.thorough
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


@pytest.mark.thorough
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


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5),
        times.map(to_iso), st.sampled_from(["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["SKU", "quantity", "code", "a"]), inner, max_size=3),
    ),
    max_leaves=6,
)  # fmt: skip
FIELDS = ["age", "city", "tags", "birth", "address"]
ODD = [
    "city.matches(tags)", "city.regexGroup(age, 1) = 1", "m.get(age) = 1", "tags.topN(this, age)",
    "xEvent.sum(total * 1.7e308) > 1", "birth occurs <= 3 months after age",
    "tags.groupBy(this).map((K, V) => mapEntry(V, K)).keys().count() > 0",
    "birth.getMonth() = address.getYear()", "city in tags", "birth occurs on age",
    "birth occurs <= 9000 years from age", "xEvent.average(items) > 1", "tags.distinct() = tags",
]  # fmt: skip


@pytest.mark.thorough
@settings(max_examples=150, deadline=None)
@given(
    st.one_of(rules(), st.sampled_from(ODD)),
    st.dictionaries(st.sampled_from(FIELDS), anything),
    st.lists(
        st.dictionaries(st.sampled_from(["eventType", "total", "items"]), anything), max_size=3
    ),
)
def test_no_data_makes_a_rule_fail(
    text: str, profile: dict[str, Any], found: list[dict[str, Any]]
) -> None:
    """Whatever a record holds, a rule has an answer, and the same by both evaluators."""
    events = [{**body, "_id": str(n), "timestamp": to_iso(NOW)} for n, body in enumerate(found)]
    expected = truth(evaluate(parse(text), profile, events, NOW).value)

    value, _ = compile_rule(parse(text))({**profile, "xEvent": ordered(events)}, {}, NOW, ())

    assert value == expected


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


@pytest.mark.parametrize(
    ("at", "inside"),
    [
        ("2024-03-01T23:59:59.999Z", False),
        ("2024-03-02T00:00:00Z", True),
        ("2024-03-04T23:59:59.999Z", True),
        ("2024-03-05T00:00:00Z", False),
    ],
)
def test_between_two_dates_holds_all_of_the_last_day(at: str, inside: bool) -> None:
    """`between` takes both ends in, and a date is a day: as `between yesterday and today` does."""
    rule = parse("a occurs between date(2024, 3, 2) and date(2024, 3, 4)")

    assert evaluate(rule, {"a": at}, [], NOW).value is inside
    assert compile_rule(rule)({"a": at}, {}, NOW, ())[0] is inside


INSTANT = pa.timestamp("ms", "UTC")
META = [
    pa.field("_amity_time", pa.int64()),
    pa.field("_amity_received", pa.int64()),
    pa.field("_amity_identity", pa.string()),
    pa.field("_amity_partition", pa.int32()),
    pa.field("_amity_offset", pa.int64()),
    pa.field("_amity_n", pa.int32()),
]
ITEM = pa.struct([("SKU", pa.string()), ("quantity", pa.float64())])
EVENTS = pa.schema(
    [
        pa.field("_id", pa.string()),
        pa.field("timestamp", INSTANT),
        pa.field("eventType", pa.string()),
        pa.field("total", pa.float64()),
        pa.field("items", pa.list_(ITEM)),
        *META,
    ]
)
PROFILES = pa.schema(
    [
        pa.field("age", pa.float64()),
        pa.field("city", pa.string()),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("birth", INSTANT),
        pa.field("address", pa.struct([("code", pa.string())])),
        *META,
    ]
)

people = st.lists(st.tuples(profiles, events), min_size=1, max_size=12)


@pytest.mark.thorough
@settings(max_examples=6, deadline=None)
@given(st.lists(rules(), min_size=4, max_size=12), people)
def test_one_query_agrees_with_rows(
    texts: list[str], found: list[tuple[dict[str, Any], list[dict[str, Any]]]]
) -> None:
    """Every rule has the members the meaning gives it; what is refused is named."""
    asked = [("seg", parse("age > 3")), *((f"r{n}", parse(text)) for n, text in enumerate(texts))]
    query = fused(asked, profiles=[Table("t0", PROFILES)], events=[Table("t1", EVENTS)], now_ms=NOW)

    rows = run(query.statement.sql("duckdb"), found)
    bitmaps = bitmaps_of(rows, query.audiences)

    for id, rule in asked:
        if id in query.refused:
            assert query.refused[id]
            continue
        expected = {n for n, one in enumerate(found) if holds(rule, *one)}
        assert set(bitmaps[id]) == expected, texts[int(id[1:])] if id != "seg" else id


def holds(rule: Any, profile: dict[str, Any], found: list[dict[str, Any]]) -> bool:
    member = truth(evaluate(parse("age > 3"), profile, [], NOW).value)
    audiences = {"seg"} if member else set()
    return truth(evaluate(rule, profile, found, NOW, audiences=audiences).value)


def run(statement: str, found: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> pa.Table:
    """The query over tables of these people."""
    meta = {"_amity_received": 1, "_amity_partition": 0, "_amity_offset": 0, "_amity_n": 0}
    profile_rows = [
        {**typed(profile), **meta, "_amity_identity": f"id:{n}"}
        for n, (profile, _) in enumerate(found)
    ]
    event_rows = [
        {**typed(event), **meta, "_amity_identity": f"id:{n}", "_amity_time": at(event)}
        for n, (_, events) in enumerate(found)
        for event in events
    ]
    numbers = range(len(found))
    connection = duckdb.connect()
    connection.register("t0", pa.Table.from_pylist(profile_rows, PROFILES))
    connection.register("t1", pa.Table.from_pylist(event_rows, EVENTS))
    member = pa.table({"identity": [f"id:{n}" for n in numbers], "n": list(numbers)})
    connection.register("member", member)
    try:
        return connection.sql(statement).to_arrow_table()
    except duckdb.Error as error:
        raise AssertionError(f"{error}\n{statement}") from error
    finally:
        connection.close()


@pytest.mark.thorough
def test_query_and_profile_store_agree_on_what_came_last() -> None:
    """The newest value is that of the greatest receipt stamp, also within one millisecond."""
    positions = [(63, 5, 0), (2, 6, 0), (2, 6, 1), (64, 1, 0), (70, 1, 0)]
    for one, other in itertools.permutations(range(len(positions)), 2):
        stamps = [ReceiptStamp.of(7, Position(*positions[at])) for at in (one, other)]
        rows = [
            {
                "age": float(at),
                "_amity_received": 7,
                "_amity_identity": "id:0",
                **dict(zip(("_amity_partition", "_amity_offset", "_amity_n"), place, strict=True)),
            }
            for at, place in ((one, positions[one]), (other, positions[other]))
        ]
        last = one if stamps[0] > stamps[1] else other
        query = fused(
            [("last", parse(f"age = {last}"))],
            profiles=[Table("t0", PROFILES)],
            events=[],
            now_ms=NOW,
        )
        connection = duckdb.connect()
        connection.register("t0", pa.Table.from_pylist(rows, PROFILES))
        connection.register("member", pa.table({"identity": ["id:0"], "n": [0]}))
        found = connection.sql(query.statement.sql("duckdb")).to_arrow_table()

        assert set(bitmaps_of(found, query.audiences)["last"]) == {0}, (one, other)


def at(event: dict[str, Any]) -> int:
    return from_iso(event["timestamp"])


def typed(record: dict[str, Any]) -> dict[str, Any]:
    """The record as the lake holds it."""
    times = {name: from_iso(record[name]) for name in ("timestamp", "birth") if name in record}
    return {**record, **times}


def test_what_a_query_cannot_say_is_refused_by_name() -> None:
    """And the others are evaluated all the same."""
    asked = [("a", parse("xEvent.topN(total, 2).exists(total > 1)")), ("b", parse("age > 1"))]
    query = fused(asked, profiles=[Table("t0", PROFILES)], events=[], now_ms=NOW)

    assert query.audiences == ("b",)
    assert "topN" in query.refused["a"]


@pytest.mark.parametrize(("limit", "holds"), [("2.5", True), ("3.0", False), ("3.5", False)])
def test_a_count_beside_a_broken_number(limit: str, holds: bool) -> None:
    """Three events are more than two and a half: a count is compared, never a limit rounded."""
    rule = parse(f'xEvent[eventType = "buy"].count() > {limit}')
    events = [{"_id": f"e{n}", "timestamp": to_iso(NOW), "eventType": "buy"} for n in range(3)]
    needs = needs_of(rule)
    (slot,) = needs.slots

    found, _ = compile_rule(needs.rule)({}, {slot: events}, NOW, ())

    assert found is holds
