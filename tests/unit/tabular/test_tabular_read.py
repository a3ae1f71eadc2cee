"""Files of others: broken rows are rows with an error, broken files raise with the place."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.tabular.errors import EmptyFile, FileTooLarge, NoHeader, Unreadable
from amity.tabular.formats import CSV, JSON_ARRAY, JSON_LINES, PARQUET, CsvDialect, InputFormat
from amity.tabular.read import ReadLimits, Row, row_batches, rows


def _file(tmp_path: Path, content: bytes, name: str = "f") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_json_lines_keep_their_bytes_and_line_numbers(tmp_path: Path) -> None:
    """Blank lines are skipped but counted; a byte order mark is no part of the first record."""
    path = _file(tmp_path, b'\xef\xbb\xbf{"a": 1}\r\n\n{"b":"\xc3\xa9"}')

    assert list(rows(path, JSON_LINES)) == [
        Row(1, b'{"a": 1}', {"a": 1}, None),
        Row(3, b'{"b":"\xc3\xa9"}', {"b": "é"}, None),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": }', "not JSON: unexpected character"),
        (b"[1]", "a record is a JSON object, not an array"),
        (b"7", "a record is a JSON object, not a number"),
        (b"\xff", "not JSON"),
        (b'{"a":NaN}', "not JSON"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested deeper than 64 levels"),
        (b'"' + b"x" * 200 + b'"', "longer than 100 bytes: split it"),
    ],
)
def test_a_broken_line_does_not_stop_the_file(tmp_path: Path, line: bytes, reason: str) -> None:
    """Each broken line is one row with its reason; the rows around it are read."""
    path = _file(tmp_path, b'{"n":1}\n' + line + b'\n{"n":2}\n')
    limit = 100 if b"xxx" in line else 1000

    first, broken, last = rows(path, JSON_LINES, limits=ReadLimits(line_bytes_max=limit))

    assert (first.value, last.value, last.line) == ({"n": 1}, {"n": 2}, 3)
    assert broken.value is None
    assert broken.error is not None
    assert broken.error.startswith(reason)


def test_json_array_and_its_place_of_error(tmp_path: Path) -> None:
    """An array's elements are rows; a broken array names line and column."""
    good = _file(tmp_path, b'[{"a":1},\n3]')
    assert [(row.line, row.value) for row in rows(good, JSON_ARRAY)] == [(1, {"a": 1}), (2, None)]

    broken = _file(tmp_path, b'[{"a":1},\n}]', "broken.json")
    with pytest.raises(Unreadable, match=r"broken.json is not JSON: .* at line 2, column 1"):
        list(rows(broken, JSON_ARRAY))

    with pytest.raises(FileTooLarge, match="JSON lines"):
        list(rows(good, JSON_ARRAY, limits=ReadLimits(array_bytes_max=5)))


def test_parquet_rows_become_json_values(tmp_path: Path) -> None:
    """Null is no value; times are UTC texts; dictionaries, decimals and maps are unpacked."""
    moment = datetime(2017, 10, 30, 1, 2, 3, tzinfo=UTC)
    table = pa.table(
        {
            "s": ["x", None],
            "naive": pa.array([moment.replace(tzinfo=None)] * 2, pa.timestamp("ns")),
            "day": [date(2017, 1, 2)] * 2,
            "in": pa.array([{"at": moment, "no": None}] * 2),
            "price": pa.array([Decimal("1.50")] * 2),
            "dict": pa.array(["k", "k"]).dictionary_encode(),
            "map": pa.array([[("a", 1)]] * 2, pa.map_(pa.string(), pa.int64())),
            "list": [[1, None]] * 2,
            "nan": [float("nan")] * 2,
        }
    )
    path = tmp_path / "f.parquet"
    pq.write_table(table, path)

    first, second = rows(path, PARQUET)

    assert first.value == {
        "s": "x",
        "naive": "2017-10-30T01:02:03.000Z",
        "day": "2017-01-02",
        "in": {"at": "2017-10-30T01:02:03.000Z"},
        "price": 1.5,
        "dict": "k",
        "map": {"a": 1},
        "list": [1],
    }
    assert json.loads(first.raw) == first.value
    assert second.value is not None
    assert "s" not in second.value


def test_a_broken_parquet_file_raises(tmp_path: Path) -> None:
    """Neither garbage nor a cut file gives rows silently."""
    with pytest.raises(Unreadable, match="cannot be read as Parquet"):
        list(rows(_file(tmp_path, b"PAR1 no"), PARQUET))


