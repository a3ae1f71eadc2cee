"""Anybody may write to the door for bounces: what that costs the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import Message

import pytest
import sqlalchemy as sa
from answered import Answered

from amity.campaign.tracking import bounce_door, returns
from amity.campaign.tracking.bounce_door import BounceDoor
from amity.campaign.tracking.errors import NoReport
from amity.campaign.tracking.store import RETURN
from amity.storage.ports import Entry

DOMAIN = "bounce.amity.example"
KEPT = 256 * 1024
DSN = (
    b"From: mailer-daemon@x\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: message/delivery-status\r\n\r\n"
)


@asynccontextmanager
async def listening(answered: Answered, *, full: bool = False) -> AsyncIterator[int]:
    door = BounceDoor(
        append=answered.append,
        signer=answered.signer,
        clock=answered.clock,
        domain=DOMAIN,
        full=lambda: full,
    )
    try:
        yield await door.start("127.0.0.1", 0)
    finally:
        await door.stop()


async def pour(writer: asyncio.StreamWriter) -> None:
    """Empty lines, each of which is kept for itself."""
    for _ in range(200):
        writer.write(b"\r\n" * 1_000)
        await writer.drain()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "raw",
    [
        DSN + b"a:\n\n" * (KEPT // 4),
        b"From: mailer-daemon@x\r\n\r\n" + b"\n" * KEPT,
        b"Content-Type: multipart/report; boundary=b\r\n\r\n" + b"\r\n--b\r\n" * (KEPT // 7),
    ],
    ids=["blocks", "lines", "parts"],
)
def test_a_mail_made_to_be_slow_is_read_in_part(
    raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are bounded as bytes are: 60,000 empty blocks, lines or parts would take seconds."""
    given = list[bytes]()

    def noted(part: bytes) -> Message:
        given.append(part)
        return message_from_bytes(part)

    monkeypatch.setattr(returns, "message_from_bytes", noted)
    with pytest.raises(NoReport):
        returns.read(raw[:KEPT])
    assert max(part.count(b"\n") for part in given) <= returns.LINES_MAX


def test_a_text_in_no_charset_is_refused(answered: Answered) -> None:
    """A codec that decodes nothing of the kind makes a refused return, no failure of the sink."""
    raw = b"From: mailer-daemon@x\r\nContent-Type: text/html; charset=idna\r\n\r\n\xff\xfe"
    answered.come_back(raw)
    answered.settle()
    with answered.tables.connect() as connection:
        assert list(connection.execute(sa.select(RETURN.c.kind)).scalars()) == ["refused"]


def test_others_write_while_a_mail_is_read(
    answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a mail that somebody made holds no lock on the campaign's database."""
    read, wrote = returns.read, []

    def slowly(raw: bytes) -> returns.Report:
        answered.recipients.update(answered.people["bob"], {"city": "Graz"})
        wrote.append(raw)
        return read(raw)

    monkeypatch.setattr(returns, "read", slowly)
    answered.come_back(answered.mail("postfix_user_unknown"))
    answered.settle()
    assert len(wrote) == 1


async def test_all_connections_together_are_bounded(
    answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mails that are never ended cut who holds most, not who comes to report."""
    monkeypatch.setattr(bounce_door, "UNANSWERED_BYTES_MAX", 2_000_000)
    begin: Sequence[bytes] = (
        b"HELO x\r\n",
        b"MAIL FROM:<>\r\n",
        f"RCPT TO:<postmaster@{DOMAIN}>\r\nDATA\r\n".encode(),
    )
    async with listening(answered) as port:
        small_reader, small = await asyncio.open_connection("127.0.0.1", port)
        _, large = await asyncio.open_connection("127.0.0.1", port)
        for line in begin:
            small.write(line)
            large.write(line)
        small.write(b"Subject: x\r\n\r\n")
        with pytest.raises(ConnectionError):
            await pour(large)
        small.write(b"text\r\n.\r\nQUIT\r\n")
        said = await asyncio.wait_for(small_reader.read(), 5)
        small.close()
        large.close()
    assert b"250 2.0.0 Ok" in said
    kept: list[Entry] = answered.appended
    assert len(kept) == 1


async def test_a_disk_that_is_nearly_full_takes_no_mail(answered: Answered) -> None:
    """Whoever comes is told to come again, before anything is sent."""
    async with listening(answered, full=True) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for line in (b"HELO x", b"MAIL FROM:<>", f"RCPT TO:<postmaster@{DOMAIN}>".encode()):
            await reader.readline()
            writer.write(line + b"\r\n")
        assert (await reader.readline()).startswith(b"452 4.3.1")
        writer.close()
    assert answered.appended == []
