"""How do many JSON texts become columns without a Python object a value?

DuckDB reads each text straight into nested columns: ten times the rate of a dictionary a row.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from amity.tabular.errors import Unreadable

JSON_TEXT = {b"amity:json": b"1"}
"""Metadata of a text field that takes any JSON value as its text."""

_NAMES = {
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.string(): "VARCHAR",
    pa.date32(): "DATE",
}


_ODD_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:t|[T ][0-9]{2}:[0-9]{2}(?::60|[0-9:.]*z))"


def is_json_text(field: pa.Field) -> bool:
    """Whether the field takes any JSON value as its text."""
    return bool(field.metadata and field.metadata.get(b"amity:json"))


class JsonColumns:
    """Makes columns of one schema from JSON texts, one object each.

    The texts must name no key twice in one object (a writer of JSON does not). A key that is no
    column is left out, a value that does not fit its column's type is null. Times that only a
    slower reader understands (a lower-case t or z, a leap second) raise `Unreadable`.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._structure = orjson.dumps({field.name: _described(field) for field in schema}).decode()
        self._timed = "timestamp" in str(schema)
        self._lock = threading.Lock()
        self._connection = duckdb.connect(
            ":memory:", config={"threads": 1, "enable_external_access": False}
        )
        self._connection.execute("SET TimeZone = 'UTC'")

    def table(self, texts: Sequence[bytes]) -> pa.Table:
        """The columns, one row a text."""
        if not texts or not self._schema.names:
            return self._schema.empty_table()
        try:
            column = pa.array(texts, pa.binary()).cast(pa.string())
            if self._timed and pc.any(pc.match_substring_regex(column, _ODD_TIME)).as_py():
                raise Unreadable("a time is written in a form that needs a slower reader")
            with self._lock:
                made = self._read(pa.table({"text": column}))
            return made.select(self._schema.names).cast(self._schema, safe=False)
        except (duckdb.Error, pa.ArrowException) as wrong:
            raise Unreadable(f"a record does not fit its columns: {wrong}") from None

    def _read(self, texts: pa.Table) -> pa.Table:
        self._connection.register("texts", texts)
        try:
            return self._connection.sql(
                "SELECT unnest(from_json(text, $structure)) FROM texts",
                params={"structure": self._structure},
            ).to_arrow_table()
        finally:
            self._connection.unregister("texts")


def _described(field: pa.Field) -> Any:
    return "JSON" if is_json_text(field) else _structure(field.type)


def _structure(kind: pa.DataType) -> Any:
    """A type as DuckDB's JSON reader wants it: structs and lists as JSON, all else by name."""
    if pa.types.is_struct(kind):
        return {field.name: _described(field) for field in kind}
    if pa.types.is_list(kind):
        return [_described(kind.value_field)]
    return _name(kind)


def _name(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        fields = (f"{_quoted(field.name)} {_field_name(field)}" for field in kind)
        return f"STRUCT({', '.join(fields)})"
    if pa.types.is_list(kind):
        return f"{_field_name(kind.value_field)}[]"
    if pa.types.is_map(kind):
        return f"MAP(VARCHAR, {_field_name(kind.item_field)})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE"
    return _NAMES[kind]


def _field_name(field: pa.Field) -> str:
    return "JSON" if is_json_text(field) else _name(field.type)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
