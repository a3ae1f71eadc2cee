"""A disk that is full for a while delays what the flow does; it never makes data look bad."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from amity.flow.failed import FAILED_TOPIC
from amity.flow.runner import Runner
from amity.flow.sink import SinkRunner
from amity.flow.step import Outcome, Timer
from amity.kernel.errors import Transient
from amity.kernel.limits import STEP_TRIES_MAX
from amity.kernel.scope import Scope
from amity.storage.ports import Entry, LogRecord, Reader, Writer
from amity.storage.sqlite.log import SqliteLog
from amity.storage.sqlite.state import SqliteState

SCOPE = Scope("O", "prod")
LARGE = bytes(200_000)


class Ask(msgspec.Struct, array_like=True, frozen=True):
    """A timer is wanted for `due_ms`."""

    at_ms: int
    due_ms: int


class Writing:
    """Keeps a large value when its timer fires."""

    name = "writing"
    consumes = ("test.asks",)

    def decode(self, record: LogRecord) -> Sequence[Ask]:
        return [msgspec.msgpack.decode(record.body, type=Ask)]

    def encode(self, message: Ask) -> bytes:
        return msgspec.msgpack.encode(message)

    def load(self, reader: Reader, messages: Sequence[Ask], fired: Sequence[Timer]) -> list[bytes]:
        return []

    def step(
        self, state: list[bytes], messages: Sequence[Ask], fired: Sequence[Timer], now_ms: int
    ) -> Outcome[list[bytes]]:
        timers: list[Timer] = [Timer(SCOPE, b"t", one.due_ms, 1) for one in messages]
        return Outcome(state=[timer.key for timer in fired], timers=[*timers])

    def save(self, writer: Writer, state: list[bytes]) -> None:
        writer.put_many("writing_fired", SCOPE, [(key, LARGE) for key in state])


def test_a_timer_waits_for_a_full_disk(tmp_path: Path) -> None:
    """A timer whose effects find no room fires again later; it is not set aside as poison."""
    log, state = SqliteLog(tmp_path, writer=0), SqliteState(tmp_path / "state-0.db")
    runner = Runner([Writing()], log=log, state=state, name="r")
    log.append([Entry("test.asks", b"k", msgspec.msgpack.encode(Ask(1, 10)))])
    runner.run_once(0)

    with _full(state):
        for _ in range(STEP_TRIES_MAX + 1):
            with pytest.raises(Transient):
                runner.fire_due(20)
    assert runner.fire_due(20) == 1

    with state.read() as reader:
        assert reader.get_many("writing_fired", SCOPE, [b"t"]) == {b"t": LARGE}
    runner.publish()
    assert log.poll(FAILED_TOPIC, {}, 10) == []


def test_a_new_topic_waits_for_a_full_disk(tmp_path: Path) -> None:
    """The first append to a topic finds no room: told as a state that passes."""
    log = SqliteLog(tmp_path, writer=0)
    connection = log._writer._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}").fetchall()

    with pytest.raises(Transient):
        log.append([Entry("a", b"k", LARGE)])
    with pytest.raises(Transient):
        log.append([Entry("b" * 20_000, b"k", b"")])
    connection.execute("PRAGMA max_page_count=1000000").fetchall()
    log.append([Entry("a", b"k", b"1"), Entry("b" * 20_000, b"k", b"2")])

    assert [record.body for record in log.poll("a", {}, 10)] == [b"1"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE])
def test_a_sink_waits_for_the_machine(tmp_path: Path, number: int) -> None:
    """A full disk or a lack of handles is no fault of the records: none is ever given up."""
    log, state = SqliteLog(tmp_path, writer=0), SqliteState(tmp_path / "state-0.db")
    log.append([Entry("test.in", b"k", b"1")])
    system = _Hands()
    sink = _Full(number)
    runner = SinkRunner(sink, log=log, state=state, system=system)

    for _ in range(STEP_TRIES_MAX + 3):
        assert runner.run_once(0) == 0
        assert "OSError" in runner.trouble
        system.at_s += 60
    sink.number = 0

    assert runner.run_once(0) == 1
    assert log.poll(FAILED_TOPIC, {}, 10) == []


class _full:  # noqa: N801 - reads as a verb
    """No page more for a state database."""

    def __init__(self, state: SqliteState) -> None:
        self._connection = state._writer

    def __enter__(self) -> None:
        pages = self._connection.execute("PRAGMA page_count").fetchone()[0]
        self._connection.execute(f"PRAGMA max_page_count={pages}").fetchall()

    def __exit__(self, *_: object) -> None:
        self._connection.execute("PRAGMA max_page_count=1000000").fetchall()


class _Full:
    """A sink whose disk is full."""

    name = "full"
    consumes = ("test.in",)

    def __init__(self, number: int) -> None:
        self.number = number

    def handle(self, records: Sequence[LogRecord], now_ms: int) -> None:
        if self.number:
            raise OSError(self.number, "cannot")


class _Hands:
    """A system clock moved by hand."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now_ms(self) -> int:
        return int(self.at_s * 1000)

    def monotonic_s(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds
