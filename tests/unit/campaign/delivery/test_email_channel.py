"""Does the e-mail channel tell the truth about what a server took?"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from campaign_side import START_MS, Campaign

from amity.campaign.delivery.channel import Fate
from amity.campaign.delivery.channels import CHANNELS
from amity.campaign.delivery.channels.email import EmailChannel, EmailConfig
from amity.campaign.delivery.message import Outgoing
from amity.kernel.clock import DAY_MS, HOUR_MS
from amity.testing.server import free_port
from amity.testing.smtp_sink import Rule, ThreadedSink


def _channel(port: int, **more: object) -> EmailChannel:
    made = CHANNELS["email"].make(
        EmailConfig(host="127.0.0.1", port=port, connections=2, timeout_s=5, **more)  # type: ignore[arg-type]
    )
    assert isinstance(made, EmailChannel)
    return made


def _messages(*addresses: str, size: int = 10) -> list[Outgoing]:
    body = b"Subject: x\r\n\r\n.begins with a dot\r\n" + b"line\r\n" * size
    return [Outgoing(n, "b@b.example", one, body) for n, one in enumerate(addresses, 1)]


@contextmanager
def _open(port: int) -> Iterator[EmailChannel]:
    channel = _channel(port)
    try:
        yield channel
    finally:
        channel.close()


def test_answers(tmp_path: Path) -> None:
    """Each answer of a server becomes the fate of that message alone."""
    rules = (
        Rule(to="unknown@*", answer="unknown"),
        Rule(to="full@*", answer="full"),
        Rule(to="later@*", answer="later"),
    )
    with ThreadedSink(tmp_path, *rules) as sink, _open(sink.port) as channel:
        wanted = (
            "a@x.example",
            "unknown@x.example",
            "full@x.example",
            "later@x.example",
            "b@x.example",
        )
        found = channel.hand_over(_messages(*wanted)).result(10)
        assert [(one.fate, one.code, one.enhanced) for one in found] == [
            (Fate.TAKEN, 250, ""),
            (Fate.REFUSED, 550, "5.1.1"),
            (Fate.DEFERRED, 452, "4.2.2"),
            (Fate.DEFERRED, 451, "4.7.1"),
            (Fate.TAKEN, 250, ""),
        ]
        mails = list(sink.mails())
    assert [mail.recipients for mail in mails] == [("a@x.example",), ("b@x.example",)]
    assert mails[0].raw == _messages("a@x.example")[0].body


@pytest.mark.thorough
@pytest.mark.parametrize("size", [10, 400_000])
def test_cut_within_data(tmp_path: Path, size: int) -> None:
    """A server that closes within DATA took nothing; nothing else of the chunk is tried against it."""
    with (
        ThreadedSink(tmp_path, Rule(to="cut@*", answer="cut", times=1)) as sink,
        _open(sink.port) as channel,
    ):
        wanted = ("a@x.example", "cut@x.example", "b@x.example")
        found = channel.hand_over(_messages(*wanted, size=size)).result(10)
        fates = [one.fate for one in found]
        assert fates[0] is Fate.TAKEN
        assert fates[1] in {Fate.BROKEN, Fate.UNSURE}
        assert fates[2] is Fate.UNSENT
        assert size < 1_000 or fates[1] is Fate.BROKEN
        again = channel.hand_over(_messages("cut@x.example", "b@x.example")).result(10)
        assert [one.fate for one in again] == [Fate.TAKEN, Fate.TAKEN]
        assert sink.count() == 3


def test_silence(tmp_path: Path) -> None:
    """No answer to the last dot: nobody can know, and the channel says so."""
    with (
        ThreadedSink(tmp_path, Rule(to="gone@*", answer="vanish", times=1)) as sink,
        _open(sink.port) as channel,
    ):
        found = channel.hand_over(_messages("gone@x.example", "b@x.example")).result(10)
        assert [one.fate for one in found] == [Fate.UNSURE, Fate.UNSENT]


def test_nobody_listens() -> None:
    """Where nothing listens nothing was begun."""
    with _open(free_port()) as channel:
        found = channel.hand_over(_messages("a@x.example", "b@x.example")).result(10)
        assert [one.fate for one in found] == [Fate.UNSENT, Fate.UNSENT]
        assert "no connection" in found[0].text


def test_refused_sender_blames_nobody() -> None:
    """A server that refuses our own name says nothing of the recipient."""
    with _scripted({"MAIL": "550 5.7.1 go away"}) as port, _open(port) as channel:
        found = channel.hand_over(_messages("a@x.example")).result(10)
        assert found[0].fate is Fate.UNSENT
        assert "sender was refused" in found[0].text


def test_parallel(tmp_path: Path) -> None:
    """Chunks go over connections of their own; each message arrives once."""
    with ThreadedSink(tmp_path) as sink, _open(sink.port) as channel:
        chunks = [_messages(*(f"p{n}-{m}@x.example" for m in range(20))) for n in range(4)]
        futures = [channel.hand_over(chunk) for chunk in chunks]
        assert all(one.fate is Fate.TAKEN for future in futures for one in future.result(20))
        sent = Counter(mail.recipients[0] for mail in sink.mails())
    assert len(sent) == 80
    assert max(sent.values()) == 1


@pytest.mark.parametrize("answer", ["cut", "vanish"])
def test_whole_delivery_by_a_server_in_trouble(tmp_path: Path, answer: str) -> None:
    """A server that closes mid-DATA or never answers: nobody is written to twice, what is unknown is listed."""
    (tmp_path / "sink").mkdir()
    rule = Rule(to="p7@*", answer=answer, times=2)  # type: ignore[arg-type]
    with ThreadedSink(tmp_path / "sink", rule) as sink, _open(sink.port) as channel:
        campaign = Campaign(tmp_path, channel)
        campaign.crowd(60)
        id = campaign.started()
        campaign.until(START_MS + 4 * HOUR_MS)
        mails = Counter(mail.recipients[0] for mail in sink.mails())
    statuses = campaign.statuses(id)
    assert max(mails.values()) == 1
    assert statuses["sent"] + statuses.get("unknown", 0) == 60
    assert statuses.get("unknown", 0) <= 1
    assert len(mails) + (answer == "cut") * statuses.get("unknown", 0) == 60


@pytest.mark.thorough
def test_server_that_says_later(tmp_path: Path) -> None:
    """4xx for an hour over real SMTP: sent after it, once."""
    (tmp_path / "sink").mkdir()
    with (
        ThreadedSink(tmp_path / "sink", Rule(to="*", answer="later", times=1)) as sink,
        _open(sink.port) as channel,
    ):
        campaign = Campaign(tmp_path, channel)
        campaign.crowd(30)
        id = campaign.started()
        campaign.until(START_MS + HOUR_MS - 1)
        assert campaign.statuses(id) == {"pending": 30}
        campaign.until(START_MS + DAY_MS)
        assert campaign.statuses(id) == {"sent": 30}
        assert sink.count() == 30


@contextmanager
def _scripted(answers: dict[str, str]) -> Iterator[int]:
    """A server that answers some commands as told and everything else with 250."""
    port, ready, loop = free_port(), threading.Event(), asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            verb = line[:4].decode().upper()
            writer.write(answers.get(verb, "250 ok").encode() + b"\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        ready.set()
        await stop.wait()
        server.close()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    ready.wait(5)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        loop.close()
