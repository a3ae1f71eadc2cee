"""A campaign database, and activities run as the engine runs them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from amity.campaign.recipients.conditions import Conditions
from amity.campaign.recipients.model import Attribute, Key, Link, Schema
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.workflow.activities import ACTIVITIES
from amity.campaign.workflow.activity import ActivitySpec, Column, Done, Task, WorkTable
from amity.campaign.workflow.population import rows_table
from amity.exchange.guardrails import check_creates_no_recipient
from amity.kernel.clock import VirtualBusinessClock, from_iso
from amity.storage.sqlite.tables import SqliteTables
from amity.storage.sqlite.work_files import SqliteWorkFiles

NOW = from_iso("2017-10-30T06:00:00Z")

STORE = Schema(
    namespace="cus",
    name="store",
    kind="lookup",
    attributes=(Attribute(name="code", length=20, required=True), Attribute(name="region")),
    keys=(Key(name="code", fields=("code",)),),
)
RECIPIENT = Schema(
    namespace="cus",
    name="recipient",
    extends="nms:recipient",
    attributes=(Attribute(name="points", type="long"),),
    links=(Link(name="store", target="cus:store"),),
)


class World:
    """What stands around an activity."""

    def __init__(self, folder: Path) -> None:
        self.tables = SqliteTables(folder / "campaign.db")
        self.clock = VirtualBusinessClock(NOW)
        self.schemas = CampaignSchemas(self.tables, self.clock)
        self.work = SqliteWorkFiles(folder / "work", self.tables, folder / "campaign.db")
        self.conditions = Conditions(self.schemas)
        self.told: list[str] = []
        self._id = 0

    def recipients(self, *rows: Mapping[str, Any]) -> list[int]:
        """New recipients, last modified long ago unless they say otherwise."""
        return self.put("nms:recipient", *({"lastModified": 1, **row} for row in rows))

    def put(self, schema: str, *rows: Mapping[str, Any]) -> list[int]:
        table = self.schemas.table(schema)
        with self.tables.begin() as connection:
            return [
                connection.execute(
                    sa.insert(table).values(row).returning(*table.primary_key)
                ).one()[0]
                for row in rows
            ]

    def clear(self, schema: str) -> None:
        with self.tables.begin() as connection:
            connection.execute(sa.delete(self.schemas.table(schema)))

    def all(self, schema: str, *names: str) -> list[tuple[Any, ...]]:
        """The records of a schema, in the order of their ids."""
        table = self.schemas.table(schema)
        chosen = sa.select(*(table.c[name] for name in names)).order_by(*table.primary_key)
        with self.tables.connect() as connection:
            return [tuple(row) for row in connection.execute(chosen)]

    def population(
        self,
        rows: Sequence[Mapping[str, Any]],
        *columns: Column | str,
        schema: str = "",
        origin: Any = "",
        name: str = "given",
    ) -> WorkTable:
        """A population as load file or a query would make it; ``id`` is a row's record."""
        typed = [Column(name=one) if isinstance(one, str) else one for one in columns]
        table = rows_table(typed)
        with self.work.build(name) as connection:
            table.create(connection)
            empty = dict.fromkeys(("id", *(one.name for one in typed)))
            if rows:
                connection.execute(sa.insert(table), [{**empty, **row} for row in rows])
        return WorkTable(
            name=name, schema=schema, columns=tuple(typed), count=len(rows), origin=origin
        )

    def run(self, kind: str, options: Mapping[str, Any], *inputs: WorkTable, **more: Any) -> Done:
        """Run an activity to its end, and hold it to what every activity promises."""
        spec = ACTIVITIES[kind]
        assert isinstance(spec, ActivitySpec)
        config: Any = msgspec.convert(dict(options), spec.config)
        means: Any = SimpleNamespace(
            tables=self.tables,
            work=self.work,
            schemas=self.schemas,
            conditions=self.conditions,
            clock=self.clock,
            check_creates_no_recipient=check_creates_no_recipient,
        )
        activity = spec.make(config, means)
        self._id += 1
        named = {f"from{at}": table for at, table in enumerate(inputs)}
        task = Task(
            workflow=7,
            id=self._id,
            activity=kind,
            inputs=more.pop("named", named),
            vars={},
            instance_vars={},
            memory=more.pop("memory", {}),
            now_ms=self.clock.now_ms(),
            attempt=1,
            work=self.work,
            journal=lambda _, text: self.told.append(text),
            stopped=lambda: False,
        )
        done = activity.run(task)
        assert isinstance(done, Done)
        self.hold(task, done)
        again = activity.run(task)
        assert isinstance(again, Done)
        assert counts(again) == counts(done), "run again after a crash it gives the same"
        if "before" in more:
            with self.tables.begin() as connection:
                more["before"](connection)
        if again.effects is not None:
            with self.work.closing(inputs=again.effects_inputs) as connection:
                again.effects(connection)
        return again

    def hold(self, task: Task, done: Done) -> None:
        """In = out + excluded, and every output says how many rows it has."""
        for out in done.outputs.values():
            if out.table is not None:
                assert len(self.rows(out.table)) == out.table.count
        leaving = [out.table.count for out in done.outputs.values() if out.table is not None]
        came = done.came_in
        if came is None:
            came = sum(one.count for one in task.inputs.values())
        if task.inputs:
            assert came == sum(leaving) + sum(one.count for one in done.excluded)
        assert not any(name.endswith("_split") for name in self.work.names())

    def rows(self, table: WorkTable) -> list[dict[str, Any]]:
        source = rows_table(table.columns)
        with self.work.read(table.name) as connection:
            found = connection.execute(sa.select(source).order_by(source.c.n))
            return [dict(row) for row in found.mappings()]

    def close(self) -> None:
        self.tables.close()


def counts(done: Done) -> tuple[Any, ...]:
    tables = {name: out.table.count for name, out in done.outputs.items() if out.table}
    return tables, {one.reason: one.count for one in done.excluded}


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign database with its schemas and no rows."""
    folder = tmp_path_factory.mktemp("empty")
    tables = SqliteTables(folder / "campaign.db")
    schemas = CampaignSchemas(tables, VirtualBusinessClock(NOW))
    schemas.install()
    schemas.save(STORE)
    schemas.save(RECIPIENT)
    tables.close()
    return folder / "campaign.db"


@pytest.fixture
def world(tmp_path: Path, empty: Path) -> Iterator[World]:
    """A world of its own for each test."""
    shutil.copy(empty, tmp_path)
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> Iterator[World]:
    """A world for all examples of a property."""
    folder = tmp_path_factory.mktemp("crowd")
    shutil.copy(empty, folder)
    made = World(folder)
    yield made
    made.close()
