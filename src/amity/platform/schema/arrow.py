"""Which columns does a schema make, and how do records fill them?

An object becomes a struct, a list a list, a map a map; an object or field that the schema leaves
open becomes its JSON text. Records are JSON that was validated against the schema.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pyarrow as pa

from amity.platform.schema.model import ResolvedSchema
from amity.tabular.columns import JSON_TEXT, JsonColumns, is_json_text
from amity.tabular.errors import Unreadable

INSTANT = pa.timestamp("ms", "UTC")
_FINE = pa.timestamp("us", "UTC")
_TEXT = pa.string()
_INT64 = range(-(2**63), 2**63)
_SCALARS = {"integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}

Convert = Callable[[Any], Any]


def arrow_schema(resolved: ResolvedSchema) -> pa.Schema:
    """The columns of a dataset of this schema."""
    properties = resolved.json_schema.get("properties") or {}
    return pa.schema([_field(name, inner) for name, inner in properties.items()])


def to_arrow(records: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Records as columns. What is in no column is left out; an absent value is null.

    A whole number beyond 64 bits is null: no column type of the lake holds it.
    """
    shape = _shape(pa.struct(list(schema)))
    rows = records if shape is None else [shape(record) for record in records]
    try:
        raw = pa.Table.from_pylist(rows, _retyped(schema, _TEXT, _TEXT))
        # By way of microseconds: a text of finer times than the column's is no error, but cut.
        return raw.cast(_retyped(schema, _FINE, pa.date32())).cast(schema, safe=False)
    except (pa.ArrowException, TypeError, OverflowError, ValueError):
        # Some value has another form than most: an offset with a lower-case z, 1.0 for 1, …
        exact = _exact(pa.struct(list(schema)))
        return pa.Table.from_pylist([exact(record) for record in records], schema)


class RecordColumns:
    """Makes columns of one schema from records as JSON texts, at ten times the rate of `to_arrow`.

    >>> from amity.platform.schema.arrow import RecordColumns
    >>> RecordColumns(pa.schema([("n", pa.int64())])).table([b'{"n": 7}'])["n"].to_pylist()
    [7]
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._columns = JsonColumns(schema)

    def table(self, texts: Sequence[bytes]) -> pa.Table:
        """The columns, one row a text; the same as `to_arrow` of the parsed texts."""
        try:
            return self._columns.table(texts)
        except Unreadable:
            return to_arrow([orjson.loads(text) for text in texts], self.schema)


def _field(name: str, described: Mapping[str, Any]) -> pa.Field:
    kind = _type(described)
    return pa.field(name, pa.string(), metadata=JSON_TEXT) if kind is None else pa.field(name, kind)


def _type(described: Mapping[str, Any]) -> pa.DataType | None:
    """None stands for JSON text."""
    named = described.get("type")
    if isinstance(named, list):
        one = [name for name in named if name != "null"]
        named = one[0] if len(one) == 1 else None
    match named:
        case "object":
            return _object(described)
        case "array":
            items = described.get("items")
            return pa.list_(_field("item", items if isinstance(items, Mapping) else {}))
        case "string":
            return {"date-time": INSTANT, "date": pa.date32()}.get(
                str(described.get("format")), pa.string()
            )
        case _:
            return _SCALARS.get(str(named))


def _object(described: Mapping[str, Any]) -> pa.DataType | None:
    properties = described.get("properties")
    more = described.get("additionalProperties")
    if properties and not isinstance(more, Mapping):
        return pa.struct([_field(name, inner) for name, inner in properties.items()])
    if isinstance(more, Mapping) and more and not properties:
        return pa.map_(pa.string(), _field("value", more))
    return None


def _retyped(schema: pa.Schema, time: pa.DataType, day: pa.DataType) -> pa.Schema:
    """The schema with other types for times and days, however deep."""

    def other(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_struct(kind):
            return pa.struct([field.with_type(other(field.type)) for field in kind])
        if pa.types.is_list(kind):
            return pa.list_(kind.value_field.with_type(other(kind.value_type)))
        if pa.types.is_map(kind):
            return pa.map_(pa.string(), kind.item_field.with_type(other(kind.item_type)))
        return {INSTANT: time, pa.date32(): day}.get(kind, kind)

    return pa.schema([field.with_type(other(field.type)) for field in schema])


def _shape(kind: pa.DataType) -> Convert | None:
    """What rewrites only the parts Arrow cannot take as they are: maps and JSON texts."""
    if pa.types.is_struct(kind):
        inner = [(field.name, _shape_field(field)) for field in kind]
        changed = [(name, convert) for name, convert in inner if convert is not None]
        return _shape_struct(changed) if changed else None
    if pa.types.is_list(kind):
        convert = _shape_field(kind.value_field)
        return None if convert is None else _shape_list(convert)
    if pa.types.is_map(kind):
        return _shape_map(_shape_field(kind.item_field))
    return None


def _shape_field(field: pa.Field) -> Convert | None:
    return _json_text if is_json_text(field) else _shape(field.type)


def _shape_struct(changed: list[tuple[str, Convert]]) -> Convert:
    def shape(record: Mapping[str, Any]) -> dict[str, Any]:
        made = dict(record)
        for name, convert in changed:
            value = made.get(name)
            if value is not None:
                made[name] = convert(value)
        return made

    return shape


def _shape_list(convert: Convert) -> Convert:
    return lambda items: [None if item is None else convert(item) for item in items]


def _shape_map(convert: Convert | None) -> Convert:
    if convert is None:
        return lambda found: list(found.items())
    return lambda found: [
        (key, None if value is None else convert(value)) for key, value in found.items()
    ]


def _json_text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _exact(kind: pa.DataType) -> Convert:
    """What makes a value of this type of any JSON value, or None where none fits."""
    if pa.types.is_struct(kind):
        return _exact_struct([(field.name, _exact_field(field)) for field in kind])
    if pa.types.is_list(kind):
        item = _exact_field(kind.value_field)
        return lambda value: [item(x) for x in value] if isinstance(value, list) else None
    if pa.types.is_map(kind):
        item = _exact_field(kind.item_field)
        return lambda value: (
            [(key, item(x)) for key, x in value.items()] if isinstance(value, Mapping) else None
        )
    return _EXACT[kind]


def _exact_field(field: pa.Field) -> Convert:
    exact = _json_text if is_json_text(field) else _exact(field.type)
    return lambda value: None if value is None else exact(value)


def _exact_struct(fields: list[tuple[str, Convert]]) -> Convert:
    def exact(value: Any) -> dict[str, Any] | None:
        if not isinstance(value, Mapping):
            return None
        return {name: convert(value.get(name)) for name, convert in fields}

    return exact


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _json_text(value)


def _integer(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and value in _INT64 else None


def _number(value: Any) -> float | None:
    found = float(value) if isinstance(value, (int, float)) else math.nan
    return found if math.isfinite(found) else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _instant(value: Any) -> datetime | None:
    text = str(value).upper().replace(":60", ":59", 1)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).replace(microsecond=zoned.microsecond // 1000 * 1000)


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


_EXACT: dict[pa.DataType, Convert] = {
    pa.int64(): _integer,
    pa.float64(): _number,
    pa.bool_(): _boolean,
    pa.string(): _text,
    INSTANT: _instant,
    pa.date32(): _day,
}
