"""Rows become records: by keys, once each, refused with a reason, never by a segment file."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from amity.campaign.workflow.activity import Column
from amity.campaign.workflow.errors import BadOptions, ChangedMeanwhile
from amity.exchange.errors import CreatesRecipient
from amity.kernel.clock import DAY_MS

COLUMNS = ("externalId", "email", "firstName")
UPSERT = {
    "operation": "insertOrUpdate",
    "keys": [{"attribute": "externalId"}],
    "fields": [{"to": "email"}, {"to": "firstName"}],
}
UPDATE = {**UPSERT, "operation": "update"}


INJECTED = (
    "nms:recipient, firstName: it holds a control character (U+000D); a name is one line of text"
)


def reasons(done: Any) -> dict[str, int]:
    return {one.reason: one.count for one in done.excluded}


def told(done: Any) -> tuple[int, ...]:
    found = done.outputs["out"].vars
    return tuple(found[name] for name in ("inserted", "updated", "unchanged", "deleted"))


def test_rows_are_inserted_or_update_their_record(world: Any) -> None:
    """Values take their one form; what follows knows the new ids; times and origin are set."""
    (a,) = world.recipients({"externalId": "a", "email": "ann@x.org", "firstName": "Ann"})
    given = world.population(
        [
            {"externalId": "a", "email": " ANN@Y.org", "firstName": "anna"},
            {"externalId": "b", "email": "Bob@x.org", "firstName": "BOB"},
        ],
        *COLUMNS,
    )
    done = world.run("update_data", UPSERT, given)

    now = world.clock.now_ms()
    names = ("id", *COLUMNS, "created", "lastModified", "origin", "gender", "blackList")
    found = world.all("nms:recipient", *names)
    b = found[1][0]
    assert found == [
        (a, "a", "ann@y.org", "Anna", None, now, None, 0, False),
        (b, "b", "bob@x.org", "Bob", now, now, "workflow 7", 0, False),
    ]
    assert [row["id"] for row in world.rows(done.outputs["out"].table)] == [a, b]
    assert done.outputs["out"].table.schema == "nms:recipient"
    assert told(done) == (1, 1, 0, 0)
    assert world.told[-1] == "nms:recipient: 1 inserted, 1 updated, 0 deleted, 0 unchanged"


def test_what_differs_in_nothing_is_not_written(world: Any) -> None:
    """The same rows again leave every record as it was, its time too."""
    given = world.population([{"externalId": "a", "email": "a@x.org"}], *COLUMNS)
    world.run("update_data", UPSERT, given)
    before = world.all("nms:recipient", "id", "lastModified")
    world.clock.advance_to(world.clock.now_ms() + DAY_MS)
    done = world.run("update_data", UPSERT, given)

    assert told(done) == (0, 0, 1, 0)
    assert world.all("nms:recipient", "id", "lastModified") == before


@pytest.mark.thorough
def test_rows_that_cannot_be_written_are_rejected_with_the_reason(world: Any) -> None:
    """A row without key, a header injection, a bad address, a record named twice: nothing of it."""
    given = world.population(
        [
            {"externalId": " ", "email": "nobody@x.org"},
            {"externalId": "e", "firstName": "Eve\r\nBcc: all@x.org"},
            {"externalId": "f", "email": "no address"},
            {"externalId": "g", "firstName": "Old"},
            {"externalId": "g", "firstName": "New"},
        ],
        *COLUMNS,
    )
    done = world.run("update_data", {**UPSERT, "rejects": True}, given)

    assert world.all("nms:recipient", "externalId", "firstName") == [("g", "New")]
    rejects = world.rows(done.outputs["rejects"].table)
    assert [(row["externalId"], row["rejectReason"]) for row in rejects] == [
        (" ", "no key: all are empty"),
        ("e", INJECTED),
        ("f", "nms:recipient, email: 'no address' is no e-mail address; write name@example.com"),
        ("g", "a later row is about the same record"),
    ]  # fmt: skip
    assert sum(reasons(world.run("update_data", UPSERT, given)).values()) == 4


def test_an_update_creates_nobody_and_an_insert_changes_nobody(world: Any) -> None:
    """Who is missing, or there already, is told so."""
    world.recipients({"externalId": "a", "firstName": "Ann"})
    rows = [{"externalId": "a", "firstName": "Anna"}, {"externalId": "b", "firstName": "Bob"}]
    given = world.population(rows, *COLUMNS)
    done = world.run("update_data", UPDATE, given)
    assert reasons(done) == {"no record has this key": 1}
    done = world.run("update_data", {**UPSERT, "operation": "insert"}, given)
    assert reasons(done) == {"there is already a record with this key": 1}
    assert world.all("nms:recipient", "externalId", "firstName") == [("a", "Anna"), ("b", "Bob")]
    done = world.run("update_data", {"operation": "delete", "keys": UPSERT["keys"]}, given)
    assert world.all("nms:recipient", "id") == []


def test_fields_may_be_left_alone(world: Any) -> None:
    """By a condition or where nothing is given; by default nothing empties the attribute."""
    world.recipients({"externalId": "a", "email": "a@x.org", "firstName": "Ann", "points": 9})
    given = world.population(
        [{"externalId": "a"}, {"externalId": "b"}], *COLUMNS, Column(name="points", type="long")
    )
    fields = [
        {"to": "email", "keepIfEmpty": True},
        {"to": "firstName"},
        {"to": "points", "value": "@points + 1", "when": "@points IS NOT NULL"},
    ]
    world.run("update_data", {**UPSERT, "fields": fields}, given)

    assert world.all("nms:recipient", *COLUMNS, "points") == [
        ("a", "a@x.org", None, 9),
        ("b", None, None, None),
    ]


def test_links_and_names_are_looked_up(world: Any) -> None:
    """A link by an attribute of its target, an enumeration by its name; unknown ones rejected."""
    (north,) = world.put("cus:store", {"code": "N1"})
    given = world.population(
        [
            {"externalId": "a", "shop": "N1", "sex": "female"},
            {"externalId": "b", "shop": "", "sex": "2"},
            {"externalId": "c", "shop": "S9", "sex": ""},
            {"externalId": "d", "sex": "neither"},
        ],
        "externalId", "shop", "sex",
    )  # fmt: skip
    fields = [
        {"to": "store-id", "value": "@shop", "by": "code"},
        {"to": "gender", "value": "@sex"},
    ]
    done = world.run("update_data", {**UPSERT, "fields": fields}, given)

    assert world.all("nms:recipient", "externalId", "store_id", "gender") == [
        ("a", north, 2),
        ("b", None, 2),
    ]
    assert set(reasons(done)) == {
        "store-id: no such record",
        "nms:recipient, gender: 'neither' is no gender; there are: unknown, male, female",
    }


def test_a_key_of_another_record_is_not_taken(world: Any) -> None:
    """Found by one key, a record does not get another's; nor do two new ones get the same."""
    world.recipients(
        {"externalId": "a", "email": "a@x.org"}, {"externalId": "b", "email": "b@x.org"}
    )
    given = world.population(
        [
            {"externalId": "b", "email": "a@x.org"},
            {"externalId": "n", "email": "m@x.org"},
            {"externalId": "n", "email": "n@x.org"},
        ],
        *COLUMNS,
    )
    options = {
        **UPSERT,
        "keys": [{"attribute": "email"}],
        "fields": [{"to": "externalId"}],
    }
    done = world.run("update_data", options, given)

    assert reasons(done) == {"another record has the same externalId": 2}
    assert world.all("nms:recipient", "externalId", "email") == [
        ("a", "a@x.org"), ("b", "b@x.org"), ("n", "n@x.org")
    ]  # fmt: skip


