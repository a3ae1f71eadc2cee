"""Split: who goes which way?

Subsets are filled in their order, each from what those before it left; with `overlap` each from all.
What is in no subset leaves by ``complement`` or is left out. A random choice depends on the task
alone, so that it is the same when the task is run again. Behaviour: campaign.md §1.6.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from amity.campaign.recipients.conditions import Conditions
from amity.campaign.workflow.activity import (
    ActivitySpec,
    Done,
    Exclusion,
    Out,
    Task,
    WorkTable,
)
from amity.campaign.workflow.errors import BadOptions
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.population import (
    asked,
    copied,
    counted,
    made_rows,
    names,
    rows_table,
)
from amity.kernel.ids import digest

COMPLEMENT = "complement"
SUBSETS_MAX = 50
"""Ways out of one split. Ours."""

ALL = "t1"
NOWHERE = "in no subset"
_PRIME = 2_147_483_647


class Subset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way out: which rows, and how many of them."""

    name: str
    label: str = ""
    where: str = ""
    limit: int | None = None
    """At most so many."""

    percent: float | None = None
    """At most so many of a hundred rows of the whole population."""

    random: bool = False
    """Where not all can go: choose at random, not the first."""

    order: str = ""
    """Where not all can go: those with the least value of this expression."""


class SplitConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The subsets in their order."""

    subsets: tuple[Subset, ...]
    complement: bool = False
    overlap: bool = False


class _Draft(NamedTuple):
    task: Task
    connection: sa.Connection
    before: WorkTable
    source: sa.Table
    assigned: sa.Table


class Split:
    """Makes a population for each subset."""

    def __init__(self, config: SplitConfig, means: Means) -> None:
        _check(config)
        self._config = config
        self._conditions: Conditions = means.conditions

    def run(self, task: Task) -> Done:
        """Decide for every row first, then build the populations from that one decision."""
        before, scratch = task.table, task.name("split")
        with task.work.build(scratch, inputs={ALL: before.name}) as connection:
            assigned = _assigned()
            assigned.create(connection)
            draft = _Draft(task, connection, before, rows_table(before.columns, ALL), assigned)
            for at, subset in enumerate(self._config.subsets):
                self._assign(draft, at, subset)
            came, outside = self._counts(draft)
        outputs = {
            subset.name: Out(table=self._built(task, subset.name, at))
            for at, subset in enumerate(self._config.subsets)
        }
        excluded = [Exclusion(reason=NOWHERE, count=outside)] if outside else []
        if self._config.complement:
            outputs[COMPLEMENT] = Out(table=self._built(task, COMPLEMENT, None))
            excluded = []
        task.work.drop([scratch])
        return Done(outputs=outputs, excluded=excluded, came_in=came)

    def _assign(self, draft: _Draft, at: int, subset: Subset) -> None:
        task, connection, before, source, assigned = draft
        rows = asked(before, source)
        wanted: list[sa.ColumnElement[bool]] = []
        if subset.where:
            wanted.append(self._conditions.where(subset.where, rows, task.now_ms))
        if not self._config.overlap:
            taken = sa.select(assigned.c.n).where(assigned.c.n == source.c.n)
            wanted.append(~taken.exists())
        order: list[sa.ColumnElement[Any]] = [source.c.n]
        if subset.random:
            order.insert(0, _shuffled(source, task, subset.name))
        elif subset.order:
            order.insert(0, self._conditions.value(subset.order, rows, task.now_ms).sql)
        chosen = sa.select(source.c.n, sa.literal(at)).where(*wanted)
        most = _most(subset, before.count)
        if most is not None:
            chosen = chosen.order_by(*order).limit(most)
        connection.execute(sa.insert(assigned).from_select(["n", "subset"], chosen))

    def _counts(self, draft: _Draft) -> tuple[int, int]:
        """Rows that come in, once for each subset they go to, and those that go to none."""
        placed = counted(draft.connection, draft.assigned)
        rows = sa.select(draft.assigned.c.n).distinct().subquery()
        outside = draft.before.count - counted(draft.connection, rows)
        return placed + outside, outside

    def _built(self, task: Task, output: str, at: int | None) -> WorkTable:
        before, name = task.table, task.name(output)
        source, assigned = rows_table(before.columns, ALL), _assigned("t2")
        inputs = {ALL: before.name, "t2": task.name("split")}
        with task.work.build(name, inputs=inputs) as connection:
            table = made_rows(connection, before.columns)
            here = sa.select(assigned.c.n).where(assigned.c.n == source.c.n)
            inside = here.where(assigned.c.subset == at).exists()
            wanted = ~here.exists() if at is None else inside
            chosen = sa.select(*copied(source, before.columns)).where(wanted)
            filled = sa.insert(table).from_select(names(table), chosen.order_by(source.c.n))
            connection.execute(filled)
            count = counted(connection, table)
        return msgspec.structs.replace(before, name=name, count=count)


def _check(config: SplitConfig) -> None:
    if not 1 <= len(config.subsets) <= SUBSETS_MAX:
        raise BadOptions(f"a split has 1 to {SUBSETS_MAX} subsets, not {len(config.subsets)}")
    seen = {COMPLEMENT, "split"}
    for subset in config.subsets:
        if subset.name in seen:
            raise BadOptions(f"subset {subset.name!r}: another transition has this name")
        seen.add(subset.name)
        if subset.limit is not None and subset.limit < 0:
            raise BadOptions(f"subset {subset.name!r}: a limit is 0 or more")
        if subset.percent is not None and not 0 <= subset.percent <= 100:
            raise BadOptions(f"subset {subset.name!r}: percent is 0 to 100")


def _assigned(alias: str | None = None) -> sa.Table:
    return sa.Table(
        "assigned",
        sa.MetaData(),
        sa.Column("n", sa.Integer, primary_key=True),
        sa.Column("subset", sa.Integer, primary_key=True),
        schema=alias,
        sqlite_with_rowid=False,
    )


def _most(subset: Subset, count: int) -> int | None:
    """How many rows the subset takes at most."""
    most = [] if subset.limit is None else [subset.limit]
    if subset.percent is not None:
        most.append(int(count * subset.percent / 100))
    return min(most, default=None)


def _shuffled(source: sa.Table, task: Task, subset: str) -> sa.ColumnElement[Any]:
    """A number for each row that looks random and depends on the task and the row alone."""
    seed = int(digest(str(task.workflow), str(task.id), subset, length=7), 16)
    mixed: sa.ColumnElement[Any] = sa.func.coalesce(source.c.id, source.c.n) % _PRIME
    for factor in (48_271, 69_621, 16_807):
        mixed = (mixed * factor + seed) % _PRIME
        mixed = (mixed * mixed + seed) % _PRIME
    return mixed


SPEC = ActivitySpec(
    name="split",
    label="Split",
    summary="Sends the rows of a population several ways.",
    config=SplitConfig,
    make=Split,
    effect="transactional",
    transitions=lambda config: (
        *(subset.name for subset in config.subsets),
        *([COMPLEMENT] if config.complement else []),
    ),
)
