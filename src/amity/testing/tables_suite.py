"""What must every `Tables` do? Subclass and give it a `make_tables` fixture.

`make_tables` opens the same database anew with every call, as another process would.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from amity.storage.ports import Tables

TablesMaker = Callable[[], Tables]

_METADATA = sa.MetaData()
_PEOPLE = sa.Table(
    "people",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
)


def _names(tables: Tables) -> list[str]:
    with tables.connect() as connection:
        return list(connection.execute(sa.select(_PEOPLE.c.name).order_by(_PEOPLE.c.id)).scalars())


def _add(tables: Tables, name: str) -> None:
    with tables.begin() as connection:
        connection.execute(sa.insert(_PEOPLE).values(name=name))


def _add_and_break(tables: Tables) -> None:
    with tables.begin() as connection:
        connection.execute(sa.insert(_PEOPLE).values(name="Ada"))
        raise ZeroDivisionError


class TablesSuite:
    """The contract of the port."""

    def test_create_is_repeatable(self, make_tables: TablesMaker) -> None:
        """Creating what is there keeps it."""
        tables = make_tables()
        tables.create(_METADATA)
        _add(tables, "Ada")
        tables.create(_METADATA)
        make_tables().create(_METADATA)

        assert _names(tables) == ["Ada"]

    def test_an_exception_takes_all_back(self, make_tables: TablesMaker) -> None:
        """A transaction that raises leaves nothing."""
        tables = make_tables()
        tables.create(_METADATA)
        with pytest.raises(ZeroDivisionError):
            _add_and_break(tables)

        assert _names(tables) == []

    def test_readers_see_whole_transactions(self, make_tables: TablesMaker) -> None:
        """A reader sees nothing of an open transaction, and keeps its snapshot."""
        tables, other = make_tables(), make_tables()
        tables.create(_METADATA)
        count = sa.select(sa.func.count()).select_from(_PEOPLE)
        with other.connect() as reader:
            assert reader.execute(count).scalar() == 0
            with tables.begin() as connection:
                connection.execute(sa.insert(_PEOPLE).values(name="Ada"))
                assert _names(other) == []
            assert reader.execute(count).scalar() == 0
        assert _names(other) == ["Ada"]

    def test_the_version_moves_with_anyones_commit(self, make_tables: TablesMaker) -> None:
        """Commits of this and of another opener move it; reads and roll-backs do not."""
        tables, other = make_tables(), make_tables()
        tables.create(_METADATA)
        seen = {tables.version()}
        for committer in (tables, other, tables):
            _add(committer, "x")
            assert tables.version() not in seen
            seen.add(tables.version())
        last = tables.version()
        _names(tables)
        with pytest.raises(ZeroDivisionError):
            _add_and_break(tables)

        assert tables.version() == last

    def test_writers_take_turns(self, make_tables: TablesMaker) -> None:
        """Read-modify-write from several threads and openers loses no update."""
        opened = [make_tables(), make_tables()]
        opened[0].create(_METADATA)
        _add(opened[0], "0")

        def add(tables: Tables) -> None:
            for _ in range(10):
                with tables.begin() as connection:
                    number = int(connection.execute(sa.select(_PEOPLE.c.name)).scalar_one()) + 1
                    connection.execute(sa.update(_PEOPLE).values(name=str(number)))

        threads = [threading.Thread(target=add, args=(tables,)) for tables in opened * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert _names(opened[1]) == ["40"]
