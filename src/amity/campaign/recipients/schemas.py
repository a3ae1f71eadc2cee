"""Which tables does the campaign database have, and how does a customer add to them?

A saved schema becomes columns or a table at once. `table` and `schema` answer from what was
compiled; it is compiled again when any process has saved a schema.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from amity.campaign.recipients import schema_rules, sql_names
from amity.campaign.recipients.builtin import BUILTIN
from amity.campaign.recipients.errors import BadSchema, SchemaTaken, UnknownSchema
from amity.campaign.recipients.generated import (
    FIRST_ID,
    AddColumn,
    DropTrigger,
    integrity_triggers,
    metadata,
)
from amity.campaign.recipients.model import Schema
from amity.campaign.recipients.opt_outs import OPT_OUT_CHANGES, opt_out_triggers
from amity.kernel.clock import BusinessClock
from amity.storage.ports import Tables

_PLAIN = sa.MetaData()

SCHEMAS = sa.Table(
    "XtkSchema",
    _PLAIN,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(80), nullable=False, unique=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("lastModified", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class _Compiled:
    stamp: tuple[tuple[str, int], ...]
    saved: Mapping[str, Schema]
    """The customer's schemas as they were saved, in the order in which they came."""

    bases: Mapping[str, Schema]
    """Those with a table of their own, as they were written."""

    schemas: Mapping[str, Schema]
    """Compiled with extensions; extensions are not among them."""

    tables: sa.MetaData


class CampaignSchemas:
    """The schemas of one campaign database, and the tables made from them."""

    def __init__(self, tables: Tables, clock: BusinessClock) -> None:
        self._tables = tables
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: int | None = None
        self._there = False
        self._compiled = _compile((), {})

    def install(self) -> None:
        """Create the tables, columns, indexes and triggers that are missing; safe to repeat."""
        self._tables.create(_PLAIN)
        self._tables.create(OPT_OUT_CHANGES.metadata)
        with self._tables.begin() as connection:
            compiled = _read(connection)
            _align(connection, compiled)
        self._seen = None

    def save(self, schema: Schema) -> Schema:
        """Keep a schema of the customer and make its columns or table; answers it compiled.

        Raises `BadSchema` or `SchemaTaken`, which name the field and the reason; then nothing is
        changed.
        """
        schema = _typed(schema)
        now_ms = self._clock.now_ms()
        with self._tables.begin() as connection:
            before = _read(connection)
            schema_rules.check(schema, before.bases, before.saved)
            _check_free(connection, schema, before)
            body = msgspec.json.encode(schema)
            row = SCHEMAS.c
            if schema.id in before.saved:
                changed = {row.body: body, row.version: row.version + 1, row.lastModified: now_ms}
                connection.execute(sa.update(SCHEMAS).where(row.id == schema.id).values(changed))
            else:
                connection.execute(
                    sa.insert(SCHEMAS).values(
                        id=schema.id, version=1, body=body, created=now_ms, lastModified=now_ms
                    )
                )
            try:
                _align(connection, _read(connection))
            except sa.exc.IntegrityError as error:
                raise SchemaTaken(
                    f"schema {schema.id}: rows that are there have the same key twice; "
                    "clear them up, then save it again"
                ) from error
        self._seen = None
        return self.schema(schema.id)

    def schema(self, id: str) -> Schema:
        """A schema with what its extensions add; an extension answers with what it extends."""
        compiled = self._current()
        found = compiled.schemas.get(_base_of(id, compiled.saved))
        if found is None:
            raise UnknownSchema(
                f"there is no schema {id[:80]!r}; GET /campaign/schemas lists those there are"
            )
        return found

    def saved(self, id: str) -> Schema:
        """A schema as it was written, without extensions."""
        compiled = self._current()
        found = compiled.saved.get(id) or compiled.bases.get(id)
        return self.schema(id) if found is None else found

    def table(self, id: str) -> sa.Table:
        """The table of a schema: ``table("nms:recipient").c.email``, links ``c.recipient_id``."""
        return self._current().tables.tables[sql_names.table(self.schema(id).id)]

    def ids(self) -> list[str]:
        """All schemas that have a table of their own, built-in ones first."""
        return list(self._current().schemas)

    def extensions(self, id: str) -> list[str]:
        """The ids of what extends a schema."""
        return [one.id for one in self._current().saved.values() if one.extends == id]

    def _current(self) -> _Compiled:
        version = self._tables.version()
        if version == self._seen:
            return self._compiled
        with self._lock:
            with self._tables.connect() as connection:
                # Once it is there it stays, and to look for it costs more than to read it.
                self._there = self._there or sa.inspect(connection).has_table(SCHEMAS.name)
                stamp = _stamp(connection) if self._there else ()
                if stamp != self._compiled.stamp:
                    self._compiled = _read(connection)
            self._seen = version
            return self._compiled


