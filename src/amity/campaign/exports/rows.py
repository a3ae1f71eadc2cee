"""Which rows belong into a log file, and how is a row written?

Each kind has a statement over the campaign database and a function that turns its rows into the
cells of the file. Behaviour: campaign.md §1.10, §2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa

from amity.campaign.recipients.builtin import (
    ADDRESS_STATUS,
    CHANNEL,
    EMAIL_FORMAT,
    FAILURE_REASON,
    FAILURE_TYPE,
    LOG_STATUS,
    URL_TYPE,
)
from amity.campaign.recipients.model import Enumeration
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.exchange.log_file import LogKind
from amity.kernel.clock import to_iso

PAGE_ROWS = 1_000
"""Rows read and written at a time. Ours."""

Cells = tuple[str | None, ...]
Cell = Callable[[Any], str | None]


class Window(NamedTuple):
    """Rows changed at or after `since_ms`, up to and with `until_ms`; from 0 on: all of them."""

    since_ms: int
    until_ms: int

    def holds(self, changed: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """Whether a row's time of change lies in it; a row without one belongs to the first."""
        if self.since_ms <= 0:
            return sa.or_(changed <= self.until_ms, changed.is_(None))
        return sa.and_(changed >= self.since_ms, changed <= self.until_ms)


class LogRows:
    """Reads the rows of an export."""

    def __init__(self, schemas: CampaignSchemas) -> None:
        self._schemas = schemas

    def pages(
        self, connection: sa.Connection, kind: LogKind, window: Window
    ) -> Iterator[list[Cells]]:
        """The file's rows, page by page, in order of id."""
        make = {
            "broadLog": self._broad_log,
            "trackingLog": self._tracking_log,
            "nonDeliverable": self._non_deliverable,
        }.get(kind)
        if make is None:
            yield from self._preferences(connection, window)
            return
        statement, cells = make(window)
        for page in _pages(connection, statement):
            yield [_cells(row, cells) for row in page]

    def _broad_log(self, window: Window) -> tuple[sa.Select[Any], Sequence[Cell]]:
        log = self._schemas.table("nms:broadLogRcp").c
        statement = (
            self._select(log, log.id, (log.id,))
            .add_columns(
                log.address, log.channel, log.status, log.failureType, log.failureReason,
                log.failureText, log.segmentCode, log.seed, log.proof, log.control, log.eventDate,
                log.lastModified,
            )
            .where(window.holds(log.lastModified))
        )  # fmt: skip
        names = [_named(one) for one in (CHANNEL, LOG_STATUS, FAILURE_TYPE, FAILURE_REASON)]
        cells = [_text, *_DELIVERY_CELLS, *_WHOSE_CELLS, _text, *names, _text, _text]
        return statement, [*cells, _truth, _truth, _truth, _time, _time]

    def _tracking_log(self, window: Window) -> tuple[sa.Select[Any], Sequence[Cell]]:
        """Hits by when they were written down: a click waits in the log while no worker runs."""
        log = self._schemas.table("nms:trackingLogRcp").c
        broad = self._schemas.table("nms:broadLogRcp")
        statement = (
            self._select(log, log.id, (log.id, log.hit, log.broadLog_id))
            .add_columns(
                broad.c.channel, log.type, log.url, log.urlCategory, log.machine, log.userAgent,
                log.logDate,
            )
            .outerjoin(broad, broad.c.id == log.broadLog_id)
            .where(
                sa.or_(
                    window.holds(log.created),
                    sa.and_(log.created.is_(None), window.holds(log.logDate)),
                )
            )
        )  # fmt: skip
        cells = [_text, _text, _text, *_DELIVERY_CELLS, *_WHOSE_CELLS, _named(CHANNEL)]
        return statement, [*cells, _named(URL_TYPE), _text, _text, _truth, _text, _time]

    def _non_deliverable(self, window: Window) -> tuple[sa.Select[Any], Sequence[Cell]]:
        address = self._schemas.table("nms:address").c
        statement = (
            sa.select(
                address.id, address.address, address.channel, address.status,
                address.failureReason, address.failureText, address.errorCount,
                address.firstError, address.lastError, address.deliveryId, address.domain,
                address.lastModified,
            )
            .where(window.holds(address.lastModified))
            .order_by(address.id)
        )  # fmt: skip
        names = [_named(one) for one in (CHANNEL, ADDRESS_STATUS, FAILURE_REASON)]
        return statement, [_text, _text, *names, _text, _text, _time, _time, _id, _text, _time]

    def _select(
        self, log: Any, id: sa.ColumnElement[Any], first: Sequence[sa.ColumnElement[Any]]
    ) -> sa.Select[Any]:
        """What every row of a message says: of which delivery it is, and to whom it went."""
        delivery = self._schemas.table("nms:delivery")
        recipient = self._schemas.table("nms:recipient")
        return (
            sa.select(
                *first, delivery.c.id, delivery.c.internalName, delivery.c.label,
                delivery.c.campaignName, delivery.c.serviceId, recipient.c.id,
                recipient.c.externalId, recipient.c.email,
            )
            .select_from(id.table)
            .outerjoin(delivery, delivery.c.id == log.delivery_id)
            .outerjoin(recipient, recipient.c.id == log.recipient_id)
            .order_by(id)
        )  # fmt: skip

    def _preferences(self, connection: sa.Connection, window: Window) -> Iterator[list[Cells]]:
        person = self._schemas.table("nms:recipient").c
        history = self._schemas.table("nms:subHisto").c
        subscribed = sa.exists().where(
            history.recipient_id == person.id, window.holds(history.date)
        )
        statement = (
            sa.select(
                person.id, person.externalId, person.email, person.blackList,
                person.blackListEmail, person.blackListMobile, person.blackListPhone,
                person.blackListPostalMail, person.blackListPushnotification, person.emailFormat,
                person.language, person.timeZone, person.lastModified,
            )
            .where(sa.or_(window.holds(person.lastModified), subscribed))
            .order_by(person.id)
        )  # fmt: skip
        flags = [_truth] * 6
        cells = [*_WHOSE_CELLS, *flags, _named(EMAIL_FORMAT), _text, _text, _time]
        for page in _pages(connection, statement):
            found = self._subscriptions(connection, [row[0] for row in page], window.until_ms)
            yield [_with_subscriptions(_cells(row, cells), found.get(row[0])) for row in page]

    def _subscriptions(
        self, connection: sa.Connection, people: Sequence[int], until_ms: int
    ) -> dict[int, _Subscriptions]:
        """What each has last said of each service, and when they last said anything."""
        history = self._schemas.table("nms:subHisto")
        service = self._schemas.table("nms:service")
        statement = (
            sa.select(history.c.recipient_id, service.c.name, history.c.action, history.c.date)
            .join(service, service.c.id == history.c.service_id)
            .where(history.c.recipient_id.in_(people), history.c.date <= until_ms)
            .order_by(history.c.id)
        )
        found: dict[int, _Subscriptions] = {}
        for person, name, action, at_ms in connection.execute(statement):
            known = found.setdefault(person, _Subscriptions({}, 0))
            known.services[name] = "y" if action else "n"
            found[person] = known._replace(last_ms=max(known.last_ms, at_ms or 0))
        return found


