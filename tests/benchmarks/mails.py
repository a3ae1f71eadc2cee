"""Personalised, DKIM-signed e-mails handed over, beside the same sink fed ready-made ones by the same client."""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from report import Row

from amity.campaign.delivery.analysis import Analyser
from amity.campaign.delivery.channel import Fate, Outcome
from amity.campaign.delivery.channels import CHANNELS
from amity.campaign.delivery.channels.email import EmailConfig
from amity.campaign.delivery.claims import Claims
from amity.campaign.delivery.content import Compiled, Content
from amity.campaign.delivery.contents import Contents
from amity.campaign.delivery.dkim import Dkim, load_key
from amity.campaign.delivery.links import LinkSigner
from amity.campaign.delivery.message import Letter, Outgoing, Writer
from amity.campaign.delivery.model import CHUNK_MESSAGES, Targeting
from amity.campaign.delivery.persons import Persons
from amity.campaign.delivery.qualification import Qualifier
from amity.campaign.delivery.rewriting import LINK_VARIABLE, UNSUBSCRIBE_VARIABLE
from amity.campaign.delivery.sender import Sender
from amity.campaign.delivery.service import Deliveries
from amity.campaign.delivery.shapes import NewDelivery, WantedTarget
from amity.campaign.recipients.conditions import Conditions
from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.clock import RealBusinessClock, RealSystemClock
from amity.kernel.ids import SeededIds
from amity.storage.sqlite.tables import SqliteTables
from amity.testing.processes import HOST, await_port, end
from amity.testing.server import free_port

MESSAGES = 3_000
RUNS = 3
HOLD = 0.5
_ITEM = (
    '<tr><td><a href="https://shop.example/item/{n}">Item {n}</a></td>'
    "<td>For you in {{{{ recipient.city }}}}.</td></tr>"
)
CONTENT = Content(
    from_address="news@shop.example",
    from_name="Shop",
    subject="{{ recipient.firstName | capitalize }}, your autumn",
    html="<html><body><p>Dear {{ recipient.firstName }} {{ recipient.lastName }},</p><table>"
    + "".join(_ITEM.format(n=n) for n in range(6))
    + '</table><p><a href="{{ unsubscribeUrl }}">Unsubscribe</a></p></body></html>',
)


def measure(folder: Path) -> list[Row]:
    """Beside a client that does nothing else, and beside one that also makes the bare signatures."""
    with _sink(folder) as port:
        runs = [
            (
                _ours(folder / f"run{n}", port),
                _ready_made(folder, port),
                _ready_made(folder, port, signed=True),
            )
            for n in range(RUNS)
        ]
    ours, bare, signed = map(statistics.median, zip(*runs, strict=True))
    work = "personalised DKIM-signed e-mails handed over"
    note = "beside the same sink fed ready-made messages by the same client"
    also = ", an RSA-2048 signature made for each"
    return [
        Row(work=work, ours=ours, baseline=bare, unit="mails/s", hold=HOLD, note=note),
        Row(work=work, ours=ours, baseline=signed, unit="mails/s", hold=HOLD, note=note + also),
    ]


