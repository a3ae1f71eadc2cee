"""Query, enrichment, split, exclusion and list update on small populations."""

from __future__ import annotations

from typing import Any

import pytest

from amity.campaign.workflow.errors import BadOptions, WrongInputs
from amity.expression.errors import UnknownField
from amity.kernel.clock import DAY_MS

A = {"externalId": "a", "email": "ann@x.org", "firstName": "Ann", "points": 5}
B = {"externalId": "b", "email": "bob@x.org", "firstName": "Bob", "points": 50}
C = {"externalId": "c", "email": "bob@x.org", "firstName": "Cy", "blackListEmail": True}


def ids(world: Any, done: Any, output: str = "out") -> list[Any]:
    return [row["id"] for row in world.rows(done.outputs[output].table)]


def reasons(done: Any) -> dict[str, int]:
    return {one.reason: one.count for one in done.excluded}


def test_a_query_takes_those_for_whom_the_condition_holds(world: Any) -> None:
    """With columns of their own and of what they link to."""
    (north,) = world.put("cus:store", {"code": "1", "region": "north"})
    a, b, _ = world.recipients({**A, "store_id": north}, B, C)
    columns = [
        {"name": "region", "value": "[store/@region]"},
        {"name": "double", "value": "@points * 2", "label": "Twice"},
    ]
    done = world.run("query", {"where": "@points > 1", "columns": columns, "order": "0 - @points"})

    assert [(r["id"], r["region"], r["double"]) for r in world.rows(done.outputs["out"].table)] == [
        (b, None, 100), (a, "north", 10)
    ]  # fmt: skip
    assert done.outputs["out"].table.schema == "nms:recipient"
    assert [one.type for one in done.outputs["out"].table.columns] == ["string", "long"]


def test_a_query_keeps_one_of_each_and_so_many(world: Any) -> None:
    """Duplicates and the limit are told apart when a population comes in."""
    a, _, c = world.recipients(A, B, C)
    whole = world.run("query", {}).outputs["out"].table
    done = world.run("query", {"distinctBy": "@email", "limit": 1, "where": "@id > 0"}, whole)

    assert ids(world, done) == [a]
    assert reasons(done) == {"another record with the same value is taken": 1, "over the limit": 1}
    late = world.run("query", {"distinctBy": "@email", "order": "@id", "descending": True})
    assert ids(world, late) == [c, a]


@pytest.mark.thorough
def test_a_query_of_a_list_and_of_logs(world: Any) -> None:
    """Membership, subscription and what happened before are conditions."""
    a, b, c = world.recipients(A, B, C)
    chosen = world.run("query", {"where": "@externalId IN ('a', 'c')"}).outputs["out"].table
    world.run("list_update", {"list": "gold"}, chosen)

    done = world.run("query", {"where": "InList('gold') AND NOT @blackListEmail"})
    assert ids(world, done) == [a]
    (delivery,) = world.put("nms:delivery", {"internalName": "dm1"})
    world.put("nms:broadLogRcp", {"recipient_id": b, "delivery_id": delivery, "status": 1})
    text = "NOT EXISTS(nms:broadLogRcp, [delivery/@internalName] = 'dm1' AND @status = 'sent')"
    assert ids(world, world.run("query", {"where": text})) == [a, c]
    (news,) = world.put("nms:service", {"name": "news"})
    world.put(
        "nms:subscription",
        {"service_id": news, "recipient_id": a, "expiration": world.clock.now_ms() - 1},
        {"service_id": news, "recipient_id": b, "expiration": 0},
    )
    assert ids(world, world.run("query", {"where": "Subscribed('news')"})) == [b]


def test_an_incremental_query_takes_what_is_new(world: Any) -> None:
    """Once each; nothing new: nothing after it is run; what was changed again comes again."""
    a, b, c = world.recipients(A, B, C)
    options = {"incremental": {"overlapS": 3600}, "where": "@id <> 0"}
    first = world.run("query", options)
    assert ids(world, first) == [a, b, c]

    world.clock.advance_to(world.clock.now_ms() + 10)
    (d,) = world.recipients({"externalId": "d", "lastModified": world.clock.now_ms()})
    second = world.run("query", options, memory=first.memory)
    assert ids(world, second) == [d]
    third = world.run("query", options, memory=second.memory)
    assert (third.outputs, third.label) == ({}, "nothing new")
    world.clock.advance_to(world.clock.now_ms() + 10)
    (late,) = world.recipients({"externalId": "e", "lastModified": world.clock.now_ms() - 15})
    fourth = world.run("query", options, memory=third.memory)
    assert ids(world, fourth) == [late]
    world.clock.advance_to(world.clock.now_ms() + DAY_MS)
    assert world.run("query", options, memory=fourth.memory).outputs == {}


def test_a_query_says_what_it_cannot(world: Any) -> None:
    """An unknown attribute, a population of another kind, a column of a name that is taken."""
    with pytest.raises(UnknownField, match="@nmae"):
        world.run("query", {"where": "@nmae = 'x'"})
    with pytest.raises(WrongInputs, match="reconcile"):
        world.run("query", {}, world.population([{}], "a"))
    with pytest.raises(BadOptions, match="column 'ID'"):
        world.run("query", {"columns": [{"name": "ID", "value": "@email"}]})
    with pytest.raises(BadOptions, match="lastModifed"):
        world.run("query", {"incremental": {"attribute": "lastModifed"}})


