"""Who takes the mail of a test or the demo, and how does one look into it?

A real SMTP server on a free loopback port. Each message it takes lies in its folder, byte for byte,
with its envelope; rules by recipient let it refuse as other people's servers do. Runs in a thread
of the caller, or as a process of its own: ``python -m amity.testing.smtp_sink --folder F --port P``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Literal, Self

import msgspec
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from amity.testing.processes import HOST, await_port, end
from amity.testing.server import free_port

Answer = Literal["accept", "unknown", "full", "later", "refused", "cut", "vanish"]

_NAME = "sink.example.test"
_SIZE_MAX = 32 << 20
_READY_S = 30.0
_RCPT = {
    "unknown": "550 5.1.1 <{}>: Recipient address rejected: User unknown in virtual mailbox table",
    "full": "452 4.2.2 <{}>: The mailbox is full",
    "later": "451 4.7.1 <{}>: Try again later",
    "refused": "550 5.7.1 <{}>: Message refused by local policy",
}


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What the sink answers to some recipients; the first rule that fits counts.

    `unknown`, `full`, `later` and `refused` answer RCPT with 550, 452, 451 and 550. `cut` closes the
    connection in the middle of DATA; `vanish` keeps the whole message and closes the connection
    without an answer, so that the sender cannot know.
    """

    to: str
    """A pattern over the address in lower case: ``*@full.example.test``."""

    answer: Answer
    times: int = 0
    """Only so often for each recipient, then `accept`; 0 for ever."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient of one envelope and what it was answered."""

    to: str
    answer: Answer
    sender: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A message that was taken."""

    number: int
    sender: str
    recipients: tuple[str, ...]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        """The message, parsed."""
        return BytesParser(_class=EmailMessage, policy=policy.SMTP).parsebytes(self.raw)


class SmtpSink:
    """The folder of a sink: its rules, and what has come.

    Args:
        folder: Where messages are kept; rules lie there too, so that both forms obey changed ones.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def obey(self, *rules: Rule) -> None:
        """From now on, these rules and no others."""
        draft = self.folder / ".rules.json"
        draft.write_bytes(msgspec.json.encode(rules))
        draft.replace(self.folder / "rules.json")

    def mails(self, after: int = 0) -> Iterator[Mail]:
        """The messages taken, in order of arrival, without the first `after`."""
        for path in sorted(self.folder.glob("*.eml")):
            number = int(path.stem)
            if number > after:
                envelope = json.loads(path.with_suffix(".json").read_bytes())
                yield Mail(
                    number=number,
                    sender=envelope["from"],
                    recipients=tuple(envelope["to"]),
                    raw=path.read_bytes(),
                )

    def count(self) -> int:
        """How many messages were taken."""
        return sum(1 for _ in self.folder.glob("*.eml"))

    def to(self, address: str) -> list[Mail]:
        """The messages taken for an address."""
        return [mail for mail in self.mails() if address in mail.recipients]

    def attempts(self) -> list[Attempt]:
        """Every recipient that was named, and what was answered."""
        path = self.folder / "attempts.jsonl"
        if not path.exists():
            return []
        lines = path.read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Attempt) for line in lines]


class ThreadedSink(SmtpSink):
    """A sink that listens in a thread of this process while the block lasts."""

    def __init__(self, folder: Path, *rules: Rule, port: int = 0) -> None:
        super().__init__(folder)
        if rules:
            self.obey(*rules)
        self.port = port or free_port()
        self._controller = _Controller(
            _Handler(folder),
            hostname=HOST,
            port=self.port,
            server_hostname=_NAME,
            ready_timeout=_READY_S,
        )

    @property
    def address(self) -> str:
        """``HOST:PORT``."""
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._controller.stop()


class SinkProcess(SmtpSink):
    """A sink in a process of its own: while the block lasts, or until `stop`."""

    def __init__(self, folder: Path, *rules: Rule, port: int = 0) -> None:
        super().__init__(folder)
        if rules:
            self.obey(*rules)
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """``HOST:PORT``."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id; 0 while it does not run."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Listen."""
        command = [sys.executable, "-m", "amity.testing.smtp_sink"]
        command += ["--folder", str(self.folder), "--port", str(self.port)]
        with (self.folder / "sink.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdout=log, stderr=log, start_new_session=True
            )
        self._process = process
        log_path = self.folder / "sink.log"
        await_port(lambda: process.poll() is None, self.port, log_path, "the sink")

    def stop(self) -> None:
        """Listen no more."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class _Handler:
    """Decides by the rules and keeps what is taken."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: Counter[tuple[str, Rule]] = Counter()
        self._last = max((int(path.stem) for path in folder.glob("*.eml")), default=0)

    async def handle_RCPT(  # noqa: N802 - the name is the library's
        self, _server: SMTP, _session: Session, envelope: Envelope, *named: str
    ) -> str:
        """Take a recipient, or answer as its rule says."""
        address = named[0]
        answer = self.answer(address)
        attempt = Attempt(to=address, answer=answer, sender=envelope.mail_from or "")
        with (self._folder / "attempts.jsonl").open("ab") as out:
            out.write(msgspec.json.encode(attempt) + b"\n")
        if answer in _RCPT:
            return _RCPT[answer].format(address)
        envelope.rcpt_tos.append(address)
        if answer in {"cut", "vanish"}:
            envelope.rcpt_options.append(answer)
        return "250 2.1.5 Ok"

    async def handle_DATA(  # noqa: N802 - the name is the library's
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep a message; some then get no answer."""
        self.keep(envelope)
        if "vanish" in envelope.rcpt_options:
            await _hang_up(server)
        return f"250 2.0.0 Ok: kept as {self._last}"

    def answer(self, address: str) -> Answer:
        """What the first rule that fits says of this recipient."""
        for rule in self._rules():
            if fnmatchcase(address.lower(), rule.to):
                seen = (address, rule)
                if rule.times and self._seen[seen] >= rule.times:
                    continue
                self._seen[seen] += 1
                return rule.answer
        return "accept"

    def keep(self, envelope: Envelope) -> None:
        """The envelope first, then the message: what is seen is whole."""
        self._last += 1
        path = self._folder / f"{self._last:08d}.eml"
        found = {"from": envelope.mail_from, "to": envelope.rcpt_tos}
        path.with_suffix(".json").write_text(json.dumps(found))
        draft = path.with_suffix(".part")
        draft.write_bytes(envelope.original_content or b"")
        draft.replace(path)

    def _rules(self) -> list[Rule]:
        try:
            content = (self._folder / "rules.json").read_bytes()
        except FileNotFoundError:
            return []
        return msgspec.json.decode(content, type=list[Rule])


class _Server(SMTP):
    """An SMTP server that can close the connection within DATA."""

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - the name is the library's
        if self.envelope is not None and "cut" in self.envelope.rcpt_options:
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            await self._reader.readline()
            await _hang_up(self)
        await super().smtp_DATA(arg)


class _Controller(Controller):
    """Listens in a thread."""

    def factory(self) -> SMTP:
        return _Server(self.handler, data_size_limit=_SIZE_MAX, **self.SMTP_kwargs)


async def _hang_up(server: SMTP) -> None:
    """Break the connection; the library then ends the task that waits here."""
    if server.transport is not None:
        server.transport.abort()  # type: ignore[attr-defined]
    await asyncio.Event().wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Listen until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    asked = Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: asked.set())
    with ThreadedSink(options.folder, port=options.port):
        asked.wait()


if __name__ == "__main__":
    main()
