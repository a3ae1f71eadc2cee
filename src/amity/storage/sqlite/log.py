"""How do records travel between stages on one machine, durably?

One SQLite file a writer process, read by all. A commit packs its records into chunks, one row
each: a row a record was measured at 0.22 of a raw synced log, chunks at 0.8.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zlib import crc32

import msgspec

from amity.kernel.limits import LOG_PARTITIONS
from amity.storage.ports import Entry, LogRecord
from amity.storage.sqlite.connection import (
    TELLING,
    OperationalError,
    connect,
    data_version,
)

CHUNK_RECORDS_MAX = 256
"""Records of one row: what a reader decodes at least. Measured."""

CHUNK_BYTES_MAX = 1_048_576
"""Bytes after which a row is closed. Ours."""

POLL_BYTES_MAX = 8_388_608
"""Bytes after which a poll answers, however few records it has. Ours."""

MARK_RECORDS = 4_096
"""Records between two notes of the partitions' ends: what a start reads again. Ours."""

TRIM_CHUNKS = 64
"""Rows dropped in one transaction. Ours."""

_TOPIC_SHIFT = 40
_PIECES = msgspec.msgpack.Decoder(list[tuple[bytes, bytes, str, int]])
_ENDS = msgspec.msgpack.Decoder(dict[int, int])
_ENCODER = msgspec.msgpack.Encoder()

_TOPICS = (
    "CREATE TABLE IF NOT EXISTS topic (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, "
    "seen INTEGER NOT NULL, ends BLOB NOT NULL)"
)
_CHUNKS = (
    "CREATE TABLE IF NOT EXISTS chunk "
    "(id INTEGER PRIMARY KEY, records INTEGER NOT NULL, body BLOB NOT NULL)"
)
_CHUNKS_FROM = (
    "SELECT id, body FROM chunk WHERE id < :last AND id >= "
    "coalesce((SELECT max(id) FROM chunk WHERE id >= :first AND id <= :low), :first) ORDER BY id"
)
_NEWEST = "SELECT id, records FROM chunk WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1"
_CHUNK_AT = "SELECT id FROM chunk WHERE id >= ? AND id < ? ORDER BY id LIMIT 1 OFFSET ?"
_MARK = "UPDATE topic SET seen = ?, ends = ? WHERE id = ?"


def _partition(writer: int, key: bytes) -> int:
    return writer * LOG_PARTITIONS + crc32(key) % LOG_PARTITIONS


def _chunks(entries: Sequence[Entry]) -> Iterator[list[tuple[bytes, bytes, str, int]]]:
    pieces: list[tuple[bytes, bytes, str, int]] = []
    size = 0
    for entry in entries:
        pieces.append(entry[1:])
        size += len(entry.body)
        if len(pieces) >= CHUNK_RECORDS_MAX or size >= CHUNK_BYTES_MAX:
            yield pieces
            pieces, size = [], 0
    if pieces:
        yield pieces


class _Topic:
    """What is known of one topic in one file: ends of the partitions in all before `seen`."""

    __slots__ = ("base", "ends", "id", "seen", "version")

    def __init__(self, id: int, seen: int, ends: dict[int, int]) -> None:
        self.id = id
        self.base = id << _TOPIC_SHIFT
        self.seen = seen
        self.ends = ends
        self.version = -1
        """The data version at which nothing was left to learn."""

    def low(self, positions: Mapping[int, int]) -> int | None:
        """The lowest wanted offset among those seen; None when all seen is behind."""
        at = positions.get
        return min(
            (at(partition, 0) for partition, end in self.ends.items() if at(partition, 0) < end),
            default=None,
        )

    def bounds(self, low: int) -> dict[str, int]:
        return {
            "first": self.base,
            "low": self.base + low,
            "last": (self.id + 1) << _TOPIC_SHIFT,
        }


