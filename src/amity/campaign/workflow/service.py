"""How do people make, change and steer workflows, and see what they did?

Commands are queued: the engine, in another process, carries them out between the ends of two tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from amity.campaign.workflow import commands, journal, store
from amity.campaign.workflow.activity import ActivitySpec
from amity.campaign.workflow.errors import (
    BadGraph,
    NotNow,
    UnknownTemplate,
    UnknownTransition,
    UnknownWorkflow,
    WorkflowTaken,
)
from amity.campaign.workflow.graph import Activities, check_options, plan
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.model import EDITED, FINISHED, STARTED, STATE_LABELS, Graph
from amity.campaign.workflow.store import JOBS, SIGNALS, TASKS, TRANSITIONS, WORKFLOWS
from amity.campaign.workflow.template import TemplateSpec
from amity.kernel.clock import LATEST_MS, BusinessClock, to_iso
from amity.kernel.errors import Invalid, NotFound
from amity.kernel.registry import Spec
from amity.storage.ports import Tables, WorkFiles

Json = dict[str, Any]
PREVIEW_ROWS_MAX = 1_000
"""Rows of a work table shown at once. Ours."""

SLOW_MS = 1_000
"""A transition tells its duration above. Source: campaign.md §1.6."""


class Workflows:
    """The workflows of one campaign database.

    Args:
        tables: The campaign database.
        work: The work tables, for previews.
        activities: What boxes there are.
        templates: What ready-made workflows there are.
        means: What activities are made with, so that their options are checked.
        clock: Business time.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        work: WorkFiles,
        activities: Activities,
        templates: Mapping[str, Spec[Graph]],
        means: Means,
        clock: BusinessClock,
    ) -> None:
        self._tables = tables
        self._work = work
        self._activities = activities
        self._templates = templates
        self._means = means
        self._clock = clock
        store.install(tables)

    # --- Graphs ------------------------------------------------------------------------------

    def create(self, graph: Graph) -> Json:
        """Keep a new workflow, in state edited; raises `BadGraph` or `WorkflowTaken`."""
        self.check(graph)
        now_ms = self._clock.now_ms()
        with self._tables.begin() as connection:
            self._check_free(connection, graph.name, 0)
            id = store.insert(
                connection,
                WORKFLOWS,
                name=graph.name,
                label=graph.label,
                graph=store.written(graph),
                state=EDITED,
                created=now_ms,
                last_modified=now_ms,
            )
        return self.get(id)

    def update(self, workflow: int, graph: Graph) -> Json:
        """Replace the graph; what was carried out already stays as it was.

        Refused with `NotNow` while it is started, or when a task waits in an activity that is gone.
        """
        self.check(graph)
        with self._tables.begin() as connection:
            row = _row(connection, workflow)
            if row.state == STARTED:
                raise NotNow(f"workflow {row.name} is started; pause or stop it, then change it")
            self._check_free(connection, graph.name, workflow)
            live = sa.select(TASKS.c.activity).where(
                TASKS.c.workflow == workflow, TASKS.c.state.in_(store.LIVE)
            )
            waiting = set(connection.execute(live).scalars())
            gone = commands.changeable(graph, store.graph_of(row), waiting)
            if gone:
                raise NotNow(
                    f"activity {gone[0]!r} has a task that is not over; stop the workflow, or leave "
                    "that activity in it"
                )
            store.update(
                connection,
                WORKFLOWS,
                workflow,
                name=graph.name,
                label=graph.label,
                graph=store.written(graph),
                last_modified=self._clock.now_ms(),
            )
        return self.get(workflow)

    def delete(self, workflow: int) -> None:
        """Forget a workflow with its history; refused while it is not over."""
        column = TRANSITIONS.c
        with self._tables.begin() as connection:
            row = _row(connection, workflow)
            if row.state not in (EDITED, FINISHED):
                raise NotNow(f"workflow {row.name} is not over; stop it, then delete it")
            kept = sa.select(column.file).where(column.workflow == workflow, column.kept == 1)
            files = list(connection.execute(kept.distinct()).scalars())
            for table in store.OF_WORKFLOW:
                connection.execute(sa.delete(table).where(table.c.workflow == workflow))
            connection.execute(sa.delete(WORKFLOWS).where(WORKFLOWS.c.id == workflow))
        self._work.drop(files)

    def check(self, graph: Graph) -> None:
        """Whether a graph could be run; raises `BadGraph` with the activity and the field."""
        check_options(plan(graph, self._activities), self._means)

    def find(
        self,
        *,
        state: int | None = None,
        failed: bool | None = None,
        limit: int = 100,
        start: int = 0,
    ) -> list[Json]:
        """Workflows in order of creation, without their graphs."""
        query = sa.select(WORKFLOWS).order_by(WORKFLOWS.c.id)
        if state is not None:
            query = query.where(WORKFLOWS.c.state == state)
        if failed is not None:
            query = query.where(WORKFLOWS.c.failed == int(failed))
        with self._tables.connect() as connection:
            rows = connection.execute(query.limit(limit).offset(start)).all()
        return [_summary(row) for row in rows]

    def get(self, workflow: int) -> Json:
        """A workflow with its graph and its variables."""
        with self._tables.connect() as connection:
            row = _row(connection, workflow)
        graph = msgspec.to_builtins(store.graph_of(row))
        return _summary(row) | {"graph": graph, "vars": store.vars_of(row.vars)}

    def id_of(self, key: str) -> int:
        """The id of a workflow by its id or its name."""
        column = WORKFLOWS.c
        where = column.name == key
        if key.isascii() and key.isdigit() and len(key) < 18:
            where = column.id == int(key)
        with self._tables.connect() as connection:
            found = connection.execute(sa.select(column.id).where(where)).scalar_one_or_none()
        if found is None:
            raise _unknown(key)
        return int(found)

    # --- Steering ----------------------------------------------------------------------------

    def command(self, workflow: int, method: str) -> Json:
        """Queue a command; raises `NotNow` where it means nothing in the workflow's state."""
        if method not in commands.POSSIBLE:
            known = ", ".join(commands.POSSIBLE)
            raise Invalid(f"there is no command {method[:40]!r}; there are {known}")
        with self._tables.begin() as connection:
            row = _row(connection, workflow)
            queued = connection.execute(
                sa.select(JOBS.c.id).where(JOBS.c.workflow == workflow).limit(1)
            ).first()
            if queued is None and row.state not in commands.POSSIBLE[method]:
                raise NotNow(
                    f"workflow {row.name} is {STATE_LABELS[row.state]}: {method} means nothing now"
                )
            job = store.insert(
                connection, JOBS, workflow=workflow, method=method, at=self._clock.now_ms()
            )
        return {"job": job, "workflow": workflow, "method": method, "status": "queued"}

    def sends(self, workflow: int) -> bool:
        """Whether it has an activity that may send messages."""
        with self._tables.connect() as connection:
            graph = store.graph_of(_row(connection, workflow))
        specs = [self._activities[step.type] for step in graph.activities]
        return any(isinstance(spec, ActivitySpec) and spec.effect == "intent" for spec in specs)

    def signal(self, workflow: int, activity: str, vars: Mapping[str, Any]) -> Json:
        """Tell a signal activity that something has happened outside."""
        with self._tables.begin() as connection:
            row = _row(connection, workflow)
            types = {step.name: step.type for step in store.graph_of(row).activities}
            if types.get(activity) != "signal":
                raise NotFound(f"workflow {row.name} has no activity {activity[:80]!r} for signals")
            if row.state in (EDITED, FINISHED):
                raise NotNow(f"workflow {row.name} is {STATE_LABELS[row.state]}; start it first")
            id = store.insert(
                connection,
                SIGNALS,
                workflow=workflow,
                activity=activity,
                vars=store.written(dict(vars)),
                at=self._clock.now_ms(),
            )
        return {"signal": id, "workflow": workflow, "activity": activity, "status": "queued"}

    # --- What happened -----------------------------------------------------------------------

    def journal(
        self, workflow: int, *, after: int = 0, limit: int = 200, level: str = ""
    ) -> list[Json]:
        """Lines of the journal after the one of that id, oldest first."""
        with self._tables.connect() as connection:
            _row(connection, workflow)
            levels = (level,) if level else ()
            lines = journal.read(connection, workflow, after=after, limit=limit, levels=levels)
        return [
            {
                "id": line.id,
                "at": to_iso(line.at),
                "level": line.level,
                "text": line.text,
                "task": line.task,
                "activity": line.activity,
            }
            for line in lines
        ]

    def tasks(self, workflow: int, *, limit: int = 200, before: int = 0) -> list[Json]:
        """Tasks, newest first; `before` pages on."""
        query = sa.select(TASKS).where(TASKS.c.workflow == workflow)
        if before:
            query = query.where(TASKS.c.id < before)
        with self._tables.connect() as connection:
            _row(connection, workflow)
            rows = connection.execute(query.order_by(TASKS.c.id.desc()).limit(limit)).all()
        return [_task(row) for row in rows]

    def transitions(self, workflow: int, *, limit: int = 200, before: int = 0) -> list[Json]:
        """What went along transitions, newest first; `before` pages on."""
        column = TRANSITIONS.c
        query = (
            sa.select(TRANSITIONS, TASKS.c.spent_ms, TASKS.c.excluded)
            .outerjoin(TASKS, TASKS.c.id == column.task)
            .where(column.workflow == workflow)
        )
        if before:
            query = query.where(column.id < before)
        with self._tables.connect() as connection:
            _row(connection, workflow)
            rows = connection.execute(query.order_by(column.id.desc()).limit(limit)).all()
        return [_transition(row) for row in rows]

    def picture(self, workflow: int) -> Json:
        """The graph with the last count at each transition and the last state of each activity."""
        last = sa.func.max(TASKS.c.id)
        newest = sa.select(last).where(TASKS.c.workflow == workflow).group_by(TASKS.c.activity)
        with self._tables.connect() as connection:
            row = _row(connection, workflow)
            tasks = connection.execute(sa.select(TASKS).where(TASKS.c.id.in_(newest))).all()
            passed = connection.execute(_newest_passed(workflow)).all()
        graph = store.graph_of(row)
        states = {task.activity: task for task in tasks}
        counts = {(one.start, one.output): _transition(one) for one in passed}
        boxes = [
            msgspec.to_builtins(step)
            | {"task": _task(states[step.name]) if step.name in states else None}
            for step in graph.activities
        ]
        arrows = [
            msgspec.to_builtins(arrow) | {"last": counts.get((arrow.start, arrow.output))}
            for arrow in graph.transitions
        ]
        return _summary(row) | {"activities": boxes, "transitions": arrows}

    def rows(self, transition: int, *, workflow: int, limit: int = 100, start: int = 0) -> Json:
        """Rows of a transition's work table, while it is kept."""
        with self._tables.connect() as connection:
            row = connection.execute(
                sa.select(TRANSITIONS).where(
                    TRANSITIONS.c.id == transition, TRANSITIONS.c.workflow == workflow
                )
            ).one_or_none()
        if row is None:
            raise UnknownTransition(f"there is no transition {transition}")
        table = store.table_of(row.population)
        if table is None or not row.kept:
            raise UnknownTransition(
                f"transition {transition} has no rows any more: it carried none, or they were "
                "dropped when nothing needed them; set keepResults to see them after a run"
            )
        names = ["n", "id", *(column.name for column in table.columns)]
        source = sa.table("rows", *(sa.column(name) for name in names))
        query = sa.select(source).order_by(source.c.n).limit(min(limit, PREVIEW_ROWS_MAX))
        with self._work.read(table.name) as connection:
            found = connection.execute(query.offset(start)).all()
        return {
            "table": msgspec.to_builtins(table),
            "rows": [dict(zip(names, one, strict=True)) for one in found],
        }

    # --- What there is -----------------------------------------------------------------------

    def activity_types(self) -> list[Json]:
        """The boxes there are, with the JSON Schema of their options."""
        return [
            {
                "type": spec.name,
                "label": spec.label,
                "summary": spec.summary,
                "effect": spec.effect,
                "inputs": list(spec.inputs),
                "options": msgspec.json.schema(spec.config),
            }
            for spec in self._activities.values()
            if isinstance(spec, ActivitySpec)
        ]

    def templates(self) -> list[Json]:
        """The ready-made workflows, with the JSON Schema of what they ask for."""
        return [
            {
                "name": spec.name,
                "label": spec.label,
                "summary": spec.summary,
                "options": msgspec.json.schema(spec.config),
            }
            for spec in self._templates.values()
            if isinstance(spec, TemplateSpec)
        ]

    def from_template(self, template: str, options: Mapping[str, Any]) -> Json:
        """Make a workflow of a template; raises `UnknownTemplate` or `BadGraph`."""
        if template not in set(self._templates):
            known = ", ".join(sorted(self._templates)) or "none"
            raise UnknownTemplate(f"there is no template {template[:80]!r}; there are {known}")
        spec = self._templates[template]
        try:
            config: Any = msgspec.convert(dict(options), spec.config)
        except msgspec.ValidationError as error:
            raise BadGraph(f"template {template!r}, options: {error}") from error
        return self.create(spec.make(config))

    def _check_free(self, connection: sa.Connection, name: str, workflow: int) -> None:
        column = WORKFLOWS.c
        taken = sa.select(column.id).where(column.name == name, column.id != workflow)
        if connection.execute(taken).first() is not None:
            raise WorkflowTaken(f"there is a workflow {name} already; give this one another name")


