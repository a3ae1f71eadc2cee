from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from amity.storage.ports import Log
from amity.storage.sqlite.log import SqliteLog
from amity.testing.log_suite import LogMaker, LogSuite
from amity.testing.memory import MemoryLog


class TestSqliteLog(LogSuite):
    @pytest.fixture
    def logs(self, tmp_path: Path) -> Iterator[LogMaker]:
        made: list[SqliteLog] = []

        def make(writer: int) -> Log:
            made.append(SqliteLog(tmp_path, writer=writer))
            return made[-1]

        yield make
        for log in made:
            log.close()


class TestMemoryLog(LogSuite):
    @pytest.fixture
    def logs(self) -> LogMaker:
        first = MemoryLog(writer=0)
        return lambda writer: first.sibling(writer=writer)
