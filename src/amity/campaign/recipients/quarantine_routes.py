"""Which HTTP calls tell of addresses that failed, and repair what was no fault of theirs?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Query

from amity.campaign.recipients import values
from amity.campaign.recipients.addresses import Channel
from amity.campaign.recipients.errors import BadValue, UnknownAddress
from amity.campaign.recipients.http_shapes import (
    EDIT,
    VIEW,
    After,
    Json,
    JsonBody,
    Limit,
    convert,
    page_shown,
)
from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.records import Page, Records
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.clock import BusinessClock, from_iso
from amity.storage.ports import Tables

ADDRESS_CHARS_MAX = 254
"""RFC 5321."""


def add_quarantine_routes(routes: APIRouter, addresses: Addresses) -> None:
    """Addresses that failed or complained, and what an operator does about them."""

    @routes.get("/quarantine", dependencies=VIEW)
    def find(
        status: Annotated[str, Query()] = "",
        channel: Annotated[str, Query()] = "",
        domain: Annotated[str, Query()] = "",
        limit: Limit = 100,
        after: After = 0,
    ) -> Json:
        filters = {"status": status, "channel": channel, "domain": domain}
        asked = {name: value for name, value in filters.items() if value}
        return page_shown(addresses.find(asked, limit=limit, after=after), "addresses")

    @routes.get("/quarantine/{channel}/{address:path}", dependencies=VIEW)
    def get(channel: Channel, address: str) -> Json:
        return addresses.get(address, channel)

    @routes.post("/quarantine/release", dependencies=EDIT)
    def release(body: JsonBody) -> Json:
        return addresses.release(convert(body, _Address))

    @routes.post("/quarantine/denylist", dependencies=EDIT)
    def denylist(body: JsonBody) -> Json:
        return addresses.denylist(convert(body, _Address))

    @routes.post("/quarantine/undoOutage", dependencies=EDIT)
    def undo_outage(body: JsonBody) -> Json:
        return {"released": addresses.undo_outage(convert(body, _Outage))}


class _Address(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    address: str
    channel: Channel = "email"
    text: str = ""


class _Outage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    since: str
    until: str
    domain: str = ""
    channel: Channel = "email"


class Addresses:
    """The quarantine, a transaction a call."""

    def __init__(
        self,
        tables: Tables,
        schemas: CampaignSchemas,
        quarantine: Quarantine,
        clock: BusinessClock,
    ) -> None:
        self._tables = tables
        self._records = Records(schemas, "nms:address")
        self._quarantine = quarantine
        self._clock = clock

    def find(self, filters: Mapping[str, str], *, limit: int, after: int) -> Page:
        with self._tables.connect() as connection:
            return self._records.find(connection, filters, limit=limit, after=after)

    def get(self, address: str, channel: Channel) -> Json:
        with self._tables.connect() as connection:
            return self._shown(connection, address, channel)

    def release(self, asked: _Address) -> Json:
        with self._tables.begin() as connection:
            self._quarantine.release(
                connection,
                address=asked.address,
                channel=asked.channel,
                now_ms=self._clock.now_ms(),
            )
            return self._shown(connection, asked.address, asked.channel)

    def denylist(self, asked: _Address) -> Json:
        fault = values.text_fault(asked.address) or values.text_fault(asked.text, lines=True)
        if fault or not asked.address.strip() or len(asked.address) > ADDRESS_CHARS_MAX:
            why = fault or f"1 to {ADDRESS_CHARS_MAX} characters"
            raise BadValue(f"address: {why}", field="address")
        with self._tables.begin() as connection:
            self._quarantine.denylist(
                connection,
                address=asked.address,
                channel=asked.channel,
                text=asked.text,
                now_ms=self._clock.now_ms(),
            )
            return self._shown(connection, asked.address, asked.channel)

    def undo_outage(self, asked: _Outage) -> int:
        since, until = from_iso(asked.since), from_iso(asked.until)
        if since > until:
            raise BadValue("since lies after until: name the time of the outage", field="since")
        with self._tables.begin() as connection:
            return self._quarantine.undo_outage(
                connection,
                since_ms=since,
                until_ms=until,
                domain=asked.domain,
                channel=asked.channel,
                now_ms=self._clock.now_ms(),
            )

    def _shown(self, connection: sa.Connection, address: str, channel: Channel) -> Json:
        found = self._quarantine.find(connection, address=address, channel=channel)
        if found is None:
            raise UnknownAddress(f"nothing is known of {address[:254]!r}: it is valid")
        return found
