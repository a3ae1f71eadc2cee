"""How are the rows of somebody else's file read, one by one and without trust?

A broken row is a `Row` with an error; a file that is broken as a whole raises `Unreadable` with
the place. Only a JSON array is held in memory, up to a limit.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, Self, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from amity.kernel.depth import deeper_than
from amity.kernel.limits import BATCH_FILE_BYTES_MAX, JSON_DEPTH_MAX
from amity.tabular.errors import EmptyFile, FileTooLarge, NoHeader, Unreadable
from amity.tabular.formats import CsvDialect, InputFormat
from amity.tabular.values import parse_cells, plain_rows, plain_schema

_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_PARQUET_ROWS = 1_000
_BUFFER_BYTES = 262_144
_NAME_CHARS_MAX = 512
"""A column's name. Ours: each of its dots is a level of nesting."""
_RATIO_FREE_BYTES = 16 * 1024 * 1024
"""Below this many unpacked bytes the ratio says nothing: a small file of one repeated row is honest."""


class Row(NamedTuple):
    """One row of a file.

    Attributes:
        line: Where it begins: the line for text, else the row, counted from 1.
        raw: The bytes as they came (of a JSON array or Parquet: the row as JSON).
        value: The row as parsed JSON; None when it is broken.
        error: What is wrong with it, and what to do; None when nothing is.
    """

    line: int
    raw: bytes
    value: dict[str, Any] | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """What a file may hold at most."""

    bytes_max: int = 16 * BATCH_FILE_BYTES_MAX
    """Unpacked."""
    ratio_max: int = 200
    """Unpacked to packed: more is a bomb."""
    rows_max: int = 100_000_000
    columns_max: int = 5_000
    line_bytes_max: int = 1_048_576
    array_bytes_max: int = BATCH_FILE_BYTES_MAX
    """A JSON array is held in memory."""


_LIMITS = ReadLimits()


def rows(
    path: Path,
    fmt: InputFormat,
    *,
    schema: pa.Schema | None = None,
    limits: ReadLimits = _LIMITS,
) -> Iterator[Row]:
    """The rows of a file; text may be packed with gzip.

    Args:
        path: The file.
        fmt: How it is written.
        schema: Types for the cells of a CSV file; without it a cell is text. A dotted column name
            is a path: `person.name` becomes `{"person": {"name": …}}`.
        limits: What it may hold at most.
    """
    if path.stat().st_size == 0:
        raise EmptyFile(f"{path.name} is empty: write at least one row, or leave the file out")
    if fmt.kind == "csv":
        return _counted(path, _csv(path, fmt, schema, limits), limits)
    read = {"json_lines": _json_lines, "json_array": _json_array, "parquet": _parquet}[fmt.kind]
    return _counted(path, read(path, limits), limits)


def row_batches(
    path: Path,
    fmt: InputFormat,
    size: int,
    *,
    schema: pa.Schema | None = None,
    limits: ReadLimits = _LIMITS,
) -> Iterator[list[Row]]:
    """The rows of a file in lists of `size`."""
    found = rows(path, fmt, schema=schema, limits=limits)
    while batch := list(islice(found, size)):
        yield batch


def _counted(path: Path, found: Iterator[Row], limits: ReadLimits) -> Iterator[Row]:
    at = 0
    for at, row in enumerate(found, 1):
        if at > limits.rows_max:
            raise FileTooLarge(f"{path.name} holds more than {limits.rows_max} rows: split it")
        yield row
    if not at:
        raise EmptyFile(f"{path.name} holds no rows: write at least one, or leave the file out")


def _json_lines(path: Path, limits: ReadLimits) -> Iterator[Row]:
    with _Text(path, limits) as text:
        for line, raw in text.lines():
            if len(raw) > limits.line_bytes_max:
                yield Row(line, raw, None, f"longer than {limits.line_bytes_max} bytes: split it")
            elif not raw.isspace():
                yield _json_row(line, raw.rstrip(b"\r\n"))


def _json_row(line: int, raw: bytes) -> Row:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as wrong:
        return Row(line, raw, None, f"not JSON: {wrong.msg}, column {wrong.colno}")
    return _object_row(line, raw, value)


def _object_row(line: int, raw: bytes, value: Any) -> Row:
    if not isinstance(value, dict):
        return Row(line, raw, None, f"a record is a JSON object, not {_kind(value)}")
    if deeper_than(JSON_DEPTH_MAX, value, raw):
        return Row(line, raw, None, f"nested deeper than {JSON_DEPTH_MAX} levels")
    return Row(line, raw, value, None)


def _kind(value: Any) -> str:
    names = {str: "a text", bool: "a truth value", list: "an array", type(None): "null"}
    return names.get(type(value), "a number")


