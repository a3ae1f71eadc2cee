from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from amity.storage.ports import State
from amity.storage.sqlite.state import SqliteState
from amity.testing.memory import MemoryState
from amity.testing.state_suite import StateSuite


class TestSqliteState(StateSuite):
    @pytest.fixture
    def state(self, tmp_path: Path) -> Iterator[State]:
        state = SqliteState(tmp_path / "state-0.db")
        yield state
        state.close()


class TestMemoryState(StateSuite):
    @pytest.fixture
    def state(self) -> State:
        return MemoryState()