class _File:
    """One writer's file, as a reader sees it."""

    def __init__(self, path: Path, *, synchronous: str) -> None:
        self.writer = int(path.stem.rpartition("-")[2])
        self._lock = threading.Lock()
        self._connection = connect(path, synchronous=synchronous, cache_kb=4_096)
        self._topics: dict[str, _Topic] = {}

    def poll(self, name: str, positions: Mapping[int, int], limit: int) -> list[LogRecord]:
        """Wanted records in append order."""
        with self._lock, TELLING:
            version = data_version(self._connection)
            topic = self._topic(name)
            if topic is None:
                return []
            low = topic.low(positions)
            if low is None and topic.version == version:
                return []
            found: list[LogRecord] = []
            size = 0
            wanted = positions.get
            for record in self._records(name, topic, topic.seen if low is None else low):
                if record.offset >= topic.seen:
                    topic.seen = record.offset + 1
                    topic.ends[record.partition] = topic.seen
                if record.offset >= wanted(record.partition, 0):
                    found.append(record)
                    size += len(record.body)
                    if len(found) >= limit or size >= POLL_BYTES_MAX:
                        return found
            topic.version = version
            return found

    def ends(self, name: str) -> dict[int, int]:
        """Partition → offset after its newest record."""
        with self._lock, TELLING:
            version = data_version(self._connection)
            topic = self._topic(name)
            if topic is None:
                return {}
            if topic.version != version:
                self._learn(name, topic)
                topic.version = version
            return dict(topic.ends)

    def trim(self, name: str, positions: Mapping[int, int]) -> None:
        """Drop the records that lie before every partition's position."""
        with self._lock, TELLING:
            topic = self._topic(name)
            while topic is not None and self._trim_some(name, topic, positions):
                pass

    def _trim_some(self, name: str, topic: _Topic, positions: Mapping[int, int]) -> bool:
        """One transaction, short enough that the file's writer hardly waits; whether more is left.

        Most of the work is overwriting: deleted means deleted.
        """
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            self._learn(name, topic)
            low = topic.low(positions)
            low = topic.seen if low is None else low
            split = execute(_CHUNK_AT, (topic.base, topic.base + low, TRIM_CHUNKS)).fetchone()
            self._drop(topic, low if split is None else split[0] - topic.base)
            execute("COMMIT")
            return split is not None
        finally:
            if self._connection.in_transaction:
                execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def _topic(self, name: str) -> _Topic | None:
        found = self._topics.get(name)
        if found is None:
            try:
                row = self._connection.execute(
                    "SELECT id, seen, ends FROM topic WHERE name = ?", (name,)
                ).fetchone()
            except OperationalError:
                # The writer has made the file but not yet its tables.
                return None
            if row is not None:
                found = self._topics[name] = _Topic(row[0], row[1], _ENDS.decode(row[2]))
        return found

    def _learn(self, name: str, topic: _Topic) -> None:
        for record in self._records(name, topic, topic.seen):
            topic.seen = record.offset + 1
            topic.ends[record.partition] = topic.seen

    def _records(self, name: str, topic: _Topic, low: int) -> Iterator[LogRecord]:
        cursor = self._connection.execute(_CHUNKS_FROM, topic.bounds(low))
        first_partition = self.writer * LOG_PARTITIONS
        try:
            for chunk, body in cursor:
                first = chunk - topic.base
                pieces = _PIECES.decode(body)
                for offset, piece in enumerate(pieces, first):
                    if offset >= low:
                        partition = first_partition + crc32(piece[0]) % LOG_PARTITIONS
                        yield LogRecord(name, partition, offset, *piece)
        finally:
            cursor.close()

    def _drop(self, topic: _Topic, low: int) -> None:
        execute = self._connection.execute
        # The note of the ends goes first: it is what the next offset is known by once all is gone.
        execute(_MARK, (topic.seen, _ENCODER.encode(topic.ends), topic.id))
        newest = execute(_NEWEST, (topic.base, topic.base + low)).fetchone()
        if newest is None:
            return
        chunk, records = newest
        split = topic.base + low - chunk
        if split < records:
            body = execute("SELECT body FROM chunk WHERE id = ?", (chunk,)).fetchone()[0]
            rest = _PIECES.decode(body)[split:]
            execute(
                "INSERT INTO chunk VALUES (?, ?, ?)",
                (topic.base + low, len(rest), _ENCODER.encode(rest)),
            )
        execute("DELETE FROM chunk WHERE id >= ? AND id < ?", (topic.base, topic.base + low))


class _Own:
    """A topic as its writer knows it."""

    __slots__ = ("base", "ends", "id", "marked", "next")

    def __init__(self, id: int, next: int, ends: dict[int, int]) -> None:
        self.id = id
        self.base = id << _TOPIC_SHIFT
        self.next = next
        self.marked = next
        self.ends = ends


