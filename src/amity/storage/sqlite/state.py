"""Where does a stage keep what it knows, on one machine?

A SQLite file of ordered key-value tables, one SQL table a name, the scope leading every key.
One writer at a time; readers of any process get snapshots.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from amity.kernel.errors import Unavailable
from amity.kernel.scope import Scope
from amity.storage.sqlite.connection import (
    TELLING,
    Connection,
    OperationalError,
    WriteTurn,
    connect,
    table_name,
)

_PAGE_ROWS = 256

_SMALL_BYTES = 250
"""Mean size of a table's first values up to which rows lie in the key's own tree: one page to look
up and to write, not two. Rows of 1.5 kB there were measured to load at a quarter of the rate."""

# A scope is written as a number: its name would be half of every key.
_SCOPES = (
    "CREATE TABLE IF NOT EXISTS amity_scope (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)"
)
_NUMBER = "SELECT number FROM amity_scope WHERE name = ?"
_NEW_NUMBER = "INSERT INTO amity_scope (name) VALUES (?) RETURNING number"
_NOWHERE = -1

_CREATE = (
    "CREATE TABLE IF NOT EXISTS [table] "
    "(scope INTEGER NOT NULL, k BLOB NOT NULL, v BLOB NOT NULL, PRIMARY KEY (scope, k))"
)
_CREATE_SMALL = f"{_CREATE} WITHOUT ROWID"
_PUT = (
    "INSERT INTO [table] (scope, k, v) VALUES (?, ?, ?) "
    "ON CONFLICT (scope, k) DO UPDATE SET v = excluded.v"
)
_DELETE = "DELETE FROM [table] WHERE scope = ? AND k = ?"
_GET = "SELECT v FROM [table] WHERE scope = ? AND k = ?"
_COUNT = "SELECT count(*) FROM [table] WHERE scope = ?"
_SCAN = "SELECT k, v FROM [table] WHERE scope = ? AND k >= ? ORDER BY k LIMIT ?"
_SCAN_TO = "SELECT k, v FROM [table] WHERE scope = ? AND k >= ? AND k < ? ORDER BY k LIMIT ?"
_SCAN_BACK = "SELECT k, v FROM [table] WHERE scope = ? AND k >= ? ORDER BY k DESC LIMIT ?"
_SCAN_BACK_TO = (
    "SELECT k, v FROM [table] WHERE scope = ? AND k >= ? AND k < ? ORDER BY k DESC LIMIT ?"
)


class _Statements:
    """The statements of one table, made once."""

    __slots__ = ("count", "create", "create_small", "delete", "get", "put", "scans")

    def __init__(self, name: str) -> None:
        table = table_name(name)
        self.create = _CREATE.replace("[table]", table)
        self.create_small = _CREATE_SMALL.replace("[table]", table)
        self.put = _PUT.replace("[table]", table)
        self.delete = _DELETE.replace("[table]", table)
        self.get = _GET.replace("[table]", table)
        self.count = _COUNT.replace("[table]", table)
        self.scans = {
            (reverse, bounded): text.replace("[table]", table)
            for (reverse, bounded), text in {
                (False, False): _SCAN,
                (False, True): _SCAN_TO,
                (True, False): _SCAN_BACK,
                (True, True): _SCAN_BACK_TO,
            }.items()
        }


class _Catalog:
    """Which tables and scopes exist, and the statements; shared by all transactions of a file."""

    def __init__(self) -> None:
        self._known: dict[str, _Statements] = {}
        self.existing: set[str] = set()
        self.numbers: dict[Scope, int] = {}

    def statements(self, name: str) -> _Statements:
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = _Statements(name)
        return found


class SqliteReader:
    """One snapshot; ends with its block."""

    def __init__(self, connection: Connection, catalog: _Catalog) -> None:
        self._connection = connection
        self._catalog = catalog
        self._created: set[str] = set()
        self._numbers: dict[Scope, int] = {}
        self._open = True

    def get_many(self, table: str, scope: Scope, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that exist."""
        if not self._exists(table):
            return {}
        statement = self._catalog.statements(table).get
        at = self._number(scope)
        found: dict[bytes, bytes] = {}
        # One prepared look-up a key: IN lists of any length were measured no faster.
        with TELLING:
            for key in keys:
                row = self._connection.execute(statement, (at, key)).fetchone()
                if row is not None:
                    found[key] = row[0]
        return found

    def scan(
        self,
        table: str,
        scope: Scope,
        *,
        start: bytes = b"",
        end: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys from `start` to before `end`, in byte order; may be written to meanwhile."""
        pages = self._pages(table, scope, (start, end), reverse=reverse, rows=limit)
        return islice(pages, limit)

    def count(self, table: str, scope: Scope) -> int:
        """How many keys."""
        if not self._exists(table):
            return 0
        statement = self._catalog.statements(table).count
        with TELLING:
            return int(self._connection.execute(statement, (self._number(scope),)).fetchone()[0])

    def end(self) -> None:
        """No reads after this."""
        self._open = False

    def _pages(
        self,
        table: str,
        scope: Scope,
        bounds: tuple[bytes, bytes | None],
        *,
        reverse: bool,
        rows: int | None,
    ) -> Iterator[tuple[bytes, bytes]]:
        if not self._exists(table):
            return
        scans = self._catalog.statements(table).scans
        number = self._number(scope)
        start, end = bounds
        page_rows = _PAGE_ROWS if rows is None else min(rows, _PAGE_ROWS)
        while True:
            self._check_open()
            values: tuple[Any, ...] = (number, start, page_rows)
            if end is not None:
                values = (number, start, end, page_rows)
            with TELLING:
                page = self._connection.execute(scans[reverse, end is not None], values).fetchall()
            yield from page
            if len(page) < page_rows:
                return
            last = page[-1][0]
            start, end = (start, last) if reverse else (last + b"\x00", end)

    def _exists(self, table: str) -> bool:
        self._check_open()
        if table in self._catalog.existing or table in self._created:
            return True
        found = self._connection.execute(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?",
            (table_name(table),),
        ).fetchone()
        if found is not None:
            self._created.add(table)
        return found is not None

    def _number(self, scope: Scope) -> int:
        """What stands for the scope in keys; `_NOWHERE` while nothing was kept in it."""
        number = self._catalog.numbers.get(scope) or self._numbers.get(scope)
        if number is None:
            with TELLING:
                row = self._connection.execute(_NUMBER, (scope.key,)).fetchone()
            if row is None:
                return _NOWHERE
            number = self._numbers[scope] = int(row[0])
        return number

    def _check_open(self) -> None:
        if not self._open:
            raise Unavailable("this transaction has ended; open another one")


class SqliteWriter(SqliteReader):
    """A transaction; sees its own writes."""

    def put_many(self, table: str, scope: Scope, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Create or replace; of two values of one key the later counts."""
        # In key order, so that neighbours share their page.
        pairs = sorted(dict(items).items())
        if pairs:
            with TELLING:
                self._make(table, pairs)
                at = self._numbered(scope)
                rows = [(at, key, value) for key, value in pairs]
                self._connection.executemany(self._catalog.statements(table).put, rows)

    def delete_many(self, table: str, scope: Scope, keys: Iterable[bytes]) -> None:
        """Remove those that exist."""
        if self._exists(table):
            at = self._number(scope)
            statement = self._catalog.statements(table).delete
            with TELLING:
                self._connection.executemany(statement, [(at, key) for key in keys])

    def committed(self) -> None:
        """What this transaction has made is there for all that begin from now on."""
        self._catalog.existing |= self._created
        self._catalog.numbers |= self._numbers

    def _make(self, table: str, first: list[tuple[bytes, bytes]]) -> None:
        if not self._exists(table):
            statements = self._catalog.statements(table)
            small = sum(len(value) for _, value in first) <= _SMALL_BYTES * len(first)
            self._connection.execute(statements.create_small if small else statements.create)
            self._created.add(table)

    def _numbered(self, scope: Scope) -> int:
        number = self._number(scope)
        if number == _NOWHERE:
            number = int(self._connection.execute(_NEW_NUMBER, (scope.key,)).fetchone()[0])
            self._numbers[scope] = number
        return number


class SqliteState:
    """A `State` in one file.

    Args:
        path: The file; made when missing.
        synchronous: ``FULL`` makes every commit durable. ``OFF`` is for simulations whose
            crashes end no process.
    """

    def __init__(self, path: Path, *, synchronous: str = "FULL") -> None:
        self._path = path
        self._synchronous = synchronous
        self._catalog = _Catalog()
        self._turn = WriteTurn()
        self._writer = connect(path, synchronous=synchronous, cache_kb=65_536)
        self._writer.execute(_SCOPES)
        self._idle: list[Connection] = []
        self._idle_lock = threading.Lock()

    @contextmanager
    def write(self) -> Iterator[SqliteWriter]:
        """A durable transaction: commits at the end of the block, rolls back on an exception."""
        with self._turn.take():
            with TELLING:
                self._writer.execute("BEGIN IMMEDIATE")
            writer = SqliteWriter(self._writer, self._catalog)
            try:
                yield writer
                self._writer.execute("COMMIT")
                writer.committed()
            except OperationalError as error:
                raise Unavailable(f"{self._path.name} cannot be written now: {error}") from error
            finally:
                writer.end()
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    @contextmanager
    def read(self) -> Iterator[SqliteReader]:
        """A snapshot as of now."""
        connection = self._take()
        connection.execute("BEGIN")
        # The first read fixes the snapshot; without it a later commit would still be seen.
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
        reader = SqliteReader(connection, self._catalog)
        try:
            yield reader
        finally:
            reader.end()
            connection.execute("ROLLBACK")
            with self._idle_lock:
                self._idle.append(connection)

    def close(self) -> None:
        """Let go of the file; all transactions must have ended."""
        with self._idle_lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()
        self._writer.close()

    def _take(self) -> Connection:
        with self._idle_lock:
            if self._idle:
                return self._idle.pop()
        return connect(self._path, synchronous=self._synchronous)