def test_a_record_created_meanwhile_is_not_created_twice(world: Any) -> None:
    """The task is run again when another has created the record since the draft looked."""
    given = world.population([{"externalId": "a", "email": "a@x.org"}], *COLUMNS)
    options = {**UPSERT, "keys": [{"attribute": "email"}], "fields": [{"to": "firstName"}]}

    def race(connection: sa.Connection) -> None:
        table = world.schemas.table("nms:recipient")
        connection.execute(sa.insert(table).values(email="a@x.org"))

    with pytest.raises(ChangedMeanwhile):
        world.run("update_data", options, given, before=race)
    assert world.all("nms:recipient", "email") == [("a@x.org",)]


def test_options_that_cannot_be_are_refused(world: Any) -> None:
    """When the workflow is saved, with what would do."""
    for wrong, why in [
        ({**UPSERT, "keys": []}, "keys"),
        ({**UPSERT, "fields": []}, "fields"),
        ({**UPSERT, "fields": [{"to": "frstName"}]}, "frstName"),
        ({**UPSERT, "fields": [{"to": "created"}]}, "set by the system"),
        ({**UPSERT, "keys": [{"attribute": "crm"}]}, "no attribute 'crm'"),
        ({**UPSERT, "schema": "nms:rcpGrpRel"}, "list_update"),
        ({**UPSERT, "schema": "cus:store", "keys": [{"attribute": "region"}],
          "fields": [{"to": "region"}]}, "code: it is required"),
    ]:  # fmt: skip
        with pytest.raises(BadOptions, match=why):
            world.run("update_data", wrong, world.population([], *COLUMNS))


SEGMENT = [{"externalId": "a", "firstName": "Ann"}, {"externalId": "zz", "firstName": "Zoe"}]


@pytest.mark.thorough
@pytest.mark.parametrize("operation", ["insert", "insertOrUpdate"])
@pytest.mark.parametrize("route", ["straight", "enriched", "split", "excluded", "from a table"])
def test_a_segment_file_never_creates_a_recipient(world: Any, operation: str, route: str) -> None:
    """Whatever way its rows take through the graph; who is known may be updated."""
    world.recipients({"externalId": "a", "firstName": "A"})
    segment = world.population(SEGMENT, *COLUMNS, origin="segment", name="segment")
    plain = world.population(SEGMENT[1:], *COLUMNS, name="plain")
    options: dict[str, Any] = {**UPSERT, "operation": operation}
    if route == "enriched":
        added = {"columns": [{"name": "more", "value": "@externalId + '!'"}]}
        segment = world.run("enrichment", added, segment).outputs["out"].table
    elif route == "split":
        subsets = {"subsets": [{"name": "new", "where": "@externalId = 'zz'"}]}
        segment = world.run("split", subsets, segment).outputs["new"].table
    elif route == "excluded":
        named = {"plain": plain, "segment": world.population([], *COLUMNS, origin="segment")}
        by = {"main": "plain", "by": ["@externalId"]}
        segment = world.run("exclusion", by, named=named).outputs["out"].table
    elif route == "from a table":
        options |= {"schema": "cus:store", "keys": [{"attribute": "code", "value": "@externalId"}]}
        options["fields"] = [{"to": "region", "value": "@firstName"}]
    with pytest.raises(CreatesRecipient):
        world.run("update_data", options, segment)

    assert world.all("nms:recipient", "externalId") == [("a",)]
    assert world.all("cus:store", "code") == []
    known = world.population(SEGMENT[:1], *COLUMNS, origin="segment")
    world.run("update_data", UPDATE, known)
    assert world.all("nms:recipient", "firstName") == [("Ann",)]
