"""What does a stage need of a store, whichever engine serves it?

Four ports. `Log` carries records between stages, `State` holds what a stage knows (ordered
key-value tables in one transactional database), `Lake` keeps every accepted record as columns,
`Tables` and `Documents` serve the control plane. Each has a conformance suite in `amity.testing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import sqlalchemy as sa
import sqlglot.expressions as sge

from amity.kernel.scope import Scope


class Entry(NamedTuple):
    """What is appended to the log. Entries of one key keep their order (same partition).

    `origin` and `origin_seq` are set by an outbox: a reader that has seen (origin, seq) before
    drops the entry, which makes publishing repeatable. Within one origin and partition the seq
    rises strictly.
    """

    topic: str
    key: bytes
    body: bytes
    origin: str = ""
    origin_seq: int = 0


class LogRecord(NamedTuple):
    """What is read from the log. Offsets rise within a partition and may have gaps."""

    topic: str
    partition: int
    offset: int
    key: bytes
    body: bytes
    origin: str
    origin_seq: int


class Log(Protocol):
    """Ordered, durable topics of partitions. A writer process owns one `Log`; readers share."""

    def append(self, entries: Sequence[Entry]) -> list[tuple[int, int]]:
        """Append all or none, durable on return; answers (partition, offset) for each."""

    def poll(self, topic: str, positions: Mapping[int, int], limit: int) -> list[LogRecord]:
        """Up to `limit` records at or after `positions` (partition → next offset, default 0)."""

    def ends(self, topic: str) -> dict[int, int]:
        """Partition → offset after its newest record, for partitions that have any."""

    def trim(self, topic: str, positions: Mapping[int, int]) -> None:
        """Forget the records before `positions`."""

    def close(self) -> None: ...


class Reader(Protocol):
    """Reads of ordered key-value tables within one snapshot."""

    def get_many(self, table: str, scope: Scope, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that exist."""

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
        """Keys from `start` (inclusive) to `end` (exclusive), in byte order."""

    def count(self, table: str, scope: Scope) -> int: ...


class Writer(Reader, Protocol):
    """A transaction: sees its own writes; the table comes into being at the first write."""

    def put_many(self, table: str, scope: Scope, items: Iterable[tuple[bytes, bytes]]) -> None: ...

    def delete_many(self, table: str, scope: Scope, keys: Iterable[bytes]) -> None: ...


class State(Protocol):
    """One transactional database of ordered key-value tables; one writer process at a time."""

    def write(self) -> AbstractContextManager[Writer]:
        """A durable transaction: commits at the end of the block, rolls back on an exception."""

    def read(self) -> AbstractContextManager[Reader]:
        """A snapshot; any process may read while one writes."""

    def close(self) -> None: ...


class LakeTable(NamedTuple):
    """One dataset's table in the lake."""

    scope: Scope
    dataset: str


class Lake(Protocol):
    """Every accepted record, as columns; readable by any process while one writes."""

    def append(self, table: LakeTable, rows: pa.Table, *, app: str, version: int) -> bool:
        """Add rows once per (app, version): a version not above the last one is dropped (False)."""

    def last_version(self, table: LakeTable, app: str) -> int:
        """The highest version of `app` written, -1 when none."""

    def schema(self, table: LakeTable) -> pa.Schema | None:
        """The table's columns; None while it has no rows."""

    def query(
        self,
        statement: sge.Expression,
        tables: Mapping[str, LakeTable],
        extra: Mapping[str, pa.Table] | None = None,
    ) -> pa.Table:
        """Run a sqlglot SELECT (DuckDB dialect) in which names stand for lake tables or `extra`."""

    def delete(self, table: LakeTable, column: str, values: Sequence[str]) -> int:
        """Remove the rows whose `column` is one of `values`; answers how many."""

    def maintain(self, table: LakeTable) -> None:
        """Compact and vacuum."""


class Tables(Protocol):
    """Relational tables of the control plane, through SQLAlchemy Core."""

    def create(self, metadata: sa.MetaData) -> None:
        """Create what is missing."""

    def begin(self) -> AbstractContextManager[sa.Connection]:
        """A write transaction."""

    def connect(self) -> AbstractContextManager[sa.Connection]:
        """A read connection."""

    def version(self) -> int:
        """Changes whenever any process has committed: readers refresh their snapshot by it."""


class WorkFiles(Protocol):
    """Work tables: files of their own beside the campaign database, each holding a table ``rows``.

    In SQL the campaign database's tables go under the schema ``campaign``, an input under its alias:
    ``sa.table("rows", …, schema="t1")``. Names are plain file stems (``wkf12_34``). A file that is
    not published does not exist; publishing one again replaces it.
    """

    def build(
        self, name: str, *, inputs: Mapping[str, str] | None = None
    ) -> AbstractContextManager[sa.Connection]:
        """Make work file `name`: its tables are created and filled as schema ``main``.

        The campaign database and the inputs (alias → name) are attached and not written. The file
        is published, durable, when the block ends well; an exception leaves nothing behind.
        """

    def closing(
        self, *, inputs: Mapping[str, str] | None = None
    ) -> AbstractContextManager[sa.Connection]:
        """A write transaction on the campaign database, with the inputs attached for reading.

        Here the campaign database's tables are schema ``main``, or named without a schema.
        """

    def read(self, name: str) -> AbstractContextManager[sa.Connection]:
        """A published file, its tables in schema ``main``; `NotFound` when there is none."""

    def names(self) -> list[str]:
        """The published files."""

    def drop(self, names: Iterable[str]) -> None:
        """Forget files; those that do not exist too."""


class Document(NamedTuple):
    """A stored control-plane resource."""

    id: str
    body: dict[str, Any]
    version: int
    created_ms: int
    updated_ms: int

    @property
    def etag(self) -> str:
        """The value for `If-Match`, without quotes."""
        return f"{self.id[:8]}-{self.version}"


class Documents(Protocol):
    """Control-plane resources that are JSON documents by nature: schemas, audiences, flows.

    `kind` is the noun in snake_case (``"schema"``, ``"dataset"``, ``"segment_definition"``).
    """

    def get(self, scope: Scope, kind: str, id: str) -> Document | None: ...

    def find(self, scope: Scope, kind: str) -> list[Document]:
        """All of a kind, in order of creation."""

    def put(
        self,
        scope: Scope,
        kind: str,
        id: str,
        body: dict[str, Any],
        *,
        if_version: int | None = None,
    ) -> Document:
        """Create or replace. `if_version` 0 = must not exist; n = must be at n; else `Outdated`."""

    def delete(self, scope: Scope, kind: str, id: str) -> bool: ...

    def version(self) -> int:
        """Changes whenever any process has written: cached snapshots refresh by it."""
