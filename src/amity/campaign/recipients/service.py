"""What can be done with recipients?

Every write is one transaction. An opt-out takes a connection, so that it can be part of what caused
it: a click, a complaint, a workflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from amity.campaign.recipients.history import History
from amity.campaign.recipients.lists import Lists
from amity.campaign.recipients.opt_outs import FLAGS, OPT_OUT_CHANGES, OptOutChannel
from amity.campaign.recipients.records import Json, Page, Records
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.subscriptions import Services
from amity.kernel.clock import BusinessClock
from amity.storage.ports import Tables

RECIPIENT = "nms:recipient"
_PART = 500


class Recipients:
    """The people of one campaign database, their lists and their subscriptions.

    Attributes:
        lists: Lists and their members.
        services: Services and subscriptions.
    """

    def __init__(self, tables: Tables, schemas: CampaignSchemas, clock: BusinessClock) -> None:
        self._tables = tables
        self._schemas = schemas
        self._clock = clock
        self._records = Records(schemas, RECIPIENT)
        self._history = History(schemas)
        self.lists = Lists(schemas)
        self.services = Services(schemas)

    def create(self, body: Mapping[str, Any], *, origin: str = "api") -> Json:
        """A new recipient. Raises `BadValue`, and `KeyTaken` for a known external id."""
        with self._tables.begin() as connection:
            given = {**body, "origin": body.get("origin") or origin}
            id = self._records.insert(connection, given, self._clock.now_ms())
            return self._records.get(connection, id)

    def get(self, id: int) -> Json:
        """A recipient as answers tell of it."""
        with self._tables.connect() as connection:
            return self._records.get(connection, id)

    def find(self, filters: Mapping[str, str], *, limit: int = 100, after: int = 0) -> Page:
        """Recipients whose attributes are what `filters` say, in the order of ids."""
        with self._tables.connect() as connection:
            return self._records.find(connection, filters, limit=limit, after=after)

    def update(self, id: int, body: Mapping[str, Any]) -> Json:
        """Change the attributes that `body` names; what differs in nothing is not written."""
        with self._tables.begin() as connection:
            self._records.update(connection, id, body, self._clock.now_ms())
            return self._records.get(connection, id)

    def delete(self, id: int) -> None:
        """Remove a recipient with what belongs to it; logs stay without their link."""
        with self._tables.begin() as connection:
            self._records.delete(connection, id)

    def history(self, id: int, *, limit: int = 100) -> Json:
        """What a recipient was sent, did and was left out of, and why."""
        with self._tables.connect() as connection:
            self._records.get(connection, id)
            return self._history.of(connection, id, limit=limit)

    def opt_out(
        self,
        connection: sa.Connection,
        recipient_ids: Iterable[int],
        channel: OptOutChannel,
        *,
        origin: str,
        now_ms: int,
    ) -> int:
        """Close a channel (``all``: every one) to recipients; answers for how many it was open."""
        table, closed = self._schemas.table(RECIPIENT), 0
        flag, wanted = table.c[FLAGS[channel]], sorted(set(recipient_ids))
        noted = self._last_note(connection)
        for start in range(0, len(wanted), _PART):
            at = table.c.id.in_(wanted[start : start + _PART]) & flag.is_(sa.false())
            change = sa.update(table).where(at).values({flag: True, table.c.lastModified: now_ms})
            closed += connection.execute(change).rowcount
        if closed:
            new = OPT_OUT_CHANGES.c.id > noted
            connection.execute(sa.update(OPT_OUT_CHANGES).where(new).values(origin=origin[:100]))
        return closed

    def _last_note(self, connection: sa.Connection) -> int:
        last = sa.select(sa.func.max(OPT_OUT_CHANGES.c.id))
        return int(connection.execute(last).scalar() or 0)
