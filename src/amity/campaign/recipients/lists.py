"""Who is on a list?

Lists are named; a workflow's list update and the API write the same tables, ``nms:group`` and
``nms:rcpGrpRel``. Behaviour: campaign.md §1.1, §1.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from amity.campaign.recipients.errors import UnknownList
from amity.campaign.recipients.records import Json, Page, Records
from amity.campaign.recipients.schemas import CampaignSchemas

_PART = 500


class Lists:
    """Lists and their members, in a given transaction."""

    def __init__(self, schemas: CampaignSchemas) -> None:
        self._schemas = schemas
        self._records = Records(schemas, "nms:group")

    def create(self, connection: sa.Connection, body: Json, now_ms: int) -> int:
        """A new list; answers its id. Raises `KeyTaken` where the name is taken."""
        return self._records.insert(connection, body, now_ms)

    def ensure(self, connection: sa.Connection, name: str, now_ms: int) -> int:
        """The id of a list, created if it is missing."""
        found = self._id(connection, name)
        if found is None:
            return self.create(connection, {"name": name, "label": name}, now_ms)
        return found

    def id(self, connection: sa.Connection, name: str) -> int:
        """The id of a list that is there."""
        found = self._id(connection, name)
        if found is None:
            raise UnknownList(f"there is no list {name[:100]!r}; POST /campaign/lists makes one")
        return found

    def all(self, connection: sa.Connection) -> list[Json]:
        """Every list with how many are on it, by name."""
        group, member = self._schemas.table("nms:group"), self._member
        count = (
            sa.select(sa.func.count())
            .where(member.c.group_id == group.c.id)
            .scalar_subquery()
            .label("count")
        )
        rows = connection.execute(sa.select(group, count).order_by(group.c.name))
        return [_shown(row) for row in rows.mappings()]

    def get(self, connection: sa.Connection, id: int) -> Json:
        """One list with how many are on it."""
        return next(one for one in self.all(connection) if one["id"] == id)

    def members(self, connection: sa.Connection, id: int, *, limit: int, after: int = 0) -> Page:
        """The recipients on a list, in the order of ids."""
        member, recipients = self._member, Records(self._schemas, "nms:recipient")
        on = recipients.table.c.id.in_(
            sa.select(member.c.recipient_id).where(member.c.group_id == id)
        )
        return recipients.find(connection, {}, limit=limit, after=after, where=[on])

    def add(
        self, connection: sa.Connection, id: int, recipients: Iterable[int], now_ms: int
    ) -> int:
        """Put recipients on a list; answers how many were not on it. Unknown ids are left out."""
        member, recipient, added = self._member, self._schemas.table("nms:recipient"), 0
        on = sa.select(member.c.recipient_id).where(
            member.c.group_id == id, member.c.recipient_id == recipient.c.id
        )
        names = [member.c.group_id, member.c.recipient_id, member.c.created]
        for part in _parts(recipients):
            chosen = sa.select(sa.literal(id), recipient.c.id, sa.literal(now_ms)).where(
                recipient.c.id.in_(part), ~on.exists()
            )
            put = sa.insert(member).from_select(names, chosen)
            added += connection.execute(put).rowcount
        return added

    def remove(self, connection: sa.Connection, id: int, recipients: Iterable[int]) -> int:
        """Take recipients off a list, they themselves stay; answers how many were on it."""
        member, removed = self._member, 0
        for part in _parts(recipients):
            at = (member.c.group_id == id) & member.c.recipient_id.in_(part)
            removed += connection.execute(sa.delete(member).where(at)).rowcount
        return removed

    def delete(self, connection: sa.Connection, id: int) -> None:
        """Forget a list; who was on it stays."""
        self._records.delete(connection, id)

    @property
    def _member(self) -> sa.Table:
        return self._schemas.table("nms:rcpGrpRel")

    def _id(self, connection: sa.Connection, name: str) -> int | None:
        group = self._schemas.table("nms:group")
        found = connection.execute(sa.select(group.c.id).where(group.c.name == name)).scalar()
        return None if found is None else int(found)


def _shown(row: Any) -> Json:
    return {"id": row["id"], "name": row["name"], "label": row["label"], "count": row["count"]}


def _parts(ids: Iterable[int]) -> Iterable[list[int]]:
    wanted = sorted(set(ids))
    for start in range(0, len(wanted), _PART):
        yield wanted[start : start + _PART]
