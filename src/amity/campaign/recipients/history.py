"""What was a recipient sent, what did they do, and why were they left out?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from amity.campaign.recipients import values
from amity.campaign.recipients.opt_outs import OPT_OUT_CHANGES
from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.records import Json
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.subscriptions import Services
from amity.kernel.clock import to_iso


class History:
    """Reads the logs of one recipient, newest first."""

    def __init__(self, schemas: CampaignSchemas) -> None:
        self._schemas = schemas
        self._services = Services(schemas)
        self._quarantine = Quarantine(schemas)

    def of(self, connection: sa.Connection, id: int, *, limit: int) -> Json:
        """Messages, hits, exclusions, opt-outs and subscriptions, up to `limit` of each."""
        return {
            "messages": self._logs(connection, "nms:broadLogRcp", id, limit),
            "hits": self._logs(connection, "nms:trackingLogRcp", id, limit),
            "exclusions": self._logs(connection, "nms:excludeLogRcp", id, limit),
            "optOuts": _opt_outs(connection, id, limit),
            "subscriptions": self._services.subscriptions(connection, id),
            "subscriptionHistory": self._subscription_history(connection, id, limit),
            "address": self._address(connection, id),
        }

    def _logs(self, connection: sa.Connection, schema_id: str, id: int, limit: int) -> list[Json]:
        table, schema = self._schemas.table(schema_id), self._schemas.schema(schema_id)
        delivery = self._schemas.table("nms:delivery")
        chosen = (
            sa.select(table, delivery.c.label.label("deliveryLabel"))
            .join_from(table, delivery, table.c.delivery_id == delivery.c.id, isouter=True)
            .where(table.c.recipient_id == id)
            .order_by(table.c.id.desc())
            .limit(limit)
        )
        return [
            values.row_shown(schema, row) | {"deliveryLabel": row["deliveryLabel"]}
            for row in connection.execute(chosen).mappings()
        ]

    def _subscription_history(self, connection: sa.Connection, id: int, limit: int) -> list[Json]:
        table, service = self._schemas.table("nms:subHisto"), self._schemas.table("nms:service")
        schema = self._schemas.schema("nms:subHisto")
        chosen = (
            sa.select(table, service.c.name.label("service"))
            .join_from(table, service, table.c.service_id == service.c.id)
            .where(table.c.recipient_id == id)
            .order_by(table.c.id.desc())
            .limit(limit)
        )
        return [
            values.row_shown(schema, row) | {"service": row["service"]}
            for row in connection.execute(chosen).mappings()
        ]

    def _address(self, connection: sa.Connection, id: int) -> Json | None:
        """What the address has been through; None where there is none."""
        table = self._schemas.table("nms:recipient")
        email = connection.execute(sa.select(table.c.email).where(table.c.id == id)).scalar()
        if not email:
            return None
        found = self._quarantine.find(connection, address=email)
        return found or {"address": email, "channel": "email", "status": "valid"}


def _opt_outs(connection: sa.Connection, id: int, limit: int) -> list[Json]:
    columns = OPT_OUT_CHANGES.c
    chosen = sa.select(OPT_OUT_CHANGES).where(columns.recipientId == id)
    rows = connection.execute(chosen.order_by(columns.id.desc()).limit(limit)).mappings()
    return [_opt_out(row) for row in rows]


def _opt_out(row: Mapping[Any, Any]) -> Json:
    return {
        "channel": row["channel"],
        "optedOut": bool(row["value"]),
        "origin": row["origin"],
        "at": to_iso(row["at"]) if row["at"] else None,
    }
