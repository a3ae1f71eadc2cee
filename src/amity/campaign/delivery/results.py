"""What became of a delivery's messages?

Reads only. The indicators follow the documented formulas. Behaviour: campaign.md §1.15.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from amity.campaign.delivery import model
from amity.campaign.delivery.contents import Contents, named
from amity.campaign.delivery.errors import UnknownMessage
from amity.campaign.delivery.persons import Persons
from amity.campaign.delivery.rewriting import TYPE_CLICK, TYPE_OPT_OUT
from amity.campaign.delivery.shapes import Json, exclusion_shown, log_shown
from amity.campaign.recipients.builtin import ADDRESS_STATUS, FAILURE_REASON, LOG_STATUS
from amity.campaign.recipients.enumerations import name_of, number_of
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.storage.ports import Tables

_TAKEN: Final = tuple(number_of(LOG_STATUS, name) for name in ("sent", "taken", "received"))
_SOFT: Final = tuple(
    number_of(FAILURE_REASON, name)
    for name in (
        "unreachable",
        "mailboxFull",
        "invalidDomain",
        "accountDisabled",
        "notConnected",
        "refused",
    )
)
_USER_UNKNOWN: Final = number_of(FAILURE_REASON, "userUnknown")
_PREPARED: Final = number_of(LOG_STATUS, "prepared")


class Results:
    """Logs, exclusions and indicators of deliveries.

    Args:
        tables: The campaign database.
        schemas: Its tables.
        contents: Compiled contents, for a preview.
        persons: Makes the values of recipients.
    """

    def __init__(
        self, tables: Tables, schemas: CampaignSchemas, contents: Contents, persons: Persons
    ) -> None:
        self._tables = tables
        self._schemas = schemas
        self._contents = contents
        self._persons = persons

    def logs(self, id: int, *, status: str = "", limit: int = 100, after: int = 0) -> list[Json]:
        """The messages of a delivery in the order of their ids, those after `after`."""
        logs = self._schemas.table("nms:broadLogRcp")
        wanted = sa.select(*named(logs)).where(logs.c.delivery_id == id, logs.c.id > after)
        if status:
            wanted = wanted.where(logs.c.status == number_of(LOG_STATUS, status))
        with self._tables.connect() as connection:
            self._contents.delivery(connection, id)
            rows = connection.execute(wanted.order_by(logs.c.id).limit(limit)).mappings().all()
        return [log_shown(dict(row)) for row in rows]

    def exclusions(self, id: int, *, limit: int = 100, after: int = 0) -> list[Json]:
        """Who was left out, and why, in the order of the ids."""
        excluded = self._schemas.table("nms:excludeLogRcp")
        wanted = (
            sa.select(*named(excluded))
            .where(excluded.c.delivery_id == id, excluded.c.id > after)
            .order_by(excluded.c.id)
            .limit(limit)
        )
        with self._tables.connect() as connection:
            self._contents.delivery(connection, id)
            rows = connection.execute(wanted).mappings().all()
        return [exclusion_shown(dict(row)) for row in rows]

    def indicators(self, id: int) -> Json:
        """The documented indicators of a delivery."""
        with self._tables.connect() as connection:
            delivery = self._contents.delivery(connection, id)
            found = self._of_logs(connection, id)
            found |= self._of_tracking(connection, id)
            found["newQuarantine"] = self._new_quarantine(connection, id)
        excluded = (delivery["report"] and self._excluded(delivery["report"])) or 0
        return {
            "deliveryId": id,
            "totalTarget": delivery["toDeliver"] + excluded,
            "reject": excluded,
            "toDeliver": delivery["toDeliver"],
            **found,
        }

    def preview(self, id: int, recipient: int) -> Json:
        """The message that one recipient would get; links in it lead nowhere."""
        people = self._schemas.table("nms:recipient")
        row: dict[str, Any] = dict.fromkeys(
            ("address", "data", "seed_firstName", "seed_lastName"), None
        )
        with self._tables.connect() as connection:
            delivery = self._contents.delivery(connection, id)
            found = (
                connection.execute(
                    sa.select(*self._persons.columns(people)).where(people.c.id == recipient)
                )
                .mappings()
                .one_or_none()
            )
        if found is None:
            raise UnknownMessage(f"there is no recipient {recipient} to show the message of")
        row |= {"id": 0, "recipient_id": recipient, **found}
        compiled = self._contents.compiled(delivery)
        made = compiled.render(self._persons.values(row, delivery, compiled.urls))
        return {"subject": made.subject, "html": made.html, "text": made.text}

    @staticmethod
    def _excluded(report: str) -> int:
        found = model.report_of(report)
        return sum(one.count for one in found.excluded)

    def _of_logs(self, connection: sa.Connection, id: int) -> Json:
        logs = self._schemas.table("nms:broadLogRcp")
        rows = connection.execute(
            sa.select(logs.c.status, logs.c.failureReason, sa.func.count())
            .where(logs.c.delivery_id == id, logs.c.seed == sa.false())
            .group_by(logs.c.status, logs.c.failureReason)
        ).all()
        states: dict[str, int] = {one.name: 0 for one in LOG_STATUS.values}
        failed: dict[int, int] = {}
        for status, reason, count in rows:
            states[name_of(LOG_STATUS, status)] += count
            if status == model.FAILED:
                failed[reason] = failed.get(reason, 0) + count
        success = sum(states[name_of(LOG_STATUS, status)] for status in _TAKEN)
        return {
            "processed": states[name_of(LOG_STATUS, _PREPARED)] + states["failed"] + success,
            "success": success,
            "error": states["failed"],
            "hardBounce": failed.get(_USER_UNKNOWN, 0),
            "softBounce": sum(failed.get(reason, 0) for reason in _SOFT),
            "complaint": failed.get(model.DENYLISTED, 0),
            "unknown": states["unknown"],
            "ignored": states["ignored"],
            "pending": states["pending"] + states["sending"],
            "cancelled": states["cancelled"],
        }

    def _of_tracking(self, connection: sa.Connection, id: int) -> Json:
        hits, logs = (
            self._schemas.table("nms:trackingLogRcp"),
            self._schemas.table("nms:broadLogRcp"),
        )
        people = sa.and_(
            hits.c.delivery_id == id, hits.c.machine == sa.false(), logs.c.seed == sa.false()
        )
        joined = hits.join(logs, logs.c.id == hits.c.broadLog_id)
        one = hits.c.broadLog_id

        def distinct(type: int, of: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
            return sa.func.count(sa.distinct(sa.case((hits.c.type == type, of), else_=sa.null())))

        row = connection.execute(
            sa.select(
                sa.func.count(sa.distinct(one)),
                distinct(TYPE_CLICK, one),
                distinct(TYPE_CLICK, hits.c.recipient_id),
                distinct(TYPE_OPT_OUT, one),
            )
            .select_from(joined)
            .where(people)
        ).one()
        opened, clicks, persons, opt_outs = (int(value) for value in row)
        return {
            "recipientOpen": opened,
            "recipientClick": clicks,
            "personClick": persons,
            "optOut": opt_outs,
            # Nobody is sent text alone, so the estimate for those who are is nothing.
            "estimatedRecipientOpen": opened,
            "reactivity": round(clicks / opened, 4) if opened else 0.0,
        }

    def _new_quarantine(self, connection: sa.Connection, id: int) -> int:
        known = self._schemas.table("nms:address")
        return int(
            connection.execute(
                sa.select(sa.func.count())
                .select_from(known)
                .where(
                    known.c.deliveryId == id,
                    known.c.status == number_of(ADDRESS_STATUS, "quarantine"),
                )
            ).scalar_one()
        )
