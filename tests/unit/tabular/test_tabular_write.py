"""What is written reads back, and tells its size and checksum truly."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.kernel.errors import Invalid
from amity.tabular.errors import Unwritable
from amity.tabular.formats import JSON_LINES, PARQUET, CsvDialect, InputFormat
from amity.tabular.read import rows
from amity.tabular.write import CsvWriter, JsonLinesWriter, ParquetWriter

_TABLE = pa.table(
    {
        "text": ["plain", 'q"\\', None, "", "null", "1,2"],
        "at": pa.array([datetime(2017, 10, 30, tzinfo=UTC)] * 6, pa.timestamp("ms", "UTC")),
        "day": [date(2017, 1, 2)] * 6,
        "n": [1, None, -3, 4, 5, 6],
        "x": [0.5, 1.0, 1e20, None, 5.0, 6.0],
        "list": [["a"], None, [], ["b"], ["c"], ["d"]],
        "yes": [True, False, None, True, True, True],
    }
)


def test_csv_is_written_as_documented(tmp_path: Path) -> None:
    """Null, empty, quotes, escapes, times and numbers have one form each."""
    path = tmp_path / "f.csv"
    with CsvWriter(path, _TABLE.column_names) as writer:
        writer.write(_TABLE)
    written = writer.close()

    assert path.read_text() == (
        "text,at,day,n,x,list,yes\n"
        'plain,2017-10-30T00:00:00.000Z,2017-01-02,1,0.5,"[\\"a\\"]",true\n'
        '"q\\"\\\\",2017-10-30T00:00:00.000Z,2017-01-02,null,1,null,false\n'
        "null,2017-10-30T00:00:00.000Z,2017-01-02,-3,1e+20,[],null\n"
        ',2017-10-30T00:00:00.000Z,2017-01-02,4,null,"[\\"b\\"]",true\n'
        '"null",2017-10-30T00:00:00.000Z,2017-01-02,5,5,"[\\"c\\"]",true\n'
        '"1,2",2017-10-30T00:00:00.000Z,2017-01-02,6,6,"[\\"d\\"]",true\n'
    )
    content = path.read_bytes()
    assert (written.rows, written.bytes) == (6, len(content))
    assert written.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("+4930", "+4930"),
        ("-1.5e3", "-1.5e3"),
        ("-x", "'-x"),
        ("@sum", "'@sum"),
        ("\tx", "'\tx"),
        ("a=b", "a=b"),
    ],
)
def test_a_cell_cannot_become_a_formula(tmp_path: Path, cell: str, shown: str) -> None:
    """Only what a spreadsheet would run is guarded; plain numbers stay numbers."""
    with CsvWriter(tmp_path / "f", ["c"]) as writer:
        writer.write(pa.table({"c": [cell]}))

    assert (tmp_path / "f").read_text() == f"c\n{shown}\n"


def test_gzip_is_repeatable_and_counts_the_plain_text(tmp_path: Path) -> None:
    """The checksum is of the plain text; the same rows give the same packed bytes."""
    made = []
    for name in ("a", "b"):
        with CsvWriter(tmp_path / name, _TABLE.column_names, packed=True) as writer:
            writer.write(_TABLE)
        made.append((writer.close(), (tmp_path / name).read_bytes()))

    assert made[0] == made[1]
    written, packed = made[0]
    plain = gzip.decompress(packed)
    assert (written.bytes, written.stored_bytes) == (len(plain), len(packed))
    assert written.sha256 == hashlib.sha256(plain).hexdigest()


def test_without_quotes_the_escape_keeps_cells_apart(tmp_path: Path) -> None:
    """Tabs are escaped, line breaks become spaces: a line stays a row."""
    dialect = CsvDialect(delimiter="\t", quote="", null="")
    with CsvWriter(tmp_path / "f", ["a", "b"], dialect=dialect) as writer:
        writer.write(pa.table({"a": ["x\ty", None], "b": ['1\r\n2"', "z\\"]}))

    assert (tmp_path / "f").read_text() == 'a\tb\nx\\\ty\t1 2"\n\tz\\\\\n'
    found = [row.value for row in rows(tmp_path / "f", InputFormat(kind="csv", dialect=dialect))]
    assert found == [{"a": "x\ty", "b": '1 2"'}, {"b": "z\\"}]


def test_json_lines_and_parquet_read_back(tmp_path: Path) -> None:
    """Both keep rows and types; JSON lines leave null out."""
    with (
        JsonLinesWriter(tmp_path / "j") as lines,
        ParquetWriter(tmp_path / "p", _TABLE.schema) as parquet,
    ):
        lines.write(_TABLE)
        parquet.write(_TABLE)

    assert pq.read_table(tmp_path / "p").equals(_TABLE)
    assert parquet.close().sha256 == hashlib.sha256((tmp_path / "p").read_bytes()).hexdigest()
    from_lines = [row.value for row in rows(tmp_path / "j", JSON_LINES)]
    assert from_lines == [row.value for row in rows(tmp_path / "p", PARQUET)]
    assert lines.close().rows == 6


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Wrong dialects and a column too many say so."""
    for wrong in ({"delimiter": "ab"}, {"quote": "x"}, {"escape": "/"}):
        with pytest.raises(Invalid):
            CsvDialect(**wrong)
    with CsvWriter(tmp_path / "f", ["a"]) as writer, pytest.raises(Unwritable, match="2 columns"):
        writer.write(pa.table({"a": [1], "b": [2]}))


_DUCK = duckdb.connect()
_CELL = st.none() | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6
)


@settings(max_examples=25, deadline=None)
@given(
    cells=st.lists(st.tuples(_CELL, _CELL), min_size=1, max_size=12),
    escape=st.sampled_from(["\\", '"', "'"]),
    delimiter=st.sampled_from([",", "\t", "|", ";", ":"]),
    quote_all=st.booleans(),
)
def test_three_readers_read_the_same_cells(
    tmp_path_factory: pytest.TempPathFactory,
    cells: list[tuple[str | None, str | None]],
    escape: str,
    delimiter: str,
    quote_all: bool,
) -> None:
    """Python's reader, DuckDB and ours see what was written, whatever the cells hold."""
    path = tmp_path_factory.mktemp("csv") / "f"
    dialect = CsvDialect(
        delimiter=delimiter, escape=escape, null="~", quote_all=quote_all, empty='""'
    )
    left, right = zip(*cells, strict=True)
    table = pa.table({"a": pa.array(left, pa.string()), "b": pa.array(right, pa.string())})
    with CsvWriter(path, ["a", "b"], dialect=dialect) as writer:
        writer.write(table)
    shown = [tuple("~" if cell is None else _guarded(cell) for cell in pair) for pair in cells]

    doubled = escape == '"'
    text = path.read_bytes().decode()
    python = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        doublequote=doubled,
        escapechar=None if doubled else escape,
        strict=True,
    )
    assert [tuple(row) for row in python][1:] == shown

    if escape != "'":
        relation = _DUCK.execute(
            "SELECT * FROM read_csv(?, delim=?, quote='\"', escape=?, header=true, "
            "all_varchar=true, auto_detect=false, columns={'a': 'VARCHAR', 'b': 'VARCHAR'}, "
            "nullstr='no such cell', allow_quoted_nulls=false, strict_mode=true)",
            [str(path), delimiter, escape],
        )
        duck = [tuple(cell or "" for cell in row) for row in relation.fetchall()]
        assert [pair for pair in duck if pair] == shown


def _guarded(cell: str) -> str:
    import re

    risky = re.match(r"[=+\-@\t\r]", cell)
    number = re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", cell)
    return f"'{cell}" if risky and not number else cell
