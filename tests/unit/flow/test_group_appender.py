from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from amity.flow.appender import GroupAppender
from amity.kernel.errors import TooMany, Unavailable
from amity.storage.ports import Entry
from amity.storage.sqlite.log import SqliteLog
from amity.testing.memory import MemoryLog

ENTRY = Entry("t", b"k", b"body")


class Gated(MemoryLog):
    """A log that waits for a sign before each append, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.groups: list[int] = []
        self.failure: Exception | None = None

    def append(self, entries: Sequence[Entry]) -> list[tuple[int, int]]:
        self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        self.groups.append(len(entries))
        return super().append(entries)


def test_all_that_wait_share_a_commit() -> None:
    """Appends that come while the disk is busy go out together in the next commit."""
    log = Gated()

    async def scenario() -> None:
        appender = GroupAppender(log)
        tasks = [asyncio.create_task(appender.append([ENTRY] * 2)) for _ in range(50)]
        await asyncio.sleep(0.02)
        assert appender.pending == 100
        log.gate.set()
        await asyncio.gather(*tasks)
        assert appender.pending == 0
        appender.close()

    asyncio.run(scenario())

    assert sum(log.groups) == 100
    assert len(log.groups) <= 3


def test_durable_on_return(tmp_path: Path) -> None:
    """When append returns, another reader of the files finds the entries."""

    async def scenario() -> None:
        log, other = SqliteLog(tmp_path, writer=0), SqliteLog(tmp_path, writer=1)
        appender = GroupAppender(log)
        for count in (1, 2, 3):
            await appender.append([ENTRY])
            assert len(other.poll("t", {}, 10)) == count
        appender.close()
        log.close()
        other.close()

    asyncio.run(scenario())


def test_back_pressure_and_failure_reach_the_caller() -> None:
    """Too many waiting is refused at once; an append that fails fails all of its group."""
    log = Gated()

    async def scenario() -> None:
        appender = GroupAppender(log, pending_max=3)
        waiting = asyncio.create_task(appender.append([ENTRY] * 3))
        await asyncio.sleep(0)
        with pytest.raises(TooMany):
            await appender.append([ENTRY])
        log.failure = OSError("disk is full")
        log.gate.set()
        with pytest.raises(Unavailable, match="disk is full"):
            await waiting
        log.failure = None
        await appender.append([ENTRY])
        appender.close()
        with pytest.raises(Unavailable):
            await appender.append([ENTRY])

    asyncio.run(scenario())


def test_close_appends_what_waits() -> None:
    """Closing loses nothing that was handed over."""
    log = Gated()

    async def scenario() -> None:
        appender = GroupAppender(log)
        tasks = [asyncio.create_task(appender.append([ENTRY])) for _ in range(5)]
        await asyncio.sleep(0.01)
        log.gate.set()
        appender.close()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())

    assert len(log.poll("t", {}, 10)) == 5