class _Writer:
    """The one file this process appends to."""

    def __init__(self, path: Path, writer: int, *, synchronous: str) -> None:
        self._number = writer
        self._lock = threading.Lock()
        self._connection = connect(path, synchronous=synchronous)
        for statement in (_TOPICS, _CHUNKS):
            self._connection.execute(statement)
        self._topics: dict[str, _Own] = {}

    def append(self, entries: Sequence[Entry], reader: _File) -> list[tuple[int, int]]:
        by_topic: dict[str, list[int]] = {}
        for at, entry in enumerate(entries):
            by_topic.setdefault(entry.topic, []).append(at)
        places: list[tuple[int, int]] = [(0, 0)] * len(entries)
        with self._lock, TELLING:
            topics = [self._own(name, reader) for name in by_topic]
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for topic, indexes in zip(topics, by_topic.values(), strict=True):
                    self._insert(topic, [entries[at] for at in indexes])
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            for topic, indexes in zip(topics, by_topic.values(), strict=True):
                for offset, at in enumerate(indexes, topic.next):
                    partition = _partition(self._number, entries[at].key)
                    topic.ends[partition] = offset + 1
                    places[at] = (partition, offset)
                topic.next += len(indexes)
        return places

    def ends(self, name: str) -> dict[int, int] | None:
        with self._lock:
            topic = self._topics.get(name)
            return None if topic is None else dict(topic.ends)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _own(self, name: str, reader: _File) -> _Own:
        found = self._topics.get(name)
        if found is None:
            execute = self._connection.execute
            execute(
                "INSERT INTO topic (name, seen, ends) VALUES (?, 1, ?) ON CONFLICT DO NOTHING",
                (name, _ENCODER.encode({})),
            )
            number, seen = execute("SELECT id, seen FROM topic WHERE name = ?", (name,)).fetchone()
            base = number << _TOPIC_SHIFT
            newest = execute(_NEWEST, (base, (number + 1) << _TOPIC_SHIFT)).fetchone()
            after = seen if newest is None else max(seen, newest[0] - base + newest[1])
            found = self._topics[name] = _Own(number, after, reader.ends(name))
        return found

    def _insert(self, topic: _Own, entries: list[Entry]) -> None:
        rows = []
        offset = topic.base + topic.next
        for pieces in _chunks(entries):
            rows.append((offset, len(pieces), _ENCODER.encode(pieces)))
            offset += len(pieces)
        self._connection.executemany("INSERT INTO chunk VALUES (?, ?, ?)", rows)
        if topic.next - topic.marked >= MARK_RECORDS:
            # Of what stands before this append: a rollback leaves memory and note agreeing.
            note = (topic.next, _ENCODER.encode(topic.ends), topic.id)
            self._connection.execute(_MARK, note)
            topic.marked = topic.next


class SqliteLog:
    """A `Log`: appends to ``log-<writer>.db``, reads every ``log-*.db`` of the folder.

    Args:
        folder: Holds the files; made when missing.
        writer: This process's number; no two processes append under one number.
        synchronous: ``FULL`` makes every append durable. ``OFF`` is for simulations whose
            crashes end no process.
    """

    def __init__(self, folder: Path, *, writer: int, synchronous: str = "FULL") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._synchronous = synchronous
        own = f"log-{writer}.db"
        self._own = own
        self._writer = _Writer(folder / own, writer, synchronous=synchronous)
        self._files: dict[str, _File] = {}
        self._files_lock = threading.Lock()
        self._turn = 0
        self._find_files()

    def append(self, entries: Sequence[Entry]) -> list[tuple[int, int]]:
        """Append all or none, durable on return; answers (partition, offset) for each."""
        if not entries:
            return []
        return self._writer.append(entries, self._files[self._own])

    def poll(self, topic: str, positions: Mapping[int, int], limit: int) -> list[LogRecord]:
        """Up to `limit` records at or after `positions`, each file in append order."""
        files = self._find_files()
        # Another file comes first every time, so that a busy one starves none.
        self._turn += 1
        turn = self._turn % len(files)
        found: list[LogRecord] = []
        for file in (*files[turn:], *files[:turn]):
            found += file.poll(topic, positions, limit - len(found))
            if len(found) >= limit:
                break
        return found

    def ends(self, topic: str) -> dict[int, int]:
        """Partition → offset after its newest record."""
        own = self._writer.ends(topic)
        ends: dict[int, int] = {}
        for file in self._find_files():
            mine = own is not None and file is self._files[self._own]
            ends |= own if mine and own is not None else file.ends(topic)
        return ends

    def trim(self, topic: str, positions: Mapping[int, int]) -> None:
        """Forget the records of each file that lie before all its partitions' positions."""
        for file in self._find_files():
            file.trim(topic, positions)

    def close(self) -> None:
        """Let go of all files."""
        with self._files_lock:
            for file in self._files.values():
                file.close()
            self._files.clear()
        self._writer.close()

    def _find_files(self) -> list[_File]:
        with self._files_lock:
            # Asked at every poll: `listdir` was measured at a third of what `Path` takes.
            for name in os.listdir(self._folder):  # noqa: PTH208
                if name not in self._files and name.startswith("log-") and name.endswith(".db"):
                    path = self._folder / name
                    self._files[name] = _File(path, synchronous=self._synchronous)
            return list(self._files.values())
