"""JSON texts become the columns of a schema."""

from __future__ import annotations

import pyarrow as pa
import pytest

from amity.tabular.columns import JSON_TEXT, JsonColumns
from amity.tabular.errors import Unreadable


def test_what_no_column_takes_is_left_out() -> None:
    """Missing keys are null, unknown ones dropped, an open field keeps its JSON text."""
    schema = pa.schema([("n", pa.int64()), pa.field("open", pa.string(), metadata=JSON_TEXT)])
    columns = JsonColumns(schema)

    made = columns.table([b'{"open":{"a":[1]},"other":2}', b'{"n":3}'])

    assert made.to_pylist() == [{"n": None, "open": '{"a":[1]}'}, {"n": 3, "open": None}]
    assert made.schema == schema
    assert columns.table([]).num_rows == 0


@pytest.mark.parametrize(
    "time", ["2017-10-30t00:00:00Z", "2017-10-30T00:00:00.5z", "2017-10-30T23:59:60Z"]
)
def test_odd_times_are_not_lost_silently(time: str) -> None:
    """A time that would read as null is told instead."""
    columns = JsonColumns(pa.schema([("t", pa.timestamp("ms", "UTC"))]))

    with pytest.raises(Unreadable):
        columns.table([b'{"t":"%s"}' % time.encode()])


def test_broken_json_raises() -> None:
    """Text that is no JSON, or no UTF-8, gives no rows."""
    columns = JsonColumns(pa.schema([("n", pa.int64())]))
    for text in (b'{"n":', b"\xff"):
        with pytest.raises(Unreadable):
            columns.table([text])