def _json_array(path: Path, limits: ReadLimits) -> Iterator[Row]:
    with _Text(path, limits) as text:
        whole = text.read(limits.array_bytes_max + 1)
    if len(whole) > limits.array_bytes_max:
        raise FileTooLarge(
            f"{path.name} is one JSON array of more than {limits.array_bytes_max} bytes: "
            "split it or send JSON lines"
        )
    try:
        values = orjson.loads(whole)
    except orjson.JSONDecodeError as wrong:
        raise Unreadable(
            f"{path.name} is not JSON: {wrong.msg} at line {wrong.lineno}, column {wrong.colno}",
            line=wrong.lineno,
            column=wrong.colno,
        ) from None
    for at, value in enumerate(values if isinstance(values, list) else [values], 1):
        yield _object_row(at, orjson.dumps(value), value)


def _parquet(path: Path, limits: ReadLimits) -> Iterator[Row]:
    at = 0
    try:
        with pq.ParquetFile(path, coerce_int96_timestamp_unit="us") as file:
            _check_parquet(path, file.metadata, limits)
            target = plain_schema(file.schema_arrow)
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS, use_threads=False):
                for value in plain_rows(batch, target):
                    at += 1
                    yield Row(at, orjson.dumps(value), value, None)
    except (pa.ArrowException, OSError, orjson.JSONEncodeError) as wrong:
        raise Unreadable(
            f"{path.name} cannot be read as Parquet after row {at}: {wrong}", row=at
        ) from None


def _check_parquet(path: Path, metadata: pq.FileMetaData, limits: ReadLimits) -> None:
    if metadata.num_columns > limits.columns_max:
        raise FileTooLarge(
            f"{path.name} has {metadata.num_columns} columns; {limits.columns_max} are allowed"
        )
    unpacked = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
    # A dictionary may stand for any number of rows, so rows count too, one byte each.
    _check_size(path, max(unpacked, metadata.num_rows), limits)


def _csv(
    path: Path, fmt: InputFormat, schema: pa.Schema | None, limits: ReadLimits
) -> Iterator[Row]:
    with _Text(path, limits) as text:
        lines = _CsvLines(path, text, fmt.charset, limits)
        reader = csv.reader(lines, strict=True, **_csv_options(fmt.dialect))
        names = _header(path, reader, limits)
        lines.take()
        yield from _csv_rows(reader, lines, names, (fmt, schema))


class Cells(NamedTuple):
    """One row of a CSV file as its cells.

    Attributes:
        line: Where it begins.
        raw: The bytes as they came.
        cells: As many as the header names; none when the row is broken.
        error: What is wrong with it; None when nothing is.
        ended: Whether the line has an end: the last one of a file that was cut off has none.
    """

    line: int
    raw: bytes
    cells: list[str]
    error: str | None
    ended: bool


class CsvTable(NamedTuple):
    """A CSV file that is being read: the names of its header, then its rows."""

    names: list[str]
    rows: Iterator[Cells]


@contextmanager
def csv_table(path: Path, fmt: InputFormat, *, limits: ReadLimits = _LIMITS) -> Iterator[CsvTable]:
    """The header and the cells of a CSV file; text may be packed with gzip."""
    if path.stat().st_size == 0:
        raise EmptyFile(f"{path.name} is empty: not even the header is there")
    with _Text(path, limits) as text:
        lines = _CsvLines(path, text, fmt.charset, limits)
        reader = csv.reader(lines, strict=True, **_csv_options(fmt.dialect))
        names = _header(path, reader, limits)
        lines.take()
        if lines.undecodable:
            raise NoHeader(f"{path.name}: the header is not {fmt.charset}: say which charset it is")
        yield CsvTable(names, _cell_rows(reader, lines, len(names), fmt.charset))


def _cell_rows(
    reader: Iterator[list[str]], lines: _CsvLines, width: int, charset: str
) -> Iterator[Cells]:
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as wrong:
            yield Cells(*lines.take(), [], f"broken CSV: {wrong}", lines.ended)
            continue
        line, raw = lines.take()
        if not cells:
            continue
        if len(cells) != width:
            error = f"{len(cells)} cells, but the header names {width}"
            yield Cells(line, raw, [], error, lines.ended)
        elif lines.undecodable:
            error = f"not {charset}: a byte stands for no character"
            yield Cells(line, raw, [], error, lines.ended)
        else:
            yield Cells(line, raw, cells, None, lines.ended)


def _csv_options(dialect: CsvDialect) -> dict[str, Any]:
    if not dialect.quote:
        return {
            "delimiter": dialect.delimiter,
            "quoting": csv.QUOTE_NONE,
            "escapechar": dialect.escape,
        }
    doubled = dialect.escape == dialect.quote
    return {
        "delimiter": dialect.delimiter,
        "quotechar": dialect.quote,
        "doublequote": doubled,
        "escapechar": None if doubled else dialect.escape,
    }


