"""Whose record is a row?

Keys are tried in their order; the first that finds exactly one record decides. A key that finds
several decides too: the row is ambiguous, whatever a later key would say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from amity.campaign.recipients.conditions import Conditions, Rows
from amity.campaign.recipients.model import Attribute, Schema
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.workflow.errors import BadOptions

MISSING = "no record has this key"
AMBIGUOUS = "several records have this key"
NO_KEY = "no key: all are empty"


class ByKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``{"attribute": "externalId", "value": "@crmId"}``: what must be equal."""

    attribute: str
    value: str = ""
    """An expression over the row; "" is the column of the attribute's name."""

    @property
    def expression(self) -> str:
        """The expression in any case."""
        return self.value or f"[targetData/@{self.attribute}]"


MATCHED = sa.Table(
    "matched",
    sa.MetaData(),
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("id", sa.BigInteger),
    sa.Column("reason", sa.Text),
    prefixes=["TEMPORARY"],
)
"""Row → record, or the reason why there is none. Rows without either are not in it."""


def key_column(schema: Schema, table: sa.Table, name: str) -> sa.Column[Any]:
    """The column of an attribute or link (``recipient-id``) that serves as key."""
    code = name.replace("-", "_")
    if code not in table.c:
        known = ", ".join(one.name for one in schema.attributes)
        raise BadOptions(f"{schema.id} has no attribute {name!r} to find records by: {known}")
    return table.c[code]


def as_kept(schema: Schema, name: str, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A key as the table keeps it: without spaces around, an address in small letters."""
    attribute = next((one for one in schema.attributes if one.name == name), Attribute(name=name))
    if attribute.type != "string":
        return value
    trimmed = sa.func.trim(value)
    if attribute.policy in {"email", "lowerCase"}:
        return sa.func.lower(trimmed)
    return sa.func.upper(trimmed) if attribute.policy == "upperCase" else trimmed


class Reconciler:
    """Finds the records of rows by keys."""

    def __init__(
        self,
        conditions: Conditions,
        schemas: CampaignSchemas,
        *,
        schema: str,
        keys: Sequence[ByKey],
        together: bool = False,
    ) -> None:
        self._conditions = conditions
        self._schemas = schemas
        self._id = schema
        self._keys = keys
        self._together = together
        if not keys:
            raise BadOptions(f"say by which attributes of {schema} the rows are found: keys")
        for key in keys:
            key_column(schemas.schema(schema), schemas.table(schema), key.attribute)

    def match(
        self, connection: sa.Connection, source: sa.FromClause, rows: Rows, now_ms: int
    ) -> None:
        """Make and fill `MATCHED` for the rows of `source`."""
        MATCHED.create(connection)
        table = self._schemas.table(self._id).alias()
        values = self.values(rows, now_ms)
        pairs = [
            (table.c[key.attribute.replace("-", "_")], value)
            for key, value in zip(self._keys, values, strict=True)
        ]
        for some in [pairs] if self._together else [[pair] for pair in pairs]:
            connection.execute(sa.insert(MATCHED).from_select(_NAMES, _found(source, table, some)))
        known = sa.select(MATCHED.c.n).where(MATCHED.c.n == source.c.n)
        empty = sa.and_(*(sa.func.coalesce(value, "") == "" for value in values))
        why = sa.case((empty, NO_KEY), else_=MISSING)
        left = sa.select(source.c.n, sa.null(), why).where(~known.exists())
        connection.execute(sa.insert(MATCHED).from_select(_NAMES, left))

    def values(self, rows: Rows, now_ms: int) -> list[sa.ColumnElement[Any]]:
        """The keys of rows, as the table keeps them."""
        schema = self._schemas.schema(self._id)
        return [
            as_kept(schema, key.attribute, self._conditions.value(key.expression, rows, now_ms).sql)
            for key in self._keys
        ]


_NAMES = ["n", "id", "reason"]
Pair = tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]


def _found(source: sa.FromClause, table: sa.FromClause, pairs: Sequence[Pair]) -> sa.Select[Any]:
    """The rows for which records have these values, with the record if it is one."""
    known = sa.select(MATCHED.c.n).where(MATCHED.c.n == source.c.n)
    several = sa.func.count() > 1
    same = sa.and_(*(column == value for column, value in pairs))
    return (
        sa.select(
            source.c.n,
            sa.case((several, sa.null()), else_=sa.func.min(table.c.id)),
            sa.case((several, AMBIGUOUS)),
        )
        .select_from(source.join(table, same))
        .where(*(value != "" for _, value in pairs), ~known.exists())
        .group_by(source.c.n)
    )