class _Subscriptions(NamedTuple):
    services: dict[str, str]
    last_ms: int


def _pages(connection: sa.Connection, statement: sa.Select[Any]) -> Iterator[Sequence[sa.Row[Any]]]:
    result = connection.execution_options(yield_per=PAGE_ROWS).execute(statement)
    yield from result.partitions(PAGE_ROWS)


def _cells(row: Sequence[Any], cells: Sequence[Cell]) -> Cells:
    return tuple(make(value) for make, value in zip(cells, row, strict=True))


def _with_subscriptions(cells: Cells, found: _Subscriptions | None) -> Cells:
    """Subscriptions before the last column, which is when anything was last said."""
    *most, modified = cells
    if found is None:
        return (*most, None, modified)
    last = max(modified or "", to_iso(found.last_ms))
    return (*most, orjson.dumps(found.services, option=orjson.OPT_SORT_KEYS).decode(), last)


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _id(value: Any) -> str | None:
    """A number that means nothing when it is 0."""
    return str(value) if value else None


def _truth(value: Any) -> str:
    return "true" if value else "false"


def _time(value: Any) -> str | None:
    return to_iso(value) if value else None


def _named(enumeration: Enumeration) -> Cell:
    names: Mapping[Any, str] = {one.value: one.name for one in enumeration.values}

    def name(value: Any) -> str | None:
        return None if value is None else names.get(value, str(value))

    return name


_DELIVERY_CELLS: Sequence[Cell] = (_id, _text, _text, _text, _id)
_WHOSE_CELLS: Sequence[Cell] = (_id, _text, _text)
