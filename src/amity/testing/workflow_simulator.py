"""Does a workflow come out the same wherever the engine is killed?

A world counts every moment at which something becomes durable: commits, work tables published, work
tables dropped. It dies before or after any of them, and whatever runs in other threads at that
moment gets nowhere either. A new engine goes on from the last tick of the clock, as the campaign's
worker does. In the end all tables and work files are those of an undisturbed run.
A process of its own, for whoever kills one:

    python -m amity.testing.workflow_simulator FOLDER SEED BOXES
"""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from amity.campaign.workflow import store
from amity.campaign.workflow.engine import Engine
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.model import FINISHED, Arrow, Graph, Step
from amity.campaign.workflow.store import JOBS, TASKS, TRANSITIONS, WORKFLOWS
from amity.kernel.clock import MINUTE_MS, RealSystemClock, VirtualBusinessClock
from amity.storage.ports import Tables, WorkFiles
from amity.storage.sqlite.tables import SqliteTables
from amity.storage.sqlite.work_files import SqliteWorkFiles
from amity.testing.simulator import Crash
from amity.testing.workflow_world import (
    EFFECTS,
    SLOT_MINUTES,
    SLOTS,
    Expected,
    activities,
    expected,
    random_graph,
)

START_MS = 1_509_321_600_000
TICKS_MS = tuple(
    START_MS + minutes * MINUTE_MS for minutes in (45, 2 * SLOT_MINUTES, SLOTS * SLOT_MINUTES + 59)
)
"""The times that the clock is advanced to."""

DEATHS_MAX = 60
"""Deaths of one run, so that a world that dies ever again comes to an end. Ours."""

Dump = dict[str, Any]


class Moments:
    """Counts the moments at which something becomes durable, and dies at some of them.

    Moment ``2n`` is just before the nth, ``2n + 1`` just after it.
    """

    def __init__(self, deadly: Collection[int] = ()) -> None:
        self.count = 0
        self.deaths = 0
        self._deadly = set(deadly)
        self._dead = False
        self._lock = threading.Lock()

    def pass_by(self) -> None:
        """One more moment."""
        with self._lock:
            dies = self._dead or self.count in self._deadly
            if dies and not self._dead:
                self._dead = True
                self.deaths += 1
            self.count += not self._dead
            self._deadly.discard(self.count if dies else -1)
        if dies:
            raise Crash

    def live_again(self) -> None:
        """The next process begins; a moment that was deadly is not so again."""
        with self._lock:
            self._deadly.discard(self.count)
            self._dead = False


class MortalTables:
    """`Tables` that die with the world."""

    def __init__(self, tables: SqliteTables, moments: Moments) -> None:
        self._tables = tables
        self._moments = moments

    def create(self, metadata: sa.MetaData) -> None:
        self._tables.create(metadata)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        with self._tables.begin() as connection:
            yield connection
            self._moments.pass_by()
        self._moments.pass_by()

    def connect(self) -> AbstractContextManager[sa.Connection]:
        return self._tables.connect()

    def version(self) -> int:
        return self._tables.version()

    def close(self) -> None:
        self._tables.close()


class MortalFiles:
    """`WorkFiles` that die with the world."""

    def __init__(self, work: SqliteWorkFiles, moments: Moments) -> None:
        self._work = work
        self._moments = moments

    @contextmanager
    def build(
        self, name: str, *, inputs: Mapping[str, str] | None = None
    ) -> Iterator[sa.Connection]:
        with self._work.build(name, inputs=inputs) as connection:
            yield connection
            self._moments.pass_by()
        self._moments.pass_by()

    @contextmanager
    def closing(self, *, inputs: Mapping[str, str] | None = None) -> Iterator[sa.Connection]:
        with self._work.closing(inputs=inputs) as connection:
            yield connection
            self._moments.pass_by()
        self._moments.pass_by()

    def read(self, name: str) -> AbstractContextManager[sa.Connection]:
        return self._work.read(name)

    def names(self) -> list[str]:
        return self._work.names()

    def drop(self, names: Iterable[str]) -> None:
        for name in names:
            self._moments.pass_by()
            self._work.drop([name])
            self._moments.pass_by()


