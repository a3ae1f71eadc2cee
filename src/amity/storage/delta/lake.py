"""Where does every accepted record lie as columns?

A Delta table a dataset, in a folder; DuckDB, opened in memory, reads its file list, so any process
may query while one writes. (app, version) pairs are stored in the commit that adds the rows: what
was killed in between has added nothing.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import sqlglot.expressions as sge
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import (
    CommitFailedError,
    DeltaError,
    TableNotFoundError,
)

from amity.kernel.errors import Conflict, Corrupt, Invalid, Unavailable
from amity.kernel.machine import is_of_the_machine
from amity.storage.ports import LakeTable

_CONFIGURATION = {"delta.checkpointInterval": "50"}
_STATISTICS_COLUMNS = ("_amity_time", "_amity_partition")
"""Statistics hold values of the rows, and they outlive a delete: none but these."""

_WRITER = WriterProperties(compression="ZSTD", compression_level=1)
_FILE_BYTES = 32 * 1024 * 1024
"""Compaction leaves larger files alone: each turn rewrites less than this."""

_SYSTEM_ERROR = "(os error "
_DELETE_VALUES = 5_000
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-@")


class DeltaLake:
    """The `Lake` port over Delta tables in a folder.

    Args:
        folder: Where the tables lie; the scope leads each path.
        memory_mb: What one query may use before it spills.
        threads: How many threads one query may use.
        retention_h: How long files that no version needs are kept for running queries.
    """

    def __init__(
        self, folder: Path, *, memory_mb: int = 512, threads: int = 2, retention_h: int = 1
    ) -> None:
        self._folder = folder.absolute()
        if any(letter in str(self._folder) for letter in "%*?["):
            raise Invalid(
                f"the lake cannot lie in {self._folder}: the engine misreads a path with % * ? or ["
            )
        self._config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_mb}MB",
            "threads": str(threads),
            "temp_directory": str(folder / ".spill"),
            "python_enable_replacements": "false",
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        self._retention_h = retention_h
        # A commit that deletes names what it deleted: it goes as early as the files do.
        self._retention = {
            "delta.logRetentionDuration": f"interval {retention_h} hours",
            "delta.deletedFileRetentionDuration": f"interval {retention_h} hours",
        }
        self._lock = threading.RLock()
        self._open: dict[LakeTable, DeltaTable] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def append(self, table: LakeTable, rows: pa.Table, *, app: str, version: int) -> bool:
        """Add rows once per (app, version); False when it was added before."""
        with self._lock:
            known = self._snapshot(table)
            seen = None if known is None else known.transaction_version(app)
            if seen is not None and version <= seen:
                return False
            commit = CommitProperties(app_transactions=[Transaction(app, version)])
            self._write(table, known, rows, commit)
            return True

    def last_version(self, table: LakeTable, app: str) -> int:
        """The highest version of `app` written, -1 when none."""
        known = self._snapshot(table)
        found = None if known is None else known.transaction_version(app)
        return -1 if found is None else int(found)

    def schema(self, table: LakeTable) -> pa.Schema | None:
        """The table's columns; None while it has no rows."""
        known = self._snapshot(table)
        return None if known is None else _schema(known)

    def query(
        self,
        statement: sge.Expression,
        tables: Mapping[str, LakeTable],
        extra: Mapping[str, pa.Table] | None = None,
    ) -> pa.Table:
        """Run a SELECT in which names stand for lake tables or `extra`.

        A table without rows has no columns yet: a query that names it fails with `Invalid`.
        """
        if not isinstance(statement, sge.Query):
            raise Invalid("the lake answers SELECT statements only")
        with closing(duckdb.connect(":memory:", config=self._config)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            # Only the lake's own files can be read, whatever the statement says.
            connection.execute("SET allowed_directories = ?", [[str(self._folder)]])
            connection.execute("SET enable_external_access = false")
            for name, rows in (extra or {}).items():
                connection.register(name, rows)
            for name, table in tables.items():
                self._register(connection, name, table)
            connection.execute("SET lock_configuration = true")
            try:
                return connection.sql(statement.sql("duckdb")).to_arrow_table()
            except (duckdb.BinderException, duckdb.ParserException, duckdb.CatalogException) as no:
                raise Invalid(f"the lake cannot run this query: {no}") from None
            except duckdb.IOException as no:
                raise Unavailable(f"the query cannot use the disk now: {no}") from None
            except duckdb.OutOfMemoryException as no:
                raise Unavailable(f"the query needs more memory than it may use: {no}") from None

    def delete(self, table: LakeTable, column: str, values: Sequence[str]) -> int:
        """Remove the rows whose `column` is one of `values`; answers how many.

        The old files go at the next `maintain` after the retention.
        """
        with self._lock:
            known = self._snapshot(table)
            if known is None or column not in _schema(known).names:
                return 0
            gone = 0
            with _races(table):
                for at in range(0, len(values), _DELETE_VALUES):
                    named = sge.column(column, quoted=True)
                    chosen = named.isin(*values[at : at + _DELETE_VALUES]).sql("postgres")
                    gone += int(known.delete(chosen)["num_deleted_rows"])
                self._sync(table, known)
            return gone

    def maintain(self, table: LakeTable) -> None:
        """Compact small files, write a checkpoint, remove what no version needs any more."""
        with self._lock:
            known = self._snapshot(table)
            if known is None:
                return
            with _races(table):
                known.optimize.compact(target_size=_FILE_BYTES, writer_properties=_WRITER)
                # Before the checkpoint, which forgets the removed files; `full` also finds those
                # that a killed writer left behind.
                known.vacuum(
                    retention_hours=self._retention_h,
                    dry_run=False,
                    enforce_retention_duration=False,
                    full=True,
                )
                known.create_checkpoint()
                known.cleanup_metadata()
            self._sync(table, known)

    def _snapshot(self, table: LakeTable) -> DeltaTable | None:
        """The newest version, or None while there is none."""
        with self._lock:
            known = self._open.pop(table, None)
            try:
                if known is None or not _refreshed(known):
                    known = DeltaTable(self._path(table).as_uri())
            except TableNotFoundError:
                return None
            except DeltaError as no:
                _tell_of_the_machine(table, no)
                raise Corrupt(f"the lake table of dataset {table.dataset} is broken: {no}") from no
            self._open[table] = known
            return known

    def _write(
        self, table: LakeTable, known: DeltaTable | None, rows: pa.Table, commit: CommitProperties
    ) -> None:
        place = self._path(table)
        if known is None:
            place.mkdir(parents=True, exist_ok=True)
        else:
            _check_types(table, _schema(known), rows.schema)
        with _races(table):
            write_deltalake(
                place.as_uri() if known is None else known,
                rows,
                mode="append",
                schema_mode="merge",
                configuration=self._configuration(rows.schema) if known is None else None,
                writer_properties=_WRITER,
                commit_properties=commit,
                post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
            )
        written = self._snapshot(table)
        if written is not None:
            self._sync(table, written)

    def _sync(self, table: LakeTable, known: DeltaTable) -> None:
        """Bring the newest commit and the files it names to the disk."""
        folder = self._path(table)
        commit = folder / "_delta_log" / f"{known.version():020d}.json"
        try:
            actions = [json.loads(line) for line in commit.read_text().splitlines()]
            added = [folder / action["add"]["path"] for action in actions if "add" in action]
            for path in (*added, folder, commit, commit.parent):
                _sync(path)
        except FileNotFoundError:
            return  # a clean-up of another process was faster: it has newer commits

    def _files(self, table: LakeTable, known: DeltaTable) -> list[str]:
        """The paths of the newest version's files; the engine tells them as addresses."""
        folder = self._path(table)
        return sorted(str(folder / uri.rpartition("/")[2]) for uri in known.file_uris())

    def _register(self, connection: duckdb.DuckDBPyConnection, name: str, table: LakeTable) -> None:
        known = self._snapshot(table)
        if known is None:
            return
        schema, files = _schema(known), self._files(table, known)
        if not files:
            connection.register(name, schema.empty_table())
            return
        found = connection.read_parquet(files, union_by_name=True, hive_partitioning=False)
        if set(found.columns) == set(schema.names):
            found.create_view(name)
            return
        # Some column is in none of the files that are left: the rows have it as null.
        connection.register(f"{name}__columns", schema.empty_table())
        found.create_view(f"{name}__files")
        parts = [
            sge.select("*").from_(sge.to_identifier(f"{name}__{part}", quoted=True))
            for part in ("columns", "files")
        ]
        both = sge.Create(
            this=sge.to_identifier(name, quoted=True),
            kind="VIEW",
            expression=sge.Union(this=parts[0], expression=parts[1], distinct=False, by_name=True),
        )
        connection.execute(both.sql("duckdb"))

    def _configuration(self, schema: pa.Schema) -> dict[str, str | None]:
        present = [name for name in _STATISTICS_COLUMNS if name in schema.names]
        statistics = (
            {"delta.dataSkippingStatsColumns": ",".join(present)}
            if present
            else {"delta.dataSkippingNumIndexedCols": "0"}
        )
        return {**_CONFIGURATION, **self._retention, **statistics}

    def _path(self, table: LakeTable) -> Path:
        scope = table.scope
        return self._folder.joinpath(*map(_encoded, (scope.org, scope.sandbox, table.dataset)))


@contextmanager
def _races(table: LakeTable) -> Iterator[None]:
    """A commit that lost against another process's may be tried again; so may a full disk."""
    try:
        yield
    except CommitFailedError as no:
        _tell_of_the_machine(table, no)
        raise Unavailable(f"dataset {table.dataset}: another writer was first: {no}") from None
    except (DeltaError, OSError) as no:
        _tell_of_the_machine(table, no)
        raise


def _tell_of_the_machine(table: LakeTable, no: Exception) -> None:
    """The engine tells what the system refused (a full disk, no more handles) in its text alone."""
    if is_of_the_machine(no) or _SYSTEM_ERROR in str(no):
        raise Unavailable(f"dataset {table.dataset}: the disk does not take it now: {no}") from no


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refreshed(table: DeltaTable) -> bool:
    """Whether the newer commits could be read; not when a clean-up has removed them meanwhile."""
    try:
        table.update_incremental()
    except DeltaError:
        return False
    return True


def _schema(table: DeltaTable) -> pa.Schema:
    return pa.schema(table.schema().to_arrow())


def _check_types(table: LakeTable, known: pa.Schema, new: pa.Schema) -> None:
    """A column keeps its type for ever: the engine would cast, or lose, what does not fit."""
    for field in new:
        if field.name in known.names and _differs(known.field(field.name).type, field.type):
            raise Conflict(
                f"dataset {table.dataset}: column {field.name} is {known.field(field.name).type} "
                f"in its rows so far, not {field.type}"
            )


def _differs(known: pa.DataType, new: pa.DataType) -> bool:
    if pa.types.is_struct(known) and pa.types.is_struct(new):
        return any(
            known.get_field_index(field.name) >= 0
            and _differs(known.field(field.name).type, field.type)
            for field in new
        )
    if pa.types.is_map(known) and pa.types.is_map(new):
        return _differs(known.item_type, new.item_type)
    if _family(known) == _family(new) == "list":
        return _differs(known.value_type, new.value_type)
    return _family(known) != _family(new)


def _family(kind: pa.DataType) -> str:
    for name, is_one in _FAMILIES.items():
        if is_one(kind):
            return name
    return str(kind)


_FAMILIES = {
    "integer": pa.types.is_integer,
    "number": pa.types.is_floating,
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "list": lambda kind: pa.types.is_list(kind) or pa.types.is_large_list(kind),
    "time": pa.types.is_timestamp,
}


def _encoded(part: str) -> str:
    """A folder name for any text: `~` and hex for what is no plain letter, never `.` or empty.

    >>> _encoded("../a b")
    '~2e~2e~2fa~20b'
    """
    if not part:
        return "~"
    return "".join(
        letter if letter in _PLAIN else "".join(f"~{byte:02x}" for byte in letter.encode())
        for letter in part
    )
