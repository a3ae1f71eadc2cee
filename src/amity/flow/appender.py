"""How do thousands of waiting requests share one disk synchronisation?

Each waits for a future; one thread takes all that wait, appends them in one commit and wakes them
in one go (engines.md E).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple

from amity.kernel.clock import RealSystemClock, SystemClock
from amity.kernel.errors import AmityError, TooMany, Unavailable
from amity.storage.ports import Entry, Log

PENDING_MAX = 50_000
"""Entries not yet durable at which `append` refuses. Ours."""

GROUP_MAX = 20_000
"""Entries of one commit, so that the first need not wait for all. Ours."""


CROWD = 4
COMPANY_S = 0.001
"""From how many at once a group is a crowd, and how long the next one waits for company. Measured."""


class _Waiting(NamedTuple):
    entries: Sequence[Entry]
    future: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop


class GroupAppender:
    """Appends for the coroutines of one event loop.

    Args:
        log: Where to.
        pending_max: Entries not yet durable at which `append` raises `TooMany`.
        system: Times the short wait for company.
    """

    def __init__(
        self, log: Log, *, pending_max: int = PENDING_MAX, system: SystemClock | None = None
    ) -> None:
        self._log = log
        self._pending_max = pending_max
        self._system = system or RealSystemClock()
        self._crowded = False
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="group-appender", daemon=True)
        self._thread.start()
        self.pending = 0
        """Entries not yet durable."""

    async def append(self, entries: Sequence[Entry]) -> None:
        """Return once the entries are durable; all of them or none."""
        if self._closed:
            raise Unavailable("the server is going down; send it again to the next one")
        count = len(entries)
        if self.pending + count > self._pending_max and self.pending:
            raise TooMany("too many records wait for the disk; send it again in a second")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self.pending += count
        try:
            self._queue.put(_Waiting(entries, future, loop))
            await future
        finally:
            self.pending -= count

    def close(self) -> None:
        """Append what waits, then end."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            self._commit(group)

    def _next_group(self) -> list[_Waiting]:
        """All that wait; empty once closed.

        Where the last group was a crowd, the next is given a moment to become one: a commit costs
        the same for one as for fifty. Who comes alone never waits.
        """
        waiting = self._queue.get()
        if self._crowded:
            self._system.sleep(COMPANY_S)
        group = self._drained(waiting)
        self._crowded = len(group) >= CROWD
        return group

    def _drained(self, waiting: _Waiting | None) -> list[_Waiting]:
        group: list[_Waiting] = []
        size = 0
        while waiting is not None:
            group.append(waiting)
            size += len(waiting.entries)
            if size >= GROUP_MAX:
                return group
            try:
                waiting = self._queue.get_nowait()
            except Empty:
                return group
        if group:
            # The sign to end came after entries: those first, then the sign again.
            self._queue.put(None)
        return group

    def _commit(self, group: list[_Waiting]) -> None:
        failure: Exception | None = None
        try:
            self._log.append([entry for waiting in group for entry in waiting.entries])
        except AmityError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - every waiter is told
            failure = Unavailable(f"the log cannot be written now: {error}")
        futures: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for waiting in group:
            futures.setdefault(waiting.loop, []).append(waiting.future)
        for loop, waiters in futures.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_wake, waiters, failure)


def _wake(waiters: list[asyncio.Future[None]], failure: Exception | None) -> None:
    for future in waiters:
        if future.done():
            continue
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)
