"""Where does the campaign side remember what it has exported?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from amity.campaign.exports.interval import Moment
from amity.campaign.exports.model import LogExport
from amity.exchange.log_file import LogKind

METADATA = sa.MetaData()

EXPORTS = sa.Table(
    "XtkLogExport",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("key", sa.String(200), nullable=False, unique=True),
    sa.Column("kind", sa.String(20), nullable=False, index=True),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("by", sa.String(200), nullable=False),
    sa.Column("account", sa.String(100), nullable=False),
    sa.Column("folder", sa.String(1000), nullable=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
    sa.Column("begun_ms", sa.BigInteger, nullable=False),
    sa.Column("published_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("rows", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("manifest", sa.Text, nullable=False, server_default=""),
    sa.Column("error", sa.Text, nullable=False, server_default=""),
    sa.Column("machine_ms", sa.BigInteger, nullable=False),
    sa.Column("boot", sa.String(64), nullable=False),
    sa.Column("virtual", sa.Boolean, nullable=False),
    sqlite_autoincrement=True,
)
"""Oldest first. `machine_ms`, `boot` and `virtual` are of the last step, begun or published."""

SWITCHES = sa.Table(
    "XtkLogExportSwitch",
    METADATA,
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("enabled", sa.Boolean, nullable=False),
)

CURSORS = sa.Table(
    "XtkExportCursor",
    METADATA,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
)
"""How far a stream has come."""

_FACTS = [EXPORTS.c[name] for name in LogExport.__struct_fields__]


def by_key(connection: sa.Connection, key: str) -> LogExport | None:
    """The export that a key has asked for."""
    return _one(connection, EXPORTS.c.key == key)


def by_id(connection: sa.Connection, id: str) -> LogExport | None:
    """One export."""
    return _one(connection, EXPORTS.c.id == id)


def under_way(connection: sa.Connection, kind: LogKind | None = None) -> list[LogExport]:
    """Exports that have begun and are not done, oldest first."""
    asked = sa.select(*_FACTS).where(EXPORTS.c.state == "begun").order_by(EXPORTS.c.number)
    if kind is not None:
        asked = asked.where(EXPORTS.c.kind == kind)
    return [_export(row) for row in connection.execute(asked)]


def latest(connection: sa.Connection, limit: int, kind: LogKind | None = None) -> list[LogExport]:
    """The newest exports first."""
    asked = sa.select(*_FACTS).order_by(EXPORTS.c.number.desc()).limit(limit)
    if kind is not None:
        asked = asked.where(EXPORTS.c.kind == kind)
    return [_export(row) for row in connection.execute(asked)]


def last_moments(connection: sa.Connection, kind: LogKind) -> tuple[Moment, int] | None:
    """When the last export of a kind was begun or published, and how far the last window went.

    One that failed when rows of it were to be seen already counts for the time, not for the window.
    """
    newest = sa.select(EXPORTS).where(EXPORTS.c.kind == kind).order_by(EXPORTS.c.number.desc())
    whole = EXPORTS.c.state != "failed"
    row = connection.execute(
        newest.where(sa.or_(whole, EXPORTS.c.published_ms > 0)).limit(1)
    ).first()
    if row is None:
        return None
    window = connection.execute(newest.where(whole).limit(1)).first()
    moment = Moment(
        business_ms=max(row.begun_ms, row.published_ms),
        machine_ms=row.machine_ms,
        boot=row.boot,
        virtual=row.virtual,
    )
    return moment, window.until_ms if window is not None else 0


def add(connection: sa.Connection, export: LogExport, now: Moment) -> None:
    """Write down that an export begins."""
    facts = {name: getattr(export, name) for name in LogExport.__struct_fields__}
    connection.execute(sa.insert(EXPORTS).values(**facts, **_machine(now)))


def change(connection: sa.Connection, id: str, now: Moment, **facts: Any) -> None:
    """Write down what has become of an export."""
    connection.execute(
        sa.update(EXPORTS).where(EXPORTS.c.id == id).values(**facts, **_machine(now))
    )


def switches(connection: sa.Connection) -> dict[str, bool]:
    """The kinds that somebody has switched on or off."""
    return {row.kind: row.enabled for row in connection.execute(sa.select(SWITCHES))}


def put_switch(connection: sa.Connection, kind: LogKind, *, enabled: bool) -> None:
    """Switch a kind on or off."""
    connection.execute(sa.delete(SWITCHES).where(SWITCHES.c.kind == kind))
    connection.execute(sa.insert(SWITCHES).values(kind=kind, enabled=enabled))


def cursor(connection: sa.Connection, name: str) -> int:
    """How far a stream has come; 0 at first."""
    found = connection.scalar(sa.select(CURSORS.c.position).where(CURSORS.c.name == name))
    return int(found or 0)


def put_cursor(connection: sa.Connection, name: str, position: int) -> None:
    """Note how far a stream has come."""
    connection.execute(sa.delete(CURSORS).where(CURSORS.c.name == name))
    connection.execute(sa.insert(CURSORS).values(name=name, position=position))


def _one(connection: sa.Connection, which: sa.ColumnElement[bool]) -> LogExport | None:
    rows: Sequence[Any] = connection.execute(sa.select(*_FACTS).where(which)).all()
    return _export(rows[0]) if rows else None


def _export(row: Any) -> LogExport:
    return LogExport(**row._asdict())


def _machine(now: Moment) -> dict[str, Any]:
    return {"machine_ms": now.machine_ms, "boot": now.boot, "virtual": now.virtual}