class World:
    """One campaign database with one workflow, over all its lives; a folder that is there goes on."""

    def __init__(self, folder: Path, graph: Graph, moments: Moments) -> None:
        self.folder = folder
        self.graph = graph
        self.moments = moments
        if folder.exists():
            return
        folder.mkdir(parents=True)
        with closing(self._tables()) as tables:
            store.install(tables)
            tables.create(EFFECTS.metadata)
            with tables.begin() as connection:
                id = store.insert(
                    connection, WORKFLOWS, name=graph.name, graph=store.written(graph)
                )
                store.insert(connection, JOBS, workflow=id, method="start", at=START_MS)

    def run(self) -> Dump:
        """Live until the last tick is done, however often it takes; answers what came out."""
        done, clock_ms = 0, START_MS
        while done < len(TICKS_MS):
            try:
                for to_ms in TICKS_MS[done:]:
                    with closing(self._tables()) as tables:
                        self._tick(tables, clock_ms, to_ms)
                    done, clock_ms = done + 1, to_ms
            except Crash:
                if self.moments.deaths > DEATHS_MAX:
                    raise
                self.moments.live_again()
        return self._dump()

    def _tables(self) -> SqliteTables:
        return SqliteTables(self.folder / "campaign.db")

    def _files(self, tables: SqliteTables) -> SqliteWorkFiles:
        return SqliteWorkFiles(self.folder / "work", tables, self.folder / "campaign.db")

    def _tick(self, tables: SqliteTables, from_ms: int, to_ms: int) -> None:
        """As the worker's loop does it: every timer at its time, all settled before the next."""
        clock = VirtualBusinessClock(from_ms)
        work: WorkFiles = MortalFiles(self._files(tables), self.moments)
        mortal: Tables = MortalTables(tables, self.moments)
        engine = Engine(
            tables=mortal,
            work=work,
            activities=activities(),
            means=cast(Means, None),
            clock=clock,
            system=RealSystemClock(),
        )
        try:
            _settle(engine, clock)
            while (due := engine.next_due()) is not None and due <= to_ms:
                clock.advance_to(max(due, clock.now_ms()))
                engine.fire_due(due)
                _settle(engine, clock)
            clock.advance_to(to_ms)
            _settle(engine, clock)
        finally:
            engine.close()

    def _dump(self) -> Dump:
        """All that is kept, but how long tasks took."""
        found: Dump = {}
        with closing(self._tables()) as tables:
            work = self._files(tables)
            with tables.connect() as connection:
                for table in (WORKFLOWS, *store.OF_WORKFLOW, EFFECTS):
                    columns = [one for one in table.c if one.key != "spent_ms"]
                    query = sa.select(*columns).order_by(*table.primary_key)
                    found[table.name] = [tuple(row) for row in connection.execute(query)]
            rows = sa.table("rows", sa.column("n", sa.Integer), sa.column("id", sa.Integer))
            for name in work.names():
                with work.read(name) as connection:
                    found[name] = [tuple(row) for row in connection.execute(sa.select(rows))]
        return found

    def came_out(self) -> Expected:
        """What came out, as the naive interpreter tells it."""
        column = TRANSITIONS.c
        with closing(self._tables()) as tables, tables.connect() as connection:
            passed = connection.execute(sa.select(column.start, column.output, column.row_count))
            effects = connection.execute(sa.select(EFFECTS.c.activity, EFFECTS.c.thing))
            skipped = connection.execute(
                sa.select(sa.func.count()).where(store.JOURNAL.c.text.startswith("skipped"))
            ).scalar_one()
            state = connection.execute(sa.select(WORKFLOWS.c.state)).scalar_one()
            return Expected(
                Counter(tuple(row) for row in passed),
                Counter(tuple(row) for row in effects),
                skipped,
                finished=state == FINISHED,
            )

    def failed(self) -> list[str]:
        """The errors of tasks that are not over."""
        with closing(self._tables()) as tables, tables.connect() as connection:
            query = sa.select(TASKS.c.error).where(TASKS.c.state == store.FAILED)
            return list(connection.execute(query).scalars())


def must(graph: Graph) -> Expected:
    """What must come out of a graph within the simulated time."""
    return expected(graph, START_MS, TICKS_MS[-1])


def _settle(engine: Engine, clock: VirtualBusinessClock) -> None:
    while engine.run_once(clock.now_ms()):
        pass


SMALL = Graph(
    name="small",
    activities=(
        Step(name="start", type="start"),
        Step(name="make", type="make", options={"count": 7}),
        Step(name="split", type="keep", options={"divisor": 2, "rest": True}),
        Step(name="even", type="put"),
        Step(name="odd", type="put"),
        Step(name="both", type="unite"),
        Step(name="rest", type="wait", options={"duration": "PT30M"}),
        Step(name="all", type="put"),
    ),
    transitions=(
        Arrow(start="start", end="make"),
        Arrow(start="make", end="split"),
        Arrow(start="split", end="even"),
        Arrow(start="split", output="rest", end="odd"),
        Arrow(start="even", end="both"),
        Arrow(start="odd", end="both"),
        Arrow(start="both", end="rest"),
        Arrow(start="rest", end="all"),
    ),
)
"""Two branches at once, effects in both, a wait: small enough to be killed at every moment."""


def main(folder: str, seed: str, boxes: str) -> None:
    """Live a life in a folder and say when it begins."""
    graph = random_graph(random.Random(int(seed)), int(boxes))  # noqa: S311 - a seed replays
    world = World(Path(folder), graph, Moments())
    sys.stdout.write("alive\n")
    sys.stdout.flush()
    world.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
