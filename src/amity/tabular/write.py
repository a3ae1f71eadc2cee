"""How are columns written as a file, with its size and checksum told at the end?

Cells are made column by column in Arrow and joined there: no row passes through Python.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, Self, cast

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from amity.tabular.errors import Unwritable
from amity.tabular.formats import CsvDialect
from amity.tabular.values import plain_rows, plain_schema

_SLICE_ROWS = 65_536
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_FORMULA = b"=+-@\t\r"
_NUMBER = r"^[+\-]?[0-9]+(\.[0-9]+)?([eE][+\-]?[0-9]+)?$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a writer has written: `bytes` and `sha256` are of the plain text, before packing."""

    rows: int
    bytes: int
    sha256: str
    stored_bytes: int


class TableWriter(Protocol):
    """Writes columns to one file."""

    def write(self, data: pa.Table | pa.RecordBatch) -> None:
        """Add rows."""

    def close(self) -> Written:
        """Finish the file, durable on return."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class _Plain:
    """Counts and hashes the plain text on its way to the file, packed or not."""

    def __init__(self, path: Path, *, packed: bool) -> None:
        self._path = path
        self._raw = path.open("wb")
        # mtime 0 and no name: the same rows give the same bytes.
        self._out = cast(
            "IO[bytes]",
            gzip.GzipFile(fileobj=self._raw, mode="wb", filename="", mtime=0, compresslevel=6)
            if packed
            else self._raw,
        )
        self._hash = hashlib.sha256()
        self._bytes = 0
        self.rows = 0
        self._done: Written | None = None

    def put(self, chunk: bytes | memoryview) -> None:
        """Add plain text."""
        self._hash.update(chunk)
        self._bytes += len(chunk)
        self._out.write(chunk)

    def close(self) -> Written:
        """Flush to the disk and tell what was written."""
        if self._done is None:
            if self._out is not self._raw:
                self._out.close()
            _sync(self._raw)
            self._raw.close()
            self._done = Written(
                rows=self.rows,
                bytes=self._bytes,
                sha256=self._hash.hexdigest(),
                stored_bytes=self._path.stat().st_size,
            )
        return self._done


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


class _TextWriter(ABC):
    """What CSV and JSON lines share."""

    def __init__(self, path: Path, *, packed: bool) -> None:
        self._plain = _Plain(path, packed=packed)

    def write(self, data: pa.Table | pa.RecordBatch) -> None:
        """Add rows."""
        table = pa.Table.from_batches([data]) if isinstance(data, pa.RecordBatch) else data
        for at in range(0, table.num_rows, _SLICE_ROWS):
            part = table.slice(at, _SLICE_ROWS).combine_chunks()
            self._put(part)
            self._plain.rows += part.num_rows

    def close(self) -> Written:
        """Finish the file, durable on return."""
        return self._plain.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _put(self, part: pa.Table) -> None:
        """Write one slice, whole chunks a column."""


class CsvWriter(_TextWriter):
    """Writes CSV. Behaviour: platform-activation.md §4.6.

    A text cell that a spreadsheet would run as a formula (it begins with = + - @, TAB or CR, and
    is no plain number) gets a leading apostrophe. Lists and structs are written as JSON.

    Args:
        path: The file to make.
        names: The header; the columns of what is written must be as many, in this order.
        dialect: How cells become a line.
        packed: Pack the text with gzip.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        *,
        dialect: CsvDialect | None = None,
        packed: bool = False,
    ) -> None:
        super().__init__(path, packed=packed)
        self._dialect = dialect or CsvDialect()
        self._names = tuple(names)
        if self._dialect.header:
            titles = [pa.array([name], pa.string()) for name in self._names]
            self._plain.put(_lines(titles, self._dialect))

    def _put(self, part: pa.Table) -> None:
        if part.num_columns != len(self._names):
            raise Unwritable(f"{part.num_columns} columns, but the header names {len(self._names)}")
        columns = [_one_chunk(part.column(at)) for at in range(part.num_columns)]
        self._plain.put(_lines(columns, self._dialect))


