"""What may enter a dataset, and what is told about what may not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.kernel.clock import VirtualBusinessClock, from_iso
from amity.kernel.limits import (
    EVENT_BYTES_MAX,
    EVENT_FUTURE_MS_MAX,
    JSON_DEPTH_MAX,
    RECORD_BYTES_MAX,
)
from amity.kernel.scope import Scope
from amity.platform.catalog.model import Dataset
from amity.platform.ingestion.errors import UnusableSchema
from amity.platform.ingestion.validation import RecordValidator, Validators, Violation, parsed
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS, Behavior, ResolvedSchema

NOW = "2017-10-30T00:00:00Z"
IDENTITY_MAP = {
    "type": "object",
    "additionalProperties": {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "primary": {"type": "boolean"},
                "authenticatedState": {"enum": ["ambiguous", "authenticated", "loggedOut"]},
            },
        },
    },
}


def schema(behavior: Behavior = "record", **properties: Any) -> ResolvedSchema:
    """A small schema of the wanted behaviour."""
    event = behavior == "time-series"
    fields: dict[str, Any] = {
        "_id": {"type": "string"},
        "identityMap": IDENTITY_MAP,
        "note": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "gender": {"type": "string", "enum": ["male", "female"]},
        "code": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "born": {"type": "string", "format": "date"},
        "open": {},
        **properties,
    }
    if event:
        fields["timestamp"] = {"type": "string", "format": "date-time"}
    return ResolvedSchema(
        id="https://ns.adobe.com/shop/schemas/1",
        alt_id="_shop.schemas.1",
        title="Shop",
        version="1.0",
        class_id=EVENT_CLASS if event else PROFILE_CLASS,
        behavior=behavior,
        json_schema={
            "type": "object",
            "additionalProperties": False,
            "properties": fields,
            "required": ["_id", "timestamp"] if event else [],
        },
    )


def validator(behavior: Behavior = "record", *, profile: bool = True) -> RecordValidator:
    """A validator whose clock stands at NOW."""
    dataset = Dataset(
        id="d1", name="D", schema_id="s", profile_enabled=profile, identity_enabled=profile
    )
    return RecordValidator(
        Scope("O", "prod"), dataset, schema(behavior), VirtualBusinessClock(from_iso(NOW))
    )


def check(one: RecordValidator, body: Any) -> list[Violation]:
    """The violations of a body, serialised as a door does."""
    return one.check(body, orjson.dumps(body))


def person(**fields: Any) -> dict[str, Any]:
    """A record with one identity."""
    return {"identityMap": {"CRMID": [{"id": "c1"}]}, **fields}


def event(**fields: Any) -> dict[str, Any]:
    """An event with one identity."""
    return person(_id="e1", timestamp="2017-10-29T23:59:59Z", **fields)


def test_good_records_have_no_violations() -> None:
    """A record and an event that keep all rules enter."""
    assert check(validator(), person(note="x", age=3, gender="male", code="USD")) == []
    assert check(validator("time-series"), event(note="x")) == []


@pytest.mark.parametrize(
    ("body", "path", "keyword"),
    [
        (person(colour="red"), "/colour", "additionalProperties"),
        (person(age="3"), "/age", "type"),
        (person(age=-1), "/age", "minimum"),
        (person(gender="x"), "/gender", "enum"),
        (person(code="usd"), "/code", "pattern"),
        (person(born="30.10.2017"), "/born", "format"),
        (person(note=None), "/note", "null"),
        (person(open=None), "/open", "null"),
        (person(open={"a": [None]}), "/open/a/0", "null"),
        (person(note=""), "/note", "empty"),
        ({"note": "x"}, "", "identity"),
        ({"identityMap": {"A": [{"id": "1"}, {"id": "2"}]}}, "", "identity"),
        ({"identityMap": {"ECID": [{"id": "12"}]}}, "/identityMap/ECID/0/id", "identity"),
        ([1], "", "type"),
        ("text", "", "type"),
        (None, "", "type"),
    ],
)
def test_bad_records_tell_place_and_rule(body: Any, path: str, keyword: str) -> None:
    """Each refusal names the field by JSON pointer and the rule by keyword."""
    first = check(validator(), body)[0]

    assert (first.path, first.keyword) == (path, keyword)
    assert first.message


def test_missing_required_field_is_pointed_at() -> None:
    """The pointer of a missing field is where it should stand; the code is the documented one."""
    body = event()
    del body["_id"]
    first = check(validator("time-series"), body)[0]

    assert (first.path, first.keyword, first.code) == ("/_id", "required", "INGEST-1555-400")


@pytest.mark.parametrize(
    ("ahead_ms", "accepted"),
    [(0, True), (EVENT_FUTURE_MS_MAX, True), (EVENT_FUTURE_MS_MAX + 1, False), (86_400_000, False)],
)
def test_events_lie_in_the_past_of_the_business_clock(ahead_ms: int, accepted: bool) -> None:
    """An event ahead of business time is refused, to the millisecond."""
    start = VirtualBusinessClock(from_iso("2017-10-30T00:00:00Z") - ahead_ms)
    dataset = Dataset(id="d1", name="D", schema_id="s", profile_enabled=True)
    one = RecordValidator(Scope("O", "prod"), dataset, schema("time-series"), start)
    body = person(_id="e1", timestamp="2017-10-30T00:00:00Z")

    assert [v.keyword for v in check(one, body)] == ([] if accepted else ["future"])


@pytest.mark.parametrize("text", ["2017-10-30", "yesterday", "2016-12-31T23:59:60Z", "x" * 5_000])
def test_timestamps_of_another_form_are_refused(text: str) -> None:
    """What is no date-time, or no time of a computer's clock, is told with its place."""
    first = check(validator("time-series"), person(_id="e1", timestamp=text))[0]

    assert (first.path, first.keyword) == ("/timestamp", "format")
    assert len(first.message) < 400


