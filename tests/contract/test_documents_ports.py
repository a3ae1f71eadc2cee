from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from amity.kernel.clock import VirtualBusinessClock
from amity.storage.ports import Documents
from amity.storage.sqlite.documents import SqliteDocuments
from amity.storage.sqlite.tables import SqliteTables
from amity.testing.documents_suite import DocumentsSuite
from amity.testing.memory import MemoryDocuments


class TestSqliteDocuments(DocumentsSuite):
    @pytest.fixture
    def clock(self) -> VirtualBusinessClock:
        return VirtualBusinessClock(1_000)

    @pytest.fixture
    def documents(self, tmp_path: Path, clock: VirtualBusinessClock) -> Iterator[Documents]:
        tables = SqliteTables(tmp_path / "control.db")
        yield SqliteDocuments(tables, clock)
        tables.close()


class TestMemoryDocuments(DocumentsSuite):
    @pytest.fixture
    def clock(self) -> VirtualBusinessClock:
        return VirtualBusinessClock(1_000)

    @pytest.fixture
    def documents(self, clock: VirtualBusinessClock) -> Documents:
        return MemoryDocuments(clock)
