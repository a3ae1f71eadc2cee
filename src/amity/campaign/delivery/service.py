"""What can be done with a delivery?

Made, changed, analysed, proved, started, paused, resumed, stopped. Each is one transaction.
Behaviour: campaign.md §1.7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from amity.campaign.delivery import model
from amity.campaign.delivery.analysis import Analyser, Target
from amity.campaign.delivery.content import Content
from amity.campaign.delivery.contents import Contents, content_of, named
from amity.campaign.delivery.errors import (
    BadContent,
    NameTaken,
    UnknownDelivery,
    WrongState,
)
from amity.campaign.delivery.message import checked
from amity.campaign.delivery.model import Report, Targeting
from amity.campaign.delivery.shapes import Json, NewDelivery, WantedTarget, delivery_shown
from amity.campaign.recipients.addresses import key, normalised
from amity.campaign.recipients.conditions import Conditions
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.clock import BusinessClock, from_iso
from amity.kernel.ids import IdSource
from amity.storage.ports import Tables

NAME_CHARS_MAX = 100
"""Length of the column."""

_MARKER = "Proof #{} "
_ANALYSED = frozenset({"content", "contactDate", "validUntil", "serviceId", "transactional"})
"""What the analysis is about: who is left out, and whether the content may be sent."""


class Deliveries:
    """Deliveries and what is done with them.

    Args:
        tables: The campaign database.
        schemas: Its tables.
        conditions: Reads the conditions of targets.
        contents: Compiled contents.
        analyser: Turns targets into messages.
        clock: Business time.
        ids: Names deliveries that were given none.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        schemas: CampaignSchemas,
        conditions: Conditions,
        contents: Contents,
        analyser: Analyser,
        clock: BusinessClock,
        ids: IdSource,
    ) -> None:
        self._tables = tables
        self._schemas = schemas
        self._conditions = conditions
        self._contents = contents
        self._analyser = analyser
        self._clock = clock
        self._ids = ids

    def create(self, body: NewDelivery) -> Json:
        """A new delivery, in edition."""
        with self._tables.begin() as connection:
            id = self.create_in(connection, body, now_ms=self._clock.now_ms())
            return self._shown(connection, id)

    def create_in(
        self, connection: sa.Connection, body: NewDelivery, *, now_ms: int, workflow: int = 0
    ) -> int:
        """The same within a transaction; answers the id."""
        values: dict[str, Any] = {}
        if body.template:
            values |= self._template(connection, body.template)
        name = body.internal_name or f"DM{self._ids.hex(12)}"
        values |= {"internalName": self._free(connection, name), "workflowId": workflow}
        values |= self._given(connection, body)
        values.setdefault("label", name)
        values.setdefault("content", msgspec.json.encode(Content()).decode())
        values |= {"messageType": 0, "created": now_ms, "lastModified": now_ms}
        made = connection.execute(sa.insert(self._table).values(values)).inserted_primary_key
        return int(made[0]) if made else 0

    def update(self, id: int, body: NewDelivery) -> Json:
        """Change a delivery that is not started; it must be analysed again."""
        now_ms = self._clock.now_ms()
        with self._tables.begin() as connection:
            row = self._contents.delivery(connection, id)
            self._in(row, (model.EDITION, model.READY), "changed")
            values = self._given(connection, body)
            if body.internal_name and body.internal_name != row["internalName"]:
                values["internalName"] = self._free(connection, body.internal_name)
            if _ANALYSED.intersection(values):
                values["state"] = model.EDITION
            self._set(connection, id, now_ms, **values)
            return self._shown(connection, id)

    def get(self, id: int) -> Json:
        """A delivery."""
        with self._tables.connect() as connection:
            return self._shown(connection, id)

    def find(self, *, limit: int = 100, after: int = 0, name: str = "") -> list[Json]:
        """Deliveries in the order of their ids, those after `after`; or the one of that name."""
        table, services = self._table, self._schemas.table("nms:service")
        wanted = (
            sa.select(*named(table), services.c.name.label("service"))
            .select_from(table.outerjoin(services, services.c.id == table.c.serviceId))
            .where(table.c.id > after)
            .order_by(table.c.id)
            .limit(limit)
        )
        if name:
            wanted = wanted.where(table.c.internalName == name)
        with self._tables.connect() as connection:
            rows = connection.execute(wanted).mappings().all()
        return [delivery_shown(dict(row), row["service"] or "") for row in rows]

    def delete(self, id: int) -> None:
        """Forget a delivery of which no message may have left.

        Mails that people have need their logs: links in them lead somewhere, they opt people out,
        and what bounces is known as ours.
        """
        with self._tables.begin() as connection:
            row = self._contents.delivery(connection, id)
            if row["state"] in (*model.UNDER_WAY, model.PAUSED):
                raise WrongState(f"delivery {id} is under way: stop it first")
            logs = self._schemas.table("nms:broadLogRcp")
            # A proof is nobody's message: its logs may go once they are settled.
            at_hand, away = logs.c.status == model.SENDING, logs.c.status.not_in(model.NEVER_LEFT)
            gone = at_hand if row["proof"] else away
            left = sa.select(logs.c.id).where(logs.c.delivery_id == id, gone)
            if connection.execute(left.limit(1)).first() is not None:
                raise WrongState(
                    f"messages of delivery {id} have left or may have: their links and bounces "
                    "need its logs, so it stays"
                )
            connection.execute(sa.delete(self._table).where(self._table.c.id == id))

    def prepare(self, id: int, target: WantedTarget, targeting: Targeting) -> Json:
        """Analyse, for a target of recipients of the database."""
        now_ms = self._clock.now_ms()
        with self._tables.begin() as connection:
            source = self._recipients(connection, target, now_ms)
            self._analyser.prepare(connection, id, source, targeting=targeting, now_ms=now_ms)
            return self._shown(connection, id)

    def prepare_in(
        self,
        connection: sa.Connection,
        id: int,
        target: Target,
        *,
        targeting: Targeting,
        now_ms: int,
    ) -> Report:
        """Analyse within a transaction, for any target."""
        return self._analyser.prepare(connection, id, target, targeting=targeting, now_ms=now_ms)

    def proof(self, id: int, addresses: Sequence[str], recipient: int = 0) -> Json:
        """Send the content to a few addresses, with the data of one recipient; nobody is opted out.

        A proof is a delivery of its own; without addresses it goes to the seeds.
        """
        now_ms = self._clock.now_ms()
        with self._tables.begin() as connection:
            row = self._contents.delivery(connection, id)
            wanted = [normalised(checked(one.strip())) for one in dict.fromkeys(addresses)]
            wanted = wanted or self._seeds(connection)
            _provable(row, wanted)
            proof = self._make_proof(connection, row, now_ms)
            self._analyser.prepare(
                connection,
                proof,
                Target(self._nobody()),
                targeting=Targeting(seeds=False),
                now_ms=now_ms,
            )
            sample = self._sample(connection, id, recipient)
            self._write_proof(connection, proof, wanted, sample)
            self._set(connection, proof, now_ms, state=model.START_PENDING, toDeliver=len(wanted))
            return self._shown(connection, proof)

    def start(self, id: int) -> Json:
        """Let the sender have it, from its contact date on."""
        with self._tables.begin() as connection:
            self.start_in(connection, id, now_ms=self._clock.now_ms())
            return self._shown(connection, id)

    def start_in(self, connection: sa.Connection, id: int, *, now_ms: int) -> None:
        """The same within a transaction."""
        self._step(connection, id, (model.READY,), ("started", model.START_PENDING, now_ms))
        row = self._contents.delivery(connection, id)
        late = now_ms - row["contactDate"]
        if late > 0:
            # It was analysed a while ago: what is said of times counts from now.
            kept = row["validUntil"] - row["contactDate"] == model.VALIDITY_MS
            until = row["validUntil"] + late if kept else row["validUntil"]
            self._set(connection, id, now_ms, contactDate=now_ms, validUntil=until)

    def pause(self, id: int) -> Json:
        """Claim nothing more; what is being handed over is not called back."""
        return self._steered(id, model.UNDER_WAY, ("paused", model.PAUSED))

    def resume(self, id: int) -> Json:
        """Go on."""
        return self._steered(id, (model.PAUSED,), ("resumed", model.START_PENDING))

    def stop(self, id: int) -> Json:
        """Never send what is not sent yet: those messages are cancelled."""
        logs = self._schemas.table("nms:broadLogRcp")
        now_ms = self._clock.now_ms()

        def cancel(connection: sa.Connection) -> None:
            connection.execute(
                sa.update(logs)
                .where(logs.c.delivery_id == id, logs.c.status == model.PENDING)
                .values(status=model.CANCELLED, lastModified=now_ms)
            )
            self._set(connection, id, now_ms, ended=now_ms)

        before = (model.READY, *model.UNDER_WAY, model.PAUSED)
        return self._steered(id, before, ("stopped", model.STOPPED), cancel)

    @property
    def _table(self) -> sa.Table:
        return self._schemas.table("nms:delivery")

    def _steered(
        self,
        id: int,
        before: Sequence[int],
        to: tuple[str, int],
        also: Callable[[sa.Connection], None] = lambda _: None,
    ) -> Json:
        with self._tables.begin() as connection:
            self._step(connection, id, before, (*to, self._clock.now_ms()))
            also(connection)
            return self._shown(connection, id)

    def _step(
        self,
        connection: sa.Connection,
        id: int,
        before: Sequence[int],
        to: tuple[str, int, int],
    ) -> None:
        done, state, now_ms = to
        self._in(self._contents.delivery(connection, id), before, done)
        self._set(connection, id, now_ms, state=state)

    def _in(self, row: Json, states: Sequence[int], done: str) -> None:
        if row["state"] in states:
            return
        shown = delivery_shown(row)["state"]
        hint = "; analyse it first" if row["state"] == model.EDITION else ""
        raise WrongState(f"delivery {row['id']} is {shown} and cannot be {done}{hint}", state=shown)

    def _set(self, connection: sa.Connection, id: int, now_ms: int, **values: Any) -> None:
        table = self._table
        connection.execute(
            sa.update(table).where(table.c.id == id).values(lastModified=now_ms, **values)
        )

    def _shown(self, connection: sa.Connection, id: int) -> Json:
        row = self._contents.delivery(connection, id)
        services = self._schemas.table("nms:service")
        name = connection.execute(
            sa.select(services.c.name).where(services.c.id == row["serviceId"])
        ).scalar()
        return delivery_shown(row, name or "")

    def _free(self, connection: sa.Connection, name: str) -> str:
        table = self._table
        if not name.isprintable() or len(name) > NAME_CHARS_MAX:
            raise BadContent(f"internalName: write at most {NAME_CHARS_MAX} printable characters")
        taken = sa.select(table.c.id).where(table.c.internalName == name)
        if connection.execute(taken).first() is not None:
            raise NameTaken(f"there is a delivery {name!r} already: choose another internalName")
        return name

    def _given(self, connection: sa.Connection, body: NewDelivery) -> dict[str, Any]:
        plain = {
            "label": body.label,
            "campaignName": body.campaign_name,
            "isModel": body.is_model,
            "transactional": body.transactional,
        }
        values: dict[str, Any] = {
            name: value for name, value in plain.items() if value is not msgspec.UNSET
        }
        if body.content is not msgspec.UNSET:
            values["content"] = msgspec.json.encode(body.content).decode()
            self._contents.compiled(values)
        if body.service is not msgspec.UNSET:
            values["serviceId"] = self._service(connection, body.service)
        for name, text in (("contactDate", body.contact_date), ("validUntil", body.valid_until)):
            if text is not msgspec.UNSET:
                values[name] = from_iso(text) if text else None
        return values

    def _service(self, connection: sa.Connection, name: str) -> int:
        services = self._schemas.table("nms:service")
        found = connection.execute(sa.select(services.c.id).where(services.c.name == name)).scalar()
        if name and found is None:
            raise BadContent(f"service: there is none named {name[:100]!r}")
        return int(found or 0)

    def _template(self, connection: sa.Connection, name: str) -> dict[str, Any]:
        table = self._table
        taken = ("content", "serviceId", "campaignName", "transactional", "label")
        row = (
            connection.execute(
                sa.select(*(table.c[one].label(one) for one in taken)).where(
                    table.c.internalName == name
                )
            )
            .mappings()
            .one_or_none()
        )
        if row is None:
            raise UnknownDelivery(f"template: there is no delivery named {name[:100]!r}")
        return dict(row)

    def _recipients(self, connection: sa.Connection, target: WantedTarget, now_ms: int) -> Target:
        people = self._schemas.table("nms:recipient")
        wanted: list[sa.ColumnElement[bool]] = []
        if target.condition.strip():
            rows = self._conditions.of("nms:recipient")
            wanted.append(self._conditions.where(target.condition, rows, now_ms))
        if target.list:
            wanted.append(people.c.id.in_(self._members(connection, target.list)))
        if target.recipients:
            wanted.append(people.c.id.in_(target.recipients))
        if not wanted:
            raise BadContent("target: give a condition, a list or recipients")
        chosen = sa.select(people.c.id.label("n"), people.c.id.label("id")).where(*wanted)
        return Target(chosen.subquery("chosen"))

    def _members(self, connection: sa.Connection, name: str) -> sa.Select[Any]:
        groups, members = self._schemas.table("nms:group"), self._schemas.table("nms:rcpGrpRel")
        id = connection.execute(sa.select(groups.c.id).where(groups.c.name == name)).scalar()
        if id is None:
            raise BadContent(f"target: there is no list named {name[:100]!r}")
        return sa.select(members.c.recipient_id).where(members.c.group_id == id)

    def _make_proof(self, connection: sa.Connection, row: Json, now_ms: int) -> int:
        """A delivery with the same content, whose subject says which proof it is."""
        table = self._table
        number, name = self._next_proof(connection, row)
        content = content_of(row["content"])
        marked = msgspec.structs.replace(content, subject=_MARKER.format(number) + content.subject)
        kept = ("messageType", "transactional", "serviceId", "campaignName")
        values = {name: row[name] for name in kept} | {
            "internalName": name,
            "label": f"Proof #{number} of {row['label'] or row['internalName']}",
            "content": msgspec.json.encode(marked).decode(),
            "proof": True,
            "proofOfId": row["id"],
            "created": now_ms,
            "lastModified": now_ms,
        }
        made = connection.execute(sa.insert(table).values(values)).inserted_primary_key
        return int(made[0]) if made else 0

    def _next_proof(self, connection: sa.Connection, row: Json) -> tuple[int, str]:
        """The number of a new proof, and a name that is free: proofs may have been deleted."""
        table = self._table
        mine = sa.select(table.c.content).where(table.c.proofOfId == row["id"])
        subjects = [content_of(one).subject for one in connection.execute(mine).scalars()]
        marks = (one.split(" ", 2)[1].removeprefix("#") for one in subjects)
        number = max((int(one) for one in marks if one.isdigit()), default=0) + 1
        name = f"{row['internalName'][:60]}_{row['id']}_proof{number}"
        return number, self._free(connection, name)

    def _write_proof(
        self,
        connection: sa.Connection,
        proof: int,
        addresses: list[str],
        sample: tuple[int | None, str | None],
    ) -> None:
        recipient, data = sample
        now_ms = self._clock.now_ms()
        rows = [
            {
                "delivery_id": proof,
                "recipient_id": recipient,
                "address": address,
                "data": data,
                "channel": 0,
                "status": model.PENDING,
                "seed": recipient is None,
                "proof": True,
                "eventDate": now_ms,
                "lastModified": now_ms,
            }
            for address in addresses
        ]
        connection.execute(sa.insert(self._schemas.table("nms:broadLogRcp")), rows)

    def _sample(
        self, connection: sa.Connection, delivery: int, recipient: int
    ) -> tuple[int | None, str | None]:
        """Whose data stand in a proof, and what the target brought along for somebody like that."""
        people, logs = self._schemas.table("nms:recipient"), self._schemas.table("nms:broadLogRcp")
        if recipient:
            known = sa.select(people.c.id).where(people.c.id == recipient)
            if connection.execute(known).first() is None:
                raise BadContent(f"recipient: there is none of id {recipient}")
        data = connection.execute(
            sa.select(logs.c.data)
            .where(logs.c.delivery_id == delivery)
            .order_by(logs.c.recipient_id != recipient, logs.c.id)
            .limit(1)
        ).scalar()
        return recipient or None, data

    def _seeds(self, connection: sa.Connection) -> list[str]:
        seeds = self._schemas.table("nms:seedMember")
        return list(connection.execute(sa.select(key(seeds.c.email)).distinct()).scalars())

    def _nobody(self) -> sa.FromClause:
        people = self._schemas.table("nms:recipient")
        chosen = sa.select(people.c.id.label("n"), people.c.id.label("id")).where(sa.false())
        return chosen.subquery("nobody")


def _provable(row: Json, addresses: Sequence[str]) -> None:
    if row["proof"]:
        raise WrongState("a proof has no proof of its own: prove the delivery")
    if not addresses:
        raise BadContent("addresses: name some, or make seed addresses")
    if len(addresses) > model.PROOF_RECIPIENTS_MAX:
        raise BadContent(
            f"a proof goes to at most {model.PROOF_RECIPIENTS_MAX} addresses, not {len(addresses)}"
        )
