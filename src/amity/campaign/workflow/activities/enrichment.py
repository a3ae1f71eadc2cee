"""Enrichment: what else is known of the rows, and whose records are they?

Reconciling finds each row's record by keys; then columns are added, also along links of that record.
Behaviour: campaign.md §1.3.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from amity.campaign.recipients.conditions import Conditions
from amity.campaign.workflow.activity import (
    ActivitySpec,
    Column,
    Done,
    Exclusion,
    Out,
    Task,
    WorkTable,
)
from amity.campaign.workflow.errors import BadOptions
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.population import (
    Added,
    added_columns,
    asked,
    left_counts,
    left_rows,
    left_table,
    made_rows,
    names,
    rows_table,
)
from amity.campaign.workflow.reconciling import MATCHED, ByKey, Reconciler

UNRECONCILED = "unreconciled"
IN = "t1"


class Reconcile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Find each row's record."""

    schema: str = "nms:recipient"
    keys: tuple[ByKey, ...]
    """In the order in which they are tried."""

    unreconciled: Literal["keep", "exclude", "transition"] = "exclude"
    """Rows without exactly one record: they go on without one, are left out with the reason, or leave
    by the transition ``unreconciled`` with the reason in the column ``rejectReason``."""


class EnrichmentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is found and what is added."""

    reconcile: Reconcile | None = None
    columns: tuple[Added, ...] = ()


class Enrichment:
    """Makes a population of the same rows with more columns, and with their records."""

    def __init__(self, config: EnrichmentConfig, means: Means) -> None:
        if config.reconcile is None and not config.columns:
            raise BadOptions("an enrichment adds columns, or reconciles, or both: say which")
        self._config = config
        self._conditions: Conditions = means.conditions
        self._schemas = means.schemas
        self._reconciler = None
        if config.reconcile is not None:
            schema, keys = config.reconcile.schema, config.reconcile.keys
            self._reconciler = Reconciler(means.conditions, means.schemas, schema=schema, keys=keys)

    def run(self, task: Task) -> Done:
        """Build the population; what is not reconciled goes as the options say."""
        before, reconcile = task.table, self._config.reconcile
        with task.work.build(task.name("out"), inputs={IN: before.name}) as connection:
            source = rows_table(before.columns, IN)
            if self._reconciler is not None:
                rows = asked(before, source)
                self._reconciler.match(connection, source, rows, task.now_ms)
            columns = self._fill(task, connection, before)
            excluded = self._leave(connection)
        count = before.count - sum(one.count for one in excluded)
        schema = reconcile.schema if reconcile else before.schema
        made = msgspec.structs.replace(
            before, name=task.name("out"), schema=schema, columns=columns, count=count
        )
        if reconcile and reconcile.unreconciled == "transition":
            others = left_rows(task, before, UNRECONCILED)
            return Done(outputs={"out": Out(table=made), UNRECONCILED: Out(table=others)})
        return Done(outputs={"out": Out(table=made)}, excluded=excluded)

    def _fill(self, task: Task, connection: sa.Connection, before: WorkTable) -> tuple[Column, ...]:
        """Fill ``rows``; answers its columns."""
        source = rows_table(before.columns, IN)
        key: sa.ColumnElement[Any] = source.c.id
        joined: sa.FromClause = source
        schema, wanted = before.schema, []
        if self._config.reconcile is not None:
            key, schema = MATCHED.c.id, self._config.reconcile.schema
            joined = source.join(MATCHED, MATCHED.c.n == source.c.n)
            if self._config.reconcile.unreconciled != "keep":
                wanted.append(MATCHED.c.id.is_not(None))
        rows = asked(before, source, schema, key)
        given = [
            (one, self._conditions.value(one.value, rows, task.now_ms))
            for one in self._config.columns
        ]
        columns = added_columns(
            before.columns, given, self._schemas.schema(schema) if schema else None
        )
        table = made_rows(connection, columns)
        old = [source.c[one.name] for one in before.columns]
        chosen = sa.select(source.c.n, key, *old, *(value.sql for _, value in given))
        chosen = chosen.select_from(joined).where(*wanted).order_by(source.c.n)
        connection.execute(sa.insert(table).from_select(names(table), chosen))
        return columns

    def _leave(self, connection: sa.Connection) -> list[Exclusion]:
        """Note the rows that do not go along ``out``; answers how many, by reason."""
        if self._config.reconcile is None or self._config.reconcile.unreconciled == "keep":
            return []
        left = left_table()
        left.create(connection)
        chosen = sa.select(MATCHED.c.n, MATCHED.c.reason).where(MATCHED.c.id.is_(None))
        connection.execute(sa.insert(left).from_select(["n", "reason"], chosen))
        return left_counts(connection, left)


def _transitions(config: EnrichmentConfig) -> tuple[str, ...]:
    apart = config.reconcile is not None and config.reconcile.unreconciled == "transition"
    return ("out", UNRECONCILED) if apart else ("out",)


SPEC = ActivitySpec(
    name="enrichment",
    label="Enrichment",
    summary="Adds columns to a population, and finds its records.",
    config=EnrichmentConfig,
    make=Enrichment,
    effect="transactional",
    transitions=_transitions,
)