@pytest.mark.parametrize("packed", [False, True])
def test_csv_cells_are_typed_by_schema(tmp_path: Path, packed: bool) -> None:
    """A dotted header nests; a cell that does not fit stays text; an empty cell is no value."""
    text = 'id,person.age,person.ok,score\nA,7,true,1.5\nB,x,,\n"C\nc",8,false,2\n'
    path = _file(tmp_path, gzip.compress(text.encode()) if packed else text.encode())
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("person", pa.struct([("age", pa.int64()), ("ok", pa.bool_())])),
            ("score", pa.float64()),
        ]
    )

    found = list(rows(path, CSV, schema=schema))

    assert [(row.line, row.value) for row in found] == [
        (2, {"id": "A", "person": {"age": 7, "ok": True}, "score": 1.5}),
        (3, {"id": "B", "person": {"age": "x"}}),
        (4, {"id": "C\nc", "person": {"age": 8, "ok": False}, "score": 2.0}),
    ]
    assert found[2].raw == b'"C\nc",8,false,2'


def test_broken_csv_rows_say_why(tmp_path: Path) -> None:
    """Too few cells, stray quotes and bytes of no character are errors of their row alone."""
    path = _file(tmp_path, b'a,b\n1\n"x"y,2\n\xff,3\nok,4\n')

    errors = [row.error for row in rows(path, CSV)]

    assert errors[0] == "1 cells, but the header names 2"
    assert (errors[1] or "").startswith("broken CSV")
    assert errors[2] == "not utf-8: a byte stands for no character"
    assert errors[3] is None


@pytest.mark.parametrize("header", [b"a,a\n1,2\n", b"a,\n1,2\n", b"a,a.b\n1,2\n"])
def test_a_csv_header_names_every_column_once(tmp_path: Path, header: bytes) -> None:
    """A column with no name, or with the name or path of another, is refused."""
    with pytest.raises(NoHeader):
        list(rows(_file(tmp_path, header), CSV))


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, content: bytes) -> None:
    """No bytes, or no rows, is an error of the file."""
    with pytest.raises(EmptyFile):
        list(rows(_file(tmp_path, content), JSON_LINES))


@pytest.mark.thorough
def test_limits_at_their_edges(tmp_path: Path) -> None:
    """At the limit it is read, one over it is refused; a gzip bomb is refused."""
    path = _file(tmp_path, b'{"a":1}\n' * 3)
    assert len(list(rows(path, JSON_LINES, limits=ReadLimits(rows_max=3, bytes_max=24)))) == 3
    with pytest.raises(FileTooLarge, match="2 rows"):
        list(rows(path, JSON_LINES, limits=ReadLimits(rows_max=2)))
    with pytest.raises(FileTooLarge, match="23 bytes"):
        list(rows(path, JSON_LINES, limits=ReadLimits(bytes_max=23)))
    bomb = _file(tmp_path, gzip.compress(b'{"a":1}\n' * 4_000_000), "bomb")
    with pytest.raises(FileTooLarge, match="200 times"):
        list(rows(bomb, JSON_LINES))
    cut = _file(tmp_path, gzip.compress(b'{"a":1}\n' * 99)[:-9], "cut")
    with pytest.raises(Unreadable, match="breaks off"):
        list(rows(cut, JSON_LINES))


def test_a_batch_declares_its_format() -> None:
    """`inputFormat` of the batch API maps to a format; unknown words are refused."""
    assert InputFormat.parse({}).kind == "json_lines"
    csv = InputFormat.parse({"format": "csv", "delimiter": ";", "nullMarker": "NIL"})
    assert csv.dialect == CsvDialect(delimiter=";", escape='"', null="NIL")
    for wrong in ({"format": "xml"}, {"format": "csv", "charset": "klingon"}):
        with pytest.raises(Exception, match="not known"):
            InputFormat.parse(wrong)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@pytest.mark.thorough
@settings(max_examples=30, deadline=None)
@given(records=st.lists(st.dictionaries(st.text(max_size=4), _VALUES), min_size=1, max_size=8))
def test_json_lines_and_array_agree(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    """The same records written either way are the same rows, in batches too."""
    folder = tmp_path_factory.mktemp("json")
    encoded = [json.dumps(record).encode() for record in records]
    lines = _file(folder, b"\n".join(encoded), "l")
    array = _file(folder, b"[" + b",".join(encoded) + b"]", "a")

    values = [row.value for row in rows(lines, JSON_LINES)]

    assert values == records
    assert [row.value for row in rows(array, JSON_ARRAY)] == records
    assert [row.value for batch in row_batches(lines, JSON_LINES, 3) for row in batch] == records
