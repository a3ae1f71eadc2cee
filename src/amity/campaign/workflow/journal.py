"""What does a workflow tell those who look after it?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from amity.campaign.workflow.store import JOURNAL

Level = Literal["info", "warning", "error"]
TEXT_CHARS_MAX = 4_000
"""A line of the journal. Ours."""


class Line(NamedTuple):
    """One line; `task` and `activity` are 0 and empty for the workflow itself."""

    level: Level
    text: str
    task: int = 0
    activity: str = ""


def note(connection: sa.Connection, workflow: int, at_ms: int, *lines: Line) -> None:
    """Add lines, in the transaction of what they tell of."""
    rows = [
        {
            "workflow": workflow,
            "at": at_ms,
            "level": line.level,
            "text": line.text[:TEXT_CHARS_MAX],
            "task": line.task,
            "activity": line.activity,
        }
        for line in lines
    ]
    if rows:
        connection.execute(sa.insert(JOURNAL), rows)


def read(
    connection: sa.Connection, workflow: int, *, after: int, limit: int, levels: Iterable[str] = ()
) -> list[sa.Row[Any]]:
    """Lines with an id above `after`, oldest first."""
    column = JOURNAL.c
    query = sa.select(JOURNAL).where(column.workflow == workflow, column.id > after)
    wanted = tuple(levels)
    if wanted:
        query = query.where(column.level.in_(wanted))
    return list(connection.execute(query.order_by(column.id).limit(limit)))
