"""The servers that other tests lean on: the SMTP sink, Postfix before it, OpenSSH."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from waiting import eventually

from amity.testing.openssh import openssh_available, start_openssh
from amity.testing.postfix import postfix_available, start_postfix
from amity.testing.smtp_sink import Attempt, Rule, SinkProcess, SmtpSink, ThreadedSink

BODY = b"Subject: hello\r\n\r\n..two dots\r\nlast line\r\n"
BOUNCES = "bounces.example.test"


def send(address: str, *recipients: str, sender: str = f"v1@{BOUNCES}") -> dict[str, int]:
    """Recipient → code, for those refused; the connection's end is told as 0."""
    host, _, port = address.rpartition(":")
    try:
        with smtplib.SMTP(host, int(port), timeout=30) as client:
            refused = client.sendmail(sender, recipients, BODY)
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
    except smtplib.SMTPServerDisconnected:
        return dict.fromkeys(recipients, 0)
    return {to: code for to, (code, _) in refused.items()}


@pytest.fixture(params=["thread", "process"])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[SmtpSink, str]]:
    """Both forms of the sink."""
    if request.param == "thread":
        with ThreadedSink(tmp_path / "sink") as listening:
            yield listening, listening.address
    else:
        with SinkProcess(tmp_path / "sink") as started:
            yield started, started.address


def test_sink_keeps_what_it_takes_and_refuses_by_rule(sink: tuple[SmtpSink, str]) -> None:
    """Bytes and envelopes are kept; each rule answers as it says, and may change meanwhile."""
    kept, address = sink
    kept.obey(
        Rule(to="*@gone.test", answer="unknown"),
        Rule(to="full@*", answer="full"),
        Rule(to="later@*", answer="later", times=1),
        Rule(to="cut@*", answer="cut"),
        Rule(to="vanish@*", answer="vanish"),
    )

    assert send(address, "a@x.test", "b@x.test") == {}
    assert send(address, "c@gone.test", "d@x.test") == {"c@gone.test": 550}
    assert send(address, "full@x.test") == {"full@x.test": 452}
    assert send(address, "later@x.test") == {"later@x.test": 451}
    assert send(address, "later@x.test") == {}
    assert send(address, "cut@x.test") == {"cut@x.test": 0}
    assert send(address, "vanish@x.test") == {"vanish@x.test": 0}
    kept.obey()
    assert send(address, "full@x.test") == {}

    mails = list(kept.mails())
    assert [mail.recipients for mail in mails] == [
        ("a@x.test", "b@x.test"),
        ("d@x.test",),
        ("later@x.test",),
        ("vanish@x.test",),
        ("full@x.test",),
    ]
    assert {mail.raw for mail in mails} == {BODY}
    assert {mail.sender for mail in mails} == {f"v1@{BOUNCES}"}
    assert mails[0].message["Subject"] == "hello"
    assert [mail.number for mail in kept.mails(after=3)] == [4, 5]
    assert kept.attempts()[2] == Attempt(to="c@gone.test", answer="unknown", sender=f"v1@{BOUNCES}")


def test_postfix_returns_what_the_sink_refuses(tmp_path: Path) -> None:
    """A real DSN comes to the bounce door for an unknown user; others arrive at the sink."""
    gone = Rule(to="*@gone.test", answer="unknown")
    with ThreadedSink(tmp_path / "sink", gone) as sink, ThreadedSink(tmp_path / "door") as door:
        if not postfix_available():
            assert send(sink.address, "c@gone.test") == {"c@gone.test": 550}
            return
        with start_postfix(
            relay=sink.address, bounces=door.address, bounce_domain=BOUNCES
        ) as postfix:
            assert send(postfix.address, "a@x.test") == {}
            assert send(postfix.address, "c@gone.test", sender=f"v2@{BOUNCES}") == {}
            eventually(door.count, lambda found: found == 1, 30)
            eventually(sink.count, lambda found: found == 1, 30)
        (bounce,) = door.mails()
    assert (bounce.sender, bounce.recipients) == ("<>", (f"v2@{BOUNCES}",))
    assert bounce.message.get_content_type() == "multipart/report"
    assert b"Status: 5.1.1" in bounce.raw
    assert [mail.recipients for mail in sink.mails()] == [("a@x.test",)]


def test_openssh_serves_files_to_its_key_alone(tmp_path: Path) -> None:
    """The account's key writes into the served folder; another key is refused."""
    assert openssh_available() or not Path("/usr/sbin/sshd").exists()
    if not openssh_available():
        return

    async def put(port: int, known: str, key: asyncssh.SSHKey, user: str) -> None:
        pinned = asyncssh.import_known_hosts(f"[127.0.0.1]:{port} {known}\n")
        async with (
            asyncssh.connect(
                "127.0.0.1", port, username=user, client_keys=[key], known_hosts=pinned
            ) as connection,
            connection.start_sftp_client() as client,
            client.open("a.txt", "w") as file,
        ):
            await file.write("hello")

    with start_openssh(tmp_path / "ssh") as server:
        key = asyncssh.import_private_key(server.key)
        asyncio.run(put(server.port, server.host_key, key, server.user))
        stranger = asyncssh.generate_private_key("ssh-ed25519")
        with pytest.raises(asyncssh.PermissionDenied):
            asyncio.run(put(server.port, server.host_key, stranger, server.user))

        assert (server.root / "a.txt").read_text() == "hello"
