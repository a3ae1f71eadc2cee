"""What happens in the transaction that ends a task?

The task is marked done, its tables are named at its outbound transitions, its inputs are spent, and
what now has everything it waits for becomes a task. A run is over when none of its tasks is left.
Work files are only marked here; they are dropped once the transaction is durable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from amity.campaign.workflow import journal, store
from amity.campaign.workflow.activity import Again, Done, Out, WorkTable
from amity.campaign.workflow.errors import LostRows
from amity.campaign.workflow.graph import Plan
from amity.campaign.workflow.journal import Line
from amity.campaign.workflow.model import FINISHED, Arrow, input_names
from amity.campaign.workflow.store import JOURNAL, RUNS, TASKS, TRANSITIONS, WORKFLOWS
from amity.kernel.clock import DAY_MS

_OF_TABLE = ("recCount", "schema", "tableName")
"""Variables that tell of the table of a transition. Source: campaign.md §1.6."""


class Ending(NamedTuple):
    """A task that ends now."""

    connection: sa.Connection
    plan: Plan
    task: sa.Row[Any]
    now_ms: int
    spent_ms: int


def check_rows(plan: Plan, task: sa.Row[Any], result: Done | Again) -> None:
    """In = out + excluded by reason; raises `LostRows`."""
    known = plan.outputs(task.activity)
    unknown = sorted(set(result.outputs) - set(known))
    if unknown:
        raise LostRows(
            f"activity {task.activity!r} sends something along {unknown[0]!r}, an output it does "
            f"not have; it has {', '.join(known) or 'none'}"
        )
    inputs = store.tables_of(task.inputs)
    leaving = [out.table.count for out in result.outputs.values() if out.table is not None]
    if not inputs or not leaving or isinstance(result, Again):
        return
    came = result.came_in
    if came is None:
        came = sum(table.count for table in inputs.values())
    left_out = sum(one.count for one in result.excluded)
    if came != sum(leaving) + left_out:
        raise LostRows(
            f"activity {task.activity!r} took in {came} rows, but {sum(leaving)} go out and "
            f"{left_out} are excluded with a reason; nothing of it was kept"
        )


def end_done(ending: Ending, result: Done) -> list[str]:
    """The task is done; answers the work files that are no longer needed."""
    connection, plan, task, now_ms, spent_ms = ending
    store.update(
        connection,
        TASKS,
        task.id,
        state=store.DONE,
        ended=now_ms,
        label=result.label,
        excluded=store.written(list(result.excluded)),
        spent_ms=spent_ms,
        error="",
    )
    keep(ending, result)
    emit(ending, result.outputs, run=task.run, label=result.label)
    return settle(connection, plan, task, now_ms)


def end_again(ending: Ending, result: Again) -> list[str]:
    """The task is done and the same activity has another one; what it sends out is a new run."""
    connection, plan, task, now_ms, spent_ms = ending
    store.update(connection, TASKS, task.id, state=store.DONE, ended=now_ms, spent_ms=spent_ms)
    keep(ending, result)
    gone: list[str] = []
    if result.at_ms is not None:
        store.insert(
            connection,
            TASKS,
            workflow=task.workflow,
            run=task.run,
            activity=task.activity,
            state=store.WAITING,
            due=result.at_ms,
            slot=result.at_ms,
            vars=task.vars,
        )
    if result.outputs:
        gone += forget_results(connection, task.workflow)
        run = begin_run(connection, task.workflow, task.activity, now_ms)
        emit(ending, result.outputs, run=run, label="Ok")
        gone += settle_run(connection, plan, run, workflow=task.workflow, now_ms=now_ms)
    return gone + settle(connection, plan, task, now_ms)


def keep(ending: Ending, result: Done | Again) -> None:
    """Memory and variables that the task leaves, and the signal that it used up."""
    connection, _, task, _, _ = ending
    if result.memory is not None:
        store.keep_memory(connection, task.workflow, task.activity, result.memory)
    values: dict[str, Any] = {"errors": 0}
    if isinstance(result, Done) and result.instance_vars:
        row = store.workflow(connection, task.workflow)
        known = store.vars_of(row.vars) if row is not None else {}
        values["vars"] = store.written(known | dict(result.instance_vars))
    store.update(connection, WORKFLOWS, task.workflow, **values)
    if task.signal:
        connection.execute(sa.delete(store.SIGNALS).where(store.SIGNALS.c.id == task.signal))


def emit(ending: Ending, outputs: Mapping[str, Out], *, run: int, label: str) -> None:
    """Name what goes along each outbound transition, and make the tasks that can now be run."""
    connection, plan, task, now_ms, _ = ending
    arrows = {arrow.output: arrow for arrow in plan.graph.out_of(task.activity)}
    for output in plan.outputs(task.activity):
        if output not in outputs:
            continue
        arrow = arrows.get(output)
        table = outputs[output].table
        id = store.insert(
            connection,
            TRANSITIONS,
            workflow=task.workflow,
            run=run,
            task=task.id,
            start=task.activity,
            output=output,
            end=arrow.end if arrow else "",
            state=store.ARRIVED if arrow else store.SPENT,
            population=store.written(table) if table else "",
            file=table.name if table else "",
            kept=int(table is not None),
            row_count=table.count if table else None,
            label=label,
            vars=store.written(_vars(store.vars_of(task.vars), outputs[output])),
            at=now_ms,
        )
        if arrow:
            _arrive(ending, arrow, run=run, transition=id)


def _vars(inbound: Mapping[str, Any], out: Out) -> dict[str, Any]:
    found = {name: value for name, value in inbound.items() if name not in _OF_TABLE}
    found |= out.vars
    if out.table is not None:
        table = out.table
        found |= {"recCount": table.count, "schema": table.schema, "tableName": table.name}
    return found


def _arrive(ending: Ending, arrow: Arrow, *, run: int, transition: int) -> None:
    """A transition has come to its end: the activity there is run when nothing else is missing."""
    connection, plan, task, _, _ = ending
    column = TRANSITIONS.c
    query = sa.select(TRANSITIONS).where(column.state == store.ARRIVED).order_by(column.id)
    if not plan.joins(arrow.end):
        came = connection.execute(query.where(column.id == transition)).all()
    else:
        of_run = query.where(
            column.workflow == task.workflow, column.run == run, column.end == arrow.end
        )
        first: dict[tuple[str, str], sa.Row[Any]] = {}
        for row in connection.execute(of_run):
            first.setdefault((row.start, row.output), row)
        wanted = [(one.start, one.output) for one in plan.graph.into(arrow.end)]
        if not first.keys() >= set(wanted):
            return
        came = [first[key] for key in wanted]
    _make(ending, arrow.end, run, came)


def _make(ending: Ending, activity: str, run: int, came: Sequence[sa.Row[Any]]) -> None:
    """A task of what has come, in the order in which the transitions are written."""
    connection, plan, task, now_ms, _ = ending
    names = {
        (arrow.start, arrow.output): name
        for arrow, name in input_names(plan.graph.into(activity)).items()
    }
    inputs: dict[str, WorkTable] = {}
    merged: dict[str, Any] = {}
    for row in came:
        table = store.table_of(row.population)
        if table is not None:
            inputs[names[row.start, row.output]] = table
        merged = store.vars_of(row.vars) | merged
    id = store.insert(
        connection,
        TASKS,
        workflow=task.workflow,
        run=run,
        activity=activity,
        state=store.READY,
        due=now_ms,
        inputs=store.written(inputs),
        vars=store.written(merged),
    )
    connection.execute(
        sa.update(TRANSITIONS)
        .where(TRANSITIONS.c.id.in_([row.id for row in came]))
        .values(state=store.TAKEN, consumer=id)
    )


def begin_run(connection: sa.Connection, workflow: int, origin: str, now_ms: int) -> int:
    """A new run; answers its id."""
    return store.insert(connection, RUNS, workflow=workflow, origin=origin, begun=now_ms)


def settle(connection: sa.Connection, plan: Plan, task: sa.Row[Any], now_ms: int) -> list[str]:
    """After a task has ended: spend its inputs, end its run and its workflow if it was the last."""
    column = TRANSITIONS.c
    consumed = column.consumer == task.id
    files = connection.execute(sa.select(column.file).where(consumed, column.file != "")).scalars()
    found = list(files)
    connection.execute(sa.update(TRANSITIONS).where(consumed).values(state=store.SPENT))
    gone = [] if plan.graph.keep_results else store.unneeded(connection, found)
    gone += settle_run(connection, plan, task.run, workflow=task.workflow, now_ms=now_ms)
    if not _live(connection, TASKS.c.workflow == task.workflow):
        gone += finish(connection, task.workflow, now_ms)
    return gone


def settle_run(
    connection: sa.Connection, plan: Plan, run: int, *, workflow: int, now_ms: int
) -> list[str]:
    """End a run that has no task left: what waits for something that never comes is lost."""
    if _live(connection, TASKS.c.run == run):
        return []
    store.update(connection, RUNS, run, ended=now_ms)
    column = TRANSITIONS.c
    of_run = sa.and_(column.workflow == workflow, column.run == run)
    connection.execute(
        sa.update(TRANSITIONS).where(of_run, column.state == store.ARRIVED).values(state=store.LOST)
    )
    purge(connection, workflow, plan.graph.history_days, now_ms)
    if plan.graph.keep_results:
        return []
    files = connection.execute(sa.select(column.file).where(of_run, column.kept == 1)).scalars()
    return store.unneeded(connection, list(files))


def forget_results(connection: sa.Connection, workflow: int) -> list[str]:
    """Results kept of runs that are over make room for those of the next."""
    column = TRANSITIONS.c
    over = sa.select(RUNS.c.id).where(RUNS.c.workflow == workflow, RUNS.c.ended.is_not(None))
    files = connection.execute(
        sa.select(column.file).where(
            column.workflow == workflow, column.kept == 1, column.run.in_(over)
        )
    ).scalars()
    return store.unneeded(connection, list(files))


def finish(
    connection: sa.Connection,
    workflow: int,
    now_ms: int,
    *,
    failed: str = "",
    why: str = "Finished",
) -> list[str]:
    """End a workflow and whatever of it is not over; answers the work files it leaves."""
    store.update(
        connection,
        WORKFLOWS,
        workflow,
        state=FINISHED,
        failed=int(bool(failed)),
        failed_text=failed,
        stopping="",
        ended=now_ms,
    )
    task, transition = TASKS.c, TRANSITIONS.c
    connection.execute(
        sa.update(TASKS)
        .where(task.workflow == workflow, task.state.in_(store.LIVE))
        .values(state=store.STOPPED, ended=now_ms)
    )
    connection.execute(
        sa.update(RUNS)
        .where(RUNS.c.workflow == workflow, RUNS.c.ended.is_(None))
        .values(ended=now_ms)
    )
    on_its_way = sa.and_(
        transition.workflow == workflow, transition.state.in_((store.ARRIVED, store.TAKEN))
    )
    files = connection.execute(
        sa.select(transition.file).where(on_its_way, transition.kept == 1)
    ).scalars()
    found = list(files)
    connection.execute(sa.update(TRANSITIONS).where(on_its_way).values(state=store.LOST))
    journal.note(connection, workflow, now_ms, Line("error" if failed else "info", why))
    return store.unneeded(connection, found)


def purge(connection: sa.Connection, workflow: int, days: int, now_ms: int) -> None:
    """Forget runs that ended longer ago than the history is kept, with their tasks and lines."""
    if not days:
        return
    before = now_ms - days * DAY_MS
    over = sa.select(RUNS.c.id).where(RUNS.c.workflow == workflow, RUNS.c.ended < before)
    connection.execute(
        sa.delete(TRANSITIONS).where(TRANSITIONS.c.run.in_(over), TRANSITIONS.c.kept == 0)
    )
    ended = sa.and_(TASKS.c.workflow == workflow, TASKS.c.state.not_in(store.LIVE))
    connection.execute(sa.delete(TASKS).where(ended, TASKS.c.ended < before))
    connection.execute(
        sa.delete(JOURNAL).where(JOURNAL.c.workflow == workflow, JOURNAL.c.at < before)
    )
    connection.execute(sa.delete(RUNS).where(RUNS.c.workflow == workflow, RUNS.c.ended < before))


def running(connection: sa.Connection, task: sa.Row[Any]) -> sa.Row[Any] | None:
    """The workflow of a task that may still end; None when somebody has stopped either."""
    state = connection.execute(
        sa.select(TASKS.c.state).where(TASKS.c.id == task.id)
    ).scalar_one_or_none()
    workflow = store.workflow(connection, task.workflow)
    if state != store.RUNNING or workflow is None or workflow.stopping:
        return None
    return workflow


def _live(connection: sa.Connection, where: sa.ColumnElement[bool]) -> bool:
    query = sa.select(TASKS.c.id).where(where, TASKS.c.state.in_(store.LIVE)).limit(1)
    return connection.execute(query).first() is not None
