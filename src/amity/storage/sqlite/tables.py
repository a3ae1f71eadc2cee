"""Where do the control plane's relational tables live, on one machine?"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from pysqlite3 import dbapi2
from sqlalchemy.pool import QueuePool

from amity.kernel.errors import Unavailable
from amity.storage.sqlite.connection import TELLING, WriteTurn, connect, data_version

_POOL_CONNECTIONS = 8


class SqliteTables:
    """`Tables` in one file. Write transactions begin immediate, so they wait and never deadlock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Its own connection never writes: its data version moves at every commit of anyone.
        self._watch = connect(path, cache_kb=256)
        self._watch_lock = threading.Lock()
        self._told: int | None = None
        self._turn = WriteTurn()
        self._writes = self._engine("BEGIN IMMEDIATE")
        self._reads = self._engine("BEGIN")

    def create(self, metadata: sa.MetaData) -> None:
        """Create what is missing."""
        with self.begin() as connection:
            metadata.create_all(connection)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A write transaction."""
        with self.turn(), self._writes.begin() as connection:
            yield connection

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The turn to write, for a writer with a connection of its own to the same file."""
        with self._turn.take(), _telling():
            yield
        self._told = None

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """A read connection: one snapshot."""
        with _telling(), self._reads.connect() as connection:
            yield connection

    def version(self) -> int:
        """Changes whenever any process has committed.

        Within one turn of an event loop it is looked up once: whoever is told of a change by another
        thread or process is told in a later turn. A hundred requests may be answered in one.
        """
        loop = _running_loop()
        if loop is not None and self._told is not None:
            return self._told
        with self._watch_lock, TELLING:
            version = data_version(self._watch)
        if loop is not None:
            self._told = version
            loop.call_soon(self._forget)
        return version

    def close(self) -> None:
        """Let go of the file."""
        self._writes.dispose()
        self._reads.dispose()
        self._watch.close()

    def _forget(self) -> None:
        self._told = None

    def _engine(self, begin: str) -> sa.Engine:
        engine = sa.create_engine(
            "sqlite://",
            module=dbapi2,
            creator=lambda: connect(self._path),
            poolclass=QueuePool,
            pool_size=_POOL_CONNECTIONS,
            max_overflow=-1,
            hide_parameters=True,  # what somebody is called belongs into no journal
        )

        def start(connection: sa.Connection) -> None:
            connection.exec_driver_sql(begin)

        sa.event.listen(engine, "begin", start)
        return engine


@contextmanager
def _telling() -> Iterator[None]:
    """A full disk or a busy file is a state that passes, no fault of the request."""
    try:
        yield
    except sa.exc.OperationalError as error:
        raise Unavailable(f"a database file cannot be used now: {error.orig}") from error


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """This thread's event loop, if it runs one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
