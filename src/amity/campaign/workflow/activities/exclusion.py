"""Exclusion: who of the main set is in none of the others?

Rows are compared by their record, or by values. Behaviour: campaign.md §1.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from amity.campaign.recipients.conditions import Conditions
from amity.campaign.workflow.activity import ActivitySpec, Done, Exclusion, Out, Task, WorkTable
from amity.campaign.workflow.errors import WrongInputs
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.population import (
    asked,
    copied,
    counted,
    made_rows,
    names,
    origin_of,
    rows_table,
)


class ExclusionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which inbound population is the main set, and what is compared."""

    main: str
    """The activity it comes from."""

    by: tuple[str, ...] = ()
    """Expressions that must all be equal; none: the record (``id``)."""


class ExclusionActivity:
    """Makes a population of the rows of the main set that no other set has."""

    def __init__(self, config: ExclusionConfig, means: Means) -> None:
        self._config = config
        self._conditions: Conditions = means.conditions

    def run(self, task: Task) -> Done:
        """Take one set after the other away; each tells how many rows it took."""
        main = task.inputs.get(self._config.main)
        if main is None:
            raise WrongInputs(
                f"activity {task.activity!r}: no population comes from {self._config.main!r}, the "
                f"main set; there are: {', '.join(task.inputs) or 'none'}"
            )
        others = {name: one for name, one in task.inputs.items() if name != self._config.main}
        self._check_schemas(task, main, others.values())
        aliases = {name: f"t{at}" for at, name in enumerate(others, start=2)}
        inputs = {"t1": main.name, **{aliases[name]: others[name].name for name in others}}
        excluded = []
        with task.work.build(task.name("out"), inputs=inputs) as connection:
            source = rows_table(main.columns, "t1")
            table = made_rows(connection, main.columns)
            chosen = sa.select(*copied(source, main.columns)).order_by(source.c.n)
            connection.execute(sa.insert(table).from_select(names(table), chosen))
            for name, other in others.items():
                count = self._take(task, connection, (main, table), (other, aliases[name]))
                if count:
                    excluded.append(Exclusion(reason=f"also in {name}", count=count))
            count = counted(connection, table)
        made = msgspec.structs.replace(
            main, name=task.name("out"), count=count, origin=origin_of(task.inputs.values())
        )
        return Done(outputs={"out": Out(table=made)}, excluded=excluded, came_in=main.count)

    def _check_schemas(self, task: Task, main: WorkTable, others: Any) -> None:
        if self._config.by:
            return
        for one in (main, *others):
            if not one.schema or one.schema != main.schema:
                raise WrongInputs(
                    f"activity {task.activity!r} compares records, but a population is of "
                    f"{one.schema or 'no schema'} and the main set of {main.schema or 'no schema'}; "
                    "reconcile them, or say by which values they are compared: by"
                )

    def _take(
        self,
        task: Task,
        connection: sa.Connection,
        left: tuple[WorkTable, sa.Table],
        right: tuple[WorkTable, str],
    ) -> int:
        """Remove the rows that the other set has; answers how many."""
        (main, table), (other, alias) = left, right
        source = rows_table(other.columns, alias)
        mine = self._values(task, main, table)
        theirs = self._values(task, other, source)
        known = [value.is_not(None) for value in theirs]
        listed = sa.select(*theirs).select_from(source).where(*known)
        compared = mine[0] if len(mine) == 1 else sa.tuple_(*mine)
        return connection.execute(sa.delete(table).where(compared.in_(listed))).rowcount

    def _values(
        self, task: Task, table: WorkTable, source: sa.Table
    ) -> Sequence[sa.ColumnElement[Any]]:
        rows = asked(table, source)
        if not self._config.by:
            return [source.c.id]
        return [self._conditions.value(text, rows, task.now_ms).sql for text in self._config.by]


SPEC = ActivitySpec(
    name="exclusion",
    label="Exclusion",
    summary="Takes away from the main set who is in another.",
    config=ExclusionConfig,
    make=ExclusionActivity,
    effect="transactional",
    inputs=(2, None),
)