def _stamp(connection: sa.Connection) -> tuple[tuple[str, int], ...]:
    found = connection.execute(sa.select(SCHEMAS.c.id, SCHEMAS.c.version).order_by(SCHEMAS.c.seq))
    return tuple((row.id, row.version) for row in found)


def _read(connection: sa.Connection) -> _Compiled:
    rows = connection.execute(sa.select(SCHEMAS).order_by(SCHEMAS.c.seq)).all()
    saved = {row.id: msgspec.json.decode(row.body, type=Schema) for row in rows}
    return _compile(tuple((row.id, row.version) for row in rows), saved)


def _compile(stamp: tuple[tuple[str, int], ...], saved: Mapping[str, Schema]) -> _Compiled:
    bases = {one.id: one for one in BUILTIN}
    bases |= {id: one for id, one in saved.items() if not one.extends}
    schemas = {
        id: schema_rules.extended(base, (one for one in saved.values() if one.extends == id))
        for id, base in bases.items()
    }
    return _Compiled(stamp, saved, bases, schemas, metadata(schemas))


def _base_of(id: str, saved: Mapping[str, Schema]) -> str:
    found = saved.get(id)
    return found.extends if found is not None and found.extends else id


def _typed(schema: Schema) -> Schema:
    """Checked against the model's types, whoever made it."""
    try:
        return msgspec.convert(msgspec.to_builtins(schema), Schema)
    except (msgspec.ValidationError, TypeError) as error:
        raise BadSchema(f"schema {schema.id}: {error}") from error


def _check_free(connection: sa.Connection, schema: Schema, before: _Compiled) -> None:
    """Its table must not be one that the engine keeps for itself; new columns need a value."""
    if schema.extends:
        old = before.saved.get(schema.id)
        known = {one.name for one in old.attributes} if old else set()
        for one in schema.attributes:
            if one.required and one.default is None and one.name not in known:
                raise schema_rules.required_without_default(schema, one.name)
    elif schema.id not in before.saved:
        name = sql_names.table(schema.id)
        there = {one.casefold() for one in sa.inspect(connection).get_table_names()}
        if name.casefold() in there:
            raise SchemaTaken(
                f"schema {schema.id}, name: the table {name} is taken; choose another name"
            )


def _align(connection: sa.Connection, compiled: _Compiled) -> None:
    """Make the database what the schemas say, by additions alone."""
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    for table in compiled.tables.sorted_tables:
        if table.name not in there:
            table.create(connection)
            _reserve_ids(connection, table)
            continue
        columns = {one["name"] for one in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in columns:
                connection.execute(AddColumn(column))
        indexes = {one["name"] for one in inspector.get_indexes(table.name)}
        for index in table.indexes:
            if index.name not in indexes:
                index.create(connection)
    triggers = integrity_triggers(compiled.schemas, compiled.tables)
    triggers += opt_out_triggers(compiled.tables.tables[sql_names.table("nms:recipient")])
    for trigger in triggers:
        connection.execute(DropTrigger(trigger.name))
        connection.execute(trigger)


def _reserve_ids(connection: sa.Connection, table: sa.Table) -> None:
    """Numbers begin at `FIRST_ID` and none is given twice, also after a row is gone."""
    if table.dialect_options["sqlite"]["autoincrement"]:
        sequence = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq"))
        connection.execute(sa.insert(sequence).values(name=table.name, seq=FIRST_ID - 1))
