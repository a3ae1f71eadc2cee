"""How does a test get the installation's own SFTP server, with accounts, in this process?"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from amity.campaign.imports.sftp_accounts import SftpAccountBody, SftpAccounts
from amity.campaign.imports.sftp_files import SftpLimits
from amity.campaign.imports.sftp_server import SftpEvent, SftpServer
from amity.kernel.clock import RealSystemClock, VirtualBusinessClock
from amity.kernel.ids import RandomIds
from amity.storage.sqlite.tables import SqliteTables

T = TypeVar("T")

PASSWORD = "correct horse battery"  # noqa: S105 - of accounts that live as long as a test


class OwnSftp(NamedTuple):
    """A running server."""

    port: int
    root: Path
    accounts: SftpAccounts
    fingerprint: str
    events: list[SftpEvent]


@contextmanager
def own_sftp(
    folder: Path, *names: str, limits: SftpLimits | None = None, keys: tuple[str, ...] = ()
) -> Iterator[OwnSftp]:
    """The server in a thread of its own, with an account of each name."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = SqliteTables(folder / "campaign.db")
    accounts = SftpAccounts(tables=tables, clock=VirtualBusinessClock(0), ids=RandomIds())
    for name in names:
        accounts.save(SftpAccountBody(name=name, password=PASSWORD, public_keys=keys))
    events: list[SftpEvent] = []
    server = SftpServer(
        root=folder / "sftp",
        host_key=folder / "keys" / "sftp.key",
        accounts=accounts,
        tell=events.append,
        clock=RealSystemClock(),
        ids=RandomIds(),
        limits=limits,
    )
    with _loop() as run:
        port = run(server.start("127.0.0.1", 0))
        try:
            yield OwnSftp(port, folder / "sftp", accounts, server.fingerprint, events)
        finally:
            run(server.stop())
            tables.close()


class _Run:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)


@contextmanager
def _loop() -> Iterator[_Run]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="own-sftp")
    thread.start()
    try:
        yield _Run(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
