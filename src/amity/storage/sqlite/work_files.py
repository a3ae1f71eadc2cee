"""How does a population become a file of its own, whole or not at all?

A draft is written without a journal on disk and without waiting for it: nobody sees it. When it is
done it is synchronised and renamed, which is the moment it exists. A published file never changes,
so readers take it as immutable: no locks, no journal, and the campaign database is never held up by
the millions of rows of a workflow. Shape: docs/adr/0013-work-tables.md.
"""

from __future__ import annotations

import fcntl
import os
import string
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pysqlite3 import dbapi2
from sqlalchemy.pool import NullPool

from amity.kernel.errors import Invalid, NotFound, Unavailable
from amity.storage.sqlite.connection import (
    BUSY_TIMEOUT_S,
    TELLING,
    Connection,
    check_version,
)
from amity.storage.sqlite.tables import SqliteTables

INPUTS_MAX = 9
"""Databases that one connection can attach beside the campaign database. Source: SQLite's limits."""

NAME_CHARS_MAX = 120
"""A work file's name. Ours."""

DRAFT_PAGE_BYTES = 16_384
"""Long rows in one go: fewer pages than a database that is read by key. Measured."""

DRAFT_CACHE_KB = 65_536
"""Page cache while a draft is made. Ours."""

_NAME_CHARS = frozenset(string.ascii_letters + string.digits + "_-")
_ALIAS_CHARS = frozenset(string.ascii_letters + string.digits + "_")
_ALIASES_TAKEN = frozenset({"main", "temp", "campaign"})
_WHOLE, _DRAFT = ".db", ".part"

_DRAFT_PRAGMAS = (
    f"PRAGMA main.page_size={DRAFT_PAGE_BYTES}",
    "PRAGMA main.journal_mode=MEMORY",
    "PRAGMA main.synchronous=OFF",
    "PRAGMA main.locking_mode=EXCLUSIVE",
    f"PRAGMA main.cache_size=-{DRAFT_CACHE_KB}",
)
_CLOSING_PRAGMAS = ("PRAGMA main.synchronous=FULL", "PRAGMA main.secure_delete=ON")


class BeingMade(Unavailable):
    """The work table is being made by somebody else: wait and try again."""


