"""Which rows of the campaign database does a condition choose?

Conditions are texts (`amity.expression.xtk`); here they become SQLAlchemy. A path along links is a
look-up by primary key, ``EXISTS(nms:trackingLogRcp, …)`` looks at the records that link to the row, so
a condition fits into any statement without joins. Meaning: docs/adr/0014-campaign-conditions.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from amity.campaign.recipients.condition_sql import CALLS
from amity.campaign.recipients.errors import UnknownSchema
from amity.campaign.recipients.model import Attribute, AttributeType, Schema
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.expression.errors import SyntaxFault, UnknownField, UnknownFunction
from amity.expression.syntax.xtk import Parsed, parse
from amity.expression.tree import Call, Field, Literal, Node, Param, Var, path_of, rebuild
from amity.expression.xtk.functions import Type
from amity.expression.xtk.resolve import FieldType, condition, resolve

LINKS_MAX = 5
"""Links that a path goes along. Ours."""

SQL_PARTS_MAX = 200_000
"""Parts of a condition's SQL, each as often as it is written. Ours: seconds to write."""

WORK, TARGET = "targetData", "target"
"""``[targetData/@x]``: a column of the work table; ``[target/@x]``: one of the targeting dimension."""

_TYPES: Mapping[AttributeType, Type] = {
    "boolean": "boolean",
    "byte": "long",
    "short": "long",
    "long": "long",
    "int64": "long",
    "double": "double",
    "string": "string",
    "memo": "string",
    "date": "date",
    "datetime": "datetime",
}
_SQL_TYPES: Mapping[str, type[sa.types.TypeEngine[Any]]] = {
    "boolean": sa.Integer,
    "long": sa.BigInteger,
    "double": sa.Double,
    "string": sa.Text,
    "date": sa.Text,
    "datetime": sa.BigInteger,
}
_LISTS = {
    "inlist": "EXISTS(nms:rcpGrpRel, [group/@name] = '')",
    "subscribed": (
        "EXISTS(nms:subscription, [service/@name] = ''"
        " AND (@expiration IS NULL OR @expiration = 0 OR @expiration > GetDate()))"
    ),
}
"""``InList('name')`` and ``Subscribed('name')``; the empty text stands for the name."""


class Value(NamedTuple):
    """An expression as SQL, and its type."""

    sql: sa.ColumnElement[Any]
    type: Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a condition is put to.

    Attributes:
        schema: The schema (targeting dimension) whose attributes ``@name`` means; "" = none.
        table: Its table, or an alias, where the statement selects from it.
        key: Where it does not: the column that holds its ``id``.
        columns: Columns of a work table by name, with their types; they go before attributes.
    """

    schema: str = ""
    table: sa.FromClause | None = None
    key: sa.ColumnElement[Any] | None = None
    columns: Mapping[str, Value] = field(default_factory=dict)


class Conditions:
    """Compiles conditions and expressions for tables made from schemas and for work tables."""

    def __init__(self, schemas: CampaignSchemas) -> None:
        self._schemas = schemas

    def of(self, schema: str) -> Rows:
        """All rows of a schema's table."""
        return Rows(schema=schema, table=self._schemas.table(schema))

    def where(self, text: str, rows: Rows, now_ms: int) -> sa.ColumnElement[bool]:
        """The condition, for a WHERE clause.

        Raises:
            ExpressionError: With the place in the text and what would do.
        """
        scope = _Scope(self._schemas, rows)
        return _bounded(_sql(condition(_spelled(parse(text)), scope, now_ms), {Param(1): scope}))

    def value(self, text: str, rows: Rows, now_ms: int) -> Value:
        """The value of an expression; a condition's is 1 or 0."""
        scope = _Scope(self._schemas, rows)
        typed = resolve(_spelled(parse(text)), scope, now_ms)
        sql = _bounded(_sql(typed.node, {Param(1): scope}))
        if typed.type == "condition":
            return Value(sa.case((sql, sa.literal(1)), else_=sa.literal(0)), "boolean")
        return Value(sql, typed.type)


