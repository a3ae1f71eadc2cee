"""The log forgets what every reader has durably done, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from amity.flow.retention import Retention
from amity.storage.ports import Entry
from amity.storage.sqlite import log as sqlite_log
from amity.storage.sqlite.log import SqliteLog
from amity.testing.memory import MemoryLog


class At:
    """A reader that stands somewhere."""

    def __init__(self, positions: Mapping[str, Mapping[int, int]]) -> None:
        self._positions = positions

    def positions(self) -> Mapping[str, Mapping[int, int]]:
        return self._positions


def bodies(log: SqliteLog | MemoryLog, topic: str) -> list[bytes]:
    return [record.body for record in log.poll(topic, {}, 10_000)]


@pytest.fixture(params=["sqlite", "memory"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteLog | MemoryLog:
    return MemoryLog() if request.param == "memory" else SqliteLog(tmp_path, writer=0)


def test_the_slowest_reader_decides(log: SqliteLog | MemoryLog) -> None:
    """A record stays until the last reader of its topic is past it."""
    places = log.append([Entry("t", b"k", b"%d" % n) for n in range(4)])
    (partition, second), (_, third) = places[1], places[2]
    end = log.ends("t")

    Retention(log, [At({"t": {partition: third}}), At({"t": end})]).trim()
    assert bodies(log, "t") == [b"2", b"3"]
    Retention(log, [At({"t": {partition: second}}), At({"t": end})]).trim()
    assert bodies(log, "t") == [b"2", b"3"]
    Retention(log, [At({"t": end}), At({"t": end})]).trim()
    assert bodies(log, "t") == []


def test_who_has_not_begun_keeps_all(log: SqliteLog | MemoryLog) -> None:
    """A reader without a position in a partition, or a topic without a reader, loses nothing."""
    log.append([Entry("t", b"k", b"1"), Entry("alone", b"k", b"2")])
    end = log.ends("t")

    Retention(log, [At({"t": end}), At({"t": {}})]).trim()
    Retention(log, [At({"t": {}})]).trim()

    assert (bodies(log, "t"), bodies(log, "alone")) == ([b"1"], [b"2"])


def test_much_goes_in_short_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long log goes piece by piece; another process's file is trimmed too and goes on."""
    monkeypatch.setattr(sqlite_log, "TRIM_CHUNKS", 2)
    door, worker = SqliteLog(tmp_path, writer=0), SqliteLog(tmp_path, writer=1)
    for _ in range(7):
        door.append([Entry("t", b"k%d" % n, b"x" * 100) for n in range(100)])
    ends = worker.ends("t")

    Retention(worker, [At({"t": ends})]).trim()
    ((partition, offset),) = door.append([Entry("t", b"k1", b"next")])

    assert offset >= ends[partition]
    assert bodies(worker, "t") == bodies(door, "t") == [b"next"]
    assert [record.body for record in worker.poll("t", ends, 10)] == [b"next"]
