"""What the lake cannot write at this moment it takes later; nothing is given up meanwhile."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
import sqlglot

from amity.kernel.errors import Unavailable
from amity.kernel.scope import Scope
from amity.storage.delta.lake import DeltaLake
from amity.storage.ports import LakeTable

_TABLE = LakeTable(Scope("A@Org", "prod"), "d1")


@contextmanager
def _no_room(bytes_max: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: as good as a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("verb", ["append", "maintain", "delete"])
def test_a_full_disk_is_told_as_a_state_that_passes(tmp_path: Path, verb: str) -> None:
    """Append, delete and compaction are `Unavailable` while there is no room, and go on after."""
    lake = DeltaLake(tmp_path)
    rows = pa.table({"x": [os.urandom(300).hex() for _ in range(1_000)]})
    for version in range(3):
        lake.append(_TABLE, rows.slice(version * 10), app="a", version=version)

    def act() -> None:
        if verb == "append":
            lake.append(_TABLE, rows, app="a", version=3)
        elif verb == "maintain":
            lake.maintain(_TABLE)
        else:
            lake.delete(_TABLE, "x", [str(rows.column(0)[500])])

    with _no_room(2_000), pytest.raises(Unavailable):
        act()
    act()

    count = sqlglot.parse_one("SELECT count(*) AS n FROM t", dialect="duckdb")
    left = {"append": 3_970, "maintain": 2_970, "delete": 2_967}[verb]
    assert lake.query(count, {"t": _TABLE}).to_pylist() == [{"n": left}]
