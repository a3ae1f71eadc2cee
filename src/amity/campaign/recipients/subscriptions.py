"""Who takes which service, since when, and how did it come about?

Each change is a row of the history. A service may end subscriptions after a number of days; then
they end by themselves. Behaviour: campaign.md §1.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from amity.campaign.recipients import values
from amity.campaign.recipients.errors import UnknownService
from amity.campaign.recipients.records import Json, Records
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.clock import DAY_MS, to_iso

SUBSCRIBED, UNSUBSCRIBED = 1, 0
"""``action`` in the history. Behaviour: campaign.md §1.2."""

EXPIRED = "expiration"
"""`origin` of an unsubscription that time brought."""

_EXPIRED_PART = 1_000
_PART = 500


class Services:
    """Services and subscriptions, in a given transaction."""

    def __init__(self, schemas: CampaignSchemas) -> None:
        self._schemas = schemas
        self._records = Records(schemas, "nms:service")

    def create(self, connection: sa.Connection, body: Json, now_ms: int) -> int:
        """A new service; answers its id. Raises `KeyTaken` where the name is taken."""
        return self._records.insert(connection, body, now_ms)

    def update(self, connection: sa.Connection, id: int, body: Json, now_ms: int) -> bool:
        """Change a service; subscriptions that are there keep their end."""
        return self._records.update(connection, id, body, now_ms)

    def id(self, connection: sa.Connection, name: str) -> int:
        """The id of a service that is there."""
        service = self._schemas.table("nms:service")
        at = sa.select(service.c.id).where(service.c.name == name)
        found = connection.execute(at).scalar()
        if found is None:
            why = f"there is no service {name[:100]!r}; POST /campaign/services makes one"
            raise UnknownService(why)
        return int(found)

    def all(self, connection: sa.Connection) -> list[Json]:
        """Every service with how many subscribe to it, by name."""
        service, subscription = self._schemas.table("nms:service"), self._subscription
        count = (
            sa.select(sa.func.count())
            .where(subscription.c.service_id == service.c.id)
            .scalar_subquery()
            .label("count")
        )
        schema = self._schemas.schema("nms:service")
        rows = connection.execute(sa.select(service, count).order_by(service.c.name)).mappings()
        return [values.row_shown(schema, row) | {"count": row["count"]} for row in rows]

    def get(self, connection: sa.Connection, id: int) -> Json:
        """One service."""
        return self._records.get(connection, id)

    def subscribe(
        self,
        connection: sa.Connection,
        *,
        service_id: int,
        recipient_ids: Iterable[int],
        origin: str,
        now_ms: int,
    ) -> int:
        """Answers how many did not subscribe before; for the others nothing changes."""
        days = self._validity(connection, service_id)
        expiration = now_ms + days * DAY_MS if days else 0
        for one in (new := self._new(connection, service_id, recipient_ids)):
            row = {"service_id": service_id, "recipient_id": one}
            ends = {"created": now_ms, "expiration": expiration}
            connection.execute(sa.insert(self._subscription).values(row | ends))
            self._note(connection, row, SUBSCRIBED, origin=origin, now_ms=now_ms)
        return len(new)

    def unsubscribe(
        self,
        connection: sa.Connection,
        *,
        service_id: int,
        recipient_ids: Iterable[int],
        origin: str,
        now_ms: int,
    ) -> int:
        """Answers how many subscribed before."""
        self._validity(connection, service_id)
        table, done = self._subscription, 0
        for one in sorted(set(recipient_ids)):
            at = (table.c.service_id == service_id) & (table.c.recipient_id == one)
            if connection.execute(sa.delete(table).where(at)).rowcount:
                row = {"service_id": service_id, "recipient_id": one}
                self._note(connection, row, UNSUBSCRIBED, origin=origin, now_ms=now_ms)
                done += 1
        return done

    def subscriptions(self, connection: sa.Connection, recipient_id: int) -> list[Json]:
        """What a recipient subscribes to."""
        service, table = self._schemas.table("nms:service"), self._subscription
        chosen = sa.select(service.c.name, table.c.created, table.c.expiration)
        joined = chosen.join_from(table, service, table.c.service_id == service.c.id)
        rows = connection.execute(
            joined.where(table.c.recipient_id == recipient_id).order_by(service.c.name)
        )
        return [
            {
                "service": row.name,
                "created": _time(row.created),
                "expiration": _time(row.expiration),
            }
            for row in rows
        ]

    def expire(self, connection: sa.Connection, now_ms: int) -> int:
        """End what has come to its end; answers how many, at most a part of them at once."""
        table = self._subscription
        over = sa.select(table.c.service_id, table.c.recipient_id).where(
            table.c.expiration > 0, table.c.expiration <= now_ms
        )
        rows = connection.execute(over.limit(_EXPIRED_PART)).all()
        for row in rows:
            self.unsubscribe(
                connection,
                service_id=row.service_id,
                recipient_ids=[row.recipient_id],
                origin=EXPIRED,
                now_ms=now_ms,
            )
        return len(rows)

    def next_expiration(self, connection: sa.Connection) -> int | None:
        """When the next subscription ends."""
        table = self._subscription
        at = sa.select(sa.func.min(table.c.expiration)).where(table.c.expiration > 0)
        found: int | None = connection.execute(at).scalar()
        return found

    def _validity(self, connection: sa.Connection, service_id: int) -> int:
        service = self._schemas.table("nms:service")
        at = sa.select(service.c.validityDays).where(service.c.id == service_id)
        found = connection.execute(at).scalar()
        if found is None:
            raise UnknownService(f"there is no service with id {service_id}")
        return int(found)

    def _new(self, connection: sa.Connection, service_id: int, ids: Iterable[int]) -> list[int]:
        """Those recipients of `ids` there are that do not subscribe."""
        recipient, table = self._schemas.table("nms:recipient"), self._subscription
        on = sa.select(table.c.recipient_id).where(
            table.c.service_id == service_id, table.c.recipient_id == recipient.c.id
        )
        wanted = sorted(set(ids))
        found: list[int] = []
        for start in range(0, len(wanted), _PART):
            part = recipient.c.id.in_(wanted[start : start + _PART])
            found += connection.execute(
                sa.select(recipient.c.id).where(part, ~on.exists())
            ).scalars()
        return found

    def _note(
        self, connection: sa.Connection, row: Json, action: int, *, origin: str, now_ms: int
    ) -> None:
        note = row | {"action": action, "date": now_ms, "origin": origin[:100]}
        connection.execute(sa.insert(self._schemas.table("nms:subHisto")).values(note))

    @property
    def _subscription(self) -> sa.Table:
        return self._schemas.table("nms:subscription")


def _time(at_ms: Any) -> str | None:
    return to_iso(at_ms) if at_ms else None
