"""How is somebody else's flat file read into columns, and what becomes of rows that do not fit?

A row is taken or rejected with its line and the reason; the file as a whole is refused when its
header is not what was agreed or it cannot be read. Of a file that was cut off, the last row is
rejected: it may be half a row.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from amity.campaign.imports.columns import FileColumn, Reader, Value, WrongCell, name_for
from amity.campaign.imports.errors import BadFile
from amity.tabular.formats import InputFormat
from amity.tabular.read import Cells, csv_table, rows

BATCH_ROWS = 5_000
RAW_CHARS_MAX = 4_000
"""Of a rejected row, what is kept beside the reason. Ours."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF8 = frozenset({"utf-8", "utf8", "utf_8", "utf-8-sig"})
_GUESS_BYTES = 1 << 20


class FileFormat(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """How a file is written: `csv` with its separators, `tab`, or `jsonLines`."""

    kind: Literal["csv", "tab", "jsonLines"] = "csv"
    delimiter: str = ","
    quote: Literal['"', ""] = '"'
    escape: Literal['"', "\\"] = '"'
    null: str = ""
    encoding: str = "utf-8"

    def input(self) -> InputFormat:
        """As the reader wants it."""
        if self.kind == "jsonLines":
            return InputFormat(kind="json_lines")
        declared = {
            "format": "csv",
            "delimiter": "\t" if self.kind == "tab" else self.delimiter,
            "quote": self.quote,
            "escape": self.escape if self.quote else "\\",
            "nullMarker": self.null,
            "charset": self.encoding,
        }
        return InputFormat.parse(declared)


class Reject(NamedTuple):
    """A row that was not taken."""

    file: str
    line: int
    reason: str
    raw: str


@dataclass(slots=True)
class Batch:
    """Rows that were taken, and rows that were not."""

    rows: list[tuple[Value, ...]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    warnings: int = 0


class FileReader:
    """Reads files of one form.

    Args:
        format: How they are written.
        columns: What is taken; none: every column of the header, as text.
        unknown: Whether columns of the file that are not taken are an error.
        keys: Columns of which one at least must hold a value.
        cut_off: Whether a last row without an end of line is rejected.
    """

    def __init__(
        self,
        *,
        format: InputFormat,
        columns: Sequence[FileColumn] = (),
        unknown: Literal["ignore", "error"] = "ignore",
        keys: Sequence[str] = (),
        cut_off: Literal["reject", "accept"] = "reject",
    ) -> None:
        self._format = format
        self._unknown = unknown
        self._keys = tuple(keys)
        self._cut_off = cut_off
        self._given = tuple(columns)
        _check_columns(self._given, self._keys)
        self.columns: tuple[FileColumn, ...] = self._given
        self.header: tuple[str, ...] = ()
        """Of the file read last."""

    def look(self, path: Path, name: str) -> None:
        """Find out the columns of a file, where they were not given, without reading its rows."""
        _check_encoding(path, name, self._format)
        if self._format.kind == "csv":
            with csv_table(path, self._format) as table:
                self._take_header(name, table.names)

    def batches(self, path: Path, name: str) -> Iterator[Batch]:
        """The rows of a file, known to people as `name`."""
        self.header = ()
        _check_encoding(path, name, self._format)
        if self._format.kind == "csv":
            yield from self._csv(path, name)
        else:
            yield from self._json(path, name)

    def _csv(self, path: Path, name: str) -> Iterator[Batch]:
        with csv_table(path, self._format) as table:
            self._take_header(name, table.names)
            places = [table.names.index(column.header) for column in self.columns]
            null = self._format.dialect.null
            taking = RowTaking(name, self.columns, self._keys)
            for cells in table.rows:
                fault = cells.error or self._fault(cells)
                if fault:
                    taking.reject(cells.line, fault, cells.raw)
                else:
                    found = cells.cells
                    taking.take(cells.line, cells.raw, [found[place] for place in places], null)
                if taking.full:
                    yield taking.handed()
            yield taking.handed()

    def _json(self, path: Path, name: str) -> Iterator[Batch]:
        if not self._given:
            raise BadFile(f"{name}: say which columns are taken from a file of JSON lines")
        sources = [column.header.split(".") for column in self.columns]
        taking = RowTaking(name, self.columns, self._keys)
        for row in rows(path, self._format):
            if not self.header and row.value:
                self.header = tuple(_paths(row.value))
            if row.value is None:
                taking.reject(row.line, row.error or "broken", row.raw)
            else:
                texts = [_found(row.value, source) for source in sources]
                taking.take(row.line, row.raw, texts, "")
            if taking.full:
                yield taking.handed()
        yield taking.handed()

    def _fault(self, cells: Cells) -> str:
        if cells.ended or self._cut_off == "accept":
            return ""
        return (
            "the file breaks off in this row: its line has no end; ask for the file again, or accept "
            'such rows with cutOff "accept"'
        )

    def _take_header(self, name: str, names: list[str]) -> None:
        self.header = tuple(names)
        if not self.columns:
            self.columns = _all_columns(name, names)
            _check_columns(self.columns, self._keys)
        missing = [column.header for column in self.columns if column.header not in names]
        if missing:
            raise BadFile(
                f"{name} has no column {', '.join(map(repr, missing[:5]))}; its header names "
                f"{', '.join(names[:20])}"
            )
        extra = sorted(set(names) - {column.header for column in self.columns})
        if extra and (self._unknown == "error" or not self._given):
            raise BadFile(f"{name} has columns that nobody has described: {', '.join(extra[:10])}")


class RowTaking:
    """Rows on their way from one file into batches."""

    def __init__(self, name: str, columns: Sequence[FileColumn], keys: Sequence[str]) -> None:
        self._name = name
        self._readers = [Reader(column) for column in columns]
        self._read = [reader.value for reader in self._readers]
        self._keys = [at for at, column in enumerate(columns) if column.name in set(keys)]
        self._no_key = f"no key: {', '.join(keys)} {'is' if len(keys) == 1 else 'are all'} empty"
        self._batch = Batch()

    @property
    def full(self) -> bool:
        """Whether it is time to hand the batch on."""
        return len(self._batch.rows) + len(self._batch.rejects) >= BATCH_ROWS

    def handed(self) -> Batch:
        """The batch; a new one is begun."""
        batch, self._batch = self._batch, Batch()
        return batch

    def take(self, line: int, raw: bytes, cells: Sequence[str | None], null: str) -> None:
        """Take a row, or reject it."""
        if null:
            cells = [None if cell == null else cell for cell in cells]
        try:
            made: list[Value] | None = [
                read(cell) for read, cell in zip(self._read, cells, strict=True)
            ]
        except WrongCell:
            made = self._mended(line, raw, cells)
        if made is None:
            return
        if self._keys and all(made[at] is None for at in self._keys):
            self.reject(line, self._no_key, raw)
            return
        self._batch.rows.append(tuple(made))

    def _mended(self, line: int, raw: bytes, cells: Sequence[str | None]) -> list[Value] | None:
        """The row with what stands for its wrong cells; None when it is rejected for one."""
        made: list[Value] = []
        for reader, cell in zip(self._readers, cells, strict=True):
            try:
                made.append(reader.value(cell))
            except WrongCell as wrong:
                if reader.column.on_error == "reject":
                    self.reject(line, f"{reader.column.header}: {wrong}", raw)
                    return None
                self._batch.warnings += 1
                made.append(reader.instead())
        return made

    def reject(self, line: int, reason: str, raw: bytes) -> None:
        """Keep a row with the reason why it was not taken."""
        text = raw[: 4 * RAW_CHARS_MAX].decode("utf-8", "backslashreplace")[:RAW_CHARS_MAX]
        self._batch.rejects.append(Reject(self._name, line, reason, text))


def _check_columns(columns: Sequence[FileColumn], keys: Sequence[str]) -> None:
    names = [column.name.lower() for column in columns]
    for column in columns:
        Reader(column)
        if names.count(column.name.lower()) > 1:
            raise BadFile(f"two columns are called {column.name!r}")
    unknown = [key for key in keys if columns and key.lower() not in names]
    if unknown:
        raise BadFile(f"key {unknown[0]!r} is no column; there are {', '.join(names)}")


def _all_columns(name: str, names: Sequence[str]) -> tuple[FileColumn, ...]:
    made = tuple(FileColumn(name=name_for(source), source=source) for source in names)
    known: set[str] = set()
    for column in made:
        if column.name.lower() in known:
            raise BadFile(
                f"{name}: two columns would be called {column.name!r}; describe the columns"
            )
        known.add(column.name.lower())
    return made


def _check_encoding(path: Path, name: str, form: InputFormat) -> None:
    with path.open("rb") as file:
        start = file.read(4)
    for mark, charset in _MARKS:
        if start.startswith(mark) and not form.charset.lower().startswith(("utf-16", "utf-32")):
            raise BadFile(f"{name} is {charset}, not {form.charset}: set the encoding")


def looks_like_utf8(path: Path, form: InputFormat) -> bool:
    """Whether a file said to be of another charset is UTF-8: then its letters come out wrong."""
    if form.kind != "csv" or form.charset.lower() in _UTF8:
        return False
    with path.open("rb") as file:
        start = file.read(_GUESS_BYTES)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return not decoder.decode(start).isascii()
    except UnicodeDecodeError:
        return False


def _found(value: Any, source: Sequence[str]) -> str | None:
    """What lies at a path, as text."""
    for name in source:
        value = value.get(name) if isinstance(value, dict) else None
    if value is None or isinstance(value, (dict, list)):
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _paths(value: dict[str, Any]) -> Iterator[str]:
    """The names in an object, nested ones dotted."""
    for name, inner in value.items():
        yield name
        if isinstance(inner, dict):
            yield from (f"{name}.{below}" for below in _paths(inner))
