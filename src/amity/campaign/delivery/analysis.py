"""Who of a target gets a message, and why not the others?

In one transaction the target becomes delivery logs and exclusion logs, by statements over the whole
target. A recipient is left out for the first reason that fits, in this order: no address, opted out or
denylisted, in quarantine, an address no message can go to, a duplicate, the control group, the limit.
Behaviour: campaign.md §1.7, §1.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from amity.campaign.delivery import checks, model
from amity.campaign.delivery.contents import Contents
from amity.campaign.delivery.errors import NotTaken, WrongState
from amity.campaign.delivery.message import ADDRESS_CHARS_MAX
from amity.campaign.delivery.model import Excluded, Report, Targeting
from amity.campaign.delivery.persons import Persons
from amity.campaign.recipients import addresses
from amity.campaign.recipients.builtin import ADDRESS_STATUS, CHANNEL, FAILURE_REASON
from amity.campaign.recipients.enumerations import name_of, number_of
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.clock import to_iso

MODULUS: Final = 2_147_483_647
_FACTOR: Final = 48_271

_EMAIL = number_of(CHANNEL, "email")
_QUARANTINE = number_of(ADDRESS_STATUS, "quarantine")
_DENYLISTED = number_of(ADDRESS_STATUS, "denylisted")
_WHY = {
    model.NOT_SPECIFIED: "no recipient, or one without an address",
    model.DENYLISTED: "opted out, unsubscribed from the service, or on the denylist",
    model.QUARANTINED: "the address is in quarantine",
    model.BAD_QUALITY: "no message can go to an address of this form",
    model.DUPLICATE: "the address or the recipient is in the target already",
    model.CONTROL: "in the control group",
    model.LIMITED: "beyond the limit of the delivery",
}
_LETTERS = "a-zA-Z0-9!#$%&'*+/=?^_`{|}~.@"

TARGET = sa.Table(
    "dlvTarget",
    sa.MetaData(),
    sa.Column("n", sa.BigInteger, primary_key=True),
    sa.Column("recipient", sa.BigInteger),
    sa.Column("address", sa.String),
    sa.Column("reason", sa.Integer, nullable=False),
    sa.Column("data", sa.String),
    prefixes=["TEMPORARY"],
)
"""The target while it is analysed; gone with the transaction."""


class Target(NamedTuple):
    """Whom to write to: `source` has the columns ``n`` (each once), ``id`` (recipient) and `columns`."""

    source: sa.FromClause
    columns: tuple[str, ...] = ()


class Analyser:
    """Turns targets into messages to send.

    Args:
        schemas: The campaign's tables.
        contents: Compiled contents.
        persons: Knows what a template may say.
    """

    def __init__(self, schemas: CampaignSchemas, contents: Contents, persons: Persons) -> None:
        self._schemas = schemas
        self._contents = contents
        self._persons = persons

    def prepare(
        self,
        connection: sa.Connection,
        delivery_id: int,
        target: Target,
        *,
        targeting: Targeting,
        now_ms: int,
    ) -> Report:
        """Analyse; an earlier analysis that was not started is done anew.

        Raises `BadContent` where the content cannot be sent; then nothing is changed if the caller
        gives the transaction up.
        """
        delivery = self._contents.delivery(connection, delivery_id)
        _analysable(delivery)
        compiled = self._contents.compiled(delivery)
        found = checks.examined(
            compiled, delivery, persons=self._persons, columns=target.columns, now_ms=now_ms
        )
        self._forget(connection, delivery_id)
        TARGET.drop(connection, checkfirst=True)
        TARGET.create(connection, checkfirst=False)
        self._fill(connection, delivery, target)
        self._choose(connection, delivery_id, targeting)
        report = self._counted(connection, now_ms)
        self._write_logs(connection, delivery, now_ms)
        if targeting.seeds:
            seeds = self._write_seeds(connection, delivery_id, now_ms)
            report = msgspec.structs.replace(report, seeds=seeds)
        self._write_urls(connection, delivery_id, compiled.urls)
        TARGET.drop(connection)
        report = msgspec.structs.replace(report, checks=found)
        self._note(connection, delivery, report, now_ms)
        return report

    def _forget(self, connection: sa.Connection, delivery_id: int) -> None:
        for name in ("nms:broadLogRcp", "nms:excludeLogRcp", "nms:trackingUrl"):
            table = self._schemas.table(name)
            connection.execute(sa.delete(table).where(table.c.delivery_id == delivery_id))

    def _fill(self, connection: sa.Connection, delivery: dict[str, Any], target: Target) -> None:
        people, known = self._schemas.table("nms:recipient"), self._schemas.table("nms:address")
        source = target.source
        address = addresses.key(people.c.email)
        joined = source.outerjoin(people, people.c.id == source.c.id).outerjoin(
            known, sa.and_(known.c.channel == _EMAIL, known.c.address == address)
        )
        reason = sa.case(
            (sa.func.coalesce(address, "") == "", model.NOT_SPECIFIED),
            (self._denied(people, known, delivery), model.DENYLISTED),
            (known.c.status == _QUARANTINE, model.QUARANTINED),
            (_unfit(address), model.BAD_QUALITY),
            else_=0,
        )
        data = [part for name in target.columns for part in (name, source.c[name])]
        chosen = sa.select(
            source.c.n,
            people.c.id,
            address,
            reason,
            sa.func.json_object(*data) if data else sa.null(),
        ).select_from(joined)
        columns = ("n", "recipient", "address", "reason", "data")
        connection.execute(sa.insert(TARGET).from_select(columns, chosen))

    def _denied(
        self, people: sa.Table, known: sa.Table, delivery: Mapping[str, Any]
    ) -> sa.ColumnElement[bool]:
        """Who asked for something gets it, opted out or not; a denylisted address gets nothing."""
        denied = [known.c.status == _DENYLISTED]
        if not delivery["transactional"]:
            denied += [people.c.blackList == sa.true(), people.c.blackListEmail == sa.true()]
            if delivery["serviceId"]:
                denied.append(unsubscribed(self._schemas, people.c.id, delivery["serviceId"]))
        return sa.or_(*denied)

    def _choose(self, connection: sa.Connection, seed: int, targeting: Targeting) -> None:
        """Leave out duplicates, the control group and what is beyond the limit, in this order."""
        alike: tuple[sa.Column[Any], ...] = (TARGET.c.address,)
        if targeting.keep_duplicates:
            alike = (TARGET.c.recipient, TARGET.c.address)
        first = sa.select(sa.func.min(TARGET.c.n)).where(TARGET.c.reason == 0).group_by(*alike)
        connection.execute(
            sa.update(TARGET)
            .where(TARGET.c.reason == 0, TARGET.c.n.not_in(first))
            .values(reason=model.DUPLICATE)
        )
        if targeting.control_percent:
            left = connection.execute(_left()).scalar_one()
            group = round(left * targeting.control_percent / 100)
            self._leave_out(connection, seed, group, model.CONTROL)
        if targeting.limit:
            left = connection.execute(_left()).scalar_one()
            self._leave_out(connection, seed, left - targeting.limit, model.LIMITED)

    def _leave_out(self, connection: sa.Connection, seed: int, count: int, reason: int) -> None:
        """Leave so many out, at random but the same ones whenever it is asked."""
        if count <= 0:
            return
        # A multiplicative hash: neighbours in the target are far from each other in this order.
        number = ((TARGET.c.n + 1) * _FACTOR % MODULUS * (seed * 2 + 1)) % MODULUS
        chosen = (
            sa.select(TARGET.c.n)
            .where(TARGET.c.reason == 0)
            .order_by(number, TARGET.c.n)
            .limit(count)
        )
        connection.execute(sa.update(TARGET).where(TARGET.c.n.in_(chosen)).values(reason=reason))

    def _counted(self, connection: sa.Connection, now_ms: int) -> Report:
        rows = connection.execute(
            sa.select(TARGET.c.reason, sa.func.count())
            .group_by(TARGET.c.reason)
            .order_by(TARGET.c.reason)
        ).all()
        counts = {int(reason): int(count) for reason, count in rows}
        return Report(
            analysed=to_iso(now_ms),
            target=sum(counts.values()),
            to_deliver=counts.get(0, 0),
            excluded=tuple(
                Excluded(reason=name_of(FAILURE_REASON, code), code=code, count=count)
                for code, count in counts.items()
                if code
            ),
        )

    def _write_logs(self, connection: sa.Connection, delivery: dict[str, Any], now_ms: int) -> None:
        logs, excluded = (
            self._schemas.table("nms:broadLogRcp"),
            self._schemas.table("nms:excludeLogRcp"),
        )
        number = sa.literal(delivery["id"])
        send = {
            logs.c.delivery_id: number,
            logs.c.recipient_id: TARGET.c.recipient,
            logs.c.address: TARGET.c.address,
            logs.c.data: TARGET.c.data,
            logs.c.channel: sa.literal(_EMAIL),
            logs.c.status: sa.literal(model.PENDING),
            logs.c.eventDate: sa.literal(now_ms),
            logs.c.lastModified: sa.literal(now_ms),
        }
        leave = {
            excluded.c.delivery_id: number,
            excluded.c.recipient_id: TARGET.c.recipient,
            excluded.c.address: TARGET.c.address,
            excluded.c.failureReason: TARGET.c.reason,
            excluded.c.reasonText: sa.case(_WHY, value=TARGET.c.reason),
            excluded.c.date: sa.literal(now_ms),
        }
        _insert(connection, logs, send, TARGET.c.reason == 0)
        # The same recipient may stand in the target several times; the log has one line of it.
        _insert(connection, excluded, leave, TARGET.c.reason != 0, prefix="OR IGNORE")

    def _write_seeds(self, connection: sa.Connection, delivery_id: int, now_ms: int) -> int:
        logs, seeds = self._schemas.table("nms:broadLogRcp"), self._schemas.table("nms:seedMember")
        wanted = sa.select(addresses.key(seeds.c.email)).distinct()
        sample = connection.execute(
            sa.select(TARGET.c.data).where(TARGET.c.reason == 0).order_by(TARGET.c.n).limit(1)
        ).scalar()
        rows = [
            {
                "delivery_id": delivery_id,
                "address": address,
                # What the target brought along for somebody: seeds have nothing of their own.
                "data": sample,
                "channel": _EMAIL,
                "status": model.PENDING,
                "seed": True,
                "eventDate": now_ms,
                "lastModified": now_ms,
            }
            for address in connection.execute(wanted).scalars()
        ]
        if rows:
            connection.execute(sa.insert(logs), rows)
        return len(rows)

    def _write_urls(self, connection: sa.Connection, delivery_id: int, urls: Any) -> None:
        table = self._schemas.table("nms:trackingUrl")
        connection.execute(
            sa.insert(table), [{"delivery_id": delivery_id, **url._asdict()} for url in urls]
        )

    def _note(
        self, connection: sa.Connection, delivery: dict[str, Any], report: Report, now_ms: int
    ) -> None:
        """Add up once more, in what was written, then declare the delivery ready."""
        logs, table = self._schemas.table("nms:broadLogRcp"), self._schemas.table("nms:delivery")
        written = connection.execute(
            sa.select(sa.func.count())
            .select_from(logs)
            .where(logs.c.delivery_id == delivery["id"], logs.c.seed == sa.false())
        ).scalar_one()
        left_out = sum(one.count for one in report.excluded)
        if written != report.to_deliver or report.target != written + left_out:
            raise NotTaken(
                f"delivery {delivery['id']}: a target of {report.target} became {written} messages "
                f"and {left_out} exclusions; report it with the target"
            )
        contact = max(delivery["contactDate"] or now_ms, now_ms)
        connection.execute(
            sa.update(table)
            .where(table.c.id == delivery["id"])
            .values(
                state=model.READY,
                report=msgspec.json.encode(report).decode(),
                toDeliver=report.to_deliver,
                analysed=now_ms,
                contactDate=contact,
                validUntil=delivery["validUntil"] or contact + model.VALIDITY_MS,
                lastModified=now_ms,
            )
        )


def unsubscribed(
    schemas: CampaignSchemas,
    recipient: sa.ColumnElement[Any],
    service_id: int | sa.BindParameter[Any],
) -> sa.ColumnElement[bool]:
    """Whether somebody left a service and has not come back."""
    history, held = schemas.table("nms:subHisto"), schemas.table("nms:subscription")
    left = sa.exists().where(
        history.c.recipient_id == recipient,
        history.c.service_id == service_id,
        history.c.action == 0,
    )
    has = sa.exists().where(held.c.recipient_id == recipient, held.c.service_id == service_id)
    return sa.and_(left, sa.not_(has))


def _insert(
    connection: sa.Connection,
    table: sa.Table,
    values: dict[sa.Column[Any], Any],
    where: sa.ColumnElement[bool],
    *,
    prefix: str = "",
) -> None:
    chosen = sa.select(*values.values()).where(where).order_by(TARGET.c.n)
    statement = sa.insert(table).from_select(list(values), chosen, include_defaults=False)
    connection.execute(statement.prefix_with(prefix) if prefix else statement)


def _left() -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(TARGET).where(TARGET.c.reason == 0)


def _unfit(address: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """What `message.checked` refuses, near enough: what passes here and not there fails alone."""
    return sa.or_(
        sa.func.length(address) > ADDRESS_CHARS_MAX,
        address.op("GLOB")(f"*[^{_LETTERS}-]*"),
        address.not_like("_%@_%._%"),
        address.like("%@%@%"),
        address.like("%..%"),
        address.like("%.@%"),
        address.like("%@.%"),
        address.like("%.") | address.like(".%"),
    )


def _analysable(delivery: dict[str, Any]) -> None:
    if delivery["state"] not in {model.EDITION, model.READY}:
        raise WrongState(
            f"delivery {delivery['id']} has been started; make a new one to write to more people"
        )
