"""List update: who is on a list from now on?

Behaviour: campaign.md §1.3. The list is changed in the transaction that ends the task.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import sqlalchemy as sa

from amity.campaign.recipients.lists import Lists
from amity.campaign.workflow.activity import ActivitySpec, Done, Exclusion, Out, Task, WorkTable
from amity.campaign.workflow.errors import BadOptions, WrongInputs
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.population import (
    copied,
    counted,
    made_rows,
    names,
    rows_table,
)

RECIPIENT = "nms:recipient"
UNKNOWN = "not reconciled: no recipient"


class ListUpdateConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which list, and what is done with it."""

    list: str
    """Its name; it is created if it is missing."""

    operation: Literal["append", "remove", "replace", "purge"] = "append"
    """`append` adds the population, `remove` takes it off, `replace` leaves nobody else on the list,
    `purge` leaves nobody."""


class ListUpdate:
    """Changes the members of a list; the population goes on as it is."""

    def __init__(self, config: ListUpdateConfig, means: Means) -> None:
        if not config.list.strip():
            raise BadOptions("say which list: list")
        self._config = config
        self._schemas = means.schemas
        self._lists = Lists(means.schemas)

    def run(self, task: Task) -> Done:
        """Leave out who is no recipient; the list is changed as the task ends."""
        before = task.table
        if before.schema != RECIPIENT:
            raise WrongInputs(
                f"activity {task.activity!r} puts recipients on a list, but the population is of "
                f"{before.schema or 'no schema'}; reconcile it with {RECIPIENT} first"
            )
        table = self._known(task, before)
        left = before.count - table.count
        return Done(
            outputs={"out": Out(table=table, vars={"list": self._config.list})},
            excluded=[Exclusion(reason=UNKNOWN, count=left)] if left else [],
            effects=lambda connection: self._change(connection, task.now_ms),
            effects_inputs={"t1": table.name},
            label=f"{self._config.operation} {self._config.list}",
        )

    def _known(self, task: Task, before: WorkTable) -> WorkTable:
        """The rows that are recipients; the same table where all are."""
        source, recipient = rows_table(before.columns, "t1"), self._schemas.table(RECIPIENT)
        there = sa.select(recipient.c.id).where(recipient.c.id == source.c.id).exists()
        with task.work.build(task.name("out"), inputs={"t1": before.name}) as connection:
            table = made_rows(connection, before.columns)
            chosen = sa.select(*copied(source, before.columns)).where(there)
            filled = sa.insert(table).from_select(names(table), chosen.order_by(source.c.n))
            connection.execute(filled)
            count = counted(connection, table)
        return msgspec.structs.replace(before, name=task.name("out"), count=count)

    def _change(self, connection: sa.Connection, now_ms: int) -> None:
        id = self._lists.ensure(connection, self._config.list, now_ms)
        member, source = self._schemas.table("nms:rcpGrpRel"), rows_table((), "t1")
        on_list = member.c.group_id == id
        given = sa.select(source.c.id)
        gone = {
            "remove": member.c.recipient_id.in_(given),
            "replace": member.c.recipient_id.not_in(given),
            "purge": sa.true(),
        }
        if self._config.operation in gone:
            off = gone[self._config.operation]
            connection.execute(sa.delete(member).where(on_list, off))
        if self._config.operation in {"append", "replace"}:
            self._append(connection, id, now_ms)

    def _append(self, connection: sa.Connection, id: int, now_ms: int) -> None:
        """Add who is not on the list; one who was deleted meanwhile is no recipient."""
        member, recipient = self._schemas.table("nms:rcpGrpRel"), self._schemas.table(RECIPIENT)
        source = rows_table((), "t1")
        on = sa.select(member.c.recipient_id).where(
            member.c.group_id == id, member.c.recipient_id == recipient.c.id
        )
        chosen = (
            sa.select(sa.literal(id), recipient.c.id, sa.literal(now_ms))
            .where(recipient.c.id.in_(sa.select(source.c.id)), ~on.exists())
            .order_by(recipient.c.id)
        )
        columns = [member.c.group_id, member.c.recipient_id, member.c.created]
        connection.execute(sa.insert(member).from_select(columns, chosen))


SPEC = ActivitySpec(
    name="list_update",
    label="List update",
    summary="Puts a population on a list or takes it off.",
    config=ListUpdateConfig,
    make=ListUpdate,
    effect="transactional",
)
