from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from amity.flow import failed
from amity.flow.failed import FAILED_TOPIC
from amity.flow.sink import BACKOFF_S_MAX, SinkRunner
from amity.kernel.errors import Invalid, LostOwnership, Unavailable
from amity.storage.ports import Entry, LogRecord
from amity.storage.sqlite.log import SqliteLog
from amity.storage.sqlite.state import SqliteState
from amity.testing.memory import MemoryLog, MemoryState


class Hands:
    """A system clock moved by hand."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now_ms(self) -> int:
        return int(self.at_s * 1000)

    def monotonic_s(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


class Collecting:
    """A sink that keeps bodies, and does as told before."""

    name = "collect"
    consumes = ("test.in",)

    def __init__(self, before: Callable[[list[bytes]], None] = lambda bodies: None) -> None:
        self.before = before
        self.calls: list[list[bytes]] = []

    def handle(self, records: Sequence[LogRecord], now_ms: int) -> None:
        bodies = [record.body for record in records]
        self.before(bodies)
        self.calls.append(bodies)


def entries(*bodies: bytes) -> list[Entry]:
    return [Entry("test.in", b"k", body) for body in bodies]


def test_records_are_carried_out_once_and_progress_survives(tmp_path: Path) -> None:
    """After a restart over the real files a sink sees only what is new."""
    log, state = SqliteLog(tmp_path, writer=0), SqliteState(tmp_path / "state-0.db")
    log.append(entries(b"1", b"2"))
    first, second = Collecting(), Collecting()

    assert SinkRunner(first, log=log, state=state).run_once(0) == 2
    log.append(entries(b"3"))
    runner = SinkRunner(second, log=log, state=state)
    assert runner.lag() == 1
    assert runner.run_once(0) == 1

    assert (first.calls, second.calls) == ([[b"1", b"2"]], [[b"3"]])
    assert (runner.lag(), runner.quiet(), runner.run_once(0)) == (0, True, 0)
    log.close()
    state.close()


def test_transient_trouble_is_waited_out() -> None:
    """A transient error is tried again after a growing wait; nothing is skipped."""
    log, state, clock = MemoryLog(), MemoryState(), Hands()

    def away(bodies: list[bytes]) -> None:
        raise Unavailable("the store is away", retry_after_s=0)

    sink = Collecting(away)
    runner = SinkRunner(sink, log=log, state=state, system=clock)
    log.append(entries(b"1"))
    waits = []
    for _ in range(12):
        assert runner.run_once(0) == 0
        waits.append(round(runner.retry_in_s(), 3))
        assert runner.run_once(0) == 0
        clock.sleep(runner.retry_in_s())

    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-1] == BACKOFF_S_MAX
    assert "away" in runner.trouble

    sink.before = lambda bodies: None
    assert runner.run_once(0) == 1
    assert (sink.calls, runner.trouble, runner.retry_in_s()) == ([[b"1"]], "", 0.0)


def test_a_record_that_cannot_be_carried_out_is_filed() -> None:
    """A terminal error costs only the record to blame; it becomes a failed record."""
    log, state = MemoryLog(), MemoryState()

    def picky(bodies: list[bytes]) -> None:
        if b"3" in bodies:
            raise Invalid("three is no number")

    sink = Collecting(picky)
    runner = SinkRunner(sink, log=log, state=state)
    log.append(entries(b"1", b"2", b"3", b"4", b"5"))

    assert runner.run_once(7) == 5

    assert sorted(body for call in sink.calls for body in call) == [b"1", b"2", b"4", b"5"]
    found = [failed.DECODER.decode(record.body) for record in log.poll(FAILED_TOPIC, {}, 9)]
    assert [(f.raw, f.code, f.reason, f.source) for f in found] == [
        (b"3", "Invalid", "three is no number", "collect")
    ]


def test_an_unknown_error_is_tried_before_it_is_filed() -> None:
    """An error of no known kind is tried a few times, then counts as terminal."""
    log, state, clock = MemoryLog(), MemoryState(), Hands()

    def breaks(bodies: list[bytes]) -> None:
        raise ZeroDivisionError

    runner = SinkRunner(Collecting(breaks), log=log, state=state, system=clock)
    log.append(entries(b"1"))
    handled = []
    for _ in range(3):
        handled.append(runner.run_once(0))
        clock.sleep(60)

    assert handled == [0, 0, 1]
    assert len(log.poll(FAILED_TOPIC, {}, 9)) == 1


def test_two_owners_of_one_sink() -> None:
    """The older of two runners of one sink cannot move its progress."""
    log, state = MemoryLog(), MemoryState()
    old = SinkRunner(Collecting(), log=log, state=state)
    SinkRunner(Collecting(), log=log, state=state)
    log.append(entries(b"1"))

    with pytest.raises(LostOwnership):
        old.run_once(0)