class JsonLinesWriter(_TextWriter):
    """Writes one JSON object a line; null is left out, times are texts in UTC."""

    def __init__(self, path: Path, *, packed: bool = False) -> None:
        super().__init__(path, packed=packed)

    def _put(self, part: pa.Table) -> None:
        target = plain_schema(part.schema)
        for batch in part.to_batches():
            lines = [orjson.dumps(row) for row in plain_rows(batch, target)]
            self._plain.put(b"\n".join(lines) + b"\n" if lines else b"")


class ParquetWriter:
    """Writes Parquet; here the file itself is the plain text."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._rows = 0
        self._done: Written | None = None

    def write(self, data: pa.Table | pa.RecordBatch) -> None:
        """Add rows."""
        table = pa.Table.from_batches([data]) if isinstance(data, pa.RecordBatch) else data
        self._writer.write_table(table)
        self._rows += table.num_rows

    def close(self) -> Written:
        """Finish the file, durable on return."""
        if self._done is None:
            self._writer.close()
            with self._path.open("rb+") as file:
                _sync(file)
                size = file.seek(0, 2)
                file.seek(0)
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self._done = Written(rows=self._rows, bytes=size, sha256=sha256, stored_bytes=size)
        return self._done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _lines(columns: Sequence[pa.Array], dialect: CsvDialect) -> memoryview:
    """The lines of these columns as one text: the values of the joined array, without its offsets."""
    cells = [_cells(column, dialect) for column in columns]
    if len(cells) == 1 and dialect.quote:
        # A line of nothing would be no row to a reader.
        nothing = pa.scalar(dialect.quote * 2, pa.large_string())
        cells = [pc.if_else(pc.equal(cells[0], ""), nothing, cells[0])]
    ended = pc.binary_join_element_wise(
        cells[-1], pa.scalar(dialect.line_end, pa.large_string()), pa.scalar("", pa.large_string())
    )
    joined = pc.binary_join_element_wise(
        *cells[:-1], ended, pa.scalar(dialect.delimiter, pa.large_string())
    )
    return memoryview(joined.cast(pa.large_binary()).buffers()[2])


def _cells(column: pa.Array, dialect: CsvDialect) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _text_cells(column.cast(pa.large_string()), dialect)
    if pa.types.is_nested(kind):
        return _text_cells(_as_json(column), dialect)
    texts = _scalar_texts(column, kind)
    if dialect.quote and dialect.quote_all:
        texts = _wrapped(texts, dialect.quote)
    return pc.fill_null(texts, dialect.null)


def _scalar_texts(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        whole = column.cast(pa.timestamp("ms", kind.tz or "UTC"), safe=False)
        column = pc.strftime(whole.cast(pa.timestamp("ms", "UTC")), _TIME_FORMAT)
    return column.cast(pa.large_string())


def _as_json(column: pa.Array) -> pa.Array:
    schema = plain_schema(pa.schema([pa.field("v", column.type)]))
    batch = pa.RecordBatch.from_arrays([column], ["v"])
    values = (row.get("v") for row in plain_rows(batch, schema))
    texts = [None if value is None else orjson.dumps(value).decode() for value in values]
    return pa.array(texts, pa.large_string())


def _text_cells(column: pa.Array, dialect: CsvDialect) -> pa.Array:
    column = _guarded(column)
    shaped = _quoted(column, dialect) if dialect.quote else _unquoted(column, dialect)
    if dialect.empty and (blank := pc.fill_null(pc.equal(column, ""), False)).true_count:  # noqa: FBT003
        shaped = pc.if_else(blank, pa.scalar(dialect.empty, pa.large_string()), shaped)
    return pc.fill_null(shaped, dialect.null)


class _Texts:
    """The bytes of a column, looked at all at once: most columns need no cell changed."""

    def __init__(self, column: pa.Array) -> None:
        offsets = np.frombuffer(column.buffers()[1], np.int64)
        self._starts = offsets[column.offset : column.offset + len(column)]
        self._ends = offsets[column.offset + 1 : column.offset + len(column) + 1]
        data = column.buffers()[2]
        self._data = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
        inside = self._data[self._starts[0] : self._ends[-1]] if len(column) else self._data
        self.all = inside.tobytes()

    def first_in(self, letters: bytes) -> npt.NDArray[np.bool_]:
        """Which cells begin with one of these."""
        return self._at(self._starts, letters)

    def last_in(self, letters: bytes) -> npt.NDArray[np.bool_]:
        """Which cells end with one of these."""
        return self._at(self._ends - 1, letters)

    def _at(self, places: npt.NDArray[np.int64], letters: bytes) -> npt.NDArray[np.bool_]:
        if not self._data.size:
            return np.zeros(len(self._starts), np.bool_)
        wanted = np.zeros(256, np.bool_)
        wanted[list(letters)] = True
        found = wanted[self._data[np.clip(places, 0, self._data.size - 1)]]
        return found & (self._starts < self._ends)


def _guarded(column: pa.Array) -> pa.Array:
    risky = _Texts(column).first_in(_FORMULA)
    if not risky.any():
        return column
    number = pc.fill_null(pc.match_substring_regex(column, _NUMBER), True)  # noqa: FBT003
    guard = pc.and_(pa.array(risky), pc.invert(number))
    return _where(guard, column, lambda cells: _prefixed("'", cells))


def _quoted(column: pa.Array, dialect: CsvDialect) -> pa.Array:
    if dialect.quote_all:
        return _enclosed(column, dialect)
    texts = _Texts(column)
    special = f"{dialect.delimiter}{dialect.quote}{dialect.escape}\r\n"
    mask = pa.array(texts.first_in(b" ") | texts.last_in(b" "))
    if any(letter.encode() in texts.all for letter in special):
        inside = "".join(f"\\x{ord(letter):02x}" for letter in special)
        mask = pc.or_(mask, pc.match_substring_regex(column, f"[{inside}]"))
    # A text equal to the word for null is told apart from it by its quotes.
    for word in {dialect.null, dialect.empty}:
        if word and word.encode() in texts.all:
            mask = pc.or_(mask, pc.equal(column, word))
    return _where(mask, column, lambda cells: _enclosed(cells, dialect))


def _enclosed(cells: pa.Array, dialect: CsvDialect) -> pa.Array:
    if dialect.escape != dialect.quote:
        cells = pc.replace_substring(cells, dialect.escape, dialect.escape * 2)
    escaped = pc.replace_substring(cells, dialect.quote, dialect.escape + dialect.quote)
    return _wrapped(escaped, dialect.quote)


def _unquoted(column: pa.Array, dialect: CsvDialect) -> pa.Array:
    def escaped(cells: pa.Array) -> pa.Array:
        for letter in (dialect.escape, dialect.delimiter):
            cells = pc.replace_substring(cells, letter, dialect.escape + letter)
        return pc.replace_substring_regex(cells, r"\r\n|\r|\n", " ")

    special = f"{dialect.delimiter}{dialect.escape}\r\n"
    if not any(letter.encode() in _Texts(column).all for letter in special):
        return column
    inside = "".join(f"\\x{ord(letter):02x}" for letter in special)
    return _where(pc.match_substring_regex(column, f"[{inside}]"), column, escaped)


def _where(mask: pa.Array, column: pa.Array, change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Change the few cells the mask names; the many others are not touched."""
    mask = pc.fill_null(mask, False)  # noqa: FBT003 - a value, not a switch
    if not pc.any(mask).as_py():
        return column
    return pc.replace_with_mask(column, mask, change(column.filter(mask)))


def _prefixed(prefix: str, cells: pa.Array) -> pa.Array:
    none = pa.scalar("", pa.large_string())
    return pc.binary_join_element_wise(pa.scalar(prefix, pa.large_string()), cells, none)


def _wrapped(cells: pa.Array, quote: str) -> pa.Array:
    mark = pa.scalar(quote, pa.large_string())
    return pc.binary_join_element_wise(mark, cells, mark, pa.scalar("", pa.large_string()))