def _row(connection: sa.Connection, workflow: int) -> sa.Row[Any]:
    row = store.workflow(connection, workflow)
    if row is None:
        raise _unknown(str(workflow))
    return row


def _unknown(key: str) -> UnknownWorkflow:
    return UnknownWorkflow(
        f"there is no workflow {key[:80]!r}; GET /campaign/workflows lists those there are"
    )


def _newest_passed(workflow: int) -> sa.Select[Any]:
    column = TRANSITIONS.c
    newest = (
        sa.select(sa.func.max(column.id))
        .where(column.workflow == workflow)
        .group_by(column.start, column.output)
    )
    return (
        sa.select(TRANSITIONS, TASKS.c.spent_ms, TASKS.c.excluded)
        .outerjoin(TASKS, TASKS.c.id == column.task)
        .where(column.id.in_(newest))
    )


def _summary(row: sa.Row[Any]) -> Json:
    return {
        "id": row.id,
        "name": row.name,
        "label": row.label,
        "state": row.state,
        "stateLabel": STATE_LABELS[row.state],
        "failed": bool(row.failed),
        "failedText": row.failed_text,
        "stopping": row.stopping,
        "started": _time(row.started),
        "ended": _time(row.ended),
        "created": _time(row.created),
        "lastModified": _time(row.last_modified),
    }


