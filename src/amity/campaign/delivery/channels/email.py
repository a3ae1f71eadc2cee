"""How does a message reach a mail server?

By SMTP, over several connections at a time, each used for many messages, on an event loop of the
channel's own. The last dot of a message is written only once nearly all before it was acknowledged by
the other machine: what breaks before is known not to have been taken. See docs/adr/0017-delivery.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sys
import termios
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, Final, Literal

import aiosmtplib
import msgspec
import re2

from amity.campaign.delivery.channel import Channel, Fate, Outcome
from amity.campaign.delivery.message import Outgoing
from amity.kernel.registry import Spec

MESSAGES_PER_CONNECTION: Final = 200
"""After these a connection is made anew. Ours: receivers end long ones."""

UNACKNOWLEDGED_BYTES: Final = 1 << 16
"""So much of a message may be under way when its last dot is written. Ours: to wait for the last
acknowledgement costs 40 ms a message, because receivers delay it."""

_ENHANCED = re2.compile(r"^([245]\.\d{1,3}\.\d{1,3})\s+")
_DRAIN_S = 0.002
_CLOSE_S = 5.0
_GO_ON = 354
_TROUBLE = frozenset({Fate.UNSENT, Fate.BROKEN, Fate.UNSURE})
_START_TLS = {"opportunistic": None, "starttls": True, "implicit": False, "none": False}


class EmailConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the mail server is."""

    host: str
    port: int = 25
    connections: int = 4
    timeout_s: float = 60.0
    tls: Literal["opportunistic", "starttls", "implicit", "none"] = "opportunistic"
    """`opportunistic` takes TLS where it is offered and asks for no certificate: who could forge one
    could as well take the offer away. `starttls` and `implicit` demand both."""

    username: str = ""
    password: str = ""