KEYS = [{"attribute": "externalId", "value": "@crm"}, {"attribute": "email"}]
FILE = [
    {"crm": "a", "email": "other@x.org"},
    {"crm": None, "email": " ANN@x.org "},
    {"crm": "zz", "email": "bob@x.org"},
    {"crm": "zz", "email": "nobody@x.org"},
    {"crm": "", "email": None},
]


def test_rows_find_their_records_by_the_keys_in_order(world: Any) -> None:
    """The first key that finds decides; several records are none; no key is none."""
    a, *_ = world.recipients(A, B, C)
    given = world.population(FILE, "crm", "email", origin="segment")
    options = {
        "reconcile": {"keys": KEYS, "unreconciled": "transition"},
        "columns": [{"name": "first", "value": "@firstName"}],
    }
    done = world.run("enrichment", options, given)

    assert [(r["id"], r["first"]) for r in world.rows(done.outputs["out"].table)] == [
        (a, "Ann"), (a, "Ann")
    ]  # fmt: skip
    assert [r["rejectReason"] for r in world.rows(done.outputs["unreconciled"].table)] == [
        "several records have this key", "no record has this key", "no key: all are empty"
    ]  # fmt: skip
    assert {out.table.origin for out in done.outputs.values()} == {"segment"}
    excluding = world.run("enrichment", {"reconcile": {"keys": KEYS}}, given)
    assert sum(reasons(excluding).values()) == 3
    keeping = world.run("enrichment", {"reconcile": {"keys": KEYS, "unreconciled": "keep"}}, given)
    assert ids(world, keeping) == [a, a, None, None, None]


def test_subsets_are_filled_in_their_order(world: Any) -> None:
    """Each from what is left, as many as it may hold; the rest is the complement."""
    made = world.recipients(*({"externalId": str(at), "points": at} for at in range(10)))
    whole = world.run("query", {}).outputs["out"].table
    subsets = [
        {"name": "rich", "where": "@points >= 5", "limit": 3, "order": "0 - @points"},
        {"name": "even", "where": "@points % 2 = 0"},
    ]
    done = world.run("split", {"subsets": subsets, "complement": True}, whole)
    assert ids(world, done, "rich") == [made[7], made[8], made[9]]
    assert ids(world, done, "even") == [made[at] for at in (0, 2, 4, 6)]
    assert ids(world, done, "complement") == [made[at] for at in (1, 3, 5)]
    overlapping = world.run("split", {"subsets": subsets, "overlap": True}, whole)
    assert ids(world, overlapping, "even") == [made[at] for at in (0, 2, 4, 6, 8)]
    assert reasons(overlapping) == {"in no subset": 3}


def test_a_random_choice_is_random_and_repeatable(world: Any) -> None:
    """Run again it is the same (the world runs each twice); another task chooses others."""
    world.recipients(*({"externalId": str(at)} for at in range(400)))
    whole = world.run("query", {}).outputs["out"].table
    options = {"subsets": [{"name": "some", "percent": 25, "random": True}]}
    one, other = (world.run("split", options, whole) for _ in range(2))
    first, second = (set(ids(world, done, "some")) for done in (one, other))

    assert len(first) == len(second) == 100
    assert 5 < len(first & second) < 60
    assert 10 < sum(id % 4 == 0 for id in first) < 40


def test_an_exclusion_takes_the_others_away(world: Any) -> None:
    """By the record, or by values; each set tells how many it took."""
    a, b, c = world.recipients(A, B, C)
    main = world.run("query", {"columns": [{"name": "mail", "value": "@email"}]})
    table = main.outputs["out"].table
    out = world.population([{"id": b}, {"id": b}], schema="nms:recipient", name="out")
    file = world.population([{"mail": "ann@x.org"}, {}], "mail", origin="segment", name="file")
    named = {"main": table, "stopped": out}
    done = world.run("exclusion", {"main": "main"}, named=named)
    assert (ids(world, done), reasons(done)) == ([a, c], {"also in stopped": 1})
    by = world.run(
        "exclusion", {"main": "main", "by": ["@mail"]}, named={"file": file, "main": table}
    )
    assert (ids(world, by), by.outputs["out"].table.origin) == ([b, c], "segment")
    with pytest.raises(WrongInputs, match="no schema"):
        world.run("exclusion", {"main": "main"}, named={"file": file, "main": table})
    with pytest.raises(WrongInputs, match="'mian'"):
        world.run("exclusion", {"main": "mian"}, named=named)


def test_a_list_holds_who_is_put_on_it(world: Any) -> None:
    """Once each, recipients only; removing and replacing leave the recipients alone."""
    a, b, c = world.recipients(A, B, C)

    def put(operation: str, *members: Any) -> Any:
        rows = [{"id": one} for one in members]
        given = world.population(rows, schema="nms:recipient", origin="segment")
        return world.run("list_update", {"list": "gold", "operation": operation}, given)

    def on_list() -> list[Any]:
        return [row[0] for row in world.all("nms:rcpGrpRel", "recipient_id")]

    done = put("append", a, a, b, None, 999)
    assert (on_list(), reasons(done)) == ([a, b], {"not reconciled: no recipient": 2})
    put("append", b, c)
    assert on_list() == [a, b, c]
    put("remove", a, 999)
    assert on_list() == [b, c]
    put("replace", a, b)
    assert on_list() == [a, b]
    put("purge")
    assert on_list() == []
    assert len(world.all("nms:recipient", "id")) == 3
    with pytest.raises(WrongInputs, match="reconcile"):
        world.run("list_update", {"list": "gold"}, world.population([{}], "a"))
