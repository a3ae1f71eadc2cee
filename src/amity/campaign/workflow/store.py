"""Where does the campaign database keep workflows, their tasks and what goes between them?

Plain tables of the engine; every function here works on a connection that somebody else began, so
that an effect and the state it belongs to are one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from amity.campaign.workflow.activity import WorkTable
from amity.campaign.workflow.model import Graph
from amity.storage.ports import Tables

METADATA = sa.MetaData()


def _id() -> sa.Column[int]:
    return sa.Column("iId", sa.Integer, key="id", primary_key=True, autoincrement=True)


def _long(name: str, key: str, default: int | None = 0) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, key=key, nullable=default is None, default=default)


def _text(name: str, key: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, key=key, nullable=False, default="")


WORKFLOWS = sa.Table(
    "XtkWorkflow",
    METADATA,
    _id(),
    sa.Column("sInternalName", sa.Text, key="name", nullable=False, unique=True),
    _text("sLabel", "label"),
    sa.Column("mGraph", sa.Text, key="graph", nullable=False),
    _long("iState", "state"),
    _long("iFailed", "failed"),
    _text("mFailedText", "failed_text"),
    _text("sStopping", "stopping"),  # stop or restart, while tasks are told to stop
    _long("iErrors", "errors"),  # errors in a row that were ignored
    sa.Column("mVars", sa.Text, key="vars", nullable=False, default="{}"),
    _long("tsStarted", "started"),
    _long("tsPaused", "paused"),
    _long("tsEnded", "ended"),
    _long("iNotices", "notices"),  # how often supervisors were told that it is paused
    _long("tsCreated", "created"),
    _long("tsLastModified", "last_modified"),
    sqlite_autoincrement=True,
)

RUNS = sa.Table(
    "XtkWorkflowRun",
    METADATA,
    _id(),
    _long("iWorkflowId", "workflow"),
    _text("sOrigin", "origin"),  # the activity that began it; empty: the workflow's start
    _long("tsBegun", "begun"),
    _long("tsEnded", "ended", None),
    sa.Index("XtkWorkflowRun_workflow", "workflow", "ended"),
    sqlite_autoincrement=True,
)

READY, WAITING, RUNNING, FAILED = "ready", "waiting", "running", "failed"
DONE, IGNORED, STOPPED = "done", "ignored", "stopped"
LIVE = (READY, WAITING, RUNNING, FAILED)
"""Tasks that are not over; a failed one is run again when the workflow is resumed."""

TASKS = sa.Table(
    "XtkWorkflowTask",
    METADATA,
    _id(),
    _long("iWorkflowId", "workflow"),
    _long("iRunId", "run"),
    _text("sActivity", "activity"),
    _text("sState", "state"),
    _long("tsDue", "due"),  # when it is run at the earliest
    _long("tsSlot", "slot", None),  # the `at_ms` of the `Again` that made it
    _long("tsSince", "since", None),
    _long("tsBegun", "begun"),
    _long("tsEnded", "ended"),
    _long("iAttempt", "attempt", 1),
    _long("iBusy", "busy"),
    _long("iSignalId", "signal"),
    _long("iSpentMs", "spent_ms"),
    sa.Column("mVars", sa.Text, key="vars", nullable=False, default="{}"),
    sa.Column("mInputs", sa.Text, key="inputs", nullable=False, default="{}"),
    sa.Column("mExcluded", sa.Text, key="excluded", nullable=False, default="[]"),
    _text("sLabel", "label"),
    _text("mError", "error"),
    sa.Index("XtkWorkflowTask_live", "state", "due"),
    sa.Index("XtkWorkflowTask_workflow", "workflow", "run"),
    sqlite_autoincrement=True,
)

ARRIVED, TAKEN, SPENT, LOST = "arrived", "taken", "spent", "lost"

TRANSITIONS = sa.Table(
    "XtkWorkflowTransition",
    METADATA,
    _id(),
    _long("iWorkflowId", "workflow"),
    _long("iRunId", "run"),
    _long("iTaskId", "task"),
    _text("sFrom", "start"),
    _text("sOutput", "output"),
    _text("sTo", "end"),
    _text("sState", "state"),
    _long("iConsumerId", "consumer"),  # the task whose input it is
    _text("mTable", "population"),
    _text("sFile", "file"),
    _long("iKept", "kept"),  # the file is there
    _long("iCount", "row_count", None),
    _text("sLabel", "label"),
    sa.Column("mVars", sa.Text, key="vars", nullable=False, default="{}"),
    _long("tsAt", "at"),
    sa.Index("XtkWorkflowTransition_run", "workflow", "run", "state"),
    sa.Index("XtkWorkflowTransition_consumer", "consumer"),
    sa.Index("XtkWorkflowTransition_file", "file"),
    sqlite_autoincrement=True,
)

MEMORIES = sa.Table(
    "XtkWorkflowMemory",
    METADATA,
    sa.Column("iWorkflowId", sa.Integer, key="workflow", primary_key=True),
    sa.Column("sActivity", sa.Text, key="activity", primary_key=True),
    sa.Column("mBody", sa.Text, key="body", nullable=False),
)

JOURNAL = sa.Table(
    "XtkWorkflowLog",
    METADATA,
    _id(),
    _long("iWorkflowId", "workflow"),
    _long("iTaskId", "task"),
    _text("sActivity", "activity"),
    _text("sLevel", "level"),
    _text("mText", "text"),
    _long("tsAt", "at"),
    sa.Index("XtkWorkflowLog_workflow", "workflow", "id"),
    sqlite_autoincrement=True,
)

SIGNALS = sa.Table(
    "XtkWorkflowSignal",
    METADATA,
    _id(),
    _long("iWorkflowId", "workflow"),
    _text("sActivity", "activity"),
    sa.Column("mVars", sa.Text, key="vars", nullable=False, default="{}"),
    _long("tsAt", "at"),
    sa.Index("XtkWorkflowSignal_workflow", "workflow", "activity"),
    sqlite_autoincrement=True,
)

JOBS = sa.Table(
    "XtkWorkflowJob",
    METADATA,
    _id(),
    _long("iWorkflowId", "workflow"),
    _text("sMethod", "method"),
    _long("tsAt", "at"),
    sqlite_autoincrement=True,
)

OF_WORKFLOW = (RUNS, TASKS, TRANSITIONS, MEMORIES, JOURNAL, SIGNALS, JOBS)
"""Tables whose rows belong to one workflow."""


def install(tables: Tables) -> None:
    """Create what is missing; safe to repeat."""
    tables.create(METADATA)


def written(value: Any) -> str:
    """As it is kept in a text column."""
    return msgspec.json.encode(value).decode()


def graph_of(row: sa.Row[Any]) -> Graph:
    """The graph of a workflow's row."""
    return graph_from(row.graph)


