"""A delivery that was sent to three people, a seed and a proof, and what comes back from it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI

from amity.app import problems
from amity.campaign.delivery.contents import Contents
from amity.campaign.delivery.links import LinkSigner
from amity.campaign.delivery.mirror import MirrorPages
from amity.campaign.delivery.persons import Persons
from amity.campaign.delivery.qualification import Qualifier
from amity.campaign.delivery.rewriting import rewritten
from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.service import Recipients
from amity.campaign.tracking import link_routes
from amity.campaign.tracking.hits_sink import HitsSink
from amity.campaign.tracking.link_door import LinkDoor
from amity.campaign.tracking.messages import Messages
from amity.campaign.tracking.model import HITS_TOPIC, RETURNS_TOPIC, Return, encoded
from amity.campaign.tracking.returns_sink import Effects, ReturnsSink
from amity.flow.sink import SinkRunner
from amity.kernel.clock import VirtualBusinessClock, from_iso
from amity.kernel.ids import SeededIds, digest
from amity.kernel.scope import Scope
from amity.storage.keys import pack
from amity.storage.ports import Entry
from amity.storage.sqlite.tables import SqliteTables
from amity.testing.memory import MemoryLog, MemoryState

MAILS = Path(__file__).parent / "mails"
SCOPE = Scope("A@AmityOrg", "prod")
HTML = (
    '<html><body><p>Hello {{ recipient.firstName }}</p><a href="https://shop.example/coupons">'
    'Coupons</a> <a href="https://shop.example/for?who={{ recipient.firstName | url_encode }}">'
    "Yours</a></body></html>"
)
CLICK, PERSONAL = 4, 5
"""Numbers of the two links above."""


class Answered:
    """The campaign side from its database to the links, without processes."""

    def __init__(self, folder: Path) -> None:
        new = not (folder / "campaign.db").exists()
        self.clock = VirtualBusinessClock(from_iso("2017-10-30T09:00:00Z"))
        self.tables = SqliteTables(folder / "campaign.db")
        self.schemas = CampaignSchemas(self.tables, self.clock)
        self.recipients = Recipients(self.tables, self.schemas, self.clock)
        self.quarantine = Quarantine(self.schemas)
        self.qualifier = Qualifier(self.schemas)
        self.signer = LinkSigner(b"k" * 32, "https://links.amity.example")
        self.log = MemoryLog()
        self.appended: list[Entry] = []
        if new:
            self.schemas.install()
            self._send()
        self.delivery = int(self.row("nms:delivery")["id"])
        self.people = {
            one["email"].partition("@")[0]: one["id"] for one in self.rows("nms:recipient")
        }
        self.logs = {
            one["address"].partition("@")[0]: one["id"] for one in self.rows("nms:broadLogRcp")
        }
        self.hits = HitsSink(tables=self.tables, schemas=self.schemas, recipients=self.recipients)
        self.returns = ReturnsSink(
            tables=self.tables,
            effects=Effects(
                schemas=self.schemas,
                recipients=self.recipients,
                quarantine=self.quarantine,
                qualifier=self.qualifier,
                signer=self.signer,
            ),
            append=self.log.append,
            scope=SCOPE,
        )
        self._runners = [
            SinkRunner(sink, log=self.log, state=MemoryState())
            for sink in (self.hits, self.returns)
        ]
        contents, persons = Contents(self.schemas), Persons(self.schemas, self.signer)
        pages = MirrorPages(self.tables, self.schemas, contents, persons)
        self.door = LinkDoor(
            signer=self.signer,
            messages=Messages(self.tables, self.schemas, pages),
            pages=pages,
            append=self.append,
            clock=self.clock,
            ids=SeededIds(random.Random(1)),
        )

    def close(self) -> None:
        self.tables.close()

    def app(self) -> FastAPI:
        """The links, as an application."""
        app = FastAPI()
        problems.install(app)
        app.include_router(link_routes.router(self.door))
        return app

    async def append(self, entries: Sequence[Entry]) -> None:
        """Durable on return, as the HTTP process's appender."""
        self.log.append(entries)
        self.appended += entries

    def path(self, kind: Any, who: str = "ann", url: int = 0) -> str:
        """The path of a link of one person's message."""
        made = self.signer.url(kind, broadlog=self.logs[who], delivery=self.delivery, url=url)
        return made.removeprefix("https://links.amity.example")

    def verp(self, who: str = "ann") -> str:
        return self.signer.verp(self.logs[who], self.delivery)

    def mail(self, name: str, who: str = "ann") -> bytes:
        """A mail of the corpus, about one person's message."""
        token = self.path("u", who).rpartition("/")[2]
        raw = (MAILS / f"{name}.eml").read_bytes()
        raw = raw.replace(b"@@VERP@@", self.verp(who).encode())
        raw = raw.replace(b"@@UNSUB@@", token.encode())
        if who != "ann":
            raw = raw.replace(b"ann@example.net", f"{who}@example.net".encode())
        return raw.replace(b"\n", b"\r\n")

    def come_back(self, raw: bytes, who: str = "ann", *, to: str = "") -> None:
        """A mail came to the door, to a person's envelope sender or a fixed mailbox."""
        at = (0, 0) if to else (self.logs[who], self.delivery)
        local = to or self.verp(who)
        back = Return(
            id=digest(local, raw.hex()),
            to=local,
            broadlog=at[0],
            delivery=at[1],
            at_ms=self.clock.now_ms(),
            raw=raw,
        )
        self.log.append([Entry(RETURNS_TOPIC, pack(at[0]), encoded(back))])

    def settle(self) -> None:
        """Let the sinks do all there is to do."""
        while sum(runner.run_once(self.clock.now_ms()) for runner in self._runners):
            pass
        assert [runner.trouble for runner in self._runners] == ["", ""]

    def hit_bodies(self) -> list[bytes]:
        """What stands in the log."""
        return [record.body for record in self.log.poll(HITS_TOPIC, {}, 1_000)]

    def rows(self, schema: str, **where: Any) -> list[dict[str, Any]]:
        """Rows of a table by attribute, in the order of ids."""
        table = self.schemas.table(schema)
        chosen = sa.select(table).where(*(table.c[name] == value for name, value in where.items()))
        with self.tables.connect() as connection:
            found = connection.execute(chosen.order_by(*table.primary_key.columns)).all()
        return [dict(zip(table.c.keys(), row, strict=True)) for row in found]

    def row(self, schema: str, **where: Any) -> dict[str, Any]:
        """The one row there is."""
        (row,) = self.rows(schema, **where)
        return row

    def log_of(self, who: str) -> dict[str, Any]:
        """A person's delivery log."""
        return self.row("nms:broadLogRcp", id=self.logs[who])

    def change(self, schema: str, id: int, **values: Any) -> None:
        table = self.schemas.table(schema)
        with self.tables.begin() as connection:
            connection.execute(sa.update(table).where(table.c.id == id).values(values))

    def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        """All that what comes back may change."""
        ids = (
            "nms:broadLogRcp", "nms:trackingLogRcp", "nms:address", "nms:recipient",
            "nms:subscription", "nms:subHisto", "nms:broadLogMsg",
        )  # fmt: skip
        return {id: self.rows(id) for id in ids}

    def subscribe(self, who: str, service: str) -> int:
        """Make a service the delivery's, and a person take it."""
        with self.tables.begin() as connection:
            id = self.recipients.services.create(
                connection, {"name": service, "label": f"The {service}"}, self.clock.now_ms()
            )
            self.recipients.services.subscribe(
                connection,
                service_id=id,
                recipient_ids=[self.people[who]],
                origin="test",
                now_ms=self.clock.now_ms(),
            )
        self.change("nms:delivery", self.delivery, serviceId=id)
        return id

    def add_log(
        self, address: str, *, recipient: int | None = None, seed: bool = False, proof: bool = False
    ) -> int:
        """A message that was sent."""
        table = self.schemas.table("nms:broadLogRcp")
        row = {
            "address": address,
            "status": 1,
            "seed": seed,
            "proof": proof,
            "delivery_id": self.delivery,
            "recipient_id": recipient,
            "eventDate": self.clock.now_ms(),
            "lastModified": self.clock.now_ms(),
        }
        with self.tables.begin() as connection:
            return int(
                connection.execute(sa.insert(table).values(row).returning(table.c.id)).scalar_one()
            )

    def _send(self) -> None:
        self.delivery = self._delivery()
        for name in ("ann", "bob", "cyd"):
            person = self.recipients.create({"email": f"{name}@example.net", "firstName": name})
            self.add_log(person["email"], recipient=person["id"])
        self.add_log("seed@amity.example", seed=True)
        self.add_log("proof@amity.example", recipient=person["id"], proof=True)

    def _delivery(self) -> int:
        deliveries = self.schemas.table("nms:delivery")
        urls = self.schemas.table("nms:trackingUrl")
        content = '{"html": %s, "fromAddress": "news@amity.example", "subject": "Coupons"}'
        body = {
            "internalName": "DM1",
            "label": "Coupons <for> you",
            "content": content % _json(HTML),
            "state": 95,
        }
        with self.tables.begin() as connection:
            id = connection.execute(
                sa.insert(deliveries).values(body).returning(deliveries.c.id)
            ).scalar_one()
            for url in rewritten(HTML, "").urls:
                connection.execute(
                    sa.insert(urls).values(
                        number=url.number, type=url.type, source=url.source, delivery_id=id
                    )
                )
        return int(id)


def _json(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
