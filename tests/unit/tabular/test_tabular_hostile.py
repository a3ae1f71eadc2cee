"""Whatever bytes a file holds, reading it gives rows or one of our errors, and ends."""

from __future__ import annotations

import gzip
import io
import random
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from amity.kernel.errors import AmityError
from amity.tabular.formats import CSV, JSON_ARRAY, JSON_LINES, PARQUET, InputFormat
from amity.tabular.read import rows

_LINES = b"\n".join(b'{"a":%d,"b":{"c":["x",1.5,null,true]}}' % at for at in range(50))
_CSV = b"a,b,c.d\n" + b"\n".join(b'%d,"x ""y""",z' % at for at in range(50))


def _parquet() -> bytes:
    table = pa.table(
        {
            "s": ["x", None] * 50,
            "t": pa.array([1_483_228_800_000_000_000] * 100, pa.timestamp("ns")),
            "l": [[{"a": 1, "b": "z"}]] * 100,
            "m": pa.array([[("a", 1)]] * 100, pa.map_(pa.string(), pa.int64())),
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "fmt"),
    [
        (_parquet(), PARQUET),
        (_LINES, JSON_LINES),
        (b"[" + _LINES.replace(b"\n", b",") + b"]", JSON_ARRAY),
        (_CSV, CSV),
        (gzip.compress(_LINES), JSON_LINES),
        (gzip.compress(_CSV), CSV),
    ],
    ids=["parquet", "lines", "array", "csv", "lines.gz", "csv.gz"],
)
def test_spoiled_bytes_raise_nothing_else(content: bytes, fmt: InputFormat, tmp_path: Path) -> None:
    """Bytes changed, cut out and put in at random."""
    rng = random.Random(5)
    path = tmp_path / "f"
    for _ in range(60):
        path.write_bytes(_spoiled(content, rng))
        with suppress(AmityError):
            for row in rows(path, fmt):
                assert (row.value is None) == (row.error is not None)


def _spoiled(content: bytes, rng: random.Random) -> bytes:
    spoiled = bytearray(content)
    for _ in range(rng.choice([1, 2, 8, 50])):
        at = rng.randrange(len(spoiled)) if spoiled else 0
        match rng.randrange(4):
            case 0:
                del spoiled[at : at + rng.randrange(1, 40)]
            case 1:
                spoiled[at:at] = rng.randbytes(rng.randrange(1, 20))
            case _:
                spoiled[at : at + 1] = rng.randbytes(1)
    return bytes(spoiled)
