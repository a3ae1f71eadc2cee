"""What do hits become?

Rows of the tracking log, each hit once; and opt-outs, in the same transaction.
Behaviour: campaign.md §1.10.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from amity.campaign.recipients.builtin import TRACKING_LOG, TRACKING_URL, URL_TYPE
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.service import Recipients
from amity.campaign.tracking import store
from amity.campaign.tracking.logs import MessageLog, MessageLogs
from amity.campaign.tracking.model import HITS_TOPIC, Hit, hit_of
from amity.kernel.errors import Corrupt
from amity.storage.ports import LogRecord, Tables

_TYPE = {value.name: int(value.value) for value in URL_TYPE.values}
_PART = 500
Urls = Mapping[tuple[int, int], sa.Row[Any]]


class HitsSink:
    """Turns hits into rows; a record it has seen changes nothing.

    Args:
        tables: The campaign database.
        schemas: Its tables.
        recipients: Takes opt-outs.
    """

    name = "campaign-hits"
    consumes = (HITS_TOPIC,)

    def __init__(self, *, tables: Tables, schemas: CampaignSchemas, recipients: Recipients) -> None:
        store.install(tables)
        self._tables = tables
        self._schemas = schemas
        self._logs = MessageLogs(schemas, recipients)

    def handle(self, records: Sequence[LogRecord], now_ms: int) -> None:
        """Write them down; `Corrupt` for a record that is no hit."""
        for record in records:
            _hit(record)
        with self._tables.begin() as connection:
            fresh = store.unread(connection, self.name, records)
            self._take(connection, [_hit(record) for record in fresh], now_ms)
            store.note_read(connection, self.name, fresh)

    def _take(self, connection: sa.Connection, hits: Sequence[Hit], now_ms: int) -> None:
        logs = self._logs.find(connection, (hit.broadlog for hit in hits))
        ours = [
            hit
            for hit in hits
            if (log := logs.get(hit.broadlog)) is not None and log.delivery == hit.delivery
        ]
        self._write(connection, ours, logs, now_ms)
        self._logs.arrived(connection, (hit.broadlog for hit in ours), now_ms)
        for hit in ours:
            if hit.kind == "optOut":
                self._logs.opt_out(connection, logs[hit.broadlog], hit.how, now_ms)

    def _write(
        self,
        connection: sa.Connection,
        hits: Sequence[Hit],
        logs: Mapping[int, MessageLog],
        now_ms: int,
    ) -> None:
        table = self._schemas.table(TRACKING_LOG.id)
        urls = self._urls(connection, {hit.delivery for hit in hits})
        known = self._known(connection, [hit.id for hit in hits])
        new = {hit.id: hit for hit in hits if hit.id not in known}
        # When the row is written, however late: exports go on from it.
        rows = [_row(hit, logs[hit.broadlog], urls) | {"created": now_ms} for hit in new.values()]
        if rows:
            connection.execute(sa.insert(table), rows)

    def _urls(self, connection: sa.Connection, deliveries: Iterable[int]) -> Urls:
        table = self._schemas.table(TRACKING_URL.id)
        wanted = sa.select(table).where(table.c.delivery_id.in_(sorted(deliveries)))
        return {(row.delivery_id, row.number): row for row in connection.execute(wanted)}

    def _known(self, connection: sa.Connection, ids: Sequence[str]) -> set[str]:
        table, found = self._schemas.table(TRACKING_LOG.id), set[str]()
        for start in range(0, len(ids), _PART):
            part = sa.select(table.c.hit).where(table.c.hit.in_(ids[start : start + _PART]))
            found.update(connection.execute(part).scalars())
        return found


def _hit(record: LogRecord) -> Hit:
    try:
        return hit_of(record.body)
    except msgspec.DecodeError as error:
        raise Corrupt(f"no hit: {error}") from error


def _row(hit: Hit, log: MessageLog, urls: Urls) -> dict[str, Any]:
    url = urls.get((hit.delivery, hit.url))
    kind = _TYPE[hit.kind]
    if hit.kind == "click" and url is not None:
        kind = int(url.type)
    return {
        "hit": hit.id,
        "type": kind,
        "url": url.source if url is not None else "",
        "urlCategory": url.category if url is not None else "",
        "logDate": hit.at_ms,
        "userAgent": hit.user_agent,
        "ip": hit.ip,
        "machine": hit.machine,
        "broadLog_id": log.id,
        "delivery_id": log.delivery,
        "recipient_id": log.recipient or None,
        "trackingUrl_id": url.id if url is not None else None,
    }
