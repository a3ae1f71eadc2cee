"""How is one record of any schema created, changed and read?

The one way in which HTTP reaches a table: values are checked, a key that is taken is told of by
name, times are set, and what changes nothing is not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from amity.campaign.recipients import sql_names, values
from amity.campaign.recipients.errors import BadValue, KeyTaken, UnknownRecord
from amity.campaign.recipients.model import Schema
from amity.campaign.recipients.schemas import CampaignSchemas

Json = dict[str, Any]

ID_MAX = 2**63 - 1
"""The largest number a column holds."""

READ_ONLY = frozenset({"id", "created", "lastModified"})
"""What a body may hold because an answer did; it is not written."""


class Page(NamedTuple):
    """A part of a list; `after` is the id to go on from, None at the end."""

    records: list[Json]
    total: int
    after: int | None


class Records:
    """The records of one schema that has ids of its own. Writes go into a given transaction."""

    def __init__(self, schemas: CampaignSchemas, schema_id: str) -> None:
        self._schemas = schemas
        self._id = schema_id

    @property
    def schema(self) -> Schema:
        """The schema as it is now."""
        return self._schemas.schema(self._id)

    @property
    def table(self) -> sa.Table:
        """Its table."""
        return self._schemas.table(self._id)

    def insert(self, connection: sa.Connection, body: Mapping[str, Any], now_ms: int) -> int:
        """Write a new record; answers its id. Raises `BadValue` and `KeyTaken`."""
        table, found = self.table, self._checked(body)
        self._complete(found)
        self._check_links(connection, found)
        self._check_keys(connection, found, own=None)
        stamps = {name: now_ms for name in ("created", "lastModified") if name in table.c}
        done = connection.execute(sa.insert(table).values(found | stamps).returning(table.c.id))
        return int(done.scalar_one())

    def update(
        self, connection: sa.Connection, id: int, body: Mapping[str, Any], now_ms: int
    ) -> bool:
        """Change what differs; False when nothing does. Raises `BadValue` and `KeyTaken`."""
        table, found = self.table, self._checked(body)
        before = self._row(connection, id)
        changed = {name: value for name, value in found.items() if before[name] != value}
        if not changed:
            return False
        self._complete({**before, **changed})
        self._check_links(connection, changed)
        self._check_keys(connection, {**before, **changed}, own=id)
        if "lastModified" in table.c:
            changed["lastModified"] = now_ms
        connection.execute(sa.update(table).where(table.c.id == id).values(changed))
        return True

    def delete(self, connection: sa.Connection, id: int) -> None:
        """Remove a record and what belongs to it."""
        self._row(connection, id)
        connection.execute(sa.delete(self.table).where(self.table.c.id == id))

    def get(self, connection: sa.Connection, id: int) -> Json:
        """A record as answers tell of it."""
        return values.row_shown(self.schema, self._row(connection, id))

    def find(
        self,
        connection: sa.Connection,
        filters: Mapping[str, str],
        *,
        limit: int,
        after: int = 0,
        where: Sequence[sa.ColumnElement[bool]] = (),
    ) -> Page:
        """Records in the order of ids whose attributes are what `filters` say."""
        table, schema = self.table, self.schema
        wanted = [*where, *(self._filter(name, value) for name, value in filters.items())]
        counted = sa.select(sa.func.count()).select_from(table).where(*wanted)
        total = connection.execute(counted).scalar_one()
        page = sa.select(table).where(*wanted, table.c.id > after).order_by(table.c.id)
        rows = connection.execute(page.limit(limit + 1)).mappings().all()
        shown = [values.row_shown(schema, row) for row in rows[:limit]]
        return Page(shown, total, shown[-1]["id"] if len(rows) > limit else None)

    def _row(self, connection: sa.Connection, id: int) -> Json:
        """A record's columns by code's names; the driver's row lists them by SQL's."""
        table = self.table
        found = connection.execute(sa.select(table).where(table.c.id == id)).one_or_none()
        if found is None:
            raise UnknownRecord(f"there is no {self._id} with id {id}")
        return dict(zip(table.c.keys(), found, strict=True))

    def _checked(self, body: Mapping[str, Any]) -> Json:
        """The columns that a request sets, by code's names."""
        schema = self.schema
        attributes = {one.name: one for one in schema.attributes}
        links = {f"{one.name}-id" for one in schema.links}
        found: Json = {}
        for name, value in body.items():
            if name in READ_ONLY:
                continue
            if name in attributes:
                found[name] = values.stored(schema, attributes[name], value)
            elif name in links:
                found[sql_names.code_name(name)] = self._link(name, value)
            else:
                raise BadValue(f"{schema.id} has no attribute {name[:80]!r}", field=name[:80])
        return found

    def _link(self, name: str, value: Any) -> int | None:
        if value is None or (type(value) is int and 0 < value <= ID_MAX):
            return value
        raise BadValue(f"{self._id}, {name}: write the id of a record, or null", field=name)

    def _filter(self, name: str, value: str) -> sa.ColumnElement[bool]:
        schema = self.schema
        for one in schema.attributes:
            if one.name == name:
                given = values.from_text(one, value)
                column: sa.ColumnElement[bool] = self.table.c[name] == values.stored(
                    schema, one, given
                )
                return column
        if name in {f"{one.name}-id" for one in schema.links} and value.isdecimal():
            wanted = self._link(name, int(value))
            at: sa.ColumnElement[bool] = self.table.c[sql_names.code_name(name)] == wanted
            return at
        raise BadValue(f"{schema.id} cannot be sought by {name[:80]!r}", field=name[:80])

    def _complete(self, found: Mapping[str, Any]) -> None:
        for one in self.schema.attributes:
            if one.required and one.default is None and found.get(one.name) is None:
                raise BadValue(f"{self._id}, {one.name}: it is required", field=one.name)

    def _check_links(self, connection: sa.Connection, found: Mapping[str, Any]) -> None:
        for link in self.schema.links:
            value = found.get(f"{link.name}_id")
            if value is None:
                continue
            target = self._schemas.table(link.target)
            at = sa.select(target.c.id).where(target.c.id == value)
            if connection.execute(at).first() is None:
                field = f"{link.name}-id"
                why = f"there is no {link.target} with id {value}"
                raise BadValue(f"{self._id}, {field}: {why}", field=field)

    def _check_keys(
        self, connection: sa.Connection, found: Mapping[str, Any], *, own: int | None
    ) -> None:
        table = self.table
        for key in self.schema.keys:
            fields = [sql_names.code_name(field) for field in key.fields]
            if any(found.get(field) is None for field in fields):
                continue
            at = sa.select(table.c.id).where(*(table.c[one] == found[one] for one in fields))
            row = connection.execute(at).first()
            if row is not None and row.id != own:
                raise KeyTaken(
                    f"{self._id} {row.id} has the same {', '.join(key.fields)}; "
                    "change that one, or choose another",
                    id=row.id,
                    fields=list(key.fields),
                )
