"""Which tables, indexes and triggers does a set of schemas make?

A column with a default holds no NULL: a NULL that is written becomes the default. There is no zero
record: a link to nothing is NULL. What belongs to a record (integrity ``own``) goes with it, a link
of integrity ``normal`` to a record that goes becomes NULL; triggers see to it, whoever deletes.
See docs/adr/0012-campaign-database.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement

from amity.campaign.recipients import sql_names
from amity.campaign.recipients.model import Attribute, Schema

FIRST_ID = 1_000
"""Lower ids are reserved. Behaviour: campaign.md §1.1."""

_INTEGERS = {"byte": sa.SmallInteger, "short": sa.SmallInteger, "long": sa.Integer}
_DATE_CHARS = 10


def metadata(schemas: Mapping[str, Schema]) -> sa.MetaData:
    """The tables of compiled schemas; `Column.key` is the attribute's name, ``recipient_id`` a link's."""
    made = sa.MetaData()
    for schema in schemas.values():
        _table(schema, made)
    return made


def _table(schema: Schema, into: sa.MetaData) -> None:
    columns: list[sa.Column[Any]] = []
    primary = ("id",) if schema.autopk else _fields(schema.keys[0].fields)
    if schema.autopk:
        name = sql_names.primary_key(schema)
        columns.append(sa.Column(name, sa.Integer, key="id", primary_key=True, autoincrement=True))
    columns += [_column(one, primary=one.name in primary) for one in schema.attributes]
    for link in schema.links:
        key = f"{link.name}_id"
        columns.append(
            sa.Column(
                sql_names.link(link),
                sa.Integer,
                key=key,
                primary_key=key in primary,
                autoincrement=False,
                nullable=key not in primary,
            )
        )
    table = sa.Table(sql_names.table(schema.id), into, *columns, sqlite_autoincrement=schema.autopk)
    _indexes(schema, table, primary)


def _column(attribute: Attribute, *, primary: bool) -> sa.Column[Any]:
    options: dict[str, Any] = {}
    if attribute.default is not None:
        options["server_default"] = _default(attribute)
        options["sqlite_on_conflict_not_null"] = "REPLACE"
    return sa.Column(
        sql_names.column(attribute),
        _type(attribute),
        key=attribute.name,
        primary_key=primary,
        autoincrement=False,
        nullable=not (primary or attribute.required or attribute.default is not None),
        **options,
    )


def _default(attribute: Attribute) -> sa.TextClause | str:
    if attribute.type in {"string", "memo", "date"}:
        return str(attribute.default)
    return sa.text(str(attribute.default))


def _type(attribute: Attribute) -> sa.types.TypeEngine[Any]:
    """Times are milliseconds, dates ISO texts: they sort and compare in any engine."""
    kind = attribute.type
    if kind in _INTEGERS:
        return _INTEGERS[kind]()
    if kind in {"int64", "datetime"}:
        return sa.BigInteger()
    if kind == "boolean":
        return sa.Boolean()
    if kind == "double":
        return sa.Double()
    if kind == "memo":
        return sa.Text()
    return sa.String(_DATE_CHARS if kind == "date" else attribute.length)


def _indexes(schema: Schema, table: sa.Table, primary: tuple[str, ...]) -> None:
    covered = [primary]
    for key in schema.keys:
        fields = _fields(key.fields)
        if fields != primary:
            sa.Index(sql_names.key(schema.id, key), *(table.c[one] for one in fields), unique=True)
            covered.append(fields)
    wanted = [*schema.indexes, *((f"{link.name}-id",) for link in schema.links)]
    for fields in sorted(map(_fields, wanted), key=len, reverse=True):
        if not any(known[: len(fields)] == fields for known in covered):
            name = sql_names.index(schema.id, fields)
            sa.Index(name, *(table.c[one] for one in fields))
            covered.append(fields)


def _fields(fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(sql_names.code_name(field) for field in fields)


class AddColumn(ExecutableDDLElement):
    """Adds a column to a table that is there."""

    def __init__(self, column: sa.Column[Any]) -> None:
        self.column = column


@compiles(AddColumn)
def _add_column(element: AddColumn, compiler: sa.sql.compiler.DDLCompiler, **_: Any) -> str:
    table = compiler.preparer.format_table(element.column.table)
    return " ".join(
        ("ALTER TABLE", table, "ADD COLUMN", compiler.get_column_specification(element.column))
    )


class CreateTrigger(ExecutableDDLElement):
    """Makes a trigger that runs statements for each row; `row` names the row of OLD or NEW."""

    def __init__(
        self,
        name: str,
        *,
        table: sa.Table,
        event: str,
        of: Sequence[sa.Column[Any]] = (),
        when: sa.ColumnElement[bool] | None = None,
        body: Sequence[sa.Executable],
    ) -> None:
        self.name = name
        self.table = table
        self.event = event
        self.of = of
        self.when = when
        self.body = body


@compiles(CreateTrigger)
def _create_trigger(element: CreateTrigger, compiler: sa.sql.compiler.DDLCompiler, **_: Any) -> str:
    def sql(part: Any) -> str:
        return str(compiler.sql_compiler.process(part, literal_binds=True))

    quote = compiler.preparer.quote
    parts = ["CREATE TRIGGER", quote(element.name), "AFTER", element.event]
    if element.of:
        parts += ["OF", ", ".join(quote(column.name) for column in element.of)]
    parts += ["ON", compiler.preparer.format_table(element.table), "FOR EACH ROW"]
    if element.when is not None:
        parts += ["WHEN", sql(element.when)]
    parts += ["BEGIN", "".join(sql(statement) + "; " for statement in element.body), "END"]
    return " ".join(parts)


class DropTrigger(ExecutableDDLElement):
    """Forgets a trigger, if it is there."""

    def __init__(self, name: str) -> None:
        self.name = name


@compiles(DropTrigger)
def _drop_trigger(element: DropTrigger, compiler: sa.sql.compiler.DDLCompiler, **_: Any) -> str:
    return " ".join(("DROP TRIGGER IF EXISTS", compiler.preparer.quote(element.name)))


def row(side: str, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """A column of the row a trigger runs for; `side` is OLD or NEW."""
    return sa.literal_column(f'{side}."{column.name}"', column.type)


def integrity_triggers(schemas: Mapping[str, Schema], tables: sa.MetaData) -> list[CreateTrigger]:
    """One trigger for each table that others belong to or point at."""
    bodies: dict[str, list[sa.Executable]] = {}
    for schema in schemas.values():
        source = tables.tables[sql_names.table(schema.id)]
        for link in schema.links:
            target = tables.tables[sql_names.table(link.target)]
            at = source.c[f"{link.name}_id"] == row("OLD", target.c.id)
            if link.integrity == "own":
                bodies.setdefault(target.name, []).append(sa.delete(source).where(at))
            elif link.integrity == "normal":
                gone = sa.update(source).where(at).values({source.c[f"{link.name}_id"]: sa.null()})
                bodies.setdefault(target.name, []).append(gone)
    return [
        CreateTrigger(f"{name}_gone", table=tables.tables[name], event="DELETE", body=body)
        for name, body in bodies.items()
    ]
