from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from amity.storage.ports import Tables
from amity.storage.sqlite.tables import SqliteTables
from amity.testing.tables_suite import TablesMaker, TablesSuite


class TestSqliteTables(TablesSuite):
    @pytest.fixture
    def make_tables(self, tmp_path: Path) -> Iterator[TablesMaker]:
        made: list[SqliteTables] = []

        def make() -> Tables:
            made.append(SqliteTables(tmp_path / "control.db"))
            return made[-1]

        yield make
        for tables in made:
            tables.close()
