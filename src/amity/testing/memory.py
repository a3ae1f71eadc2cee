"""How does one test a stage without a database?

In-memory twins of the `Log`, `State` and `Documents` ports, held equal to the real ones by the
same conformance suites.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import re2

from amity.kernel.clock import BusinessClock
from amity.kernel.errors import Invalid, Outdated
from amity.kernel.limits import LOG_PARTITIONS
from amity.kernel.scope import Scope
from amity.storage.ports import Document, Entry, LogRecord
from amity.storage.sqlite.connection import WriteTurn

_Rows = dict[bytes, bytes]


class MemoryLog:
    """A `Log` in a list; several writers share one by `sibling`."""

    def __init__(self, *, writer: int = 0) -> None:
        self._writer = writer
        self._lock = threading.RLock()
        self._records: list[LogRecord] = []
        self._ends: dict[tuple[str, int], int] = {}
        self._next = [1]

    def sibling(self, *, writer: int) -> MemoryLog:
        """Another writer's view of the same records."""
        other = MemoryLog(writer=writer)
        other._lock = self._lock
        other._records = self._records
        other._ends = self._ends
        other._next = self._next
        return other

    def append(self, entries: Sequence[Entry]) -> list[tuple[int, int]]:
        """Append all; answers (partition, offset) for each."""
        places = []
        with self._lock:
            for entry in entries:
                partition = self._writer * LOG_PARTITIONS + crc32(entry.key) % LOG_PARTITIONS
                offset = self._next[0]
                self._next[0] += 1
                self._records.append(LogRecord(entry.topic, partition, offset, *entry[1:]))
                self._ends[entry.topic, partition] = offset + 1
                places.append((partition, offset))
        return places

    def poll(self, topic: str, positions: Mapping[int, int], limit: int) -> list[LogRecord]:
        """Up to `limit` records at or after `positions`, in append order."""
        found: list[LogRecord] = []
        with self._lock:
            for record in self._records:
                if len(found) >= limit:
                    break
                if record.topic == topic and record.offset >= positions.get(record.partition, 0):
                    found.append(record)
        return found

    def ends(self, topic: str) -> dict[int, int]:
        """Partition → offset after its newest record."""
        with self._lock:
            return {part: end for (name, part), end in self._ends.items() if name == topic}

    def trim(self, topic: str, positions: Mapping[int, int]) -> None:
        """Forget the records before `positions`."""
        with self._lock:
            self._records[:] = [
                record
                for record in self._records
                if record.topic != topic or record.offset >= positions.get(record.partition, 0)
            ]

    def close(self) -> None:
        """Nothing to let go of."""


_NAME = re2.compile(r"^[a-z_]{1,60}$")


def _rows_of(tables: dict[tuple[str, Scope], _Rows], table: str, scope: Scope) -> _Rows:
    if _NAME.match(table) is None:
        raise Invalid(f"{table!r} is no table name; use the letters a-z and _ only")
    return tables.get((table, scope), {})


class MemoryReader:
    """Reads of one snapshot."""

    def __init__(self, tables: dict[tuple[str, Scope], _Rows]) -> None:
        self._tables = tables

    def get_many(self, table: str, scope: Scope, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that exist."""
        rows = _rows_of(self._tables, table, scope)
        return {key: rows[key] for key in keys if key in rows}

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
        """Keys from `start` to before `end`, in byte order."""
        rows = _rows_of(self._tables, table, scope)
        keys = sorted(
            (key for key in rows if key >= start and (end is None or key < end)),
            reverse=reverse,
        )
        return iter([(key, rows[key]) for key in keys[:limit]])

    def count(self, table: str, scope: Scope) -> int:
        """How many keys."""
        return len(_rows_of(self._tables, table, scope))


class MemoryWriter(MemoryReader):
    """A transaction: a table is copied at its first change, so that a rollback is to forget."""

    def __init__(self, tables: dict[tuple[str, Scope], _Rows]) -> None:
        super().__init__(dict(tables))
        self._own: set[tuple[str, Scope]] = set()

    def put_many(self, table: str, scope: Scope, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Create or replace."""
        self._mine(table, scope).update(items)

    def delete_many(self, table: str, scope: Scope, keys: Iterable[bytes]) -> None:
        """Remove those that exist."""
        rows = self._mine(table, scope)
        for key in keys:
            rows.pop(key, None)

    def committed(self) -> dict[tuple[str, Scope], _Rows]:
        """All tables as this transaction leaves them."""
        return self._tables

    def _mine(self, table: str, scope: Scope) -> _Rows:
        place = (table, scope)
        if place not in self._own:
            self._own.add(place)
            self._tables[place] = dict(_rows_of(self._tables, table, scope))
        return self._tables[place]


class MemoryState:
    """A `State` in dictionaries: snapshots for readers, one writer at a time."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, Scope], _Rows] = {}
        self._turn = WriteTurn()

    @contextmanager
    def write(self) -> Iterator[MemoryWriter]:
        """A transaction: kept at the end of the block, forgotten on an exception."""
        with self._turn.take():
            writer = MemoryWriter(self._tables)
            yield writer
            self._tables = writer.committed()

    @contextmanager
    def read(self) -> Iterator[MemoryReader]:
        """A snapshot."""
        yield MemoryReader(self._tables)

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryDocuments:
    """`Documents` in a dictionary."""

    def __init__(self, clock: BusinessClock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._documents: dict[tuple[Scope, str, str], Document] = {}
        self._version = 0

    def get(self, scope: Scope, kind: str, id: str) -> Document | None:
        """The document, or None."""
        found = self._documents.get((scope, kind, id))
        return None if found is None else copy.deepcopy(found)

    def find(self, scope: Scope, kind: str) -> list[Document]:
        """All of a kind, in order of creation."""
        with self._lock:
            return [
                copy.deepcopy(document)
                for (at, of, _), document in self._documents.items()
                if at == scope and of == kind
            ]

    def put(
        self,
        scope: Scope,
        kind: str,
        id: str,
        body: dict[str, Any],
        *,
        if_version: int | None = None,
    ) -> Document:
        """Create or replace; `Outdated` when it is not at `if_version`."""
        with self._lock:
            old = self._documents.get((scope, kind, id))
            at = old.version if old else 0
            if if_version is not None and if_version != at:
                raise Outdated(
                    f"{kind} {id} is at version {at}, not {if_version}: read it again",
                    version=at,
                )
            now = self._clock.now_ms()
            created = old.created_ms if old else now
            document = Document(id, copy.deepcopy(body), at + 1, created, now)
            self._documents[scope, kind, id] = document
            self._version += 1
            return copy.deepcopy(document)

    def delete(self, scope: Scope, kind: str, id: str) -> bool:
        """Remove; False when there is none."""
        with self._lock:
            gone = self._documents.pop((scope, kind, id), None) is not None
            self._version += gone
            return gone

    def version(self) -> int:
        """Changes at every write."""
        return self._version
