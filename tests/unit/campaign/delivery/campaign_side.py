"""A campaign database and its sender, for the tests of delivery."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import rsa

from amity.campaign.delivery.analysis import Analyser
from amity.campaign.delivery.channel import Fate, Outcome
from amity.campaign.delivery.claims import Claims
from amity.campaign.delivery.content import Content
from amity.campaign.delivery.contents import Contents
from amity.campaign.delivery.dkim import Dkim
from amity.campaign.delivery.links import LinkSigner
from amity.campaign.delivery.message import Outgoing, Writer
from amity.campaign.delivery.mirror import MirrorPages
from amity.campaign.delivery.model import Targeting
from amity.campaign.delivery.persons import Persons
from amity.campaign.delivery.qualification import Qualifier
from amity.campaign.delivery.results import Results
from amity.campaign.delivery.sender import Sender
from amity.campaign.delivery.service import Deliveries
from amity.campaign.delivery.shapes import NewDelivery, WantedTarget
from amity.campaign.recipients.conditions import Conditions
from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.clock import VirtualBusinessClock, from_iso
from amity.kernel.ids import SeededIds
from amity.storage.sqlite.tables import SqliteTables

START_MS = from_iso("2017-10-30T08:00:00Z")
CONTENT = Content(
    from_address="news@shop.example",
    from_name="Shop",
    subject="Hello {{ recipient.firstName }}",
    html='<p>Dear {{ recipient.firstName }}, <a href="https://shop.example/">look</a> or '
    '<a href="{{ unsubscribeUrl }}">leave</a></p>',
)


@lru_cache(maxsize=1)
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


@lru_cache(maxsize=1)
def short_key() -> rsa.RSAPrivateKey:
    """Where the signature is not the point: five times as fast."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=1024)  # noqa: S505 - it signs for nobody


@lru_cache(maxsize=1)
def _installed() -> bytes:
    """A campaign database with its tables: made once, copied for each test."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "campaign.db"
        tables = SqliteTables(path)
        CampaignSchemas(tables, VirtualBusinessClock(START_MS)).install()
        tables.close()
        return path.read_bytes()


class Crash(BaseException):
    """The process dies here."""


@dataclass
class FakeServer:
    """A channel whose other side answers as told; what it took stays when a process dies."""

    answer: Callable[[Outgoing], tuple[Fate, int, str, str]] = lambda _: (
        Fate.TAKEN,
        250,
        "2.0.0",
        "Ok",
    )
    before: Callable[[], None] = lambda: None
    taken: list[Outgoing] = field(default_factory=list)
    name: str = "email"
    parallel: int = 2

    def hand_over(self, messages: Sequence[Outgoing]) -> Future[list[Outcome]]:
        future: Future[list[Outcome]] = Future()
        outcomes = []
        for message in messages:
            self.before()
            fate, code, enhanced, text = self.answer(message)
            if fate in {Fate.TAKEN, Fate.UNSURE}:
                self.taken.append(message)
            outcomes.append(Outcome(message.id, fate, code, enhanced, text))
            if fate in {Fate.UNSENT, Fate.BROKEN, Fate.UNSURE}:
                rest = messages[len(outcomes) :]
                outcomes += [Outcome(one.id, Fate.UNSENT, text=text) for one in rest]
                break
        future.set_result(outcomes)
        return future

    def close(self) -> None: ...

    def addresses(self) -> list[str]:
        return [one.recipient for one in self.taken]


class CrashingTables:
    """`Tables` whose process dies before or after the commit that is told."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.commits = 0
        self.die_before = -1
        self.die_after = -1

    def create(self, metadata: sa.MetaData) -> None:
        self.inner.create(metadata)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        self.commits += 1
        number = self.commits
        with self.inner.begin() as connection:
            yield connection
            if number == self.die_before:
                raise Crash
        if number == self.die_after:
            raise Crash

    def connect(self) -> Any:
        return self.inner.connect()

    def version(self) -> int:
        return int(self.inner.version())


