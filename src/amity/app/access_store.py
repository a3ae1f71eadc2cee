"""How do access's own small ports meet the storage? Access lies below it, so they are joined here."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from amity.access.audit import AuditEvent
from amity.kernel.scope import Scope
from amity.storage.ports import Documents, Tables

INSTALLATION = Scope("amity", "installation")
"""The scope of what belongs to no organisation's sandbox: clients, write keys, sandboxes."""


class DocumentsAccessStore:
    """`access.AccessStore` over documents."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def get(self, kind: str, id: str) -> dict[str, Any] | None:
        found = self._documents.get(INSTALLATION, kind, id)
        return None if found is None else found.body

    def find(self, kind: str) -> list[dict[str, Any]]:
        return [one.body for one in self._documents.find(INSTALLATION, kind)]

    def put(self, kind: str, id: str, body: dict[str, Any]) -> None:
        self._documents.put(INSTALLATION, kind, id, body)

    def version(self) -> int:
        return self._documents.version()


_METADATA = sa.MetaData()
_EVENTS = sa.Table(
    "audit_event",
    _METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String, nullable=False),
    sa.Column("org", sa.String, nullable=False),
    sa.Column("sandbox", sa.String, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("asset_type", sa.String, nullable=False),
    sa.Column("asset_id", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("failure_code", sa.String, nullable=False),
    sa.Column("request_id", sa.String, nullable=False),
    sa.Column("at_ms", sa.Integer, nullable=False),
    sa.Index("audit_event_scope", "org", "sandbox", "seq"),
)


class TableAuditLog:
    """`access.AuditLog` in a table of its own file."""

    def __init__(self, tables: Tables) -> None:
        tables.create(_METADATA)
        self._tables = tables

    def record(self, event: AuditEvent) -> None:
        values = {name: getattr(event, name) for name in event.__struct_fields__}
        with self._tables.begin() as connection:
            connection.execute(_EVENTS.insert().values(**values))

    def find(
        self,
        scope: Scope,
        *,
        limit: int,
        start: int,
        filters: dict[str, tuple[str, ...]],
        from_ms: int = 0,
        to_ms: int | None = None,
    ) -> list[AuditEvent]:
        wanted = sa.select(_EVENTS).where(
            _EVENTS.c.org == scope.org,
            _EVENTS.c.sandbox == scope.sandbox,
            _EVENTS.c.at_ms >= from_ms,
            *(_EVENTS.c[name].in_(values) for name, values in filters.items()),
        )
        if to_ms is not None:
            wanted = wanted.where(_EVENTS.c.at_ms < to_ms)
        page = wanted.order_by(_EVENTS.c.seq.desc()).limit(limit).offset(start)
        with self._tables.connect() as connection:
            rows = connection.execute(page).mappings().all()
        return [
            AuditEvent(**{name: row[name] for name in AuditEvent.__struct_fields__}) for row in rows
        ]