def _spelled(parsed: Parsed) -> Parsed:
    """With the names of lists and services as conditions on the tables that hold them."""

    def spell(node: Node) -> Node:
        node = rebuild(node, spell)
        form = _LISTS.get(node.name.lower()) if isinstance(node, Call) else None
        if form is None or not isinstance(node, Call):
            return node
        if len(node.args) != 1 or not isinstance(node.args[0], Literal):
            raise UnknownFunction(f"{node.name} takes one name in quotes: {node.name}('name')")
        return _named(parse(form).node, node.args[0])

    return Parsed(spell(parsed.node), parsed.places)


def _named(node: Node, name: Literal) -> Node:
    return name if node == Literal("") else rebuild(node, lambda part: _named(part, name))


class _Scope:
    """The fields of rows, with the SQL that reads them."""

    def __init__(self, schemas: CampaignSchemas, rows: Rows) -> None:
        self._schemas = schemas
        self._rows = rows

    def field(self, path: tuple[str, ...]) -> FieldType:
        """The type of a field."""
        return self.found(path)[1]

    def records(self, schema: str) -> _Scope:
        """The records of a schema that link to the row, under a name of their own."""
        self._link_here(schema)
        table = self._schemas.table(schema).alias()
        return _Scope(self._schemas, Rows(schema=schema, table=table))

    def linked(self, records: _Scope) -> tuple[sa.FromClause, sa.ColumnElement[bool]]:
        """Where the records of `records` lie, and what makes them those of this row."""
        table = records.table
        key = self._key()
        return table, table.c[self._link_here(records.schema)] == key

    @property
    def schema(self) -> str:
        """The schema of the rows."""
        return self._rows.schema

    @property
    def table(self) -> sa.FromClause:
        """The table of the rows."""
        if self._rows.table is None:
            raise UnknownField("these rows have no table of their own")
        return self._rows.table

    def found(self, path: tuple[str, ...]) -> tuple[sa.ColumnElement[Any], FieldType]:
        """A field as SQL, and its type."""
        first, *rest = path
        columns = self._rows.columns
        if first == WORK and len(rest) == 1:
            path = (rest[0],)
            if rest[0] not in columns:
                raise self._unknown(path)
        if len(path) == 1 and path[0] in columns:
            value = columns[path[0]]
            return sa.type_coerce(value.sql, _SQL_TYPES[value.type]()), FieldType(value.type)
        if first == TARGET and rest:
            path = tuple(rest)
        if not self._rows.schema:
            raise self._unknown(path)
        if len(path) > LINKS_MAX:
            raise UnknownField(f"[{'/'.join(path)}] goes along more than {LINKS_MAX} links")
        if self._rows.table is not None:
            return self._walk(self._rows.schema, self._rows.table, path)
        return self._looked_up(self._rows.schema, self._key(), path)

    def _key(self) -> sa.ColumnElement[Any]:
        if self._rows.key is not None:
            return self._rows.key
        if self._rows.table is None or "id" not in self._rows.table.c:
            raise UnknownField("nothing can link to these rows: they have no id")
        return self._rows.table.c.id

    def _walk(
        self, id: str, table: sa.FromClause, path: tuple[str, ...]
    ) -> tuple[sa.ColumnElement[Any], FieldType]:
        schema = self._schemas.schema(id)
        name, *rest = path
        link = next((one for one in schema.links if one.name == name), None) if rest else None
        if link is not None:
            return self._looked_up(link.target, table.c[f"{link.name}_id"], tuple(rest))
        attribute = next((one for one in schema.attributes if one.name == name), None)
        if attribute is not None and not rest:
            found = _field_type(schema, attribute)
            return sa.type_coerce(table.c[name], _SQL_TYPES[found.type]()), found
        if not rest and name in _numbers(schema):
            return table.c[name.replace("-", "_")], FieldType("long")
        raise self._unknown(path, schema)

    def _looked_up(
        self, id: str, key: sa.ColumnElement[Any], path: tuple[str, ...]
    ) -> tuple[sa.ColumnElement[Any], FieldType]:
        """A field of the one record whose id is `key`; NULL where there is none."""
        table = self._schemas.table(id).alias()
        column, found = self._walk(id, table, path)
        query = sa.select(column).where(table.c.id == key).correlate_except(table)
        return query.scalar_subquery(), found

    def _link_here(self, id: str) -> str:
        try:
            schema = self._schemas.schema(id)
        except UnknownSchema as error:
            raise UnknownField(error.message) from error
        links = [one.name for one in schema.links if one.target == self._rows.schema]
        if len(links) != 1:
            count = "no link" if not links else f"{len(links)} links"
            raise UnknownField(
                f"{id} has {count} to {self._rows.schema or 'these rows'}; EXISTS takes a schema "
                "with exactly one"
            )
        return f"{links[0]}_id"

    def _unknown(self, path: tuple[str, ...], schema: Schema | None = None) -> UnknownField:
        at = schema
        if at is None and self._rows.schema:
            at = self._schemas.schema(self._rows.schema)
        names = [] if schema is not None else list(self._rows.columns)
        if at is not None:
            names += [one.name for one in at.attributes] + list(_numbers(at))
            names += [f"{one.name}/@…" for one in at.links]
        where = at.id if at is not None else "the table"
        return UnknownField(
            f"{where} has no [{'/'.join((*path[:-1], '@' + path[-1]))}]; there are: "
            f"{', '.join(names[:_NAMES_SHOWN]) or 'no columns'}",
            path="/".join(path),
        )