def graph_from(text: str) -> Graph:
    """A graph as it is kept."""
    return msgspec.json.decode(text, type=Graph)


def tables_of(text: str) -> dict[str, WorkTable]:
    """The inbound tables of a task's row."""
    return msgspec.json.decode(text, type=dict[str, WorkTable])


def table_of(text: str) -> WorkTable | None:
    """The work table of a transition's row."""
    return msgspec.json.decode(text, type=WorkTable) if text else None


def vars_of(text: str) -> dict[str, Any]:
    """Variables as they were kept."""
    return msgspec.json.decode(text, type=dict[str, Any])


def insert(connection: sa.Connection, table: sa.Table, **values: Any) -> int:
    """Add a row; answers its id."""
    key = connection.execute(sa.insert(table).values(**values)).inserted_primary_key
    return int(key[0]) if key else 0


def update(connection: sa.Connection, table: sa.Table, id: int, **values: Any) -> None:
    """Change a row."""
    connection.execute(sa.update(table).where(table.c.id == id).values(**values))


def workflow(connection: sa.Connection, id: int) -> sa.Row[Any] | None:
    """A workflow's row."""
    return connection.execute(sa.select(WORKFLOWS).where(WORKFLOWS.c.id == id)).one_or_none()


def memory(connection: sa.Connection, id: int, activity: str) -> dict[str, Any]:
    """What an activity keeps from task to task."""
    body = connection.execute(
        sa.select(MEMORIES.c.body).where(MEMORIES.c.workflow == id, MEMORIES.c.activity == activity)
    ).scalar_one_or_none()
    return vars_of(body) if body is not None else {}


def keep_memory(
    connection: sa.Connection, id: int, activity: str, value: Mapping[str, Any]
) -> None:
    """Replace what an activity keeps."""
    where = sa.and_(MEMORIES.c.workflow == id, MEMORIES.c.activity == activity)
    connection.execute(sa.delete(MEMORIES).where(where))
    connection.execute(
        sa.insert(MEMORIES).values(workflow=id, activity=activity, body=written(value))
    )


def unneeded(connection: sa.Connection, files: Sequence[str]) -> list[str]:
    """Of these files those that no transition on its way refers to; marked as gone."""
    gone: list[str] = []
    for file in dict.fromkeys(files):
        column = TRANSITIONS.c
        needed = connection.execute(
            sa.select(sa.func.count())
            .select_from(TRANSITIONS)
            .where(column.file == file, column.state.in_((ARRIVED, TAKEN)))
        ).scalar_one()
        if not needed:
            connection.execute(sa.update(TRANSITIONS).where(column.file == file).values(kept=0))
            gone.append(file)
    return gone
