"""What do the commands of an operator do to a workflow?

They are queued and carried out by the engine, between the ends of two tasks. Behaviour: campaign.md
§1.6; where it contradicts itself: docs/adr/0015-workflow-engine.md.
"""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from amity.campaign.workflow import closing, journal, store
from amity.campaign.workflow.journal import Line
from amity.campaign.workflow.model import EDITED, FINISHED, PAUSED, STARTED, Graph
from amity.campaign.workflow.store import SIGNALS, TASKS, WORKFLOWS

Method = Literal["start", "pause", "resume", "stop", "restart", "kill"]

POSSIBLE: dict[str, tuple[int, ...]] = {
    "start": (EDITED, PAUSED, FINISHED),
    "pause": (STARTED,),
    "resume": (PAUSED,),
    "stop": (STARTED, PAUSED),
    "restart": (EDITED, STARTED, PAUSED, FINISHED),
    "kill": (STARTED, PAUSED),
}
"""In which states each command means something."""


def carry_out(
    connection: sa.Connection, workflow: sa.Row[Any], method: str, now_ms: int
) -> list[str]:
    """Do what was asked, if it still means something; answers work files that are not needed."""
    if workflow.state not in POSSIBLE[method] or (workflow.stopping and method != "kill"):
        text = f"{method} was asked for and left: the workflow is no longer in a state for it"
        journal.note(connection, workflow.id, now_ms, Line("warning", text))
        return []
    match method:
        case "start" if workflow.state != PAUSED:
            return start(connection, workflow, now_ms, keep_vars=False)
        case "start" | "resume":
            resume(connection, workflow, now_ms)
        case "pause":
            pause(connection, workflow.id, now_ms, why="Paused")
        case "kill":
            return closing.finish(connection, workflow.id, now_ms, why="Stopped at once")
        case "restart" if workflow.state in (EDITED, FINISHED):
            return start(connection, workflow, now_ms, keep_vars=True)
        case _:
            store.update(connection, WORKFLOWS, workflow.id, stopping=method)
    return []


def start(
    connection: sa.Connection, workflow: sa.Row[Any], now_ms: int, *, keep_vars: bool
) -> list[str]:
    """Begin from the initial activities; a restart keeps the instance's variables."""
    graph = store.graph_of(workflow)
    values: dict[str, Any] = {} if keep_vars else {"vars": "{}"}
    store.update(
        connection,
        WORKFLOWS,
        workflow.id,
        state=STARTED,
        failed=0,
        failed_text="",
        stopping="",
        errors=0,
        notices=0,
        started=now_ms,
        **values,
    )
    connection.execute(sa.delete(SIGNALS).where(SIGNALS.c.workflow == workflow.id))
    gone = closing.forget_results(connection, workflow.id)
    run = closing.begin_run(connection, workflow.id, "", now_ms)
    for step in graph.initial():
        store.insert(
            connection,
            TASKS,
            workflow=workflow.id,
            run=run,
            activity=step.name,
            state=store.READY,
            due=now_ms,
        )
    journal.note(connection, workflow.id, now_ms, Line("info", "Started"))
    return gone


def resume(connection: sa.Connection, workflow: sa.Row[Any], now_ms: int) -> None:
    """Go on; of what failed only the failed activity is run again."""
    store.update(
        connection,
        WORKFLOWS,
        workflow.id,
        state=STARTED,
        failed=0,
        failed_text="",
        errors=0,
        notices=0,
    )
    failed = sa.and_(TASKS.c.workflow == workflow.id, TASKS.c.state == store.FAILED)
    connection.execute(sa.update(TASKS).where(failed).values(state=store.READY, attempt=1))
    journal.note(connection, workflow.id, now_ms, Line("info", "Resumed"))


def pause(
    connection: sa.Connection, workflow: int, now_ms: int, *, why: str, failed: str = ""
) -> None:
    """Begin nothing more; what runs runs on."""
    store.update(
        connection,
        WORKFLOWS,
        workflow,
        state=PAUSED,
        failed=int(bool(failed)),
        failed_text=failed,
        paused=now_ms,
        notices=0,
    )
    journal.note(connection, workflow, now_ms, Line("error" if failed else "info", why))


def end_stopping(connection: sa.Connection, workflow: sa.Row[Any], now_ms: int) -> list[str]:
    """A workflow that was asked to stop has: finish it, and start it again if that was asked."""
    gone = closing.finish(connection, workflow.id, now_ms, why="Stopped")
    if workflow.stopping == "restart":
        gone += start(connection, workflow, now_ms, keep_vars=True)
    return gone


def changeable(graph: Graph, before: Graph, live: set[str]) -> list[str]:
    """Activities with tasks that are not over and that the new graph no longer has as they were."""
    kept = {step.name: step.type for step in graph.activities}
    types = {step.name: step.type for step in before.activities}
    return sorted(name for name in live if kept.get(name) != types.get(name))