@pytest.mark.parametrize(
    ("behavior", "limit"), [("time-series", EVENT_BYTES_MAX), ("record", RECORD_BYTES_MAX)]
)
def test_size_limit_holds_at_the_edge(behavior: Behavior, limit: int) -> None:
    """Exactly the limit enters a profile dataset, one byte more does not; others have none."""
    base = event(note="x") if behavior == "time-series" else person(note="x")
    room = limit - len(orjson.dumps(base)) + 1
    fits, over = {**base, "note": "x" * room}, {**base, "note": "x" * (room + 1)}

    assert check(validator(behavior), fits) == []
    assert [v.keyword for v in check(validator(behavior), over)] == ["size"]
    assert check(validator(behavior, profile=False), over) == []


def test_identity_count_holds_at_the_edge() -> None:
    """Twenty identities in a record, not one more."""

    def of(count: int) -> dict[str, Any]:
        ids = [{"id": str(n), "primary": n == 0} for n in range(count)]
        return {"identityMap": {"A": ids}}

    assert check(validator(), of(20)) == []
    assert [v.keyword for v in check(validator(), of(21))] == ["identities"]


def test_depth_is_bounded() -> None:
    """An open field does not let bottomless nesting in."""

    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return value

    assert check(validator(), person(open=nested(JSON_DEPTH_MAX - 1))) == []
    assert [v.keyword for v in check(validator(), person(open=nested(JSON_DEPTH_MAX)))] == ["depth"]


def test_nul_never_reaches_keys() -> None:
    """NUL in an identity or an event's id is refused: keys are made of them."""
    bad_id = event() | {"_id": "a\x00b"}
    bad_identity = {"identityMap": {"A": [{"id": "a\x00b"}]}}

    assert check(validator("time-series"), bad_id)[0].path == "/_id"
    assert check(validator(), bad_identity)[0].keyword == "identity"


def test_at_most_five_violations_are_told() -> None:
    """A message with many errors is not described without end."""
    assert len(check(validator(), person(open=[None] * 50))) == 5


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"a":NaN}',
        b'{"a":"\\ud800"}',
        b"\xff\xfe",
        b'{"a":1e999}',
        b"[" * 5_000,
    ],  # bottomless
)
def test_what_is_no_json_is_told(raw: bytes) -> None:
    """Broken texts, NaN, lone surrogates, bottomless arrays: one violation, never an exception."""
    value, violation = parsed(raw)

    assert value is None
    assert violation is not None
    assert violation.code == "INGEST-1401-400"


class Book:
    """A registry and catalog of one dataset whose schema may be replaced."""

    def __init__(self) -> None:
        self.schema = schema()
        self.enabled = True

    def resolved(self, scope: Scope, id: str) -> ResolvedSchema:
        return self.schema

    def dataset(self, scope: Scope, id: str) -> Dataset:
        return Dataset(id=id, name="D", schema_id="s", profile_enabled=self.enabled)


def test_validators_are_kept_until_schema_or_dataset_change() -> None:
    """The same state of things gives the same compiled validator; a change gives a new one."""
    book = Book()
    validators = Validators(registry=book, catalog=book, clock=VirtualBusinessClock(0))
    scope = Scope("O", "prod")
    first = validators.of(scope, "d1")
    book.schema = schema()
    equal = validators.of(scope, "d1")
    book.schema = schema(colour={"type": "string"})
    changed = validators.of(scope, "d1")
    book.enabled = False

    assert equal is first
    assert changed is not first
    assert check(changed, person(colour="red")) == []
    assert validators.of(scope, "d1") is not changed


def test_nothing_is_looked_up_while_the_version_stays() -> None:
    """With a version, a change is seen when it moves, and not before."""
    book = Book()
    at = [1]
    validators = Validators(
        registry=book, catalog=book, clock=VirtualBusinessClock(0), version=lambda: at[0]
    )
    scope = Scope("O", "prod")
    first = validators.of(scope, "d1")
    book.enabled = False
    same = validators.of(scope, "d1")
    at[0] += 1

    assert same is first
    assert validators.of(scope, "d1").dataset.profile_enabled is False


def test_patterns_that_backtrack_are_refused_with_a_reason() -> None:
    """A schema whose pattern has look-around cannot be used, and says so."""
    broken = schema(bad={"type": "string", "pattern": "(?=a)b"})

    with pytest.raises(UnusableSchema, match="look-around"):
        RecordValidator(
            Scope("O", "prod"),
            Dataset(id="d", name="D", schema_id="s"),
            broken,
            VirtualBusinessClock(0),
        )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["_id", "identityMap", "timestamp", "open", "age"]), JSON))
@settings(max_examples=100, deadline=None)
def test_any_body_is_judged_without_exception(body: dict[str, Any]) -> None:
    """Whatever JSON comes, both behaviours give a verdict."""
    for behavior in ("record", "time-series"):
        for violation in check(validator(behavior), body):
            assert violation.message


@pytest.mark.parametrize(
    ("levels", "taken"), [(1, True), (64, True), (72, True), (73, False), (500, False)]
)
@pytest.mark.parametrize("shape", ["[{}]", '[{{"a":{}}}]'])
def test_deep_texts_are_no_messages(levels: int, taken: bool, shape: str) -> None:
    """Nesting beyond a record in its envelope is refused at parsing, brackets in texts or not."""
    text = '"}]"'
    opened = 1 if shape == "[{}]" else 2
    for _ in range(levels // opened):
        text = shape.format(text)
    for _ in range(levels % opened):
        text = f"[{text}]"

    assert (parsed(text.encode())[1] is None) == taken
