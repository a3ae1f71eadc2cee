"""Query: who is in the target?

Takes the records of a targeting dimension for which a condition holds, or those among an inbound
population. An incremental query takes what was changed since its last run; nothing new means that
nothing after it is run. Behaviour: campaign.md §1.5, §1.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from amity.campaign.recipients.conditions import Conditions, Rows, Value
from amity.campaign.workflow.activity import (
    ActivitySpec,
    Column,
    Done,
    Exclusion,
    Out,
    Task,
    WorkTable,
)
from amity.campaign.workflow.errors import BadOptions, WrongInputs
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.population import (
    Added,
    added_columns,
    asked,
    counted,
    made_rows,
    names,
    rows_table,
)
from amity.kernel.clock import SECOND_MS, to_iso

SEEN_MAX = 10_000
"""Records of the overlap that an incremental query keeps in mind, the newest. Ours."""

IN = "t1"
UNMATCHED = "the condition does not hold"
SAME = "another record with the same value is taken"
OVER = "over the limit"


class Incremental(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """Take what was changed since the last run."""

    attribute: str = "lastModified"
    overlap_s: int = 60
    """So far back it looks again, for what was written late. What it took then does not come again."""


class QueryConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """Who, with which columns, and how many."""

    schema: str = "nms:recipient"
    """The targeting dimension."""

    where: str = ""
    columns: tuple[Added, ...] = ()
    order: str = ""
    """An expression; the least first, unless `descending`."""

    descending: bool = False
    distinct_by: str = ""
    """An expression: of the records that have the same value of it the first stays."""

    limit: int = 0
    """At most so many; 0: all."""

    incremental: Incremental | None = None


class _Draft(NamedTuple):
    """What is being made, and of what."""

    task: Task
    connection: sa.Connection
    target: sa.Table
    parent: WorkTable | None
    source: sa.Table | None


_CHOSEN = sa.Table(
    "chosen",
    sa.MetaData(),
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("id", sa.BigInteger),
    sa.Column("row", sa.BigInteger),
    prefixes=["TEMPORARY"],
)
"""Who is taken, in the order asked for; ``row`` is the row of an inbound population."""

_SEEN = sa.Table(
    "seen",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger),
    sa.Column("at", sa.BigInteger),
    prefixes=["TEMPORARY"],
)


class Query:
    """Makes a population of the records for which the condition holds."""

    def __init__(self, config: QueryConfig, means: Means) -> None:
        self._config = config
        self._conditions: Conditions = means.conditions
        self._schemas = means.schemas
        table = means.schemas.table(config.schema)
        if config.incremental and config.incremental.attribute not in table.c:
            raise BadOptions(
                f"{config.schema} has no attribute {config.incremental.attribute!r} to tell what "
                "was changed; choose a time of it, like lastModified"
            )

    def run(self, task: Task) -> Done:
        """Build the population, or none where an incremental query finds nothing."""
        parent = task.population
        if parent is not None and parent.schema != self._config.schema:
            raise WrongInputs(
                f"activity {task.activity!r} asks for {self._config.schema}, but the population "
                f"that comes in is of {parent.schema or 'no schema'}; reconcile it first"
            )
        memory = None
        with task.work.build(
            task.name("out"), inputs={IN: parent.name} if parent else {}
        ) as connection:
            target = self._schemas.table(self._config.schema)
            source = rows_table(parent.columns, IN) if parent else None
            draft = _Draft(task, connection, target, parent, source)
            excluded = self._choose(draft)
            if self._config.incremental:
                memory = self._kept(draft, self._config.incremental)
            columns = self._fill(draft)
            count = counted(connection, _CHOSEN)
        if self._config.incremental and not count:
            task.work.drop([task.name("out")])
            return Done(memory=memory, excluded=excluded, label="nothing new")
        table = WorkTable(
            name=task.name("out"),
            schema=self._config.schema,
            columns=columns,
            count=count,
            origin=parent.origin if parent else "",
        )
        return Done(outputs={"out": Out(table=table)}, excluded=excluded, memory=memory)

    def _choose(self, draft: _Draft) -> list[Exclusion]:
        """Fill the table of who is taken; answers why others of an inbound population are not."""
        connection = draft.connection
        _CHOSEN.create(connection)
        rows, key = self._rows(draft), draft.target.c.id
        order: list[sa.ColumnElement[Any]] = [key]
        if self._config.order:
            first = self._conditions.value(self._config.order, rows, draft.task.now_ms).sql
            order.insert(0, first.desc() if self._config.descending else first.asc())
        row = sa.null() if draft.source is None else draft.source.c.n
        if draft.source is not None:
            order.append(draft.source.c.n)
        chosen = sa.select(key, row).select_from(self._from(draft))
        chosen = chosen.where(*self._where(draft, rows)).order_by(*order)
        connection.execute(sa.insert(_CHOSEN).from_select(["id", "row"], chosen))
        left = [
            (UNMATCHED, (draft.parent.count if draft.parent else 0) - counted(connection, _CHOSEN))
        ]
        left.append((SAME, self._deduplicate(draft)))
        left.append((OVER, self._cut(draft)))
        if draft.parent is None:
            return []
        return [Exclusion(reason=why, count=count) for why, count in left if count]

    def _rows(self, draft: _Draft) -> Rows:
        """What conditions see: the records, and the columns of the population they come from."""
        columns: Mapping[str, Value] = {}
        if draft.parent is not None and draft.source is not None:
            columns = asked(draft.parent, draft.source).columns
        return Rows(schema=self._config.schema, table=draft.target, columns=columns)

    def _from(self, draft: _Draft) -> sa.FromClause:
        if draft.source is None:
            return draft.target
        return draft.source.join(draft.target, draft.target.c.id == draft.source.c.id)

    def _where(self, draft: _Draft, rows: Rows) -> Sequence[sa.ColumnElement[bool]]:
        wanted: list[sa.ColumnElement[bool]] = []
        if self._config.where:
            text, now_ms = self._config.where, draft.task.now_ms
            wanted.append(self._conditions.where(text, rows, now_ms))
        if self._config.incremental:
            wanted += self._since(draft, self._config.incremental)
        return wanted

    def _since(self, draft: _Draft, asked_for: Incremental) -> Sequence[sa.ColumnElement[bool]]:
        cursor = draft.task.memory.get("cursor")
        _SEEN.create(draft.connection)
        if cursor is None:
            return []
        seen = [{"id": id, "at": at} for id, at in draft.task.memory.get("seen", ())]
        if seen:
            draft.connection.execute(sa.insert(_SEEN), seen)
        key, at = draft.target.c.id, draft.target.c[asked_for.attribute]
        again = sa.select(_SEEN.c.id).where(_SEEN.c.id == key, _SEEN.c.at == at)
        since = max(cursor - asked_for.overlap_s * SECOND_MS, draft.task.memory.get("since", 0))
        return [at >= since, ~again.exists()]

    def _kept(self, draft: _Draft, asked_for: Incremental) -> Mapping[str, Any]:
        """What the next run goes on from: this instant, and what the overlap holds of this one."""
        now_ms, target = draft.task.now_ms, draft.target
        since = now_ms - asked_for.overlap_s * SECOND_MS
        at = target.c[asked_for.attribute]
        fresh = sa.select(target.c.id, at.label("at")).join(_CHOSEN, _CHOSEN.c.id == target.c.id)
        known = sa.select(_SEEN.c.id, _SEEN.c.at)
        both = sa.union(fresh.where(at >= since), known.where(_SEEN.c.at >= since)).subquery()
        newest = sa.select(both).order_by(both.c.at.desc(), both.c.id).limit(SEEN_MAX + 1)
        seen = [list(row) for row in draft.connection.execute(newest)]
        if len(seen) <= SEEN_MAX:
            return {"cursor": now_ms, "since": draft.task.memory.get("since", 0), "seen": seen}
        # Whoever is forgotten must not come again, and be written to twice.
        last = seen[-1][1]
        draft.task.journal(
            "warning",
            f"more than {SEEN_MAX} records were changed within the overlap: none of them comes again, "
            f"and what is written late with a time up to {to_iso(last)} is left out",
        )
        kept = [row for row in seen if row[1] > last]
        return {"cursor": now_ms, "since": last + 1, "seen": kept}

    def _deduplicate(self, draft: _Draft) -> int:
        if not self._config.distinct_by:
            return 0
        value = self._conditions.value(
            self._config.distinct_by, self._rows(draft), draft.task.now_ms
        )
        first = sa.func.row_number().over(partition_by=value.sql, order_by=_CHOSEN.c.n)
        ranked = (
            sa.select(_CHOSEN.c.n, first.label("rank"), value.sql.label("value"))
            .select_from(self._chosen_from(draft))
            .subquery()
        )
        again = sa.select(ranked.c.n).where(ranked.c.rank > 1, ranked.c.value.is_not(None))
        gone = draft.connection.execute(sa.delete(_CHOSEN).where(_CHOSEN.c.n.in_(again)))
        return gone.rowcount

    def _cut(self, draft: _Draft) -> int:
        if not self._config.limit:
            return 0
        over = sa.select(_CHOSEN.c.n).order_by(_CHOSEN.c.n).offset(self._config.limit).limit(1)
        first = draft.connection.execute(over).scalar()
        if first is None:
            return 0
        return draft.connection.execute(sa.delete(_CHOSEN).where(_CHOSEN.c.n >= first)).rowcount

    def _fill(self, draft: _Draft) -> tuple[Column, ...]:
        """Fill ``rows`` with who is taken; answers its columns."""
        rows = self._rows(draft)
        given = [
            (one, self._conditions.value(one.value, rows, draft.task.now_ms))
            for one in self._config.columns
        ]
        old = draft.parent.columns if draft.parent else ()
        columns = added_columns(old, given, self._schemas.schema(self._config.schema))
        table = made_rows(draft.connection, columns)
        wanted = sa.select(
            _CHOSEN.c.n,
            _CHOSEN.c.id,
            *(rows.columns[one.name].sql for one in old),
            *(value.sql for _, value in given),
        ).select_from(self._chosen_from(draft))
        filled = sa.insert(table).from_select(names(table), wanted.order_by(_CHOSEN.c.n))
        draft.connection.execute(filled)
        return columns

    def _chosen_from(self, draft: _Draft) -> sa.FromClause:
        joined = _CHOSEN.join(draft.target, draft.target.c.id == _CHOSEN.c.id)
        if draft.source is None:
            return joined
        return joined.join(draft.source, draft.source.c.n == _CHOSEN.c.row)


SPEC = ActivitySpec(
    name="query",
    label="Query",
    summary="Chooses the records for which a condition holds.",
    config=QueryConfig,
    make=Query,
    effect="transactional",
    inputs=(0, 1),
)
