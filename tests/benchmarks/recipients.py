"""Recipients imported and reconciled, beside a bulk insert of the same rows.

Ours is the activity `update_data` on a population as `load_file` makes it: whose record each row is,
every value checked and put into its one form, duplicates told, new ids, one transaction. The baseline
inserts the finished rows into the same table with the same indexes and triggers, in one transaction.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import sqlalchemy as sa
from report import Row, medians

from amity.campaign.recipients.conditions import Conditions
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.workflow.activities import ACTIVITIES
from amity.campaign.workflow.activity import Column, Done, Task, WorkTable
from amity.campaign.workflow.population import rows_table
from amity.exchange.guardrails import check_creates_no_recipient
from amity.kernel.clock import RealSystemClock, VirtualBusinessClock
from amity.storage.sqlite.tables import SqliteTables
from amity.storage.sqlite.work_files import SqliteWorkFiles

RUNS = 1
PEOPLE = 1_000_000
NOW_MS = 1_509_321_600_000
SYSTEM = RealSystemClock()
NAMES = ("externalId", "email", "firstName", "lastName", "city", "zipCode")
OPTIONS = {
    "operation": "insertOrUpdate",
    "keys": [{"attribute": "externalId"}],
    "fields": [{"to": name} for name in NAMES[1:]],
}


class Campaign:
    """An empty campaign database."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.tables = SqliteTables(folder / "campaign.db")
        self.schemas = CampaignSchemas(self.tables, VirtualBusinessClock(NOW_MS))
        self.schemas.install()
        self.recipient = self.schemas.table("nms:recipient")
        self.work = SqliteWorkFiles(folder / "work", self.tables, folder / "campaign.db")

    def count(self) -> int:
        """How many recipients there are."""
        with self.tables.connect() as connection:
            query = sa.select(sa.func.count()).select_from(self.recipient)
            return int(connection.execute(query).scalar_one())


def measure(folder: Path) -> list[Row]:
    """The one row."""
    rows = [_person(n) for n in range(PEOPLE)]
    ours, baseline = Campaign(folder / "ours"), Campaign(folder / "bulk")

    def imported() -> float:
        return _timed(lambda: _import(ours, _loaded(ours, rows)))

    def inserted() -> float:
        return _timed(lambda: _insert(baseline, rows))

    mine, bulk = medians(imported, inserted, RUNS)
    if ours.count() != baseline.count():
        raise AssertionError(f"{ours.count()} recipients imported, {baseline.count()} inserted")
    return [
        Row(
            work=f"{PEOPLE:,} recipients imported and reconciled",
            ours=mine,
            baseline=bulk,
            unit="s",
            hold=3.0,
            more_is_better=False,
            note="beside a bulk insert of the same rows into the same tables and indexes",
        )
    ]


def _person(n: int) -> tuple[str, ...]:
    """One of many; names come again as they do."""
    return (f"crm{n:08}", f"person{n}@example.org", f"First{n % 997}", f"Last{n % 7919}",
            f"City {n % 499}", f"{n % 9973:05}")  # fmt: skip


def _loaded(campaign: Campaign, rows: list[tuple[str, ...]]) -> WorkTable:
    """The population that a file of these rows would make."""
    columns = tuple(Column(name=name) for name in NAMES)
    table = rows_table(columns)
    with campaign.work.build("loaded") as connection:
        table.create(connection)
        insert = sa.insert(table).values(dict.fromkeys(NAMES))
        statement = str(insert.compile(dialect=connection.dialect))
        connection.exec_driver_sql(statement, rows)
    return WorkTable(name="loaded", columns=columns, count=len(rows))


def _import(campaign: Campaign, loaded: WorkTable) -> None:
    spec: Any = ACTIVITIES["update_data"]
    config = msgspec.convert(OPTIONS, spec.config)
    means = SimpleNamespace(
        clock=VirtualBusinessClock(NOW_MS),
        tables=campaign.tables,
        schemas=campaign.schemas,
        conditions=Conditions(campaign.schemas),
        check_creates_no_recipient=check_creates_no_recipient,
    )
    task = Task(
        workflow=1,
        id=1,
        activity="update",
        inputs={"load": loaded},
        vars={},
        instance_vars={},
        memory={},
        now_ms=NOW_MS,
        attempt=1,
        work=campaign.work,
        journal=lambda _level, _text: None,
        stopped=lambda: False,
    )
    done: Done = spec.make(config, means).run(task)
    if done.effects is not None:
        with campaign.work.closing(inputs=done.effects_inputs) as connection:
            done.effects(connection)


def _insert(campaign: Campaign, rows: list[tuple[str, ...]]) -> None:
    table = campaign.recipient
    names = (*NAMES, "created", "lastModified", "origin")
    columns = {table.c[name]: None for name in names}
    with campaign.tables.begin() as connection:
        statement = str(sa.insert(table).values(columns).compile(dialect=connection.dialect))
        more = (NOW_MS, NOW_MS, "bulk")
        connection.exec_driver_sql(statement, [(*row, *more) for row in rows])


def _timed(work: Any) -> float:
    begun = SYSTEM.monotonic_s()
    work()
    return SYSTEM.monotonic_s() - begun
