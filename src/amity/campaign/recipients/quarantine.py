"""May this address be written to, after all that came back from it?

Hard failures quarantine at once, soft ones are counted, at most one a day; the sixth quarantines.
An error after ten quiet days begins a new count, a full mailbox is tried again after thirty.
Behaviour: campaign.md §1.9; the choices: docs/adr/0012-campaign-database.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import sqlalchemy as sa

from amity.campaign.recipients.addresses import Channel, normalised
from amity.campaign.recipients.builtin import (
    ADDRESS_STATUS,
    CHANNEL,
    FAILURE_REASON,
    FAILURE_TYPE,
)
from amity.campaign.recipients.enumerations import name_of, number_of
from amity.campaign.recipients.errors import UnknownAddress
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.values import row_shown
from amity.kernel.clock import DAY_MS

Status = Literal["errors", "valid", "quarantine", "denylisted"]

SOFT_ERRORS_MAX = 5
"""Significant soft errors that are borne; the next one quarantines. Behaviour: campaign.md §1.9."""

SPACING_MS_MIN = DAY_MS
"""Two errors count as two from this distance on. Behaviour: campaign.md §1.9."""

RESET_MS = 10 * DAY_MS
"""Without a significant error for longer, the count begins anew. Behaviour: campaign.md §1.9."""

MAILBOX_FULL_MS = 30 * DAY_MS
"""A mailbox found full is tried again after this. Behaviour: campaign.md §1.9."""

TEXT_CHARS_MAX = 4_000
"""What is kept of an answer that says why. Ours."""

DENYLISTED = number_of(FAILURE_REASON, "denylisted")
REFUSED = number_of(FAILURE_REASON, "refused")

_FULL = number_of(FAILURE_REASON, "mailboxFull")
_SOFT = number_of(FAILURE_TYPE, "soft")
_HARD = number_of(FAILURE_TYPE, "hard")
_LOOKUP_ADDRESSES = 500
_STATUS = {one.name: int(one.value) for one in ADDRESS_STATUS.values}


class Quarantine:
    """What is known of addresses: table ``nms:address``. Every change is made in a given transaction."""

    def __init__(self, schemas: CampaignSchemas) -> None:
        self._schemas = schemas

    @staticmethod
    def normalised(address: str, channel: Channel = "email") -> str:
        """The key of an address, see `normalised`."""
        return normalised(address, channel)

    def record(  # noqa: PLR0913 - a failure is as many facts
        self,
        connection: sa.Connection,
        *,
        address: str,
        failure_type: int,
        failure_reason: int,
        now_ms: int,
        at_ms: int | None = None,
        channel: Channel = "email",
        text: str = "",
        delivery_id: int = 0,
    ) -> Status:
        """Take a failure of `at_ms` (now, if not told) down; answers what the address is now.

        Types and reasons are the documented numbers. A failure of
        type ignored or none says nothing about the address.
        """
        wanted = normalised(address, channel)
        row = self._row(connection, wanted, channel)
        before: Status = _status(row)
        if failure_type not in {_SOFT, _HARD} or not wanted or before == "denylisted":
            return before
        failed_ms = now_ms if at_ms is None else at_ms
        told = {
            "failureReason": failure_reason,
            "failureText": text[:TEXT_CHARS_MAX],
            "deliveryId": delivery_id,
            # When the row was written: exports go on from it, however late the news came.
            "lastModified": now_ms,
        }
        if failure_type == _HARD:
            status: Status = "denylisted" if failure_reason == DENYLISTED else "quarantine"
            told |= _begun(row, failed_ms) | {"lastError": failed_ms}
        elif before == "quarantine":
            return before
        else:
            counted = _counted(row, failed_ms)
            told |= counted
            count = counted.get("errorCount", row.errorCount if row else 0)
            status = "quarantine" if count > SOFT_ERRORS_MAX else "errors"
        self._put(connection, wanted, channel, told | {"status": _STATUS[status]})
        return status

    def success(
        self,
        connection: sa.Connection,
        *,
        addresses: Iterable[str],
        now_ms: int,
        channel: Channel = "email",
    ) -> None:
        """A message got through: an address with errors is valid again. Nothing lifts a quarantine."""
        table = self._table
        for part in _parts(addresses, channel):
            at = self._at(part, channel) & (table.c.status == _STATUS["errors"])
            connection.execute(sa.update(table).where(at).values(_valid(now_ms)))

    def denylist(
        self,
        connection: sa.Connection,
        *,
        address: str,
        now_ms: int,
        at_ms: int | None = None,
        channel: Channel = "email",
        text: str = "",
        delivery_id: int = 0,
    ) -> None:
        """The address complained at `at_ms`: it is never written to again, whoever has it."""
        wanted = normalised(address, channel)
        row = self._row(connection, wanted, channel)
        if not wanted or _status(row) == "denylisted":
            return
        told = {
            "status": _STATUS["denylisted"],
            "failureReason": REFUSED,
            "failureText": text[:TEXT_CHARS_MAX],
            "deliveryId": delivery_id,
            "lastModified": now_ms,
        }
        failed_ms = now_ms if at_ms is None else at_ms
        told |= _begun(row, failed_ms) | {"lastError": failed_ms}
        self._put(connection, wanted, channel, told)

    def status(self, connection: sa.Connection, address: str, channel: Channel = "email") -> Status:
        """What one address is; `valid` where nothing is known of it."""
        return _status(self._row(connection, normalised(address, channel), channel))

    def statuses(
        self, connection: sa.Connection, addresses: Iterable[str], channel: Channel = "email"
    ) -> dict[str, Status]:
        """Normalised address → what it is, for those something is known of."""
        table, found = self._table, dict[str, Status]()
        for part in _parts(addresses, channel):
            rows = connection.execute(
                sa.select(table.c.address, table.c.status).where(self._at(part, channel))
            )
            found |= {row.address: _named(row.status) for row in rows}
        return found

    def find(
        self, connection: sa.Connection, *, address: str, channel: Channel = "email"
    ) -> dict[str, Any] | None:
        """What is known of an address, as answers tell of it."""
        at = sa.select(self._table).where(self._at([normalised(address, channel)], channel))
        row = connection.execute(at).mappings().one_or_none()
        return None if row is None else row_shown(self._schemas.schema("nms:address"), row)

    def release(
        self, connection: sa.Connection, *, address: str, now_ms: int, channel: Channel = "email"
    ) -> None:
        """An operator knows better: the address is valid."""
        wanted = normalised(address, channel)
        table = self._table
        done = connection.execute(
            sa.update(table).where(self._at([wanted], channel)).values(_valid(now_ms))
        )
        if not done.rowcount:
            raise UnknownAddress(f"nothing is known of {wanted[:254]!r}: it is valid as it is")

    def undo_outage(
        self,
        connection: sa.Connection,
        *,
        since_ms: int,
        until_ms: int,
        now_ms: int,
        domain: str = "",
        channel: Channel = "email",
    ) -> int:
        """A provider failed, not its addresses: make valid what it broke; answers how many.

        Takes those in quarantine or with errors whose last counted error lies in the time (both ends
        included), of one domain or of all. Complaints stay.
        """
        table = self._table
        at = sa.and_(
            table.c.channel == number_of(CHANNEL, channel),
            table.c.status.in_([_STATUS["quarantine"], _STATUS["errors"]]),
            table.c.lastError.between(since_ms, until_ms),
        )
        if domain:
            at &= table.c.domain == normalised(domain)
        return connection.execute(sa.update(table).where(at).values(_valid(now_ms))).rowcount

    def clean(self, connection: sa.Connection, *, now_ms: int) -> int:
        """Make valid what time has healed; answers how many."""
        table = self._table
        return connection.execute(
            sa.update(table).where(self._healed(now_ms)).values(_valid(now_ms))
        ).rowcount

    def next_clean(self, connection: sa.Connection) -> int | None:
        """When `clean` will next find something."""
        columns = self._table.c
        errors = sa.select(sa.func.min(columns.lastError)).where(
            columns.status == _STATUS["errors"]
        )
        full = sa.select(sa.func.min(columns.lastError)).where(
            columns.status == _STATUS["quarantine"], columns.failureReason == _FULL
        )
        found = (
            (connection.execute(errors).scalar(), RESET_MS + 1),
            (connection.execute(full).scalar(), MAILBOX_FULL_MS),
        )
        return min((at + after for at, after in found if at is not None), default=None)

    def _healed(self, now_ms: int) -> sa.ColumnElement[bool]:
        columns = self._table.c
        return sa.or_(
            sa.and_(
                columns.status == _STATUS["errors"],
                columns.lastError < now_ms - RESET_MS,
            ),
            sa.and_(
                columns.status == _STATUS["quarantine"],
                columns.failureReason == _FULL,
                columns.lastError <= now_ms - MAILBOX_FULL_MS,
            ),
        )

    @property
    def _table(self) -> sa.Table:
        return self._schemas.table("nms:address")

    def _at(self, wanted: list[str], channel: Channel) -> sa.ColumnElement[bool]:
        columns = self._table.c
        return sa.and_(columns.channel == number_of(CHANNEL, channel), columns.address.in_(wanted))

    def _row(self, connection: sa.Connection, wanted: str, channel: Channel) -> sa.Row[Any] | None:
        return connection.execute(
            sa.select(self._table).where(self._at([wanted], channel))
        ).one_or_none()

    def _put(
        self, connection: sa.Connection, wanted: str, channel: Channel, values: dict[str, Any]
    ) -> None:
        table = self._table
        done = connection.execute(
            sa.update(table).where(self._at([wanted], channel)).values(values)
        )
        if done.rowcount:
            return
        new = values | {
            "address": wanted,
            "channel": number_of(CHANNEL, channel),
            "domain": wanted.rpartition("@")[2] if channel == "email" else "",
            "created": values["lastModified"],
        }
        connection.execute(sa.insert(table).values(new))


def _status(row: sa.Row[Any] | None) -> Status:
    return "valid" if row is None else _named(row.status)


def _named(status: int) -> Status:
    name: Any = name_of(ADDRESS_STATUS, status)
    found: Status = name
    return found


def _valid(now_ms: int) -> dict[str, Any]:
    return {
        "status": _STATUS["valid"],
        "errorCount": 0,
        "failureReason": 0,
        "failureText": None,
        "lastModified": now_ms,
    }


def _begun(row: sa.Row[Any] | None, now_ms: int) -> dict[str, Any]:
    """A failure that needs no counting is the first one where the address was valid."""
    begins = row is None or row.errorCount == 0
    return {"errorCount": 1, "firstError": now_ms} if begins else {}


def _counted(row: sa.Row[Any] | None, now_ms: int) -> dict[str, Any]:
    """The counter after a soft error; nothing where it comes too soon to count."""
    if row is None or row.errorCount == 0 or now_ms - row.lastError > RESET_MS:
        return {"errorCount": 1, "firstError": now_ms, "lastError": now_ms}
    if now_ms - row.lastError >= SPACING_MS_MIN:
        return {"errorCount": row.errorCount + 1, "lastError": now_ms}
    return {}


def _parts(addresses: Iterable[str], channel: Channel) -> Iterable[list[str]]:
    """Normalised, each once, as many as a statement takes."""
    wanted = list(dict.fromkeys(normalised(one, channel) for one in addresses))
    for start in range(0, len(wanted), _LOOKUP_ADDRESSES):
        yield wanted[start : start + _LOOKUP_ADDRESSES]
