from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from amity.storage.ports import Tables, WorkFiles
from amity.storage.sqlite.tables import SqliteTables
from amity.storage.sqlite.work_files import SqliteWorkFiles
from amity.testing.work_files_suite import WorkFilesSuite, WorkMaker

_KILLED = """
import os, sys
from pathlib import Path
import sqlalchemy as sa
from amity.storage.sqlite.tables import SqliteTables
from amity.storage.sqlite.work_files import SqliteWorkFiles

folder = Path(sys.argv[1])
work = SqliteWorkFiles(folder / "work", SqliteTables(folder / "campaign.db"), folder / "campaign.db")
with work.build("one") as connection:
    connection.execute(sa.text("CREATE TABLE rows (n INTEGER PRIMARY KEY)"))
    os.kill(os.getpid(), 9)
"""


class TestSqliteWorkFiles(WorkFilesSuite):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[list[SqliteTables]]:
        made: list[SqliteTables] = []
        yield made
        for tables in made:
            tables.close()

    @pytest.fixture
    def campaign(self, tmp_path: Path, opened: list[SqliteTables]) -> Tables:
        opened.append(SqliteTables(tmp_path / "campaign.db"))
        return opened[-1]

    @pytest.fixture
    def make_work(
        self, tmp_path: Path, opened: list[SqliteTables], campaign: SqliteTables
    ) -> WorkMaker:
        def make() -> WorkFiles:
            return SqliteWorkFiles(tmp_path / "work", campaign, tmp_path / "campaign.db")

        return make

    def test_a_killed_process_leaves_no_half_file(
        self, tmp_path: Path, make_work: WorkMaker
    ) -> None:
        """What a killed process had in the making is not published, and swept at the next start."""
        ended = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
        assert ended.returncode == -9
        assert list((tmp_path / "work").glob("one.part*"))

        assert make_work().names() == []
        assert list((tmp_path / "work").iterdir()) == []
