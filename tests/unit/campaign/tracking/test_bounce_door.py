"""The door for returned mails, over real SMTP: what it takes, what it refuses, and when it says 250."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiosmtplib
import pytest
from answered import Answered

from amity.campaign.tracking import bounce_door
from amity.campaign.tracking.bounce_door import BounceDoor
from amity.campaign.tracking.link_door import Append
from amity.campaign.tracking.model import (
    RETURN_BYTES_KEPT,
    RETURN_BYTES_MAX,
    RETURNS_TOPIC,
    return_of,
)
from amity.kernel.errors import Unavailable
from amity.storage.ports import Entry

pytestmark = pytest.mark.thorough

DOMAIN = "bounce.amity.example"
Door = tuple[BounceDoor, int]


@asynccontextmanager
async def listening(answered: Answered, append: Append | None = None) -> AsyncIterator[int]:
    door = BounceDoor(
        append=append or answered.append,
        signer=answered.signer,
        clock=answered.clock,
        domain=DOMAIN,
    )
    port = await door.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await door.stop()


async def send(port: int, to: str, raw: bytes, *, sender: str = "") -> str:
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False)
    async with client:
        await client.mail(sender)
        await client.rcpt(to)
        return (await client.data(raw)).message


async def talk(port: int, *lines: bytes) -> bytes:
    """What the server says to raw lines, until it hangs up or is silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = await reader.readline()
    for line in lines:
        writer.write(line)
        try:
            await writer.drain()
            said += await asyncio.wait_for(reader.readline(), 0.3)
        except (TimeoutError, ConnectionError):
            break
    writer.close()
    return said


async def pour(writer: asyncio.StreamWriter) -> None:
    """Ten megabytes without an end of line."""
    for _ in range(100):
        writer.write(b"x" * 100_000)
        await writer.drain()


def taken(answered: Answered) -> list[bytes]:
    return [return_of(one.body).raw for one in answered.log.poll(RETURNS_TOPIC, {}, 100)]


async def test_a_bounce_becomes_a_failure(answered: Answered) -> None:
    """A report to the signed sender, in any case, is kept whole and read."""
    raw = answered.mail("postfix_user_unknown")
    async with listening(answered) as port:
        said = await send(port, f"{answered.verp().upper()}@{DOMAIN.upper()}", raw)
    answered.settle()

    assert said.startswith("2.0.0")
    assert [raw] == taken(answered)
    assert 2 == answered.log_of("ann")["status"]


async def test_complaints_have_a_mailbox(answered: Answered) -> None:
    """A provider's feedback goes to a fixed mailbox; postmaster is one, too."""
    async with listening(answered) as port:
        for mailbox in ("fbl", "Postmaster", "abuse"):
            await send(port, f"{mailbox}@{DOMAIN}", answered.mail("arf_yahoo"))
    answered.settle()

    assert 8 == answered.log_of("ann")["failureReason"]


@pytest.mark.parametrize(
    "to",
    [
        "ann@example.net",
        f"ann@{DOMAIN}",
        f"fbl@{DOMAIN}.evil.example",
        f"b{'a' * 40}@{DOMAIN}",
        f"{'x' * 300}@{DOMAIN}",
        f"ann%example.net@{DOMAIN}",
    ],
)
async def test_other_addresses_are_refused(answered: Answered, to: str) -> None:
    """Nothing is relayed, and a name that was not signed here is unknown."""
    async with listening(answered) as port:
        with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
            await send(port, to, b"Subject: x\r\n\r\nx\r\n")

    assert 550 == refused.value.code
    assert [] == taken(answered)


async def test_a_changed_signature_is_refused(answered: Answered) -> None:
    """Each character of a signed sender matters."""
    verp = answered.verp()
    changed = [
        verp[:at] + ("a" if verp[at] != "a" else "c") + verp[at + 1 :]
        for at in range(0, len(verp), 8)
    ]
    async with listening(answered) as port:
        for one in changed:
            with pytest.raises(aiosmtplib.SMTPRecipientRefused):
                await send(port, f"{one}@{DOMAIN}", b"Subject: x\r\n\r\nx\r\n")

    assert [] == taken(answered)


