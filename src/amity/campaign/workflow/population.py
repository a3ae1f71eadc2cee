"""How do activities read and make the tables of populations?

An input stands under an alias, the table that is made is ``rows`` of the draft. See
docs/adr/0013-work-tables.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from amity.campaign.recipients.conditions import Rows, Value
from amity.campaign.recipients.model import Schema
from amity.campaign.workflow.activity import Column, ColumnType, Exclusion, Task, WorkTable
from amity.campaign.workflow.errors import BadOptions
from amity.expression.xtk.functions import Type

_SQL: Mapping[ColumnType, type[sa.types.TypeEngine[Any]]] = {
    "long": sa.BigInteger,
    "double": sa.Double,
    "string": sa.Text,
    "date": sa.Text,
    "datetime": sa.BigInteger,
    "boolean": sa.Integer,
}
_OWN = frozenset({"n", "id"})
_OF_TYPE: Mapping[Type, ColumnType] = {
    "long": "long",
    "double": "double",
    "boolean": "boolean",
    "string": "string",
    "date": "date",
    "datetime": "datetime",
    "condition": "boolean",
}


class Added(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A column that an activity adds: ``{"name": "region", "value": "[store/@region]"}``."""

    name: str
    value: str
    """An expression: an attribute, a path along links, a calculation."""

    label: str = ""


def rows_table(columns: Sequence[Column], alias: str | None = None, name: str = "rows") -> sa.Table:
    """The table of a population, as it is read (under its alias) or made (without one)."""
    return sa.Table(
        name,
        sa.MetaData(),
        sa.Column("n", sa.Integer, primary_key=True),
        sa.Column("id", sa.BigInteger),
        *(sa.Column(one.name, _SQL[one.type]()) for one in columns),
        schema=alias,
    )


def made_rows(connection: sa.Connection, columns: Sequence[Column]) -> sa.Table:
    """The table ``rows`` of the draft, made now."""
    table = rows_table(columns)
    table.create(connection)
    return table


def asked(
    table: WorkTable,
    source: sa.FromClause,
    schema: str | None = None,
    key: sa.ColumnElement[Any] | None = None,
) -> Rows:
    """A population as conditions see it: its columns, then its targeting dimension by ``id``."""
    key = source.c.id if key is None else key
    columns = {one.name: Value(source.c[one.name], one.type) for one in table.columns}
    columns.setdefault("id", Value(key, "long"))
    return Rows(schema=table.schema if schema is None else schema, key=key, columns=columns)


def added_columns(
    columns: Sequence[Column], added: Iterable[tuple[Added, Value]], schema: Schema | None
) -> tuple[Column, ...]:
    """The columns with those that are added from `schema`; two of one name are refused.

    What is calculated beside columns of a log may hold what they hold.
    """
    logs = dict.fromkeys(log for column in columns for log in column.logs)
    if schema is not None and schema.kind == "log":
        logs[schema.id] = None
    new = [
        Column(
            name=one.name,
            type=_OF_TYPE[value.type],
            label=one.label or one.name,
            logs=tuple(logs),
        )
        for one, value in added
    ]
    made = (*columns, *new)
    seen = set(_OWN)
    for one in made:
        if one.name.casefold() in seen:
            raise BadOptions(
                f"there is already a column {one.name!r}; give the added one another name"
            )
        seen.add(one.name.casefold())
    return made


def origin_of(tables: Iterable[WorkTable]) -> Literal["", "segment"]:
    """Rows that are mixed with those of a segment file are of its kind: any segment wins."""
    return "segment" if any(table.origin == "segment" for table in tables) else ""


def counted(connection: sa.Connection, table: sa.FromClause) -> int:
    """How many rows there are."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def copied(source: sa.FromClause, columns: Iterable[Column]) -> list[sa.ColumnElement[Any]]:
    """``n``, ``id`` and the columns of a population, to be selected."""
    return [source.c.n, source.c.id, *(source.c[one.name] for one in columns)]


def names(table: sa.FromClause) -> list[str]:
    """The columns of a table in their order, for INSERT … SELECT."""
    return [column.key for column in table.c]


REASON = Column(name="rejectReason", label="reason")


def left_table(alias: str | None = None) -> sa.Table:
    """Rows that do not go along ``out``, with the reason: a second table of its work file."""
    return sa.Table(
        "left",
        sa.MetaData(),
        sa.Column("n", sa.Integer, primary_key=True),
        sa.Column("reason", sa.Text),
        schema=alias,
    )


def left_counts(connection: sa.Connection, left: sa.Table) -> list[Exclusion]:
    """How many rows do not go along ``out``, by reason."""
    counts = sa.select(left.c.reason, sa.func.count()).group_by(left.c.reason)
    return [
        Exclusion(reason=str(reason), count=int(count))
        for reason, count in connection.execute(counts.order_by(left.c.reason))
    ]


def left_rows(task: Task, before: WorkTable, output: str) -> WorkTable:
    """The population of those rows, with the reason as a column, for a transition of their own."""
    source, left = rows_table(before.columns, "t1"), left_table("t2")
    kept = [one for one in before.columns if one.name.casefold() != REASON.name.casefold()]
    columns = (*kept, REASON)
    inputs = {"t1": before.name, "t2": task.name("out")}
    with task.work.build(task.name(output), inputs=inputs) as connection:
        table = made_rows(connection, columns)
        chosen = sa.select(*copied(source, kept), left.c.reason).order_by(source.c.n)
        chosen = chosen.select_from(source.join(left, left.c.n == source.c.n))
        connection.execute(sa.insert(table).from_select(names(table), chosen))
        count = counted(connection, table)
    return msgspec.structs.replace(before, name=task.name(output), columns=columns, count=count)