def _ours(folder: Path, port: int) -> float:
    """From a started delivery to a finished one: claims, templates, signatures, settling."""
    folder.mkdir()
    system = RealSystemClock()
    clock = RealBusinessClock(system)
    tables = SqliteTables(folder / "campaign.db")
    schemas = CampaignSchemas(tables, clock)
    schemas.install()
    people = [
        {"email": f"p{n}@x.example", "firstName": f"Ann{n}", "lastName": "Lee", "city": "Bath", "externalId": str(n)}
        for n in range(MESSAGES)
    ]  # fmt: skip
    with tables.begin() as connection:
        connection.execute(sa.insert(schemas.table("nms:recipient")), people)
    signer = LinkSigner(b"k" * 32, "https://t.shop.example")
    contents, persons, ids = (
        Contents(schemas),
        Persons(schemas, signer),
        SeededIds(random.Random(1)),
    )
    deliveries = Deliveries(
        tables=tables,
        schemas=schemas,
        conditions=Conditions(schemas),
        contents=contents,
        analyser=Analyser(schemas, contents, persons),
        clock=clock,
        ids=ids,
    )
    id = deliveries.create(NewDelivery(content=CONTENT))["id"]
    deliveries.prepare(id, WantedTarget(condition="@id > 0"), Targeting())
    channel = CHANNELS["email"].make(EmailConfig(host=HOST, port=port))
    sender = Sender(
        tables=tables,
        claims=Claims(
            schemas=schemas,
            persons=persons,
            quarantine=Quarantine(schemas),
            qualifier=Qualifier(schemas),
        ),
        contents=contents,
        persons=persons,
        writer=_writer(folder.parent, signer),
        channel=channel,
        ids=ids,
    )
    deliveries.start(id)
    begun = system.monotonic_s()
    while sender.run_once(clock.now_ms()):
        pass
    spent = system.monotonic_s() - begun
    sender.close(clock.now_ms())
    shown = deliveries.get(id)
    if (shown["state"], shown["toDeliver"]) != ("finished", MESSAGES):
        raise AssertionError(shown)
    tables.close()
    return MESSAGES / spent


def _ready_made(folder: Path, port: int, *, signed: bool = False) -> float:
    """The same client and connections, messages of the same size, nothing to do but to hand over.

    Where they are `signed`, OpenSSL's signature is made for each: what no sender can do without.
    """
    system = RealSystemClock()
    signer = LinkSigner(b"k" * 32, "https://t.shop.example")
    letter = Letter(1, 1, "p1@x.example", 0, marketing=True, name="Ann Lee")
    compiled = Compiled(CONTENT)
    links = {
        f"u{one.number}": signer.url("r", broadlog=1, delivery=1, url=one.number)
        for one in compiled.urls
    }
    values = {
        "recipient": {"firstName": "Ann1", "lastName": "Lee", "city": "Bath"},
        UNSUBSCRIBE_VARIABLE: signer.url("u", broadlog=1, delivery=1),
        LINK_VARIABLE: links,
    }
    body = _writer(folder, signer).write(letter, CONTENT, compiled.render(values)).body
    key = load_key(folder / "dkim.pem")
    channel = CHANNELS["email"].make(EmailConfig(host=HOST, port=port))
    chunks = [
        [Outgoing(n, "b@b.shop.example", f"p{n}@x.example", body) for n in range(at, at + CHUNK_MESSAGES)]
        for at in range(0, MESSAGES, CHUNK_MESSAGES)
    ]  # fmt: skip
    begun = system.monotonic_s()
    under_way: list[Future[list[Outcome]]] = []
    for chunk in chunks:
        if len(under_way) == channel.parallel:
            _taken(under_way.pop(0).result())
        for message in chunk if signed else ():
            key.sign(message.body[:1_000], PKCS1v15(), SHA256())
        under_way.append(channel.hand_over(chunk))
    for one in under_way:
        _taken(one.result())
    spent = system.monotonic_s() - begun
    channel.close()
    return MESSAGES / spent


def _taken(outcomes: list) -> None:  # type: ignore[type-arg]
    if any(one.fate is not Fate.TAKEN for one in outcomes):
        raise AssertionError(outcomes)


def _writer(folder: Path, signer: LinkSigner) -> Writer:
    return Writer(signer, bounce_domain="b.shop.example", dkim=Dkim(load_key(folder / "dkim.pem")))


@contextmanager
def _sink(folder: Path) -> Iterator[int]:
    """A process that takes mail and throws it away."""
    port = free_port()
    with (folder / "sink.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, __file__, str(port)], stdout=log, stderr=log)
        try:
            await_port(lambda: process.poll() is None, port, folder / "sink.log", "the sink")
            yield port
        finally:
            end(process)


async def _throw_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 sink\r\n")
    while line := await reader.readline():
        verb = line[:4].upper()
        if verb == b"DATA":
            writer.write(b"354 go on\r\n")
            while (await reader.readline()) != b".\r\n":
                pass
        writer.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
        if verb == b"QUIT":
            break
    writer.close()


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_throw_away, HOST, port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
