"""Columns of a schema: every JSON type has one column type, and both ways to fill them agree."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.platform.schema.arrow import INSTANT, RecordColumns, arrow_schema, to_arrow
from amity.platform.schema.model import ResolvedSchema

_ITEM = {
    "type": "object",
    "properties": {"SKU": {"type": "string"}, "quantity": {"type": "integer"}},
    "additionalProperties": False,
}
_JSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "_id": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time"},
        "born": {"type": "string", "format": "date"},
        "ok": {"type": "boolean"},
        "price": {"type": ["number", "null"]},
        "items": {"type": "array", "items": _ITEM},
        "identityMap": {
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "items": {"type": "object", "properties": {"id": {"type": "string"}}},
            },
        },
        "_shop": {
            "type": "object",
            "properties": {
                "open": {"type": "object"},
                "any": {},
                "at": {"type": "array", "items": {"type": "string", "format": "date-time"}},
            },
        },
    },
}


def _resolved() -> ResolvedSchema:
    return ResolvedSchema(
        id="s",
        alt_id="s",
        title="s",
        version="1",
        class_id="c",
        behavior="time-series",
        json_schema=_JSON_SCHEMA,
    )


SCHEMA = arrow_schema(_resolved())


def test_each_json_type_has_its_column_type() -> None:
    """Objects, lists, maps and scalars nest; what is open is text."""
    item = pa.struct([("SKU", pa.string()), ("quantity", pa.int64())])
    ids = pa.list_(pa.struct([("id", pa.string())]))
    assert SCHEMA.equals(
        pa.schema(
            [
                ("_id", pa.string()),
                ("timestamp", INSTANT),
                ("born", pa.date32()),
                ("ok", pa.bool_()),
                ("price", pa.float64()),
                ("items", pa.list_(item)),
                ("identityMap", pa.map_(pa.string(), ids)),
                (
                    "_shop",
                    pa.struct(
                        [("open", pa.string()), ("any", pa.string()), ("at", pa.list_(INSTANT))]
                    ),
                ),
            ]
        )
    )


def test_values_land_where_they_belong() -> None:
    """Offsets become UTC, whole floats integers, open values text; too large a number is null."""
    odd = {
        "timestamp": "2017-10-30t02:00:00.123456+02:00",
        "born": "1980-02-29",
        "items": [{"SKU": "a", "quantity": 2.0}, {"quantity": 2**63}],
        "identityMap": {"Email": [{"id": "x"}]},
        "_shop": {"open": {"b": 1}, "any": "text", "at": ["2017-10-30T23:59:60Z"]},
        "unknown": 1,
    }
    made = to_arrow([odd], SCHEMA).to_pylist()[0]

    assert made == {
        "_id": None,
        "timestamp": datetime(2017, 10, 30, 0, 0, 0, 123000, tzinfo=UTC),
        "born": date(1980, 2, 29),
        "ok": None,
        "price": None,
        "items": [{"SKU": "a", "quantity": 2}, {"SKU": None, "quantity": None}],
        "identityMap": [("Email", [{"id": "x"}])],
        "_shop": {
            "open": '{"b":1}',
            "any": made["_shop"]["any"],
            "at": [datetime(2017, 10, 30, 23, 59, 59, tzinfo=UTC)],
        },
    }


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_TIMES = st.sampled_from(
    [
        "2017-10-30T00:00:00Z",
        "2017-10-30T00:00:00.1Z",
        "2017-10-30T00:00:00.123456Z",
        "2017-10-30T02:00:00.999+02:00",
        "2017-10-30t00:00:00z",
        "1969-12-31T23:59:59.9999Z",
        "2016-12-31T23:59:60Z",
    ]
)
_ANY = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | _TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXT, inner, max_size=2),
    max_leaves=4,
)
_RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "_id": _TEXT,
        "timestamp": _TIMES,
        "born": st.dates(date(1000, 1, 1)).map(date.isoformat),
        "ok": st.booleans(),
        "price": st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300),
        "items": st.lists(
            st.fixed_dictionaries(
                {}, optional={"SKU": _TEXT, "quantity": st.integers(-(2**63), 2**63 - 1)}
            ),
            max_size=2,
        ),
        "identityMap": st.dictionaries(
            _TEXT, st.lists(st.fixed_dictionaries({"id": _TEXT}), max_size=2), max_size=2
        ),
        "_shop": st.fixed_dictionaries(
            {},
            optional={
                "open": st.dictionaries(_TEXT, _ANY, max_size=2),
                "any": _ANY,
                "at": st.lists(_TIMES, max_size=2),
            },
        ),
        "unknown": _ANY,
    },
)
_COLUMNS = RecordColumns(SCHEMA)


@pytest.mark.thorough
@settings(max_examples=60, deadline=None)
@given(records=st.lists(_RECORDS, min_size=1, max_size=4))
def test_the_fast_way_and_the_careful_way_agree(records: list[dict[str, Any]]) -> None:
    """Columns read from texts equal columns made of dictionaries."""
    texts = [orjson.dumps(record) for record in records]

    fast = _COLUMNS.table(texts)
    careful = to_arrow(records, SCHEMA)

    assert fast.schema == careful.schema
    assert _parsed(fast) == _parsed(careful)


def _parsed(table: pa.Table) -> list[dict[str, Any]]:
    """Rows with their JSON texts parsed: an escape may be written in capitals or not."""
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        for name in ("open", "any"):
            if row["_shop"] and row["_shop"][name] is not None:
                row["_shop"][name] = orjson.loads(row["_shop"][name])
    return rows
