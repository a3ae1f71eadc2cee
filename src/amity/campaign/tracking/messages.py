"""Where does a link of a message lead, and what was the message?

Reads only. The address a click leads to is one of the content's own, by its number; the link holds
none, so nobody can make one that leads elsewhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

import re2
import sqlalchemy as sa

from amity.campaign.delivery.links import Link
from amity.campaign.recipients.builtin import BROAD_LOG, DELIVERY, SERVICE, TRACKING_URL
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.tracking.errors import NotOurs
from amity.storage.ports import Tables

_CONTROL = re2.compile(r"[\x00-\x20\x7f\\]")
_AS_IS = ":/%#?=@[]!$&'()*+,;"
_FIXED_HOST = re2.compile(r"(?i)^https?://[^/?#{}@\\\s]+")


class Personalises(Protocol):
    """Fills in the address of a link for one message."""

    def url(self, broadlog_id: int, source: str) -> str:
        """`source` with the recipient's and the target's values in it."""


class About(NamedTuple):
    """A message, for the person who got it: the address is masked.

    `service` is what unsubscribing ends; "" where it ends all e-mail.
    """

    address: str
    delivery: str
    service: str


class Messages:
    """Finds what links lead to.

    Args:
        tables: The campaign database.
        schemas: Its tables.
        personalise: Fills in addresses that hold values of the recipient.
    """

    def __init__(self, tables: Tables, schemas: CampaignSchemas, personalise: Personalises) -> None:
        self._tables = tables
        self._schemas = schemas
        self._personalise = personalise

    def target(self, link: Link) -> str:
        """The address of the content that a link of kind ``r`` leads to; `NotOurs` without one."""
        urls = self._schemas.table(TRACKING_URL.id)
        wanted = sa.select(urls.c.source).where(
            urls.c.delivery_id == link.delivery, urls.c.number == link.url
        )
        with self._tables.connect() as connection:
            source = connection.execute(wanted).scalar()
        if not source:
            raise NotOurs
        fixed = _FIXED_HOST.match(source)
        if fixed is None:
            raise NotOurs
        target = self._personalise.url(link.broadlog, source) if "{" in source else str(source)
        return checked(target, fixed.group(0))

    def about(self, link: Link) -> About:
        """The message a link is from; `NotOurs` when it is gone."""
        row = self._row(link)
        return About(masked(row.address or ""), row.delivery or "", row.service or "")

    def _row(self, link: Link) -> Any:
        logs, deliveries, services = (
            self._schemas.table(schema.id) for schema in (BROAD_LOG, DELIVERY, SERVICE)
        )
        person = logs.c.recipient_id
        taken = [
            sa.exists().where(one.c.service_id == services.c.id, one.c.recipient_id == person)
            for one in map(self._schemas.table, ("nms:subscription", "nms:subHisto"))
        ]
        joined = logs.join(deliveries, deliveries.c.id == logs.c.delivery_id).outerjoin(
            services, sa.and_(services.c.id == deliveries.c.serviceId, sa.or_(*taken))
        )
        wanted = (
            sa.select(
                logs.c.address,
                deliveries.c.label.label("delivery"),
                services.c.label.label("service"),
            )
            .select_from(joined)
            .where(logs.c.id == link.broadlog, logs.c.delivery_id == link.delivery)
        )
        with self._tables.connect() as connection:
            row = connection.execute(wanted).first()
        if row is None:
            raise NotOurs
        return row


def checked(target: str, host: str) -> str:
    """An address to send a browser to: on the host the content names, whatever was filled in.

    >>> checked("https://shop.example/a?b=c", "https://shop.example")
    'https://shop.example/a?b=c'
    """
    wanted = urlsplit(host)
    try:
        found = urlsplit(target)
        same = (found.scheme.lower(), found.netloc.lower()) == (
            wanted.scheme.lower(),
            wanted.netloc.lower(),
        )
    except ValueError:
        same = False
    if not same or _CONTROL.search(target):
        raise NotOurs
    return quote(target, safe=_AS_IS)


def masked(address: str) -> str:
    """An address that its owner knows again and nobody else learns.

    >>> masked("ann@example.org")
    'a••@example.org'
    """
    local, at, domain = address.rpartition("@")
    return f"{local[:1]}{'•' * min(len(local) - 1, 6)}@{domain}" if at and local else "…"
