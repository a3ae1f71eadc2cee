"""A campaign database with an engine, on a clock that a test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from amity.campaign.workflow.engine import Engine
from amity.campaign.workflow.model import Arrow, Graph, Step
from amity.campaign.workflow.service import Workflows
from amity.campaign.workflow.template import TemplateSpec
from amity.kernel.clock import RealSystemClock, VirtualBusinessClock, from_iso
from amity.storage.sqlite.tables import SqliteTables
from amity.storage.sqlite.work_files import SqliteWorkFiles
from amity.testing.workflow_world import EFFECTS, activities

START = "2017-10-30T00:00:00Z"


class Nightly(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What differs from place to place."""

    name: str
    hour: int = 6


def nightly(config: Nightly) -> Graph:
    """A workflow that only ever ends."""
    cron = Step(name="cron", type="scheduler", options={"cron": f"0 {config.hour} * * *"})
    steps = (cron, Step(name="end", type="end"))
    return Graph(name=config.name, activities=steps, transitions=(Arrow(start="cron", end="end"),))


NIGHTLY = TemplateSpec(
    name="nightly", label="Nightly", summary="Ends nightly.", config=Nightly, make=nightly
)


class Desk:
    """What an operator has before him."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualBusinessClock(from_iso(START))
        self.tables = SqliteTables(folder / "campaign.db")
        self.tables.create(EFFECTS.metadata)
        self.work = SqliteWorkFiles(folder / "work", self.tables, folder / "campaign.db")
        self.activities = dict(activities())
        self.engine = self.new_engine()
        self.workflows = Workflows(
            tables=self.tables,
            work=self.work,
            activities=self.activities,
            templates={NIGHTLY.name: NIGHTLY},
            means=None,  # type: ignore[arg-type]
            clock=self.clock,
        )

    def new_engine(self) -> Engine:
        return Engine(
            tables=self.tables,
            work=self.work,
            activities=self.activities,
            means=None,  # type: ignore[arg-type]
            clock=self.clock,
            system=RealSystemClock(),
        )

    def settle(self) -> None:
        while self.engine.run_once(self.clock.now_ms()):
            pass

    def advance(self, to: str) -> None:
        """As the worker's loop does it."""
        to_ms = from_iso(to)
        self.settle()
        while (due := self.engine.next_due()) is not None and due <= to_ms:
            self.clock.advance_to(max(due, self.clock.now_ms()))
            self.engine.fire_due(due)
            self.settle()
        self.clock.advance_to(to_ms)
        self.settle()

    def start(self, graph: Graph) -> int:
        """Make, start and let run until nothing moves."""
        id = int(self.workflows.create(graph)["id"])
        self.command(id, "start")
        return id

    def command(self, id: int, method: str) -> None:
        self.workflows.command(id, method)
        self.settle()

    def state(self, id: int) -> tuple[str, bool]:
        found = self.workflows.get(id)
        return found["stateLabel"], found["failed"]

    def counts(self, id: int) -> dict[str, int | None]:
        """Counts at the outputs, the newest ones."""
        found = reversed(self.workflows.transitions(id))
        return {f"{one['from']}.{one['output']}": one["count"] for one in found}

    def said(self, id: int, level: str = "") -> list[str]:
        return [line["text"] for line in self.workflows.journal(id, level=level)]

    def effects(self) -> list[tuple[str, int]]:
        query = sa.select(EFFECTS.c.activity, EFFECTS.c.thing).order_by(EFFECTS.c.id)
        with self.tables.connect() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def close(self) -> None:
        self.engine.close()
        self.tables.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def graph() -> Any:
    """Writes a graph: boxes as ``name: type`` or ``name: (type, options)``, arrows as text."""

    def write(arrows: str, boxes: dict[str, Any], /, **more: Any) -> Graph:
        drawn = []
        for arrow in arrows.split():
            source, end = arrow.split(">")
            start, _, output = source.partition(".")
            drawn.append(Arrow(start=start, output=output or "out", end=end))
        steps = []
        for name, box in boxes.items():
            kind, options = box if isinstance(box, tuple) else (box, {})
            own = {key: options[key] for key in options if key != "onError"}
            on_error = options.get("onError", "")
            steps.append(Step(name=name, type=kind, options=own, on_error=on_error))
        more.setdefault("name", "wf")
        return Graph(activities=tuple(steps), transitions=tuple(drawn), **more)

    return write
