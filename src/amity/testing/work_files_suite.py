"""What must every `WorkFiles` do? Subclass and give it a `make_work` fixture.

`make_work` opens the same folder and the same campaign database anew with every call, as another
process would; `campaign` is that database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from amity.kernel.errors import AmityError, Invalid, NotFound
from amity.storage.ports import Tables, WorkFiles

WorkMaker = Callable[[], WorkFiles]

_CAMPAIGN = sa.MetaData()
PEOPLE = sa.Table(
    "people",
    _CAMPAIGN,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text),
)
_DRAFT = sa.MetaData()
ROWS = sa.Table(
    "rows",
    _DRAFT,
    sa.Column("n", sa.Integer, primary_key=True),
    sa.Column("id", sa.Integer),
)


def _input(alias: str) -> Any:
    return sa.table("rows", sa.column("n"), sa.column("id"), schema=alias)


def _build(work: WorkFiles, name: str, *ids: int) -> None:
    with work.build(name) as connection:
        _DRAFT.create_all(connection)
        connection.execute(sa.insert(ROWS), [{"id": one} for one in ids])


def _build_and_break(work: WorkFiles, name: str) -> None:
    with work.build(name) as connection:
        _DRAFT.create_all(connection)
        connection.execute(sa.insert(ROWS).values(id=99))
        raise ZeroDivisionError


def _run_in_build(work: WorkFiles, statement: Any) -> None:
    with work.build("spoiled", inputs={"t1": "one"}) as connection:
        connection.execute(statement)


def _ids(work: WorkFiles, name: str) -> list[int]:
    with work.read(name) as connection:
        return list(connection.execute(sa.select(ROWS.c.id).order_by(ROWS.c.n)).scalars())


def _people(campaign: Tables) -> list[str]:
    with campaign.connect() as connection:
        return list(connection.execute(sa.select(PEOPLE.c.name).order_by(PEOPLE.c.id)).scalars())


class WorkFilesSuite:
    """The contract of the port."""

    @pytest.fixture(autouse=True)
    def _somebody(self, campaign: Tables) -> None:
        campaign.create(_CAMPAIGN)
        with campaign.begin() as connection:
            connection.execute(sa.insert(PEOPLE), [{"name": "Ada"}, {"name": "Bea"}])

    def test_a_file_exists_when_its_block_has_ended(self, make_work: WorkMaker) -> None:
        """Nobody sees a draft; what is published is there for every opener."""
        work, other = make_work(), make_work()
        with work.build("one") as connection:
            _DRAFT.create_all(connection)
            connection.execute(sa.insert(ROWS).values(id=7))
            assert other.names() == []
            with pytest.raises(NotFound), other.read("one"):
                pass

        assert other.names() == ["one"]
        assert _ids(other, "one") == [7]
        assert make_work().names() == ["one"]

    def test_an_exception_leaves_nothing(self, make_work: WorkMaker) -> None:
        """Neither a file nor half of one; the file of before stays as it was."""
        work = make_work()
        with pytest.raises(ZeroDivisionError):
            _build_and_break(work, "one")
        assert work.names() == []
        _build(work, "one", 1)
        with pytest.raises(ZeroDivisionError):
            _build_and_break(work, "one")

        assert _ids(work, "one") == [1]

    def test_publishing_again_replaces(self, make_work: WorkMaker) -> None:
        """The same task run again gives the same file; a reader of before keeps what it reads."""
        work = make_work()
        _build(work, "one", 1, 2)
        with work.read("one") as connection:
            _build(work, "one", 3)
            read = list(connection.execute(sa.select(ROWS.c.id)).scalars())

        assert read == [1, 2]
        assert _ids(work, "one") == [3]

    def test_inputs_and_the_campaign_are_read(self, make_work: WorkMaker) -> None:
        """A draft is filled from inputs by alias and from the campaign database."""
        work = make_work()
        _build(work, "one", 2, 5)
        people = sa.table("people", sa.column("id"), sa.column("name"), schema="campaign")
        with work.build("two", inputs={"t1": "one"}) as connection:
            _DRAFT.create_all(connection)
            joined = sa.select(people.c.id).join_from(
                people, _input("t1"), people.c.id == _input("t1").c.id
            )
            connection.execute(sa.insert(ROWS).from_select(["id"], joined))

        assert _ids(work, "two") == [2]

    def test_a_draft_changes_nothing_else(self, make_work: WorkMaker, campaign: Tables) -> None:
        """While a file is made, neither its inputs nor the campaign database can be written."""
        work = make_work()
        _build(work, "one", 1)
        people = sa.table("people", sa.column("name"), schema="campaign")
        for target in (_input("t1"), people):
            with pytest.raises(AmityError):
                _run_in_build(work, sa.delete(target))

        assert _ids(work, "one") == [1]
        assert _people(campaign) == ["Ada", "Bea"]

    def test_closing_writes_the_campaign_from_inputs(
        self, make_work: WorkMaker, campaign: Tables
    ) -> None:
        """One transaction: whole, or nothing of it; the version moves."""
        work = make_work()
        _build(work, "one", 8)
        before = campaign.version()
        named = sa.select(sa.cast(_input("t1").c.id, sa.Text))
        with work.closing(inputs={"t1": "one"}) as connection:
            connection.execute(sa.insert(PEOPLE).from_select(["name"], named))

        assert _people(campaign) == ["Ada", "Bea", "8"]
        assert campaign.version() != before
        with pytest.raises(ZeroDivisionError):
            self._close_and_break(work)
        assert _people(campaign) == ["Ada", "Bea", "8"]

    def test_closing_waits_for_its_turn(self, make_work: WorkMaker, campaign: Tables) -> None:
        """A closing transaction and a writer of the campaign database never overlap."""
        work = make_work()
        _build(work, "one", 8)
        done: list[str] = []

        def close() -> None:
            with work.closing(inputs={"t1": "one"}) as connection:
                connection.execute(sa.insert(PEOPLE).values(name="Dan"))
                done.append("closed")

        thread = threading.Thread(target=close)
        with campaign.begin() as connection:
            connection.execute(sa.insert(PEOPLE).values(name="Cid"))
            thread.start()
            thread.join(0.05)
            assert done == []
        thread.join()

        assert _people(campaign) == ["Ada", "Bea", "Cid", "Dan"]

    def test_dropped_files_are_gone(self, make_work: WorkMaker) -> None:
        """Dropping is repeatable; reading or using a dropped file says that it is not there."""
        work = make_work()
        _build(work, "one", 1)
        _build(work, "two", 2)
        work.drop(["one", "none"])
        make_work().drop(["one"])

        assert work.names() == ["two"]
        with pytest.raises(NotFound), work.read("one"):
            pass
        with pytest.raises(NotFound), work.closing(inputs={"t1": "one"}):
            pass
        with pytest.raises(NotFound), work.build("three", inputs={"t1": "one"}):
            pass
        assert work.names() == ["two"]

    def test_opening_again_leaves_a_draft_in_the_making_alone(self, make_work: WorkMaker) -> None:
        """Another process that opens the folder meanwhile takes nothing away."""
        work = make_work()
        with work.build("one") as connection:
            _DRAFT.create_all(connection)
            make_work()
            connection.execute(sa.insert(ROWS).values(id=7))

        assert _ids(work, "one") == [7]

    @pytest.mark.parametrize("name", ["", "../one", "a b", "x" * 200, "one.db", "é"])
    def test_names_are_plain(self, make_work: WorkMaker, name: str) -> None:
        """A name never leads out of the folder."""
        work = make_work()
        with pytest.raises(Invalid), work.build(name):
            pass
        with pytest.raises(Invalid):
            work.drop([name])

    @pytest.mark.parametrize("alias", ["", "main", "campaign", "temp", "a-b", 'x"y'])
    def test_aliases_are_plain(self, make_work: WorkMaker, alias: str) -> None:
        """An alias is a schema of its own."""
        work = make_work()
        _build(work, "one", 1)
        with pytest.raises(Invalid), work.build("two", inputs={alias: "one"}):
            pass

    def _close_and_break(self, work: WorkFiles) -> None:
        with work.closing(inputs={"t1": "one"}) as connection:
            connection.execute(sa.insert(PEOPLE).values(name="Eve"))
            raise ZeroDivisionError