_NAMES_SHOWN = 60


def _numbers(schema: Schema) -> list[str]:
    ids = ["id"] if schema.autopk else []
    return [*ids, *(f"{one.name}-id" for one in schema.links)]


def _field_type(schema: Schema, attribute: Attribute) -> FieldType:
    enums = {one.name: one for one in schema.enumerations}
    found = enums.get(attribute.enum)
    names = {value.name: value.value for value in found.values} if found else {}
    return FieldType(_TYPES[attribute.type], names)


Env = Mapping[Node, _Scope]


def _bounded(sql: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Refuse SQL without end: a call may write its argument ten times, and calls stand in calls."""
    sizes: dict[int, tuple[int, Any]] = {}

    def size(part: Any) -> int:
        if id(part) not in sizes:
            # With the part itself, so that its number is not given to another one.
            sizes[id(part)] = (1 + sum(map(size, part.get_children())), part)
        return sizes[id(part)][0]

    if size(sql) > SQL_PARTS_MAX:
        raise SyntaxFault(
            "the condition is too long when it is written as SQL: calls of times and numbers stand in "
            "one another; add the inner ones as columns by an enrichment before"
        )
    return sql


def _sql(node: Any, env: Env) -> sa.ColumnElement[Any]:
    """The SQL of a resolved tree."""
    if isinstance(node, Literal):
        return sa.cast(sa.null(), sa.Text) if node.value is None else sa.literal(node.value)
    if isinstance(node, Field):
        root, path = path_of(node)
        return env[root].found(path)[0]
    if node.name == "exists":
        return _exists(node, env)
    return CALLS[node.name](*(_sql(arg, env) for arg in node.args))


def _exists(node: Call, env: Env) -> sa.ColumnElement[bool]:
    schema: Any
    test: Any
    schema, test = node.args
    item = Var(test.names[0])
    depth = int(item.name[1:])
    around = env[Var(f"_{depth - 1}")] if depth > 1 else env[Param(1)]
    records = around.records(schema.value)
    table, linked = around.linked(records)
    query = sa.select(sa.literal(1)).select_from(table).where(linked)
    if test.body != Literal(value=True):
        query = query.where(_sql(test.body, {**env, item: records}))
    return query.correlate_except(table).exists()
