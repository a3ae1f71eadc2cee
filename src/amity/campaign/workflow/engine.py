"""How are the tasks of workflows carried out?

Activities run in threads, as many at once as branches are ready; what they build are work files of
their own. Everything that ends a task happens in one transaction, one task after another, so a
crash leaves a task either ended with all its effects or to be run again under the same names. On a
virtual clock tasks run in waves: what is ready runs at once and ends in the order of its beginning,
so a run comes out the same however long each task takes. Shape: docs/adr/0015-workflow-engine.md.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import re2
import sqlalchemy as sa
import structlog

from amity.campaign.workflow import agenda, closing, commands, journal, store
from amity.campaign.workflow.activity import Again, Done, Later, Out, Result, Task
from amity.campaign.workflow.closing import Ending
from amity.campaign.workflow.errors import BadGraph
from amity.campaign.workflow.graph import Activities, Plan, plan
from amity.campaign.workflow.journal import Level, Line
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.model import ERROR_OUTPUT, Graph
from amity.campaign.workflow.store import JOBS, SIGNALS, TASKS, TRANSITIONS, WORKFLOWS
from amity.kernel.clock import BusinessClock, SystemClock, VirtualBusinessClock
from amity.kernel.errors import AmityError, Transient
from amity.storage.ports import Tables, WorkFiles

NAME = "workflow"
LOOK_S = 0.02
"""How long one turn waits for tasks that run. Ours."""

WAVE_TASKS_MAX = 100
"""Tasks that are begun together. Ours."""

TRIES_MAX = 8
"""Tries of a task that ends in a transient error before it counts as an error. Ours."""

_STOPPING = sa.select(WORKFLOWS).where(WORKFLOWS.c.stopping != "").order_by(WORKFLOWS.c.id)
_WORK_FILE = re2.compile(r"^wkf\d+_\d+_")
LOG = structlog.get_logger()


class _Flight(NamedTuple):
    """A task that runs in a thread."""

    task: sa.Row[Any]
    result: Future[Result]
    lines: list[Line]
    stop: threading.Event
    begun_s: float


class _Failure(NamedTuple):
    """An error that somebody has to handle."""

    connection: sa.Connection
    workflow: sa.Row[Any]
    task: sa.Row[Any]
    text: str
    now_ms: int


class Engine:
    """Runs the workflows of one campaign database; a `TimedHost` of the campaign's worker.

    There is one engine for a database. Making one finds what a killed one left: its tasks are run
    again, work files nobody refers to are dropped.

    Args:
        tables: The campaign database.
        work: The work tables.
        activities: What boxes there are.
        means: What they are lent.
        clock: Business time.
        system: Measures how long a task took.
        threads: Tasks that run at the same time.
    """

    name = NAME
    one_by_one = True
    """Its timers are fired each at its own time: activities look at the clock."""

    def __init__(
        self,
        *,
        tables: Tables,
        work: WorkFiles,
        activities: Activities,
        means: Means,
        clock: BusinessClock,
        system: SystemClock,
        threads: int = 3,
    ) -> None:
        self._tables = tables
        self._work = work
        self._activities = activities
        self._means = means
        self._clock = clock
        self._waves = isinstance(clock, VirtualBusinessClock)
        self._system = system
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="workflow")
        self._closer = ThreadPoolExecutor(1, thread_name_prefix="workflow-closing")
        self._flights: dict[int, _Flight] = {}
        self._plans: dict[str, Plan] = {}
        self._idle: int | None = None
        self._due: tuple[int, int | None] | None = None
        store.install(tables)
        self._sweep()

    def run_once(self, now_ms: int, limit: int = WAVE_TASKS_MAX) -> int:
        """Carry out commands, end tasks that have run, begin those that are ready.

        Answers more than 0 while any task runs.
        """
        version = self._tables.version()
        moved = self._end(now_ms)
        if moved or version != self._idle or self._is_due(now_ms):
            moved += self._obey(now_ms)
            moved += self._begin(now_ms, limit)
        self._idle = None if moved else version
        if moved or not self._flights:
            return moved
        wait([flight.result for flight in self._flights.values()], LOOK_S, "FIRST_COMPLETED")
        return 1

    def next_due(self) -> int | None:
        """When the first task is run that waits for a time, or a paused workflow is told of."""
        version = self._tables.version()
        if self._due is None or self._due[0] != version:
            with self._tables.connect() as connection:
                self._due = (version, agenda.next_due(connection, self._clock.now_ms()))
        return self._due[1]

    def fire_due(self, to_ms: int) -> int:
        """Make ready what waited until `to_ms` at the latest."""
        due = self.next_due()
        if due is None or due > to_ms:
            return 0
        with self._tables.begin() as connection:
            woken = agenda.wake(connection, to_ms)
            reminded, gone = agenda.remind(connection, to_ms)
        self._work.drop(gone)
        return woken + reminded

    def _is_due(self, now_ms: int) -> bool:
        due = self.next_due()
        return due is not None and due <= now_ms

    def lag(self) -> int:
        """Nothing of the log waits for it."""
        return 0

    def positions(self) -> Mapping[str, Mapping[int, int]]:
        """It reads nothing from the log."""
        return {}

    def close(self) -> None:
        """Wait for what runs and let go of the threads; what has not ended is run again."""
        for flight in self._flights.values():
            flight.stop.set()
        self._pool.shutdown(cancel_futures=True)
        self._closer.shutdown()

    # --- Commands ----------------------------------------------------------------------------

    def _obey(self, now_ms: int) -> int:
        with self._tables.connect() as connection:
            waiting = agenda.wanted(connection)
        if not waiting:
            return 0
        gone: list[str] = []
        done = 0
        with self._tables.begin() as connection:
            for job in connection.execute(sa.select(JOBS).order_by(JOBS.c.id)).all():
                gone += self._job(connection, job, now_ms)
                done += 1
            flying = {flight.task.workflow for flight in self._flights.values()}
            for row in connection.execute(_STOPPING).all():
                if row.id not in flying:
                    gone += commands.end_stopping(connection, row, now_ms)
                    done += 1
            done += agenda.hear(connection, now_ms)
        self._work.drop(gone)
        return done

    def _job(self, connection: sa.Connection, job: sa.Row[Any], now_ms: int) -> list[str]:
        connection.execute(sa.delete(JOBS).where(JOBS.c.id == job.id))
        row = store.workflow(connection, job.workflow)
        if row is None:
            return []
        if job.method in ("stop", "restart", "kill"):
            for flight in self._flights.values():
                if flight.task.workflow == row.id:
                    flight.stop.set()
        return commands.carry_out(connection, row, job.method, now_ms)

    # --- Beginning ---------------------------------------------------------------------------

    def _begin(self, now_ms: int, limit: int) -> int:
        """Begin what is ready; first of all again what a crash interrupted, and that alone."""
        room = min(limit, WAVE_TASKS_MAX) if self._waves else self._threads - len(self._flights)
        if room <= 0 or (self._waves and self._flights):
            return 0
        with self._tables.connect() as connection:
            left = agenda.left_running(connection, now_ms)
            rows = [row for row in left if row.id not in self._flights][:room]
            ready = [] if rows else agenda.ready(connection, now_ms, room)
        if ready:
            with self._tables.begin() as connection:
                rows = agenda.begin(connection, ready, now_ms)
        for row in rows:
            self._fly(row)
        return len(rows)

    def _fly(self, row: sa.Row[Any]) -> None:
        lines: list[Line] = []
        stop = threading.Event()
        result = self._pool.submit(self._run, row, lines, stop)
        self._flights[row.id] = _Flight(row, result, lines, stop, self._system.monotonic_s())

    def _run(self, row: sa.Row[Any], lines: list[Line], stop: threading.Event) -> Result:
        """In a thread of its own: nothing here may touch what the engine holds."""
        with self._tables.connect() as connection:
            workflow = connection.execute(
                sa.select(WORKFLOWS).where(WORKFLOWS.c.id == row.workflow)
            ).one()
            memory = store.memory(connection, row.workflow, row.activity)
            signal = connection.execute(
                sa.select(SIGNALS.c.vars).where(SIGNALS.c.id == row.signal)
            ).scalar_one_or_none()
        graph = store.graph_of(workflow)
        made = plan(graph, self._activities)

        def note(level: Level, text: str) -> None:
            lines.append(Line(level, text, row.id, row.activity))

        activity = made.specs[row.activity].make(made.configs[row.activity], self._means)
        return activity.run(
            Task(
                workflow=row.workflow,
                id=row.id,
                activity=row.activity,
                inputs=store.tables_of(row.inputs),
                vars=store.vars_of(row.vars),
                instance_vars=store.vars_of(workflow.vars),
                memory=memory,
                now_ms=row.begun,
                attempt=row.attempt,
                work=self._work,
                journal=note,
                stopped=stop.is_set,
                since_ms=row.since,
                due_ms=row.slot,
                time_zone=graph.time_zone,
                busy=bool(row.busy),
                signal=store.vars_of(signal) if signal is not None else None,
            )
        )

    # --- Ending ------------------------------------------------------------------------------

    def _end(self, now_ms: int) -> int:
        """End what has run, in order; on a virtual clock nothing overtakes what began before it."""
        ended = 0
        for id in sorted(self._flights):
            flight = self._flights[id]
            if not flight.result.done():
                if self._waves:
                    break
                continue
            self._close(flight, now_ms)
            del self._flights[id]
            ended += 1
        return ended

    def _close(self, flight: _Flight, now_ms: int) -> None:
        error = flight.result.exception()
        if error is None:
            # A thread for the ends of tasks: its future carries any error an activity's effects
            # may have, as those of its first half do.
            error = self._closer.submit(self._settle, flight, now_ms).exception()
        if error is None:
            return
        if not isinstance(error, Exception):
            raise error
        self._work.drop([*self._fail(flight, error, now_ms), *self._made_by(flight.task)])

    def _settle(self, flight: _Flight, now_ms: int) -> None:
        result = flight.result.result()
        inputs = result.effects_inputs if isinstance(result, Done) and result.effects else None
        closing_half = self._work.closing(inputs=inputs) if inputs else self._tables.begin()
        gone: list[str] = []
        with closing_half as connection:
            workflow = closing.running(connection, flight.task)
            if workflow is None:
                self._work.drop(self._made_by(flight.task))
                return
            journal.note(connection, workflow.id, now_ms, *flight.lines)
            made = self._plan(workflow.graph)
            spent_ms = round((self._system.monotonic_s() - flight.begun_s) * 1_000)
            ending = Ending(connection, made, flight.task, now_ms, spent_ms)
            gone = _ended(ending, result)
        self._work.drop(gone)

    def _plan(self, graph: str) -> Plan:
        """Remembered by the graph's text."""
        if graph not in self._plans:
            if len(self._plans) > WAVE_TASKS_MAX:
                self._plans.clear()
            self._plans[graph] = plan(store.graph_from(graph), self._activities)
        return self._plans[graph]

    # --- Errors ------------------------------------------------------------------------------

    def _fail(self, flight: _Flight, error: Exception, now_ms: int) -> list[str]:
        """Try again, or do what the activity's or the workflow's error handling says."""
        task, text = flight.task, _text(error)
        with self._tables.begin() as connection:
            workflow = closing.running(connection, task)
            if workflow is None:
                return []
            journal.note(connection, workflow.id, now_ms, *flight.lines)
            if isinstance(error, Transient) and task.attempt < TRIES_MAX:
                agenda.try_again(connection, task, error, now_ms)
                return []
            LOG.warning("task failed", workflow=workflow.name, activity=task.activity, error=text)
            line = Line("error", text, task.id, task.activity)
            journal.note(connection, workflow.id, now_ms, line)
            graph = store.graph_of(workflow)
            mode = graph.step(task.activity).on_error or graph.error_handling.mode
            if isinstance(error, BadGraph) or (mode == "ignore" and _too_many(graph, workflow)):
                mode = "stop"
            return self._handle(_Failure(connection, workflow, task, text, now_ms), mode)

    def _handle(self, failure: _Failure, mode: str) -> list[str]:
        connection, workflow, task, text, now_ms = failure
        told = f"activity {task.activity}: {text}"
        if mode == "abort":
            return closing.finish(connection, workflow.id, now_ms, failed=told, why="Aborted")
        if mode == "stop":
            store.update(connection, TASKS, task.id, state=store.FAILED, error=text)
            why = (
                "Paused by an error; resume it once the cause is gone, "
                "or restart it to fetch everything anew"
            )
            commands.pause(connection, workflow.id, now_ms, why=why, failed=told)
            return []
        made = self._plan(workflow.graph)
        store.update(connection, TASKS, task.id, state=store.IGNORED, ended=now_ms, error=text)
        if mode == "transition":
            out = Out(vars={"errorMessage": text, "errorActivity": task.activity})
            ending = Ending(connection, made, task, now_ms, 0)
            closing.emit(ending, {ERROR_OUTPUT: out}, run=task.run, label="Error")
        else:
            store.update(connection, WORKFLOWS, workflow.id, errors=workflow.errors + 1)
        return closing.settle(connection, made, task, now_ms)

    # --- Work files --------------------------------------------------------------------------

    def _made_by(self, task: sa.Row[Any]) -> list[str]:
        """The work files of a task whose result counts for nothing; none that a transition names."""
        own = f"wkf{task.workflow}_{task.id}_"
        kept = self._kept()
        return [name for name in self._work.names() if name.startswith(own) and name not in kept]

    def _kept(self) -> set[str]:
        """The work files that transitions name."""
        with self._tables.connect() as connection:
            query = sa.select(TRANSITIONS.c.file).where(TRANSITIONS.c.kept == 1).distinct()
            return set(connection.execute(query).scalars())

    def _sweep(self) -> None:
        """Drop the work files that a killed engine made or no longer needed."""
        kept = self._kept()
        names = [name for name in self._work.names() if _WORK_FILE.match(name)]
        self._work.drop(name for name in names if name not in kept)


def _ended(ending: Ending, result: Result) -> list[str]:
    """Write down how a task came out; answers work files that are no longer needed."""
    if isinstance(result, Later):
        later: dict[str, Any] = {"state": store.WAITING, "due": result.at_ms, "label": result.why}
        store.update(ending.connection, TASKS, ending.task.id, **later)
        return []
    closing.check_rows(ending.plan, ending.task, result)
    if isinstance(result, Again):
        return closing.end_again(ending, result)
    if result.effects is not None:
        result.effects(ending.connection)
    return closing.end_done(ending, result)


def _too_many(graph: Graph, workflow: sa.Row[Any]) -> bool:
    """Whether this error is the last in a row that is ignored."""
    most = graph.error_handling.consecutive
    return bool(most) and workflow.errors + 1 >= most


def _text(error: Exception) -> str:
    """What the journal says; an error that is none of ours is told with its kind."""
    return error.message if isinstance(error, AmityError) else f"{type(error).__name__}: {error}"
