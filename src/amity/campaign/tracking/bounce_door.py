"""How does a mail that comes back get in?

By SMTP, on the event loop that serves HTTP. A recipient is a signed envelope sender of ours or one of
a few fixed mailboxes; anything else is refused while it is named. A mail is acknowledged once it is durable in the log, so a crash leaves it with the sender.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import AnyStr

from aiosmtpd.smtp import SMTP, Envelope, Session

from amity.campaign.delivery.errors import BadLink
from amity.campaign.delivery.links import LinkSigner
from amity.campaign.tracking.link_door import Append
from amity.campaign.tracking.model import (
    RETURN_BYTES_KEPT,
    RETURN_BYTES_MAX,
    RETURNS_TOPIC,
    Return,
    encoded,
)
from amity.kernel.clock import BusinessClock
from amity.kernel.errors import Transient
from amity.kernel.ids import digest
from amity.storage.keys import pack
from amity.storage.ports import Entry

MAILBOXES = frozenset({"fbl", "abuse", "postmaster"})
"""Fixed mailboxes: complaints of providers, and the one that every mail server has (RFC 5321)."""

CONNECTIONS_MAX = 200
"""Open at a time; one more is told to come later. Ours."""

CONNECTION_BYTES_MAX = 64 * 1024 * 1024
"""What one connection may send, lines counted as below, before it is cut. Ours: the protocol reader
keeps an endless line, and empty ones take it long."""

UNANSWERED_BYTES_MAX = 256 * 1024 * 1024
"""What all connections together hold of mails that are not answered; beyond it the heaviest is cut. Ours."""

LINE_BYTES = 400
"""What a line costs beside its bytes, in memory and in time of the event loop: the protocol reader takes
and keeps a mail line by line. Ours."""

IDLE_S_MAX = 60.0
RECIPIENTS_MAX = 20
COMMANDS_MAX = {"*": 2_000}
"""Commands of one connection. Ours."""


def opened(signer: LinkSigner, local: str) -> tuple[int, int]:
    """Delivery log and delivery a mail to this local part is about, (0, 0) for a fixed mailbox.

    `BadLink` when it is none of ours.
    """
    return (0, 0) if local.lower() in MAILBOXES else signer.open_verp(local)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handler:
    """What the protocol asks of us, command by command."""

    append: Append
    signer: LinkSigner
    clock: BusinessClock
    domain: str
    full: Callable[[], bool]

    async def handle_RCPT(  # noqa: N802, PLR0917 - the protocol's name and parameters
        self,
        server: SMTP,  # noqa: ARG002 - the protocol's own signature
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        rcpt_options: list[str],
    ) -> str:
        """Take an address of ours, refuse any other: nothing is passed on from here."""
        local, _, domain = address.strip("<>").rpartition("@")
        if domain.lower() != self.domain.lower():
            return "550 5.7.1 This server takes only what comes back to its own messages"
        try:
            opened(self.signer, local)
        except BadLink:
            return "550 5.1.1 No message of ours has this address"
        if self.full():
            return "452 4.3.1 The disk is nearly full: come again later"
        if len(envelope.rcpt_tos) >= RECIPIENTS_MAX:
            return "452 4.5.3 Too many recipients at once"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(rcpt_options)
        return "250 2.1.5 Ok"

    async def handle_DATA(  # noqa: N802 - the protocol's name
        self,
        server: SMTP,  # noqa: ARG002 - the protocol's own signature
        session: Session,
        envelope: Envelope,
    ) -> str:
        """Acknowledge once it is durable."""
        content = hashlib.sha256(envelope.original_content or b"").hexdigest()
        try:
            await self.append(
                [self._entry(session, envelope, to, content) for to in envelope.rcpt_tos]
            )
        except Transient as error:
            return f"451 4.3.0 {error.message}"
        return "250 2.0.0 Ok: it is kept"

    def _entry(self, session: Session, envelope: Envelope, to: str, content: str) -> Entry:
        local = to.strip("<>").rpartition("@")[0].lower()
        broadlog, delivery = opened(self.signer, local)
        peer = session.peer[0] if session.peer else ""
        returned = Return(
            id=digest(local, content),
            to=local,
            broadlog=broadlog,
            delivery=delivery,
            sender=(envelope.mail_from or "")[:320],
            peer=str(peer),
            at_ms=self.clock.now_ms(),
            raw=(envelope.original_content or b"")[:RETURN_BYTES_KEPT],
        )
        return Entry(RETURNS_TOPIC, pack(broadlog), encoded(returned))


class _Server(SMTP):
    """One connection, with bounds that the library has none for."""

    line_length_limit = 8 * 1024
    """Servers return lines longer than RFC 5321 allows."""

    def __init__(self, handler: _Handler, held: set[_Server]) -> None:
        super().__init__(
            handler,
            data_size_limit=RETURN_BYTES_MAX,
            enable_SMTPUTF8=True,
            hostname=handler.domain,
            ident="Amity",
            timeout=IDLE_S_MAX,
            command_call_limit=dict(COMMANDS_MAX),
            loop=asyncio.get_running_loop(),
        )
        self._held = held
        self._received = 0
        self.unanswered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve it, unless too many are open."""
        if len(self._held) >= CONNECTIONS_MAX and isinstance(transport, asyncio.Transport):
            transport.write(b"421 4.3.2 Too many connections, try again later\r\n")
            transport.close()
            return
        self._held.add(self)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Cut who sends without end, and who holds most where all together hold too much."""
        if self not in self._held:
            return
        cost = len(data) + LINE_BYTES * data.count(b"\n")
        self._received += cost
        self.unanswered += cost
        heaviest = self if self._received > CONNECTION_BYTES_MAX else self._heaviest()
        if heaviest is not None and isinstance(heaviest.transport, asyncio.Transport):
            heaviest.transport.abort()
        if heaviest is not self:
            super().data_received(data)

    async def push(self, status: AnyStr) -> None:
        """Answer; what is answered is held no longer."""
        self.unanswered = 0
        await super().push(status)

    def _heaviest(self) -> _Server | None:
        """Who holds most; nobody while all together hold little enough."""
        if sum(one.unanswered for one in self._held) <= UNANSWERED_BYTES_MAX:
            return None
        return max(self._held, key=lambda one: one.unanswered)

    def eof_received(self) -> bool | None:
        """Nothing more comes."""
        return super().eof_received() if self in self._held else None

    def connection_lost(self, error: Exception | None) -> None:
        """One fewer."""
        if self in self._held:
            self._held.discard(self)
            super().connection_lost(error)

    def close(self) -> None:
        """Hang up."""
        if self.transport is not None:
            self.transport.close()


class BounceDoor:
    """Listens for mails that come back.

    Args:
        append: Returns once entries are durable in the log.
        signer: Opens the signed addresses.
        clock: Stamps what comes.
        domain: What stands after the @ of envelope senders; the name it greets with.
        full: Whether the disk is too full to take more.
    """

    def __init__(
        self,
        *,
        append: Append,
        signer: LinkSigner,
        clock: BusinessClock,
        domain: str,
        full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._handler = _Handler(
            append=append, signer=signer, clock=clock, domain=domain, full=full
        )
        self._open: set[_Server] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen on the running event loop; the port it got."""
        make: Callable[[], _Server] = lambda: _Server(self._handler, self._open)  # noqa: E731
        self._server = await asyncio.get_running_loop().create_server(make, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Take no more; who is in the midst of a mail will send it again."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._open):
            connection.close()
        await self._server.wait_closed()
        self._server = None
