"""A population becomes a file that a spreadsheet cannot be turned against."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from amity.campaign.workflow.activity import Column, Done, WorkTable
from amity.campaign.workflow.errors import BadOptions
from amity.campaign.workflow.population import made_rows
from amity.exchange.errors import ExportTooSoon
from amity.kernel.clock import HOUR_MS
from amity.transports.errors import BadPath

if TYPE_CHECKING:
    from conftest import Ground

COLUMNS = (
    Column(name="name"),
    Column(name="seen", type="datetime"),
    Column(name="ok", type="boolean"),
    Column(name="points", type="long", label="Points, all"),
)


def table(ground: Ground, rows: list[tuple[Any, ...]], schema: str = "") -> WorkTable:
    """A population: id, name, seen, ok, points."""
    with ground.work.build("wkf1_1_out") as connection:
        made = made_rows(connection, COLUMNS)
        keys = ["id", *(column.name for column in COLUMNS)]
        if rows:
            connection.execute(sa.insert(made), [dict(zip(keys, row, strict=True)) for row in rows])
    return WorkTable(name="wkf1_1_out", schema=schema, columns=COLUMNS, count=len(rows))


def text(ground: Ground, done: Any) -> str:
    assert isinstance(done, Done)
    (copy,) = done.outputs["out"].vars["files"]
    content = (ground.folder / "copies" / copy["path"]).read_bytes()
    return (gzip.decompress(content) if copy["name"].endswith(".gz") else content).decode()


def test_a_population_is_written(ground: Ground) -> None:
    """In its order, by labels, times in UTC; a formula is made harmless; the population goes on."""
    population = table(
        ground, [(None, "=1+1", 0, 1, -5), (None, "Ann", 1_509_321_600_000, 0, None)]
    )

    done = ground.run("extraction", {"name": "people"}, inputs={"a": population})

    assert isinstance(done, Done)
    assert done.outputs["out"].table == population
    assert done.outputs["out"].vars["filename"] == "people_20171030080000.csv"
    assert text(ground, done).splitlines() == [
        'name,seen,ok,"Points, all"',
        "'=1+1,,true,-5",
        "Ann,2017-10-30T00:00:00.000Z,false,",
    ]


def test_forms_of_files(ground: Ground) -> None:
    """Tab-separated, JSON lines, packed; nobody is a header alone."""
    population = table(ground, [(None, "Ann", None, None, 1)])
    only = {"columns": [{"source": "name", "label": "Who"}], "timestamp": False, "name": "p"}

    def written(**more: Any) -> tuple[str, str]:
        done = ground.run("extraction", {**only, **more}, inputs={"a": population})
        assert isinstance(done, Done)
        return done.outputs["out"].vars["filename"], text(ground, done)

    assert written(format="tab") == ("p.txt", "Who\nAnn\n")
    assert written(format="jsonLines") == ("p.jsonl", '{"Who":"Ann"}\n')
    assert written(compression="gzip") == ("p.csv.gz", "Who\nAnn\n")
    nobody = table(ground, [])
    assert text(ground, ground.run("extraction", only, inputs={"a": nobody})) == "Who\n"


def test_attributes_of_the_recipient_are_there_too(ground: Ground) -> None:
    """By the record's id; enumerations by name, or by label where that is asked for."""
    ground.schemas.install()
    recipient = ground.schemas.table("nms:recipient")
    with ground.tables.begin() as connection:
        connection.execute(
            sa.insert(recipient).values(id=1000, email="a@x.org", gender=2, blackList=1)
        )
    population = table(ground, [(1000, "Ann", None, None, None)], schema="nms:recipient")
    options = {
        "name": "p",
        "columns": [{"source": one} for one in ("name", "@email", "gender", "blackList")],
    }

    done = ground.run("extraction", options, inputs={"a": population})
    assert text(ground, done).splitlines()[1] == "Ann,a@x.org,female,true"
    labelled = ground.run("extraction", {**options, "labels": True}, inputs={"a": population})
    assert text(ground, labelled).splitlines()[1] == "Ann,a@x.org,Female,true"
    assert ground.work.names() == ["wkf1_1_out"]


def test_a_file_of_log_rows_is_an_export(ground: Ground) -> None:
    """Whoever writes it: the next within four hours is refused, the same task may be run again."""
    ground.schemas.install()
    population = table(ground, [], schema="nms:broadLogRcp")
    options = {"name": "logs", "columns": [{"source": "address"}]}

    for _ in range(2):
        ground.run("extraction", options, inputs={"a": population}, id=3)
    with pytest.raises(ExportTooSoon):
        ground.run("extraction", options, inputs={"a": population}, id=4)
    ground.clock.advance_to(ground.now_ms + 4 * HOUR_MS)
    ground.run("extraction", options, inputs={"a": population}, id=4)


def test_log_rows_by_the_names_of_recipients(ground: Ground) -> None:
    """Columns of a log that are carried over to recipients are that log's still."""
    ground.schemas.install()
    asked = {
        "schema": "nms:broadLogRcp",
        "columns": [
            {"value": "@status", "name": "status"},
            {"value": "[recipient/@externalId]", "name": "externalId"},
        ],
    }
    queried = ground.run("query", asked, inputs={})
    assert isinstance(queried, Done)
    found = queried.outputs["out"].table
    assert found is not None
    carried = ground.run(
        "enrichment",
        {
            "reconcile": {"keys": [{"attribute": "externalId"}]},
            "columns": [{"value": "[targetData/@status] + 0", "name": "copied"}],
        },
        inputs={"a": found},
    )
    assert isinstance(carried, Done)
    people = carried.outputs["out"].table
    assert people is not None
    assert people.schema == "nms:recipient"

    def written(*columns: str, id: int) -> None:
        named = [{"source": one} for one in columns]
        ground.run("extraction", {"name": "p", "columns": named}, inputs={"a": people}, id=id)

    written("status", id=7)
    written("status", id=7)
    for column in ("status", "copied"):
        with pytest.raises(ExportTooSoon):
            written(column, id=8)
    written("@email", id=9)


def test_what_cannot_be_written_is_refused(ground: Ground) -> None:
    """A name that leads elsewhere, an unknown column, two of one label."""
    population = table(ground, [])
    for name in ("../x", "a/b", "", "a\nb"):
        with pytest.raises((BadPath, BadOptions)):
            ground.run("extraction", {"name": name}, inputs={"a": population})
    for columns in ([{"source": "shoe"}], [{"source": "name"}, {"source": "ok", "label": "name"}]):
        with pytest.raises(BadOptions):
            ground.run("extraction", {"name": "p", "columns": columns}, inputs={"a": population})