def _task(row: sa.Row[Any]) -> Json:
    return {
        "id": row.id,
        "run": row.run,
        "activity": row.activity,
        "state": row.state,
        "attempt": row.attempt,
        "begun": _time(row.begun),
        "ended": _time(row.ended),
        "due": _time(row.due) if row.state == store.WAITING else None,
        "label": row.label,
        "error": row.error,
        "excluded": msgspec.json.decode(row.excluded),
        "inputs": msgspec.json.decode(row.inputs),
        "vars": store.vars_of(row.vars),
    }


def _transition(row: sa.Row[Any]) -> Json:
    label = f"{row.row_count} - {row.label}" if row.population else row.label
    if row.spent_ms and row.spent_ms > SLOW_MS:
        label = f"{label} ({row.spent_ms / 1_000:.1f} s)"
    return {
        "id": row.id,
        "run": row.run,
        "task": row.task,
        "from": row.start,
        "output": row.output,
        "to": row.end,
        "state": row.state,
        "count": row.row_count,
        "label": label,
        "excluded": msgspec.json.decode(row.excluded or "[]"),
        "table": msgspec.json.decode(row.population) if row.population else None,
        "kept": bool(row.kept),
        "vars": store.vars_of(row.vars),
        "at": _time(row.at),
    }


def _time(at_ms: int) -> str | None:
    """Readable; nothing for a time that has not come or never comes."""
    return to_iso(at_ms) if 0 < at_ms < LATEST_MS else None
