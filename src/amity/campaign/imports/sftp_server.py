"""How does the customer, or the platform, put files here? This installation's own SFTP server.

One folder an account below `root`, which is the external account `sftp` to workflows. Nothing but
SFTP is served: no shell, no command, no forwarding. Wrong passwords make an address wait.
"""

from __future__ import annotations

import asyncio
import base64
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.stream import SSHServerStreamSession

from amity.access.audit import Action, AuditEvent, AuditLog
from amity.access.key_files import read_keys
from amity.campaign.imports.sftp_accounts import SftpAccounts, Throttle
from amity.campaign.imports.sftp_files import AccountFiles, FileAction, SftpLimits
from amity.kernel.clock import SystemClock
from amity.kernel.ids import IdSource
from amity.kernel.scope import Scope
from amity.transports.ports import is_unfinished

ATTEMPTS_PER_CONNECTION = 6
LOGIN_S = 30
KEEPALIVE_S = 30
HASHES_AT_ONCE = 2
"""Passwords checked at the same time: each takes 19 MiB and a core."""

_VERSION = 3
"""Of the protocol: the one all clients speak."""

_SHOWN_MAX = 500
_AUDITED: dict[str, Action] = {
    "upload": "create",
    "mkdir": "create",
    "rename": "update",
    "delete": "delete",
    "rmdir": "delete",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SftpEvent:
    """What happened at the door: a sign-in or its refusal, a file put, renamed or deleted."""

    account: str
    address: str
    action: Literal["login", FileAction]
    subject: str
    """The path; for a sign-in the way: `password` or `key`."""

    allowed: bool


class SftpServer:
    """The server. It runs in the loop that starts it.

    Args:
        root: Folder of the accounts' folders.
        host_key: File of the server's own key; made when it is missing.
        accounts: Who may sign in.
        tell: Is told each event, in a thread; for the audit log.
        clock: Measures how long who guesses must wait.
        ids: Names unfinished uploads.
        limits: What clients may use.
    """

    def __init__(
        self,
        *,
        root: Path,
        host_key: Path,
        accounts: SftpAccounts,
        tell: Callable[[SftpEvent], None],
        clock: SystemClock,
        ids: IdSource,
        limits: SftpLimits | None = None,
    ) -> None:
        self._root = root
        self._drafts = root / ".drafts"
        self._key = _host_key(host_key)
        self._listener: asyncssh.SSHAcceptor | None = None
        self._door = _Door(
            accounts=accounts,
            tell=tell,
            clock=clock,
            ids=ids,
            limits=limits or SftpLimits(),
            root=root,
            drafts=self._drafts,
        )

    @property
    def fingerprint(self) -> str:
        """Of the server's key, for who pins it."""
        return self._key.get_fingerprint()

    async def start(self, host: str, port: int) -> int:
        """Listen; answers the port, which is a free one for 0."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._drafts.mkdir(exist_ok=True, mode=0o700)
        for left in self._drafts.iterdir():
            if is_unfinished(left.name):
                left.unlink()
        self._listener = await asyncssh.listen(
            host,
            port,
            config=None,
            server_factory=lambda: _Login(self._door),
            server_host_keys=[self._key],
            encoding=None,
            allow_scp=False,
            allow_pty=False,
            agent_forwarding=False,
            kbdint_auth=False,
            gss_host=None,
            server_version="Amity",
            login_timeout=LOGIN_S,
            keepalive_interval=KEEPALIVE_S,
        )
        return self._listener.get_port()

    async def stop(self) -> None:
        """Take no more, end what is open; uploads that are not closed are dropped."""
        if self._listener is not None:
            self._listener.close()
            for connection in list(self._door.connections):
                connection.abort()
            await self._listener.wait_closed()
            self._listener = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Door:
    """What all connections share."""

    accounts: SftpAccounts
    tell: Callable[[SftpEvent], None]
    clock: SystemClock
    ids: IdSource
    limits: SftpLimits
    root: Path
    drafts: Path
    throttle: Throttle = field(default_factory=Throttle)
    sessions: dict[str, list[AccountFiles]] = field(default_factory=lambda: defaultdict(list))
    hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HASHES_AT_ONCE))
    connections: set[asyncssh.SSHServerConnection] = field(default_factory=set)


class _Login(asyncssh.SSHServer):
    """One connection: who is it, and what may it open?"""

    def __init__(self, door: _Door) -> None:
        self._door = door
        self._connection: asyncssh.SSHServerConnection | None = None
        self._address = ""
        self._account = ""
        self._way = ""
        self._wrong = 0
        self._mine: list[AccountFiles] = []

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Let it in, unless there are too many."""
        if len(self._door.connections) >= self._door.limits.connections:
            conn.abort()
            return
        self._connection = conn
        self._address = str((conn.get_extra_info("peername") or ("?",))[0])
        self._door.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        if self._connection is not None:
            self._door.connections.discard(self._connection)
        for files in self._mine:
            files.exit()

    def begin_auth(self, username: str) -> bool:
        """Everybody signs in."""
        self._account = username
        return True

    def public_key_auth_supported(self) -> bool:
        """By key."""
        return True

    def password_auth_supported(self) -> bool:
        """By password."""
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether it is one of the account's; that the client holds it is proven after this."""
        self._way = "key"
        if self._waits():
            return False
        return await asyncio.to_thread(
            self._door.accounts.key_fits, username, key.get_fingerprint()
        )

    async def validate_password(self, username: str, password: str) -> bool:
        """Whether it is the account's."""
        self._way = "password"
        if self._waits():
            await self._failed()
            return False
        async with self._door.hashing:
            fits = await asyncio.to_thread(self._door.accounts.password_fits, username, password)
        if not fits:
            self._door.throttle.wrong(self._address, self._door.clock.monotonic_s())
            await self._failed()
        return fits

    async def auth_completed(self) -> None:
        """Signed in."""
        self._door.throttle.right(self._address)
        await asyncio.to_thread(self._tell, "login", self._way, allowed=True)

    def session_requested(self) -> Any:
        """A session, in which only SFTP is spoken."""
        sessions = self._door.sessions[self._account]
        sessions[:] = [files for files in sessions if not files.gone]
        if len(sessions) >= self._door.limits.sessions_per_account:
            return False
        return _Session(self._files)

    def _files(self, channel: asyncssh.SSHServerChannel[bytes]) -> AccountFiles:
        home = self._door.root / self._account
        home.mkdir(exist_ok=True, mode=0o700)
        files = AccountFiles(
            channel,
            home=home,
            drafts=self._door.drafts,
            limits=self._door.limits,
            ids=self._door.ids,
            may=lambda: self._door.accounts.active(self._account),
            tell=lambda action, path: self._tell(action, path, allowed=action != "refused"),
        )
        self._door.sessions[self._account].append(files)
        self._mine.append(files)
        return files

    def _waits(self) -> bool:
        return self._door.throttle.waits(self._address, self._door.clock.monotonic_s())

    async def _failed(self) -> None:
        self._wrong += 1
        await asyncio.to_thread(self._tell, "login", self._way, allowed=False)
        if self._wrong >= ATTEMPTS_PER_CONNECTION and self._connection is not None:
            self._connection.abort()

    def _tell(self, action: Literal["login"] | FileAction, subject: str, *, allowed: bool) -> None:
        self._door.tell(
            SftpEvent(
                account=self._account[:_SHOWN_MAX],
                address=self._address,
                action=action,
                subject=subject[:_SHOWN_MAX],
                allowed=allowed,
            )
        )


class _Session(SSHServerStreamSession[bytes]):
    """Serves SFTP and nothing else; tells its files when its input has ended.

    What is open is closed for a client that is gone just as if it had closed it: only the input
    tells the two apart.
    """

    def __init__(self, make: Callable[[asyncssh.SSHServerChannel[bytes]], AccountFiles]) -> None:
        super().__init__(None, self._made, _VERSION)
        self._make = make
        self._files: AccountFiles | None = None

    def _made(self, channel: SSHChannel[bytes]) -> AccountFiles:
        self._files = self._make(cast("asyncssh.SSHServerChannel[bytes]", channel))
        return self._files

    async def read(self, datatype: int | None, n: int, exact: bool) -> bytes:  # noqa: FBT001 - theirs
        """The next bytes of the input."""
        try:
            return await super().read(datatype, n, exact)
        except BaseException:
            if self._files is not None:
                self._files.gone = True
            raise


class SftpAudit:
    """Writes the server's events into the audit log.

    Args:
        audit: The log.
        ids: Names events.
        clock: Stamps them.
        scope: Whose server it is.
    """

    def __init__(self, *, audit: AuditLog, ids: IdSource, clock: SystemClock, scope: Scope) -> None:
        self._audit = audit
        self._ids = ids
        self._clock = clock
        self._scope = scope

    def __call__(self, event: SftpEvent) -> None:
        """Write it down."""
        self._audit.record(
            AuditEvent(
                id=self._ids.hex(32),
                org=self._scope.org,
                sandbox=self._scope.sandbox,
                actor=f"sftp:{event.account}",
                action=_AUDITED.get(event.action, "execute"),
                asset_type="sftpLogin" if event.action == "login" else "sftpFile",
                asset_id=event.subject if event.action != "login" else event.address,
                status="Success" if event.allowed else "Deny",
                failure_code="" if event.allowed else f"sftp-{event.action}",
                request_id=self._ids.hex(32),
                at_ms=self._clock.now_ms(),
            )
        )


def _host_key(path: Path) -> asyncssh.SSHKey:
    """The server's key, in a file that only its owner reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = read_keys(path, _new_key)[0]
    return asyncssh.import_private_key(base64.b64decode(line))


def _new_key() -> str:
    key = asyncssh.generate_private_key("ssh-ed25519")
    return base64.b64encode(key.export_private_key("pkcs8-der")).decode()
