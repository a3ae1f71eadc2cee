"""How do cells and columns become the values of a JSON record?"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

Convert = Callable[[Any], Any]

_INT_DIGITS_MAX = 18


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type to read a column as: times in UTC to the microsecond, dictionaries unpacked."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(plain_type(kind.value_type))
    return kind


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """A schema of plain types."""
    return pa.schema([field.with_type(plain_type(field.type)) for field in schema])


def plain_rows(batch: pa.RecordBatch, target: pa.Schema) -> Iterator[dict[str, Any]]:
    """The rows as JSON values: null and NaN are left out, times are texts in UTC."""
    table = pa.Table.from_batches([batch])
    if table.schema != target:
        table = table.cast(target, safe=False)
    convert = _struct([(field.name, _converter(field.type)) for field in target])
    return (convert(row) for row in table.to_pylist(maps_as_pydicts="lossy"))


def instant(moment: datetime) -> str:
    """A moment in UTC, to the millisecond unless it is finer.

    >>> instant(datetime.fromisoformat("2017-10-30T00:00:00+00:00"))
    '2017-10-30T00:00:00.000Z'
    """
    fine = moment.microsecond % 1000
    text = moment.isoformat(timespec="microseconds" if fine else "milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _converter(kind: pa.DataType) -> Convert:
    if pa.types.is_struct(kind):
        return _struct([(field.name, _converter(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return _map(_converter(kind.item_type))
    if pa.types.is_list(kind):
        return _list(_converter(kind.value_type))
    return _scalar(kind)


def _scalar(kind: pa.DataType) -> Convert:
    if pa.types.is_timestamp(kind):
        return instant
    if pa.types.is_date(kind) or pa.types.is_time(kind):
        return date.isoformat if pa.types.is_date(kind) else str
    if pa.types.is_decimal(kind):
        return _decimal
    if pa.types.is_floating(kind):
        return _float
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _binary
    return _same


def _same(value: Any) -> Any:
    return value


def _float(value: float) -> float | None:
    return None if math.isnan(value) else value


def _decimal(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _binary(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _struct(fields: list[tuple[str, Convert]]) -> Convert:
    def convert(value: dict[str, Any]) -> dict[str, Any]:
        made = {}
        for name, inner in fields:
            found = value[name]
            if found is not None and (found := inner(found)) is not None:
                made[name] = found
        return made

    return convert


def _map(inner: Convert) -> Convert:
    def convert(value: dict[str, Any]) -> dict[str, Any]:
        return {str(key): inner(found) for key, found in value.items() if found is not None}

    return convert


def _list(inner: Convert) -> Convert:
    def convert(value: list[Any]) -> list[Any]:
        return [inner(found) for found in value if found is not None]

    return convert


def parse_cells(
    names: list[str], schema: pa.Schema | None, null: str
) -> Callable[[list[str]], dict[str, Any]]:
    """What makes a record of a line's cells.

    A cell that does not fit its column's type stays text: validation then names the field.
    """
    columns = [_column(name, schema) for name in names]

    def parse(cells: list[str]) -> dict[str, Any]:
        record: dict[str, Any] = {}
        for (path, convert), cell in zip(columns, cells, strict=True):
            if cell in ("", null):
                continue
            inner = record
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            inner[path[-1]] = convert(cell)
        return record

    return parse


def _column(name: str, schema: pa.Schema | None) -> tuple[list[str], Convert]:
    if schema is None:
        return name.split("."), _same
    if name in schema.names:
        return [name], _cell_converter(schema.field(name).type)
    path = name.split(".")
    kind = pa.struct(list(schema))
    for part in path:
        at = kind.get_field_index(part) if pa.types.is_struct(kind) else -1
        if at < 0:
            return path, _same
        kind = kind.field(at).type
    return path, _cell_converter(kind)


def _cell_converter(kind: pa.DataType) -> Convert:
    if pa.types.is_integer(kind):
        return _integer
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _number
    if pa.types.is_boolean(kind):
        return lambda cell: {"true": True, "false": False}.get(cell.strip().lower(), cell)
    return _same


def _integer(cell: str) -> int | str:
    text = cell.strip()
    digits = text.removeprefix("-")
    fits = digits.isascii() and digits.isdigit() and len(digits) <= _INT_DIGITS_MAX
    return int(text) if fits else cell


def _number(cell: str) -> float | str:
    try:
        value = float(cell)
    except ValueError:
        return cell
    return value if math.isfinite(value) and "_" not in cell else cell
