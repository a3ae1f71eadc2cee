"""A campaign database with a delivery that was sent, and clocks that a test may set."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from amity.campaign.exports.interval import Watch
from amity.campaign.exports.model import LogExport, Order
from amity.campaign.exports.service import LogExports
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.exchange.log_file import LogKind, log_rows, published
from amity.kernel.clock import (
    BusinessClock,
    RealBusinessClock,
    VirtualBusinessClock,
    from_iso,
)
from amity.kernel.ids import SeededIds
from amity.storage.sqlite.tables import SqliteTables
from amity.transports.local import LocalStore
from amity.transports.ports import Store

START = from_iso("2017-10-30T08:00:00Z")


class Machine:
    """A machine whose clock can be set and which can be restarted."""

    def __init__(self) -> None:
        self.wall_ms = START
        self.up_s = 5_000.0
        self.boot = "boot-1"

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_s(self) -> float:
        return self.up_s

    def sleep(self, seconds: float) -> None:
        self.passes(seconds)

    def passes(self, seconds: float) -> None:
        """Real time goes by."""
        self.up_s += seconds
        self.wall_ms += int(seconds * 1_000)

    def set_clock(self, by_s: float) -> None:
        """Somebody sets the machine's clock."""
        self.wall_ms += int(by_s * 1_000)

    def reboot(self, down_s: float) -> None:
        """The machine starts anew."""
        self.passes(down_s)
        self.boot, self.up_s = self.boot + "x", 60.0


class Place:
    """A campaign database in a folder; `again` is the process started anew."""

    def __init__(self, folder: Path, *, virtual: bool = False) -> None:
        self.folder = folder
        self.machine = Machine()
        self.virtual = VirtualBusinessClock(START) if virtual else None
        self.store: Store = LocalStore(folder / "exports")
        self.tables = SqliteTables(folder / "campaign.db")
        self.ids = SeededIds(random.Random(1))
        self.again()
        self.schemas.install()

    def again(self) -> LogExports:
        """A process that has just started: it knows what lies on the disk."""
        self.clock: BusinessClock = self.virtual or RealBusinessClock(self.machine)
        self.schemas = CampaignSchemas(self.tables, self.clock)
        self.exports = LogExports(
            tables=self.tables,
            schemas=self.schemas,
            watch=Watch(clock=self.clock, system=self.machine, boot=self.machine.boot),
            open_store=lambda _: self.store,
            spool=self.folder / "spool",
            ids=self.ids,
        )
        return self.exports

    def run(self, kind: LogKind = "broadLog", key: str = "") -> LogExport:
        """Export a log now."""
        return self.exports.run(Order(kind=kind, key=key or self.ids.hex(8), by="a test"))

    def add(self, schema: str, **values: Any) -> int:
        """Insert a row; its id."""
        table = self.schemas.table(schema)
        given = {table.c[name]: value for name, value in values.items()}
        with self.tables.begin() as connection:
            return int(connection.execute(sa.insert(table).values(given)).inserted_primary_key[0])

    def add_many(self, schema: str, rows: list[dict[str, Any]]) -> None:
        """Insert rows."""
        with self.tables.begin() as connection:
            connection.execute(sa.insert(self.schemas.table(schema)), rows)

    def change(self, schema: str, id: int, **values: Any) -> None:
        """Change a row."""
        table = self.schemas.table(schema)
        given = {table.c[name]: value for name, value in values.items()}
        with self.tables.begin() as connection:
            connection.execute(sa.update(table).where(table.c.id == id).values(given))

    def shop(self) -> dict[str, int]:
        """Two recipients, a delivery, a message to each, an open; ids by name."""
        now = self.clock.now_ms()
        ann = self.add(
            "nms:recipient", externalId="c1", email="ann@shop.test", lastModified=now, language="en"
        )
        bob = self.add("nms:recipient", email="bob@shop.test", lastModified=now, blackListEmail=1)
        delivery = self.add(
            "nms:delivery",
            internalName="DM1",
            label="Autumn",
            campaignName="Campaign 18",
            lastModified=now,
        )
        common = {"delivery_id": delivery, "eventDate": now, "lastModified": now}
        sent = self.add(
            "nms:broadLogRcp", recipient_id=ann, address="ann@shop.test", status=1, **common
        )
        failed = self.add(
            "nms:broadLogRcp",
            recipient_id=bob,
            address="bob@shop.test",
            status=2,
            failureType=2,
            failureReason=1,
            failureText="=550 5.1.1 'no such user'",
            **common,
        )
        self.add(
            "nms:trackingLogRcp",
            hit="h1",
            type=2,
            logDate=now,
            broadLog_id=sent,
            delivery_id=delivery,
            recipient_id=ann,
        )
        self.add(
            "nms:address",
            address="bob@shop.test",
            status=3,
            failureReason=1,
            errorCount=1,
            lastModified=now,
        )
        return {"ann": ann, "bob": bob, "delivery": delivery, "sent": sent, "failed": failed}

    def rows(self, kind: LogKind = "broadLog") -> list[list[dict[str, Any]]]:
        """The rows of every published export, oldest first."""
        found = []
        for one in published(self.store, "campaign-logs", kind):
            rows = log_rows(self.store, one.manifest(), self.folder / "reading")
            found.append([row.value or {} for row in rows])
        return found