class EmailChannel:
    """Hands messages to one mail server."""

    name = "email"

    def __init__(self, config: EmailConfig) -> None:
        self._config = config
        self.parallel = config.connections
        self._idle: list[_Connection] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smtp", daemon=True)
        self._thread.start()

    def hand_over(self, messages: Sequence[Outgoing]) -> Future[list[Outcome]]:
        """Begin to hand a chunk over, over one connection."""
        return self._run(self._chunk(list(messages)))

    def close(self) -> None:
        """Say goodbye to the server; idempotent."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(TimeoutError):
            self._run(self._quit()).result(_CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _chunk(self, messages: list[Outgoing]) -> list[Outcome]:
        connection = self._idle.pop() if self._idle else _Connection(self._config)
        outcomes: list[Outcome] = []
        for message in messages:
            outcome = await connection.send(message)
            outcomes.append(outcome)
            if outcome.fate in _TROUBLE:
                # A server in trouble makes no more than one message of a chunk uncertain.
                left = messages[len(outcomes) :]
                outcomes += [Outcome(one.id, Fate.UNSENT, text=outcome.text) for one in left]
                break
        self._idle.append(connection)
        return outcomes

    async def _quit(self) -> None:
        while self._idle:
            await self._idle.pop().end()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Connection:
    """One connection, made when it is needed."""

    def __init__(self, config: EmailConfig) -> None:
        self._config = config
        self._client: aiosmtplib.SMTP | None = None
        self._sent = 0

    async def send(self, message: Outgoing) -> Outcome:
        """Hand one message over; whatever happens, the connection is fit for the next one."""
        try:
            client = await self._connected()
        except (aiosmtplib.SMTPException, OSError) as error:
            self._drop()
            return Outcome(message.id, Fate.UNSENT, text=f"no connection: {_said(error)}")
        whole = False
        try:
            if (told := await self._begun(client, message)) is not None:
                return told
            await self._written(client, message.body)
            whole = True
            said = await self._ended(client)
            self._sent += 1
            return _outcome(message.id, said)
        except (aiosmtplib.SMTPException, OSError) as error:
            self._drop()
            if whole:
                return Outcome(message.id, Fate.UNSURE, text=f"no answer after it: {_said(error)}")
            return Outcome(message.id, Fate.BROKEN, text=f"the connection broke: {_said(error)}")

    async def end(self) -> None:
        """Say goodbye."""
        if self._client is not None and self._client.is_connected:
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await self._client.quit(timeout=_CLOSE_S)
        self._drop()

    async def _connected(self) -> aiosmtplib.SMTP:
        if self._client is not None and self._sent >= MESSAGES_PER_CONNECTION:
            await self.end()
        if self._client is not None and self._client.is_connected:
            return self._client
        self._drop()
        config = self._config
        client = aiosmtplib.SMTP(
            hostname=config.host,
            port=config.port,
            timeout=config.timeout_s,
            use_tls=config.tls == "implicit",
            start_tls=_START_TLS[config.tls],
            validate_certs=config.tls != "opportunistic",
            username=config.username or None,
            password=config.password or None,
        )
        self._client = client
        await client.connect()
        return client

    async def _begun(self, client: aiosmtplib.SMTP, message: Outgoing) -> Outcome | None:
        """Name sender and recipient and begin the message; the outcome if the server ends it there."""
        said = await self._command(client, f"MAIL FROM:<{message.sender}>")
        if said.code // 100 != 2:
            # It says nothing about the recipient: our own name or the whole server is in trouble.
            self._drop()
            text = f"the sender was refused: {said.code} {said.message}"
            return Outcome(message.id, Fate.UNSENT, said.code, text=text)
        said = await self._command(client, f"RCPT TO:<{message.recipient}>")
        if said.code // 100 == 2:
            said = await self._command(client, "DATA")
            if said.code == _GO_ON:
                return None
        if said.code == 421:
            self._drop()
            return Outcome(message.id, Fate.UNSENT, said.code, text=said.message)
        await client.rset(timeout=self._config.timeout_s)
        return _outcome(message.id, said)

    async def _command(self, client: aiosmtplib.SMTP, line: str) -> aiosmtplib.SMTPResponse:
        return await client.execute_command(line.encode("ascii"), timeout=self._config.timeout_s)

    async def _written(self, client: aiosmtplib.SMTP, body: bytes) -> None:
        """Send all but the last dot, and see whether the server is still there."""
        protocol = client.protocol
        if protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        protocol.write(_stuffed(body))
        await asyncio.sleep(0)
        async with asyncio.timeout(self._config.timeout_s):
            while _unsent(protocol.transport):  # noqa: ASYNC110 - a transport tells nobody
                await asyncio.sleep(_DRAIN_S)
        if not protocol.is_connected:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")

    async def _ended(self, client: aiosmtplib.SMTP) -> aiosmtplib.SMTPResponse:
        protocol = client.protocol
        if protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        protocol.write(b".\r\n")
        return await protocol.read_response(timeout=self._config.timeout_s)

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None
        self._sent = 0


def _stuffed(body: bytes) -> bytes:
    """A dot at the start of a line is doubled (RFC 5321 §4.5.2); `body` ends a line."""
    stuffed = body.replace(b"\n.", b"\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _unsent(transport: asyncio.BaseTransport | None) -> bool:
    """Whether much of what was written is still here."""
    if not isinstance(transport, asyncio.WriteTransport) or transport.is_closing():
        return False
    if transport.get_write_buffer_size() > 0:
        return True
    connected = transport.get_extra_info("socket")
    try:
        left = fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return False
    return int.from_bytes(left, sys.byteorder) > UNACKNOWLEDGED_BYTES


def _outcome(id: int, said: aiosmtplib.SMTPResponse) -> Outcome:
    if said.code // 100 == 2:
        return Outcome(id, Fate.TAKEN, said.code, text=said.message)
    found = _ENHANCED.match(said.message)
    enhanced = found.group(1) if found else ""
    fate = Fate.REFUSED if said.code >= 500 else Fate.DEFERRED
    return Outcome(id, fate, said.code, enhanced, said.message)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _make(config: EmailConfig) -> Channel:
    return EmailChannel(config)


SPEC: Spec[Channel] = Spec(
    name="email", summary="SMTP to a mail server.", config=EmailConfig, make=_make
)
