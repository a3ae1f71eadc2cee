"""How is a SQLite file opened safely?

Always through `pysqlite3`, which bundles a version without the WAL-reset corruption of versions
before 3.51.3 (engines.md B). Write-ahead log, full synchronisation, no memory mapping.
"""

from __future__ import annotations

import string
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pysqlite3 import dbapi2

from amity.kernel.errors import Conflict, Invalid, Unavailable

VERSION_MIN = (3, 51, 3)
"""Older versions can corrupt a WAL reset under several connections. Source: engines.md B."""

BUSY_TIMEOUT_S = 30.0
"""How long to wait for another process's transaction. Ours."""

PAGE_BYTES = 8192
"""A 1.5 kB document stays whole in its leaf. Source: engines.md B."""

CACHE_KB = 16_384
"""Page cache of one connection. Ours."""

CHECKPOINT_PAGES = 4_000
"""WAL pages before a checkpoint: 32 MB, so that hot pages are written back once. Measured."""

OperationalError: type[Exception] = dbapi2.OperationalError


class _Telling:
    """Tells what the engine cannot do at this moment (a full disk, a busy file) as what it is.

    Wherever it happens, so that nobody takes it for a fault of the data.
    """

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OperationalError):
            raise Unavailable(f"a database file cannot be used now: {error}") from error


TELLING = _Telling()
"""`Unavailable` instead of the driver's own error; holds nothing, so all may share it."""


_NAME_LETTERS = frozenset(string.ascii_lowercase + "_")
_NAME_CHARS_MAX = 60


class Cursor(Protocol):
    """What we use of a DB-API cursor."""

    def __iter__(self) -> Iterator[Any]: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def close(self) -> None: ...


class Connection(Protocol):
    """What we use of a DB-API connection (the driver brings no types)."""

    in_transaction: bool

    def execute(self, statement: str, values: Any = ..., /) -> Cursor: ...

    def executemany(self, statement: str, rows: Iterable[Any], /) -> Cursor: ...

    def close(self) -> None: ...


class WriteTurn:
    """One writer at a time; a writer that asks again before it has ended would wait for itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for the turn, and give it back at the end of the block."""
        me = threading.get_ident()
        if self._owner == me:
            raise Conflict("this thread has a write transaction open; end it before the next")
        with self._lock:
            self._owner = me
            try:
                yield
            finally:
                self._owner = 0


def check_version() -> None:
    """Refuse to start on a SQLite that can corrupt data."""
    if dbapi2.sqlite_version_info < VERSION_MIN:
        need = ".".join(str(part) for part in VERSION_MIN)
        raise Unavailable(
            f"SQLite {dbapi2.sqlite_version} can corrupt a write-ahead log; "
            f"install pysqlite3 with SQLite {need} or newer"
        )


def connect(path: Path, *, synchronous: str = "FULL", cache_kb: int = CACHE_KB) -> Connection:
    """A connection in autocommit mode; usable from any thread, one at a time."""
    check_version()
    connection: Connection = dbapi2.connect(
        str(path),
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
    _pragma(connection, "page_size", PAGE_BYTES)
    _pragma(connection, "journal_mode", "WAL")
    _pragma(connection, "synchronous", synchronous)
    _pragma(connection, "mmap_size", 0)
    _pragma(connection, "cache_size", -cache_kb)
    _pragma(connection, "wal_autocheckpoint", CHECKPOINT_PAGES)
    _pragma(connection, "secure_delete", "ON")
    return connection


def data_version(connection: Connection) -> int:
    """Changes when another connection, of this process or not, has committed."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def table_name(name: str) -> str:
    """`name` if it may stand in a statement; the only text that ever does.

    >>> table_name("profile_event")
    'profile_event'
    """
    if not name or len(name) > _NAME_CHARS_MAX or not _NAME_LETTERS.issuperset(name):
        raise Invalid(f"{name!r} is no table name; use the letters a-z and _ only")
    return name


def _pragma(connection: Connection, name: str, value: str | int) -> None:
    connection.execute(f"PRAGMA {name}={value}").fetchall()
