"""Every field group that ships makes columns that the lake takes and DuckDB reads."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
import sqlglot

from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.ids import SeededIds
from amity.kernel.scope import Scope
from amity.platform.schema.arrow import RecordColumns, arrow_schema, to_arrow
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS
from amity.platform.schema.service import SchemaRegistry
from amity.platform.schema.standard import standard_resources
from amity.storage.delta.lake import DeltaLake
from amity.storage.ports import LakeTable
from amity.testing.memory import MemoryDocuments

_SCOPE = Scope("A@Org", "prod")


def _registry() -> SchemaRegistry:
    clock = VirtualBusinessClock(0)
    return SchemaRegistry(
        documents=MemoryDocuments(clock),
        ids=SeededIds(random.Random(1)),
        clock=clock,
        tenant="shop",
    )


def _example(kind: pa.DataType) -> Any:
    """A JSON value that fills every field of a type."""
    if pa.types.is_struct(kind):
        return {field.name: _example(field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_example(kind.value_type)]
    if pa.types.is_map(kind):
        return {"a key": _example(kind.item_type)}
    if pa.types.is_timestamp(kind):
        return "2017-10-30T00:00:00.000Z"
    if pa.types.is_date(kind):
        return "2017-10-30"
    return {pa.int64(): 7, pa.float64(): 1.5, pa.bool_(): True}.get(kind, "text")


@pytest.mark.parametrize("of", [PROFILE_CLASS, EVENT_CLASS])
def test_the_whole_library_fits(of: str, tmp_path: Path) -> None:
    """A schema of all groups of a class: filled to the last field, written, and read back whole."""
    registry = _registry()
    groups = [
        resource["$id"]
        for resource in standard_resources().values()
        if of in resource.get("meta:intendedToExtend", ())
    ]
    body = {
        "title": "All",
        "type": "object",
        "allOf": [{"$ref": of}, *({"$ref": group} for group in groups)],
    }
    schema = registry.create_schema(_SCOPE, body)
    assert groups
    columns = arrow_schema(registry.resolved(_SCOPE, schema.id))
    record = _example(pa.struct(list(columns)))
    made = RecordColumns(columns).table([orjson.dumps(record), b"{}"])

    assert made.to_pylist() == to_arrow([record, {}], columns).to_pylist()
    lake, table = DeltaLake(tmp_path), LakeTable(_SCOPE, "d")
    lake.append(table, made, app="a", version=1)
    found = lake.query(sqlglot.parse_one("SELECT * FROM t", dialect="duckdb"), {"t": table})
    assert sorted(map(str, found.to_pylist())) == sorted(map(str, made.to_pylist()))
