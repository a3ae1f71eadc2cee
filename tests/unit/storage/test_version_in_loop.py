"""How often is the control plane's version looked up?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import sqlalchemy as sa

from amity.storage.sqlite.tables import SqliteTables

META = sa.MetaData()
NOTE = sa.Table("note", META, sa.Column("text", sa.Text))


def _write(tables: SqliteTables) -> None:
    with tables.begin() as connection:
        connection.execute(NOTE.insert().values(text="x"))


def test_another_process_s_change_is_seen_in_the_next_turn_of_the_loop(tmp_path: Path) -> None:
    """Within a turn the version stands; no later answer is given by an old one."""
    mine, other = SqliteTables(tmp_path / "c.db"), SqliteTables(tmp_path / "c.db")
    mine.create(META)

    async def look() -> None:
        before = mine.version()
        _write(other)
        assert mine.version() == before
        await asyncio.sleep(0)
        assert mine.version() != before

    asyncio.run(look())


def test_one_s_own_change_is_seen_at_once(tmp_path: Path) -> None:
    """Whoever writes and reads on within one turn reads what was written."""
    tables = SqliteTables(tmp_path / "c.db")
    tables.create(META)

    async def look() -> None:
        before = tables.version()
        _write(tables)
        assert tables.version() != before

    asyncio.run(look())


def test_without_a_loop_every_change_is_seen_at_once(tmp_path: Path) -> None:
    """A worker has no loop: it must know a dataset before the frame that needs it."""
    mine, other = SqliteTables(tmp_path / "c.db"), SqliteTables(tmp_path / "c.db")
    mine.create(META)
    before = mine.version()

    _write(other)

    assert mine.version() != before
