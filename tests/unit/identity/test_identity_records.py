"""What a record must be like to count, at the edges."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from amity.flow.step import Failure, Position
from amity.kernel.scope import Scope
from amity.platform.identity.model import Identity
from amity.platform.identity.records import Context, Incoming, Record, read_record
from amity.platform.identity.rules import Rules
from amity.platform.ingestion.identities import identities_of
from amity.platform.schema.model import EVENT_CLASS, PRODUCT_CLASS, PROFILE_CLASS, ResolvedSchema

SCOPE = Scope("A@AmityOrg", "prod")
RULES = Rules(
    types={
        "CRMID": "CROSS_DEVICE",
        "IDFA": "DEVICE",
        "GAID": "DEVICE",
        "ECID": "COOKIE",
        "SKU": "NON_PEOPLE",
    },
    priorities={"CRMID": 1, "IDFA": 2, "GAID": 3, "ECID": 4, "AAID": 5},
    unique=frozenset({"CRMID"}),
)
ECID = "1" * 38


class Source:
    scope, dataset, schema = SCOPE.key, "d", "s"


def read(body: Any, class_id: str = EVENT_CLASS) -> Record | Failure:
    behavior = "time-series" if class_id == EVENT_CLASS else "record"
    resolved = ResolvedSchema(
        id="s",
        alt_id="s",
        title="s",
        version="1.0",
        class_id=class_id,
        behavior=behavior,
        json_schema={},
    )
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    message = Incoming(Source(), behavior, 7, Position(0, 1, 0), raw)
    return read_record(message, Context(SCOPE, RULES, resolved, identities_of))


def event(**entries: list[str]) -> dict[str, Any]:
    held = {ns: [{"id": value} for value in values] for ns, values in entries.items()}
    return {"_id": "e", "timestamp": "2020-01-01T00:00:00Z", "identityMap": held}


@pytest.mark.parametrize(("said_ms", "counts_ms"), [(0, 7), (3, 3)])
def test_a_record_counts_when_it_was_said(said_ms: int, counts_ms: int) -> None:
    """A record's links are as old as its sender says, else as its receipt."""
    raw = orjson.dumps({"identityMap": {"CRMID": [{"id": "c", "primary": True}]}})
    resolved = ResolvedSchema(
        id="s",
        alt_id="s",
        title="s",
        version="1.0",
        class_id=PROFILE_CLASS,
        behavior="record",
        json_schema={},
    )
    message = Incoming(Source(), "record", 7, Position(0, 1, 0), raw, said_ms)
    record = read_record(message, Context(SCOPE, RULES, resolved, identities_of))

    assert isinstance(record, Record)
    assert (record.timestamp_ms, record.received_ms) == (counts_ms, 7)


@pytest.mark.parametrize(
    ("entries", "primary"),
    [
        ({"ECID": [ECID]}, "ECID"),
        ({"ECID": [ECID], "IDFA": ["i"]}, "IDFA"),
        ({"ECID": [ECID], "CRMID": ["c"], "AAID": ["a"]}, "CRMID"),
        ({"GAID": ["g", "h"], "CRMID": ["c"]}, "CRMID"),
    ],
)
def test_highest_ranking_namespace_is_the_primary_one(
    entries: dict[str, list[str]], primary: str
) -> None:
    """An event is kept under its identity of the highest-ranking namespace."""
    record = read(event(**entries))

    assert isinstance(record, Record)
    assert record.primary.ns == primary


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (event(GAID=["g", "h"], ECID=[ECID]), "two_of_highest"),
        (event(ECID=[ECID, "2" * 38]), "two_of_highest"),
        (event(CRMID=["a", "b"]), "two_of_unique"),
        (event(ECID=["1" * 37]), "ecid_form"),
        (event(ECID=["x" * 38]), "ecid_form"),
        (event(CRMID=["c" * 1025]), "identity_too_long"),
        (event(CRMID=["a\x00b"]), "nul_character"),
        (event(CRMID=["null"]), "no_identity"),
        (event(SKU=["s"]), "no_identity"),
        (event(GAID=[str(n) for n in range(20)], CRMID=["c"]), "too_many_identities"),
        ({**event(CRMID=["c"]), "_id": ""}, "event_id"),
        ({**event(CRMID=["c"]), "timestamp": "yesterday"}, "event_time"),
        (b"{", "malformed"),
        (b"[]", "malformed"),
    ],
)
def test_refusals(body: Any, code: str) -> None:
    """Each is refused with its reason."""
    failure = read(body)

    assert isinstance(failure, Failure)
    assert failure.code == f"identity.{code}"
    assert failure.reason


def test_twenty_identities_are_taken() -> None:
    """The limit itself is fine."""
    record = read(event(GAID=[str(n) for n in range(19)], CRMID=["c"]))

    assert isinstance(record, Record)
    assert len(record.linking) == 20


def test_1024_characters_are_taken() -> None:
    """The longest value is fine."""
    assert isinstance(read(event(CRMID=["c" * 1024])), Record)


def test_a_record_keeps_the_primary_identity_it_names() -> None:
    """Priority is for events; a record is kept under what it marks as primary."""
    body = {"identityMap": {"CRMID": [{"id": "c"}], "ECID": [{"id": ECID, "primary": True}]}}
    record = read(body, PROFILE_CLASS)

    assert isinstance(record, Record)
    assert record.primary == Identity("ECID", ECID)
    assert (record.timestamp_ms, record.id) == (7, "")


def test_a_record_without_primary_identity_is_refused() -> None:
    """Two identities, none marked: nobody can say under which to keep it."""
    failure = read({"identityMap": {"CRMID": [{"id": "c"}], "ECID": [{"id": ECID}]}}, PROFILE_CLASS)

    assert isinstance(failure, Failure)
    assert failure.code == "identity.no_primary_identity"


def test_things_never_link() -> None:
    """A record of a class that is no person passes with its key and links nothing."""
    record = read(
        {
            "identityMap": {"SKU": [{"id": "s"}], "CRMID": [{"id": "c"}]}
            | {"SKU": [{"id": "s", "primary": True}]}
        },
        PRODUCT_CLASS,
    )

    assert isinstance(record, Record)
    assert (record.people, record.linking, record.primary) == (False, (), Identity("SKU", "s"))