async def test_ten_megabytes_are_refused(answered: Answered) -> None:
    """A mail of 10 MB is refused, whether its size is told before or not, and the door stays open."""
    raw = b"Subject: x\r\n\r\n" + (b"x" * 998 + b"\r\n") * 10_500
    to = f"{answered.verp()}@{DOMAIN}"
    async with listening(answered) as port:
        with pytest.raises(aiosmtplib.SMTPDataError) as unsaid:
            await send(port, to, raw)
        said = await talk(
            port, b"EHLO x\r\n", *[b""] * 4, f"MAIL FROM:<> SIZE={len(raw)}\r\n".encode()
        )
        await send(port, to, answered.mail("postfix_user_unknown"))

    assert 552 == unsaid.value.code
    assert b"552" in said
    assert [answered.mail("postfix_user_unknown")] == taken(answered)


async def test_a_large_mail_is_kept_in_part(answered: Answered) -> None:
    """A bounce that returns a large message is taken; the log keeps the report, not the attachment."""
    raw = answered.mail("gmail_no_such_user") + (b"A" * 76 + b"\r\n") * 30_000
    async with listening(answered) as port:
        await send(port, f"{answered.verp()}@{DOMAIN}", raw)
    answered.settle()

    assert len(raw) < RETURN_BYTES_MAX
    assert [raw[:RETURN_BYTES_KEPT]] == taken(answered)
    assert 2 == answered.log_of("ann")["status"]


async def test_250_means_durable(answered: Answered) -> None:
    """While the log cannot be written the sender keeps its mail: 451, and nothing is lost."""

    async def full(_: Sequence[Entry]) -> None:
        raise Unavailable("the disk is full")

    async with listening(answered, full) as port:
        with pytest.raises(aiosmtplib.SMTPDataError) as refused:
            await send(port, f"{answered.verp()}@{DOMAIN}", answered.mail("gmail_disabled"))

    assert 451 == refused.value.code


async def test_the_answer_waits_for_the_log(answered: Answered) -> None:
    """No 250 before the append has ended."""
    gate, begun = asyncio.Event(), asyncio.Event()

    async def slow(entries: Sequence[Entry]) -> None:
        begun.set()
        await gate.wait()
        await answered.append(entries)

    async with listening(answered, slow) as port:
        sending = asyncio.create_task(
            send(port, f"{answered.verp()}@{DOMAIN}", answered.mail("gmail_disabled"))
        )
        await begun.wait()
        await asyncio.sleep(0.05)
        assert not sending.done()
        gate.set()
        await sending

    assert 1 == len(taken(answered))


async def test_a_mail_that_is_cut_off_is_not_taken(answered: Answered) -> None:
    """A connection lost before the final dot leaves the mail with its sender."""
    to = f"{answered.verp()}@{DOMAIN}"
    async with listening(answered) as port:
        await talk(
            port,
            b"HELO x\r\n",
            b"MAIL FROM:<>\r\n",
            f"RCPT TO:<{to}>\r\n".encode(),
            b"DATA\r\n",
            b"Subject: x\r\n\r\nhalf of",
        )

    assert [] == taken(answered)


async def test_who_sends_without_end_is_cut(
    answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that never ends does not fill the memory."""
    monkeypatch.setattr(bounce_door, "CONNECTION_BYTES_MAX", 1_000_000)
    to = f"{answered.verp()}@{DOMAIN}"
    async with listening(answered) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        for line in (b"HELO x\r\n", b"MAIL FROM:<>\r\n", f"RCPT TO:<{to}>\r\nDATA\r\n".encode()):
            writer.write(line)
        with pytest.raises(ConnectionError):
            await pour(writer)
        writer.close()

    assert [] == taken(answered)


async def test_too_many_connections_are_told_so(
    answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection more than allowed hears 421; when one ends there is room again."""
    monkeypatch.setattr(bounce_door, "CONNECTIONS_MAX", 2)
    async with listening(answered) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        greetings = [(await reader.readline())[:3] for reader, _ in held]
        assert (await talk(port)).startswith(b"421")
        for _, writer in held:
            writer.close()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if (said := await talk(port)).startswith(b"220"):
                break

    assert [b"220"] * 2 == greetings
    assert said.startswith(b"220")


async def test_nonsense_ends_in_an_answer(answered: Answered) -> None:
    """Bytes that are no SMTP harm nobody: the next mail is taken."""
    rng = random.Random(3)
    async with listening(answered) as port:
        for _ in range(10):
            await talk(port, rng.randbytes(200) + b"\r\n")
        await send(port, f"{answered.verp()}@{DOMAIN}", answered.mail("gmail_disabled"))

    assert 1 == len(taken(answered))
