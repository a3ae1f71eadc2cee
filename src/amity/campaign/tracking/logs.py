"""Which delivery log is a hit or a return about, and what does it change there?

Reads and small changes of ``nms:broadLogRcp``, in a given transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from amity.campaign.delivery.qualification import Failure
from amity.campaign.recipients.builtin import BROAD_LOG, DELIVERY, LOG_STATUS
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.service import Recipients

_STATUS = {value.name: int(value.value) for value in LOG_STATUS.values}
_PART = 500

SENT = frozenset(
    _STATUS[name] for name in ("sent", "failed", "taken", "received", "sending", "unknown")
)
"""Statuses of messages that may have reached somebody: only those come back."""


class MessageLog(NamedTuple):
    """A delivery log, as far as what comes back needs it."""

    id: int
    delivery: int
    recipient: int
    address: str
    status: int
    service: int
    test: bool
    """A proof or a seed address: nobody's choice, and no word on anybody's address."""

    @property
    def failed(self) -> bool:
        """Whether it is known that it was not delivered."""
        return self.status == _STATUS["failed"]


class MessageLogs:
    """The delivery logs of one campaign database."""

    def __init__(self, schemas: CampaignSchemas, recipients: Recipients) -> None:
        self._schemas = schemas
        self._recipients = recipients

    def find(self, connection: sa.Connection, ids: Iterable[int]) -> dict[int, MessageLog]:
        """Those that exist."""
        logs, deliveries = self._table, self._schemas.table(DELIVERY.id)
        chosen = sa.select(
            logs.c.id,
            logs.c.delivery_id,
            logs.c.recipient_id,
            logs.c.address,
            logs.c.status,
            deliveries.c.serviceId,
            sa.or_(logs.c.seed == sa.true(), logs.c.proof == sa.true()).label("test"),
        ).join_from(logs, deliveries, deliveries.c.id == logs.c.delivery_id)
        found: dict[int, MessageLog] = {}
        wanted = sorted(set(ids))
        for start in range(0, len(wanted), _PART):
            part = logs.c.id.in_(wanted[start : start + _PART])
            for row in connection.execute(chosen.where(part)):
                found[row.id] = MessageLog(
                    row.id,
                    row.delivery_id,
                    row.recipient_id or 0,
                    row.address or "",
                    row.status,
                    row.serviceId or 0,
                    bool(row.test),
                )
        return found

    def arrived(self, connection: sa.Connection, ids: Iterable[int], now_ms: int) -> None:
        """Somebody has the message: what was not known to be sent is sent."""
        logs, wanted = self._table, sorted(set(ids))
        for start in range(0, len(wanted), _PART):
            part = logs.c.id.in_(wanted[start : start + _PART])
            unknown = part & (logs.c.status == _STATUS["unknown"])
            connection.execute(
                sa.update(logs)
                .where(unknown)
                .values({logs.c.status: _STATUS["sent"], logs.c.lastModified: now_ms})
            )

    def fail(
        self,
        connection: sa.Connection,
        log: MessageLog,
        failure: Failure,
        *,
        message_id: int,
        at_ms: int,
        now_ms: int,
    ) -> None:
        """It came back."""
        logs = self._table
        connection.execute(
            sa.update(logs)
            .where(logs.c.id == log.id)
            .values(
                {
                    logs.c.status: _STATUS["failed"],
                    logs.c.failureType: failure.type,
                    logs.c.failureReason: failure.reason,
                    logs.c.failureText: failure.text,
                    logs.c.msgId: message_id,
                    logs.c.eventDate: at_ms,
                    logs.c.lastModified: now_ms,
                }
            )
        )

    def opt_out(self, connection: sa.Connection, log: MessageLog, origin: str, now_ms: int) -> None:
        """End the service the message was sent for, or else all e-mail.

        Behaviour: campaign.md §1.9. Whoever has left the service already stays in the others.
        """
        if log.test or not log.recipient:
            return
        if log.service and self._has_taken(connection, log):
            self._recipients.services.unsubscribe(
                connection,
                service_id=log.service,
                recipient_ids=[log.recipient],
                origin=origin,
                now_ms=now_ms,
            )
            return
        self._recipients.opt_out(connection, [log.recipient], "email", origin=origin, now_ms=now_ms)

    def close_email(
        self, connection: sa.Connection, log: MessageLog, origin: str, now_ms: int
    ) -> None:
        """The recipient wants no e-mail at all."""
        if log.recipient and not log.test:
            self._recipients.opt_out(
                connection, [log.recipient], "email", origin=origin, now_ms=now_ms
            )

    def _has_taken(self, connection: sa.Connection, log: MessageLog) -> bool:
        """Whether the recipient takes, or has left, the service of the message."""
        for id in ("nms:subscription", "nms:subHisto"):
            table = self._schemas.table(id)
            there = sa.select(sa.literal(1)).where(
                table.c.service_id == log.service, table.c.recipient_id == log.recipient
            )
            if connection.execute(there.limit(1)).first() is not None:
                return True
        return False

    @property
    def _table(self) -> sa.Table:
        return self._schemas.table(BROAD_LOG.id)
