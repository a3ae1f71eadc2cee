"""The virtual clock moves only when its tick is durable, and a restart goes on where it stood."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from amity.app.clock_routes import ClockAdvance
from amity.app.core import HTTP_WRITER, WORKER_WRITER, open_core
from amity.app.folder import DataFolder
from amity.app.loop import Hosts, Loop
from amity.flow.ticks import TICK_TOPIC
from amity.kernel.clock import HOUR_MS, VirtualBusinessClock, from_iso
from amity.kernel.errors import Invalid, Unavailable
from amity.storage.ports import Entry
from amity.testing.memory import MemoryLog

START = "2017-10-30T00:00:00Z"
T0 = from_iso(START)


class Timed:
    """A host with timers, which notes when it fires them."""

    def __init__(self, name: str, dues: Sequence[int], fired: list[tuple[str, int]]) -> None:
        self.name = name
        self._dues = list(dues)
        self._fired = fired

    def run_once(self, now_ms: int, limit: int = 1_000) -> int:
        return 0

    def lag(self) -> int:
        return 0

    def positions(self) -> dict[str, dict[int, int]]:
        return {}

    def next_due(self) -> int | None:
        return min(self._dues, default=None)

    def fire_due(self, to_ms: int) -> int:
        due = [at for at in self._dues if at <= to_ms]
        self._dues = [at for at in self._dues if at > to_ms]
        self._fired += [(self.name, at) for at in due]
        return len(due)


class Server:
    """What both processes open of a folder, without either."""

    def __init__(self, root: Path) -> None:
        self.folder = DataFolder(root)
        self.folder.create()

    def http(self, clock: str = START) -> int:
        """Where the clock of the HTTP process stands when it starts."""
        core = open_core(self.folder, clock=clock, writer=HTTP_WRITER)
        core.close()
        return core.clock.now_ms()

    def advance(self, body: dict[str, Any], clock: str = START) -> None:
        """Append a tick; the worker is away."""
        core = open_core(self.folder, clock=clock, writer=HTTP_WRITER)
        try:
            ClockAdvance(core.clock, core.log, wait=lambda _: None).advance(body)
        finally:
            core.close()

    def work(self, *hosts: Timed, clock: str = START) -> int:
        """Start a worker and let it turn until nothing moves; where its clock stands then."""
        core = open_core(self.folder, clock=clock, writer=WORKER_WRITER)
        try:
            loop = Loop(
                Hosts(hosts), clock=core.clock, system=core.system, log=core.log,
                state=core.state,
            )  # fmt: skip
            while loop.turn():
                pass
            return core.clock.now_ms()
        finally:
            core.close()


def test_a_worker_that_died_in_a_tick_fires_in_order(tmp_path: Path) -> None:
    """After a restart the timers of an unfinished tick fire in order of due time over all hosts."""
    server = Server(tmp_path)
    server.http()
    server.work()
    server.advance({"advance": "PT4H"})
    fired: list[tuple[str, int]] = []
    one = Timed("one", [T0 + HOUR_MS, T0 + 3 * HOUR_MS], fired)
    two = Timed("two", [T0 + 2 * HOUR_MS], fired)

    assert server.work(one, two) == T0 + 4 * HOUR_MS
    assert [name for name, _ in fired] == ["one", "two", "one"]


def test_a_later_start_is_a_tick_too(tmp_path: Path) -> None:
    """A folder started at a later time gets there as by an advance, and never goes back."""
    server = Server(tmp_path)
    server.http()
    server.work()
    later = "2017-10-30T04:00:00Z"
    assert server.http(later) == T0 + 4 * HOUR_MS
    fired: list[tuple[str, int]] = []
    one = Timed("one", [T0 + HOUR_MS, T0 + 3 * HOUR_MS], fired)
    two = Timed("two", [T0 + 2 * HOUR_MS], fired)

    assert server.work(one, two, clock=later) == T0 + 4 * HOUR_MS
    assert [name for name, _ in fired] == ["one", "two", "one"]
    assert server.http(START) == T0 + 4 * HOUR_MS
    assert server.work(clock=START) == T0 + 4 * HOUR_MS


@pytest.mark.parametrize(
    "body",
    [
        {"advance": "P99999999999999999D"},
        {"advance": "P999999999D"},
        {"to": "0001-01-01T00:00:00+23:59"},
        {"to": "9999-12-31T23:59:59-23:59"},
        {"to": "2017-10-29T00:00:00Z"},
    ],
)
def test_a_time_out_of_reach_leaves_the_clock_alone(body: dict[str, str]) -> None:
    """A time before now or after the last year that can be written is refused without a trace."""
    clock, log = VirtualBusinessClock(T0), MemoryLog()
    advance = ClockAdvance(clock, log, wait=lambda _: None)

    with pytest.raises(Invalid):
        advance.advance(body)

    assert (clock.now_ms(), log.ends(TICK_TOPIC)) == (T0, {})


def test_a_tick_that_cannot_be_written_does_not_move_the_clock() -> None:
    """With the log out of reach the clock stays: records would carry a time that a restart loses."""

    class FullLog(MemoryLog):
        def append(self, entries: Sequence[Entry]) -> list[tuple[int, int]]:
            raise Unavailable

    clock = VirtualBusinessClock(T0)
    advance = ClockAdvance(clock, FullLog(), wait=lambda _: None)

    with pytest.raises(Unavailable):
        advance.advance({"advance": "PT1H"})

    assert clock.now_ms() == T0