def _header(path: Path, reader: Iterator[list[str]], limits: ReadLimits) -> list[str]:
    try:
        names = [name.strip() for name in next(reader, [])]
    except csv.Error as wrong:
        raise NoHeader(f"{path.name}: the header, line 1, is broken: {wrong}", line=1) from None
    if len(names) > limits.columns_max:
        raise FileTooLarge(
            f"{path.name} has {len(names)} columns; {limits.columns_max} are allowed"
        )
    long = next((name for name in names if len(name) > _NAME_CHARS_MAX), None)
    if long is not None:
        raise NoHeader(
            f"{path.name}: a column's name has at most {_NAME_CHARS_MAX} characters: {long[:40]!r}…",
            line=1,
        )
    missing = [at for at, name in enumerate(names, 1) if not name]
    if not names or missing:
        raise NoHeader(f"{path.name}: column {(missing or [1])[0]} has no name in line 1", line=1)
    known = set(names)
    for at, name in enumerate(names):
        if name in names[:at] or any(name[:dot] in known for dot in _dots(name)):
            raise NoHeader(f"{path.name}: line 1 names column {name!r} twice", line=1)
    return names


def _dots(name: str) -> list[int]:
    return [at for at, letter in enumerate(name) if letter == "."]


def _csv_rows(
    reader: Iterator[list[str]],
    lines: _CsvLines,
    names: list[str],
    form: tuple[InputFormat, pa.Schema | None],
) -> Iterator[Row]:
    parse = parse_cells(names, form[1], form[0].dialect.null)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as wrong:
            yield Row(*lines.take(), None, f"broken CSV: {wrong}")
            continue
        line, raw = lines.take()
        if not cells:
            continue
        if len(cells) != len(names):
            yield Row(line, raw, None, f"{len(cells)} cells, but the header names {len(names)}")
        elif lines.undecodable:
            yield Row(line, raw, None, f"not {form[0].charset}: a byte stands for no character")
        else:
            yield Row(line, raw, parse(cells), None)


class _CsvLines:
    """Lines of text that remember which bytes the row being read is made of."""

    def __init__(self, path: Path, text: _Text, charset: str, limits: ReadLimits) -> None:
        encoding = "utf-8-sig" if charset.replace("_", "-") in {"utf-8", "utf8"} else charset
        self._charset = charset
        self._path = path
        self._limit = limits.line_bytes_max
        buffered = io.BufferedReader(text, _BUFFER_BYTES)
        self._stream = io.TextIOWrapper(buffered, encoding, errors="surrogateescape", newline="")
        self._held: list[str] = []
        self._line = 0
        self._first = 1
        self.undecodable = False
        self.ended = True

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(self._limit)
        if not line:
            raise StopIteration
        self._line += 1
        if len(line) >= self._limit:
            raise Unreadable(
                f"{self._path.name}: line {self._line} is longer than {self._limit} characters",
                line=self._line,
            )
        self._held.append(line)
        self.ended = line[-1] in "\r\n"
        return line

    def take(self) -> tuple[int, bytes]:
        """First line and bytes of what was read since the last call."""
        text = "".join(self._held)
        self.undecodable = not text.isascii() and not _is_unicode(text)
        first, self._first = self._first, self._line + 1
        self._held = []
        encoded = text.encode(self._charset, "surrogateescape")
        return first, encoded.rstrip(b"\r\n")


def _is_unicode(text: str) -> bool:
    """Whether all of it are characters: a byte that stood for none is kept as half a one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Text(io.RawIOBase):
    """The unpacked bytes of a file, watched for bombs."""

    def __init__(self, path: Path, limits: ReadLimits) -> None:
        self._path = path
        self._limits = limits
        self._read_bytes = 0
        raw = path.open("rb")
        packed = raw.peek(2)[:2] == _GZIP
        self._packed_bytes = path.stat().st_size if packed else 0
        self._stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw) if packed else raw)
        self._raw = raw

    def readable(self) -> bool:
        """It is read only."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Part of the stream, for a text wrapper."""
        chunk = self.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, all of them unless the file ends."""
        return self._watched(self._stream.read, size)

    def lines(self) -> Iterable[tuple[int, bytes]]:
        """Line numbers and lines; of a line over the limit only its beginning."""
        limit = self._limits.line_bytes_max
        number = 0
        while line := self._watched(self._stream.readline, limit + 1):
            number += 1
            if number == 1:
                line = line.removeprefix(_BOM)
            rest = line
            while len(rest) > limit and not rest.endswith(b"\n"):
                rest = self._watched(self._stream.readline, limit + 1)
            yield number, line

    def _watched(self, read: Any, size: int) -> bytes:
        try:
            chunk: bytes = read(size)
        except (OSError, EOFError, zlib.error) as wrong:
            raise Unreadable(
                f"{self._path.name}: the gzip data breaks off after {self._read_bytes} bytes: {wrong}"
            ) from None
        self._read_bytes += len(chunk)
        _check_size(self._path, self._read_bytes, self._limits, packed=self._packed_bytes)
        return chunk

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()
        self._raw.close()
        super().close()

    def __enter__(self) -> Self:
        return self


def _check_size(path: Path, unpacked: int, limits: ReadLimits, *, packed: int = 0) -> None:
    if unpacked > limits.bytes_max:
        raise FileTooLarge(f"{path.name} unpacks to more than {limits.bytes_max} bytes: split it")
    if packed and unpacked > max(_RATIO_FREE_BYTES, packed * limits.ratio_max):
        raise FileTooLarge(
            f"{path.name} unpacks to more than {limits.ratio_max} times its {packed} bytes"
        )