class Campaign:
    """The delivery stage over a fresh database."""

    def __init__(self, folder: Path, server: Any = None) -> None:
        (folder / "campaign.db").write_bytes(_installed())
        self.raw = SqliteTables(folder / "campaign.db")
        self.tables = CrashingTables(self.raw)
        self.clock = VirtualBusinessClock(START_MS)
        self.ids = SeededIds(random.Random(7))
        self.schemas = CampaignSchemas(self.tables, self.clock)
        self.signer = LinkSigner(b"k" * 32, "https://t.shop.example")
        self.quarantine = Quarantine(self.schemas)
        self.contents = Contents(self.schemas)
        self.persons = Persons(self.schemas, self.signer)
        self.analyser = Analyser(self.schemas, self.contents, self.persons)
        self.dkim = Dkim(short_key())
        self.writer = Writer(self.signer, bounce_domain="b.shop.example", dkim=self.dkim)
        self.deliveries = Deliveries(
            tables=self.tables,
            schemas=self.schemas,
            conditions=Conditions(self.schemas),
            contents=self.contents,
            analyser=self.analyser,
            clock=self.clock,
            ids=self.ids,
        )
        self.results = Results(self.tables, self.schemas, self.contents, self.persons)
        self.pages = MirrorPages(self.tables, self.schemas, self.contents, self.persons)
        self.server = server or FakeServer()
        self.sender = self.new_sender()

    def new_sender(self) -> Sender:
        """As a process that has just started."""
        self.sender = Sender(
            tables=self.tables,
            claims=Claims(
                schemas=self.schemas,
                persons=self.persons,
                quarantine=self.quarantine,
                qualifier=Qualifier(self.schemas),
            ),
            contents=self.contents,
            persons=self.persons,
            writer=self.writer,
            channel=self.server,
            ids=self.ids,
        )
        return self.sender

    def people(self, *rows: dict[str, Any]) -> list[int]:
        """Recipients; answers their ids."""
        table = self.schemas.table("nms:recipient")
        with self.raw.begin() as connection:
            ids = []
            for row in rows:
                made = connection.execute(sa.insert(table).values(row)).inserted_primary_key
                assert made is not None
                ids.append(int(made[0]))
        return ids

    def crowd(self, count: int) -> list[int]:
        table = self.schemas.table("nms:recipient")
        rows = [{"email": f"p{n}@crowd.example", "firstName": f"P{n}"} for n in range(count)]
        with self.raw.begin() as connection:
            connection.execute(sa.insert(table), rows)
            return list(connection.execute(sa.select(table.c.id)).scalars())

    def ready(self, content: Content = CONTENT, **more: Any) -> int:
        """A delivery to everybody, analysed."""
        made = self.deliveries.create(NewDelivery(content=content, **more))
        everybody = WantedTarget(condition="@id > 0")
        self.deliveries.prepare(made["id"], everybody, TARGETING)
        return int(made["id"])

    def started(self, content: Content = CONTENT, **more: Any) -> int:
        id = self.ready(content, **more)
        self.deliveries.start(id)
        return id

    def drain(self) -> None:
        """Run the sender until nothing moves."""
        while self.sender.run_once(self.clock.now_ms()):
            pass

    def until(self, to_ms: int) -> None:
        """Let the virtual clock run as the loop does."""
        self.drain()
        while (due := self.sender.next_due()) is not None and due <= to_ms:
            self.clock.advance_to(max(due, self.clock.now_ms()))
            self.sender.fire_due(self.clock.now_ms())
            self.drain()
        self.clock.advance_to(to_ms)
        self.drain()

    def statuses(self, id: int) -> dict[str, int]:
        found: dict[str, int] = {}
        for log in self.results.logs(id, limit=1_000):
            found[log["status"]] = found.get(log["status"], 0) + 1
        return found

    def set(self, schema: str, id: int, **values: Any) -> None:
        table = self.schemas.table(schema)
        with self.raw.begin() as connection:
            connection.execute(sa.update(table).where(table.c.id == id).values(values))


TARGETING = Targeting()
