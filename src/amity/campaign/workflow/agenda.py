"""What is to be done next, and when?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from amity.campaign.workflow import closing, journal, store
from amity.campaign.workflow.activity import SIGNALLED
from amity.campaign.workflow.journal import Line
from amity.campaign.workflow.model import PAUSED, STARTED
from amity.campaign.workflow.store import JOBS, RUNS, SIGNALS, TASKS, WORKFLOWS
from amity.kernel.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, to_iso
from amity.kernel.errors import Transient

BACK_OFF_MS, BACK_OFF_MS_MAX = MINUTE_MS, HOUR_MS
"""Doubles from try to try. Ours: about three hours in all."""

PAUSED_NOTICE_MS = 7 * DAY_MS
PAUSED_NOTICES_MAX = 4
"""A workflow left paused: a warning a week, then it is stopped. Source: campaign.md §1.6."""

_GOING = sa.select(WORKFLOWS.c.id).where(WORKFLOWS.c.state == STARTED, WORKFLOWS.c.stopping == "")
"""Workflows whose tasks may begin."""

_NOTICE = WORKFLOWS.c.paused + (WORKFLOWS.c.notices + 1) * PAUSED_NOTICE_MS


def next_due(connection: sa.Connection, now_ms: int) -> int | None:
    """When the first task is run that waits, or the supervisors of a paused workflow are told.

    A task that was made or begun later than now stems from before a crash: a virtual clock goes on
    from its last tick.
    """
    column = TASKS.c
    due = sa.select(sa.func.min(column.due)).where(column.workflow.in_(_GOING))
    begun = sa.select(sa.func.min(column.begun)).where(column.workflow.in_(_GOING))
    queries = (
        due.where(column.state == store.WAITING, column.due < SIGNALLED),
        due.where(column.state == store.READY, column.due > now_ms),
        begun.where(column.state == store.RUNNING, column.begun > now_ms),
        sa.select(sa.func.min(_NOTICE)).where(WORKFLOWS.c.state == PAUSED),
    )
    found = [connection.execute(query).scalar_one() for query in queries]
    return min((at_ms for at_ms in found if at_ms is not None), default=None)


def wake(connection: sa.Connection, to_ms: int) -> int:
    """Make tasks ready that waited until `to_ms` at the latest; answers how many."""
    column = TASKS.c
    due = sa.and_(column.state == store.WAITING, column.due <= to_ms, column.workflow.in_(_GOING))
    return int(connection.execute(sa.update(TASKS).where(due).values(state=store.READY)).rowcount)


def remind(connection: sa.Connection, to_ms: int) -> tuple[int, list[str]]:
    """Tell of workflows left paused, and stop those nobody cared for; how many, and their files."""
    query = sa.select(WORKFLOWS).where(WORKFLOWS.c.state == PAUSED, to_ms >= _NOTICE)
    rows = connection.execute(query.order_by(WORKFLOWS.c.id)).all()
    gone: list[str] = []
    for row in rows:
        since = to_iso(row.paused)
        if row.notices >= PAUSED_NOTICES_MAX:
            why = f"Stopped: paused since {since} and nobody resumed it"
            gone += closing.finish(connection, row.id, to_ms, failed=row.failed_text, why=why)
            continue
        store.update(connection, WORKFLOWS, row.id, notices=row.notices + 1)
        text = f"paused since {since}: resume or stop it; it is stopped after 4 such warnings"
        journal.note(connection, row.id, to_ms, Line("warning", text))
    return len(rows), gone


def wanted(connection: sa.Connection) -> bool:
    """Whether anybody outside wants something: a command, a stop, a signal."""
    queries = (
        sa.select(JOBS.c.id),
        sa.select(WORKFLOWS.c.id).where(WORKFLOWS.c.stopping != ""),
        sa.select(SIGNALS.c.id),
    )
    return any(connection.execute(query.limit(1)).first() is not None for query in queries)


def hear(connection: sa.Connection, now_ms: int) -> int:
    """Make tasks ready for which a signal has come, the oldest each; answers how many."""
    task, signal = TASKS.c, SIGNALS.c
    taken = sa.select(task.signal).where(task.state.in_(store.LIVE))
    pairs = (
        sa.select(task.id, sa.func.min(signal.id))
        .join_from(
            TASKS,
            SIGNALS,
            sa.and_(task.workflow == signal.workflow, task.activity == signal.activity),
        )
        .where(task.state == store.WAITING, task.signal == 0, task.workflow.in_(_GOING))
        .where(signal.id.not_in(taken))
        .group_by(task.id)
        .order_by(task.id)
    )
    given: set[int] = set()
    for task_id, signal_id in connection.execute(pairs).all():
        if signal_id not in given:
            given.add(signal_id)
            values = {"state": store.READY, "due": now_ms, "signal": signal_id}
            store.update(connection, TASKS, task_id, **values)
    return len(given)


def left_running(connection: sa.Connection, now_ms: int) -> list[sa.Row[Any]]:
    """Tasks that were begun and have not ended, oldest first."""
    query = sa.select(TASKS).join(WORKFLOWS, WORKFLOWS.c.id == TASKS.c.workflow)
    running = query.where(
        TASKS.c.state == store.RUNNING, TASKS.c.begun <= now_ms, WORKFLOWS.c.stopping == ""
    )
    return list(connection.execute(running.order_by(TASKS.c.id)))


def ready(connection: sa.Connection, now_ms: int, limit: int) -> list[int]:
    """Tasks that can be begun, oldest first."""
    column = TASKS.c
    query = sa.select(column.id).where(
        column.state == store.READY, column.due <= now_ms, column.workflow.in_(_GOING)
    )
    return list(connection.execute(query.order_by(column.id).limit(limit)).scalars())


def begin(connection: sa.Connection, ids: list[int], now_ms: int) -> list[sa.Row[Any]]:
    """Write down that these tasks run, and answer them as they are run, again and again the same."""
    column = TASKS.c
    earlier = sa.exists().where(
        RUNS.c.workflow == column.workflow,
        RUNS.c.origin == column.activity,
        RUNS.c.ended.is_(None),
    )
    still_ready = sa.and_(
        column.id.in_(ids), column.state == store.READY, column.workflow.in_(_GOING)
    )
    connection.execute(
        sa.update(TASKS)
        .where(still_ready)
        .values(
            state=store.RUNNING,
            begun=now_ms,
            since=sa.func.coalesce(column.since, now_ms),
            busy=sa.cast(earlier, sa.Integer),
        )
    )
    query = sa.select(TASKS).where(column.id.in_(ids), column.state == store.RUNNING)
    return list(connection.execute(query.order_by(column.id)))


def try_again(connection: sa.Connection, task: sa.Row[Any], error: Transient, now_ms: int) -> None:
    """Let a task wait that failed by something that passes."""
    back_off_ms = min(BACK_OFF_MS * 2 ** (task.attempt - 1), BACK_OFF_MS_MAX)
    due = now_ms + max(back_off_ms, error.retry_after_s * SECOND_MS)
    store.update(
        connection,
        TASKS,
        task.id,
        state=store.WAITING,
        due=due,
        attempt=task.attempt + 1,
        error=error.message,
    )
    text = f"{error.message}; it is tried again at {to_iso(due)}"
    journal.note(connection, task.workflow, now_ms, Line("warning", text, task.id, task.activity))