class SqliteWorkFiles:
    """`WorkFiles` in a folder beside the campaign database.

    Any number of processes may share the folder; drafts that a killed one left are swept when the
    next one opens it.

    Args:
        folder: Where the files lie; made if missing.
        tables: The campaign database, whose turn to write `closing` takes.
        campaign: The campaign database's file.
    """

    def __init__(self, folder: Path, tables: SqliteTables, campaign: Path) -> None:
        check_version()
        self._folder = folder
        self._tables = tables
        self._campaign = campaign
        self._compiled: dict[Any, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._sweep()

    @contextmanager
    def build(
        self, name: str, *, inputs: Mapping[str, str] | None = None
    ) -> Iterator[sa.Connection]:
        """Make work file `name`: published when the block ends well, else gone."""
        attached = {"campaign": self._campaign.absolute().as_uri() + "?mode=ro"}
        attached |= self._attached(inputs or {})
        draft = self._path(name, _DRAFT)
        with _holding(draft) as held:
            try:
                with self._opened(str(draft), attached, _DRAFT_PRAGMAS, "BEGIN") as connection:
                    yield connection
                os.fsync(held)
                draft.replace(self._path(name, _WHOLE))
            finally:
                draft.unlink(missing_ok=True)
        self._sync_folder()

    @contextmanager
    def closing(self, *, inputs: Mapping[str, str] | None = None) -> Iterator[sa.Connection]:
        """A write transaction on the campaign database, with the inputs attached."""
        attached = self._attached(inputs or {})
        with (
            self._tables.turn(),
            self._opened(
                str(self._campaign), attached, _CLOSING_PRAGMAS, "BEGIN IMMEDIATE"
            ) as connection,
        ):
            yield connection

    @contextmanager
    def read(self, name: str) -> Iterator[sa.Connection]:
        """A published file, its tables in schema ``main``."""
        with self._opened(self._published(name), {}, (), "BEGIN") as connection:
            yield connection

    def names(self) -> list[str]:
        """The published files."""
        return sorted(path.stem for path in self._folder.glob(f"*{_WHOLE}"))

    def drop(self, names: Iterable[str]) -> None:
        """Forget files; those that do not exist too."""
        for name in names:
            self._path(name, _WHOLE).unlink(missing_ok=True)

    def _path(self, name: str, suffix: str) -> Path:
        if not name or len(name) > NAME_CHARS_MAX or not _NAME_CHARS.issuperset(name):
            raise Invalid(
                f"{name!r} is no name of a work file; use letters, digits, _ and - only, "
                f"{NAME_CHARS_MAX} at most"
            )
        return self._folder / f"{name}{suffix}"

    def _published(self, name: str) -> str:
        """A URI: the file never changes, so nothing needs to be locked to read it."""
        path = self._path(name, _WHOLE)
        if not path.exists():
            raise NotFound(
                f"there is no work table {name}: it was dropped, or its task has not ended; "
                "start the workflow again from the activity that makes it"
            )
        return path.absolute().as_uri() + "?mode=ro&immutable=1"

    def _attached(self, inputs: Mapping[str, str]) -> dict[str, str]:
        if len(inputs) > INPUTS_MAX:
            raise Invalid(
                f"{len(inputs)} work tables at once; {INPUTS_MAX} is the most: unite some before"
            )
        for alias in inputs:
            if alias in _ALIASES_TAKEN or not alias or not _ALIAS_CHARS.issuperset(alias):
                raise Invalid(f"{alias!r} is no alias; use letters, digits and _, not main")
        return {alias: self._published(name) for alias, name in inputs.items()}

    @contextmanager
    def _opened(
        self, target: str, attached: Mapping[str, str], pragmas: Iterable[str], begin: str
    ) -> Iterator[sa.Connection]:
        """One transaction on a connection that is closed with it."""
        engine = sa.create_engine(
            "sqlite://",
            module=dbapi2,
            creator=lambda: _connect(target, attached, pragmas),
            poolclass=NullPool,
            hide_parameters=True,  # what somebody is called belongs into no journal
        ).execution_options(compiled_cache=self._compiled)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        try:
            with TELLING, engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            with TELLING:
                raise error.orig or error from error

    def _sweep(self) -> None:
        for draft in self._folder.glob(f"*{_DRAFT}"):
            try:
                with _holding(draft):
                    draft.unlink(missing_ok=True)
            except BeingMade:
                continue

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _holding(draft: Path) -> Iterator[int]:
    """The draft's descriptor, ours alone: made anew, or refused while another makes it."""
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BeingMade(f"work table {draft.stem} is being made by another task") from error
        if not _still_there(descriptor, draft):
            # It was published or swept between our opening it and holding it.
            raise BeingMade(f"the draft of work table {draft.stem} ended at this moment")
        os.ftruncate(descriptor, 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _still_there(descriptor: int, draft: Path) -> bool:
    """Whether the file we hold is the draft yet: what was published must not be touched."""
    try:
        return os.path.samestat(os.fstat(descriptor), draft.lstat())
    except FileNotFoundError:
        return False


def _connect(target: str, attached: Mapping[str, str], pragmas: Iterable[str]) -> Connection:
    connection: Connection = dbapi2.connect(
        target if target.startswith("file:") else Path(target).absolute().as_uri(),
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=128,
    )
    try:
        for pragma in pragmas:
            connection.execute(pragma).fetchall()
        for alias, uri in attached.items():
            connection.execute("ATTACH DATABASE ? AS ?", (uri, alias)).fetchall()
    except BaseException:
        connection.close()
        raise
    return connection
