"""Where do the control plane's JSON documents live, on one machine?"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from amity.kernel.clock import BusinessClock
from amity.kernel.errors import Outdated
from amity.kernel.scope import Scope
from amity.storage.ports import Document, Tables

_METADATA = sa.MetaData()
_DOCUMENTS = sa.Table(
    "documents",
    _METADATA,
    sa.Column("org", sa.Text, primary_key=True),
    sa.Column("sandbox", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False, index=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
_COLUMNS = (
    _DOCUMENTS.c.id,
    _DOCUMENTS.c.body,
    _DOCUMENTS.c.version,
    _DOCUMENTS.c.created_ms,
    _DOCUMENTS.c.updated_ms,
)


class SqliteDocuments:
    """`Documents` as rows of one table; `seq` keeps the order of creation."""

    def __init__(self, tables: Tables, clock: BusinessClock) -> None:
        self._tables = tables
        self._clock = clock
        tables.create(_METADATA)

    def get(self, scope: Scope, kind: str, id: str) -> Document | None:
        """The document, or None."""
        with self._tables.connect() as connection:
            return _one(connection, scope, kind, id)

    def find(self, scope: Scope, kind: str) -> list[Document]:
        """All of a kind, in order of creation."""
        query = sa.select(*_COLUMNS).where(*_of(scope, kind)).order_by(_DOCUMENTS.c.seq)
        with self._tables.connect() as connection:
            return [_document(row) for row in connection.execute(query)]

    def put(
        self,
        scope: Scope,
        kind: str,
        id: str,
        body: dict[str, Any],
        *,
        if_version: int | None = None,
    ) -> Document:
        """Create or replace; `Outdated` when it is not at `if_version`."""
        encoded = msgspec.json.encode(body)
        with self._tables.begin() as connection:
            old = _one(connection, scope, kind, id)
            at = old.version if old else 0
            if if_version is not None and if_version != at:
                raise Outdated(
                    f"{kind} {id} is at version {at}, not {if_version}: read it again",
                    version=at,
                )
            now = self._clock.now_ms()
            values = {"body": encoded, "version": at + 1, "updated_ms": now}
            if old:
                where = (*_of(scope, kind), _DOCUMENTS.c.id == id)
                connection.execute(sa.update(_DOCUMENTS).where(*where).values(values))
            else:
                newest = connection.execute(sa.select(sa.func.max(_DOCUMENTS.c.seq))).scalar()
                connection.execute(
                    sa.insert(_DOCUMENTS).values(
                        org=scope.org,
                        sandbox=scope.sandbox,
                        kind=kind,
                        id=id,
                        seq=(newest or 0) + 1,
                        created_ms=now,
                        **values,
                    )
                )
        created = old.created_ms if old else now
        return Document(id, msgspec.json.decode(encoded), at + 1, created, now)

    def delete(self, scope: Scope, kind: str, id: str) -> bool:
        """Remove; False when there is none."""
        where = (*_of(scope, kind), _DOCUMENTS.c.id == id)
        with self._tables.begin() as connection:
            return connection.execute(sa.delete(_DOCUMENTS).where(*where)).rowcount > 0

    def version(self) -> int:
        """Changes whenever any process has written."""
        return self._tables.version()


def _of(scope: Scope, kind: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _DOCUMENTS.c.org == scope.org,
        _DOCUMENTS.c.sandbox == scope.sandbox,
        _DOCUMENTS.c.kind == kind,
    )


def _one(connection: sa.Connection, scope: Scope, kind: str, id: str) -> Document | None:
    query = sa.select(*_COLUMNS).where(*_of(scope, kind), _DOCUMENTS.c.id == id)
    row = connection.execute(query).first()
    return None if row is None else _document(row)


def _document(row: Any) -> Document:
    return Document(
        row.id,
        msgspec.json.decode(row.body),
        row.version,
        row.created_ms,
        row.updated_ms,
    )
