"""Nobody is written to, created or left out by a population that is not what it seems."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from amity.campaign.workflow.activities import ACTIVITIES
from amity.campaign.workflow.activities import query as query_activity
from amity.campaign.workflow.activity import Task, WorkTable
from amity.campaign.workflow.errors import BadOptions, WrongInputs
from amity.expression.errors import SyntaxFault
from amity.kernel.clock import HOUR_MS, MINUTE_MS

CONTENT = {"fromAddress": "a@shop.example", "subject": "s", "text": "{{ unsubscribeUrl }}"}


@pytest.mark.parametrize("schema", ["cus:store", ""])
def test_ids_of_something_else_are_no_recipients(world: Any, schema: str) -> None:
    """Stores have ids too; the recipients who have the same numbers get no message."""
    world.recipients({"email": "ann@x.org"})
    population = world.population([{"id": 1}], schema=schema)
    config: Any = msgspec.convert({"content": CONTENT}, ACTIVITIES["delivery"].config)
    activity = ACTIVITIES["delivery"].make(config, SimpleNamespace(deliveries=None))

    with pytest.raises(WrongInputs, match="reconcile it with nms:recipient"):
        activity.run(_task(world, population))


def _task(world: Any, population: WorkTable) -> Task:
    return Task(
        workflow=7,
        id=1,
        activity="delivery",
        inputs={"a": population},
        vars={},
        instance_vars={},
        memory={},
        now_ms=world.clock.now_ms(),
        attempt=1,
        work=world.work,
        journal=lambda *_: None,
        stopped=lambda: False,
    )


@pytest.mark.parametrize(
    "schema", ["nms:broadLogRcp", "nms:delivery", "nms:address", "nms:excludeLogRcp"]
)
def test_what_was_sent_is_not_unsent(world: Any, schema: str) -> None:
    """No workflow makes a sent message pending again, starts a delivery or lifts a quarantine."""
    fields = [{"to": "status" if schema != "nms:delivery" else "state", "value": "6"}]
    if schema == "nms:excludeLogRcp":
        fields = [{"to": "reasonText", "value": "''"}]
    population = world.population([{"id": 1}], schema=schema)
    for options in ({"operation": "update", "fields": fields}, {"operation": "delete"}):
        with pytest.raises(BadOptions, match="kept by the system"):
            world.run("update_data", {"schema": schema, **options}, population)


def test_a_long_import_is_found_by_the_next_query(world: Any) -> None:
    """Records are as new as their being written, not as the beginning of what wrote them."""
    query = {"incremental": {}}
    seen = world.run("query", query)
    rows = world.population([{"email": "ann@x.org"}], "email", name="file")

    def meanwhile(_: Any) -> None:
        world.clock.advance_to(world.clock.now_ms() + HOUR_MS)
        nonlocal seen
        seen = world.run("query", query, memory=seen.memory)

    upsert = {
        "operation": "insertOrUpdate",
        "keys": [{"attribute": "email"}],
        "fields": [{"to": "email"}],
    }
    world.run("update_data", upsert, rows, before=meanwhile)
    world.clock.advance_to(world.clock.now_ms() + HOUR_MS)
    assert not seen.outputs, "nobody was there yet"

    found = world.run("query", query, memory=seen.memory)

    assert found.outputs["out"].table.count == 1


def test_a_large_import_comes_once(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More records than are kept in mind do not come again: each might be written to twice."""
    monkeypatch.setattr(query_activity, "SEEN_MAX", 3)
    query = {"incremental": {}}
    start = world.clock.now_ms()
    world.recipients(*({"email": f"p{n}@x.org", "lastModified": start} for n in range(5)))
    world.recipients({"email": "late@x.org", "lastModified": start + 1})
    first = world.run("query", query)
    world.clock.advance_to(start + MINUTE_MS // 2)

    again = world.run("query", query, memory=first.memory)

    assert (first.outputs["out"].table.count, dict(again.outputs)) == (6, {})
    world.recipients({"email": "new@x.org", "lastModified": start + 2})
    found = world.run("query", query, memory=again.memory)
    assert found.outputs["out"].table.count == 1


@pytest.mark.parametrize("place", ["work file", "campaign database", "end of a task"])
def test_an_error_of_the_database_names_nobody(world: Any, place: str) -> None:
    """It is told in the journal and in the server's log."""
    people = world.schemas.table("nms:recipient")
    world.recipients({"id": 1, "email": "ann@x.org"})
    opened = {
        "work file": lambda: world.work.build("w"),
        "campaign database": world.tables.begin,
        "end of a task": world.work.closing,
    }[place]
    again = sa.insert(people).values(id=1, email="private@x.org")
    with pytest.raises(sa.exc.IntegrityError) as found, opened() as connection:
        _fail(connection, people, again)
    assert "private" not in str(found.value)


def _fail(connection: sa.Connection, people: sa.Table, again: sa.Insert) -> None:
    people.metadata.create_all(connection, [people])
    connection.execute(again)
    connection.execute(again)


@pytest.mark.parametrize(
    "condition",
    [
        "AddMonths(AddMonths(AddMonths(AddMonths(@created, 1), 1), 1), 1) > GetDate()",
        "ToInteger(" * 6 + "@email" + ")" * 6 + " > 0",
        "Abs(" * 20 + "@id" + ")" * 20 + " > 0",
    ],
)
def test_a_short_condition_does_not_become_sql_without_end(world: Any, condition: str) -> None:
    """Each call writes its argument several times; a process that writes them all answers nobody."""
    with pytest.raises(SyntaxFault, match="too long"):
        world.run("query", {"where": condition})
