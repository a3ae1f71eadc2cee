"""What came back, as people ask for it?

Lists of logs and returned mails, by the names of enumerations; what an operator says of a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from amity.campaign.delivery.qualification import Qualifier
from amity.campaign.recipients.builtin import (
    BROAD_LOG,
    BROAD_LOG_MSG,
    FAILURE_REASON,
    FAILURE_TYPE,
    LOG_STATUS,
    TRACKING_LOG,
    URL_TYPE,
)
from amity.campaign.recipients.enumerations import name_of, number_of
from amity.campaign.recipients.model import Enumeration
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.tracking.errors import BadOverrule, UnknownReturn, UnknownText
from amity.campaign.tracking.returns_sink import SOURCE
from amity.campaign.tracking.store import RETURN, install
from amity.flow.failures import Failures, Where
from amity.kernel.clock import BusinessClock, to_iso
from amity.kernel.scope import Scope
from amity.storage.ports import Tables

Json = dict[str, Any]
_LINKS = {
    "delivery_id": "deliveryId",
    "recipient_id": "recipientId",
    "broadLog_id": "broadLogId",
    "trackingUrl_id": "trackingUrlId",
}
_COLUMNS = {shown: column for column, shown in _LINKS.items()}
_TIMES = frozenset({"created", "lastModified", "eventDate", "retryAt", "logDate", "date"})
_INNER = frozenset({"claim", "data"})
_MARKS = next(one for one in BROAD_LOG_MSG.enumerations if one.name == "status")
_FAILURE = {"failureType": FAILURE_TYPE, "failureReason": FAILURE_REASON}
_OVERRULED: Mapping[str, Enumeration] = {"status": _MARKS, **_FAILURE}


class Paging(NamedTuple):
    """From the `start`-th on, up to `limit`."""

    start: int
    limit: int


class TrackingReports:
    """Reads what came back.

    Args:
        tables: The campaign database.
        schemas: Its tables.
        qualifier: Takes an operator's word on a text.
        failures: Knows refused mails.
        scope: Whose they are.
        clock: Stamps changes.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        schemas: CampaignSchemas,
        qualifier: Qualifier,
        failures: Failures,
        scope: Scope,
        clock: BusinessClock,
    ) -> None:
        install(tables)
        self._tables = tables
        self._schemas = schemas
        self._qualifier = qualifier
        self._failures = failures
        self._scope = scope
        self._clock = clock

    def tracking_logs(self, wanted: Mapping[str, Any], paging: Paging) -> Json:
        """Rows of the tracking log, newest first."""
        table = self._schemas.table(TRACKING_LOG.id)
        where = _where(table, wanted, {"type": URL_TYPE})
        return self._page(
            sa.select(table).where(*where).order_by(table.c.id.desc()), paging, {"type": URL_TYPE}
        )

    def broad_logs(self, wanted: Mapping[str, Any], paging: Paging) -> Json:
        """Rows of the delivery log, newest first."""
        table = self._schemas.table(BROAD_LOG.id)
        where = _where(table, wanted, {"status": LOG_STATUS})
        return self._page(
            sa.select(table).where(*where).order_by(table.c.id.desc()),
            paging,
            {"status": LOG_STATUS, **_FAILURE},
        )

    def returned(self, delivery: int, kind: str, paging: Paging) -> Json:
        """Returned mails, newest first, and how many of each kind there are."""
        of = [RETURN.c.deliveryId == delivery] if delivery else []
        where = [*of, RETURN.c.kind == kind] if kind else of
        counted = sa.select(RETURN.c.kind, sa.func.count()).where(*of).group_by(RETURN.c.kind)
        with self._tables.connect() as connection:
            counts = {row[0]: row[1] for row in connection.execute(counted)}
        page = self._page(
            sa.select(RETURN).where(*where).order_by(RETURN.c.date.desc(), RETURN.c.id), paging, {}
        )
        return page | {"counts": counts}

    def refused(self, paging: Paging) -> Json:
        """Returned mails of which nothing was made, newest first."""
        found = self._failures.find(
            self._scope,
            where=Where(source=SOURCE, newest_first=True),
            limit=paging.limit + 1,
            start=paging.start,
        )
        items = [
            {
                "id": one.id,
                "received": to_iso(one.received_ms),
                "where": one.where,
                "code": one.code,
                "reason": one.reason,
                "bytes": len(one.raw),
            }
            for one in found
        ]
        return _paged(items, paging)

    def raw(self, id: str) -> bytes:
        """A refused mail as it came; `UnknownReturn` when there is none."""
        filed = self._failures.get(self._scope, id)
        if filed is None or filed.record.source != SOURCE:
            raise UnknownReturn(f"no returned mail {id[:64]!r} was refused")
        return filed.record.raw

    def qualifications(self, status: str, paging: Paging) -> Json:
        """Texts of servers, the most frequent first."""
        table = self._schemas.table(BROAD_LOG_MSG.id)
        where = [table.c.status == number_of(_MARKS, status)] if status else []
        query = sa.select(table).where(*where).order_by(table.c.count.desc(), table.c.id)
        return self._page(query, paging, _OVERRULED)

    def overrule(self, id: int, body: Mapping[str, Any]) -> Json:
        """An operator's word on a text; answers the text as it now stands."""
        if not body or not set(body) <= set(_OVERRULED):
            raise BadOverrule(f"say one or more of {', '.join(_OVERRULED)}, by the name of a value")
        changes = {name: number_of(_OVERRULED[name], str(value)) for name, value in body.items()}
        table = self._schemas.table(BROAD_LOG_MSG.id)
        with self._tables.begin() as connection:
            if not self._qualifier.overrule(
                connection, id, changes=changes, now_ms=self._clock.now_ms()
            ):
                raise UnknownText(f"there is no qualification {id}")
            row = connection.execute(sa.select(table).where(table.c.id == id)).mappings().one()
            return _shown(dict(zip(table.c.keys(), row.values(), strict=True)), _OVERRULED)

    def _page(
        self, query: sa.Select[Any], paging: Paging, names: Mapping[str, Enumeration]
    ) -> Json:
        keys = query.selected_columns.keys()
        with self._tables.connect() as connection:
            rows = connection.execute(query.limit(paging.limit + 1).offset(paging.start)).all()
        items = [_shown(dict(zip(keys, row, strict=True)), names) for row in rows]
        return _paged(items, paging)


def _where(
    table: sa.Table, wanted: Mapping[str, Any], names: Mapping[str, Enumeration]
) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    for name, value in wanted.items():
        if not value:
            continue
        if name in names:
            conditions.append(table.c[name] == number_of(names[name], str(value)))
        else:
            conditions.append(table.c[_COLUMNS[name]] == value)
    return conditions


def _shown(row: Json, names: Mapping[str, Enumeration]) -> Json:
    shown: Json = {}
    for key, value in row.items():
        if key in _INNER:
            continue
        if key in names:
            value = name_of(names[key], value)  # noqa: PLW2901 - shown by name
        elif key in _TIMES:
            value = to_iso(value) if value else None  # noqa: PLW2901 - shown as text
        shown[_LINKS.get(key, key)] = value
    return shown


def _paged(items: list[Json], paging: Paging) -> Json:
    page: Json = {"start": paging.start, "limit": paging.limit}
    if len(items) > paging.limit:
        page["next"] = paging.start + paging.limit
    return {"items": items[: paging.limit], "_page": page}
