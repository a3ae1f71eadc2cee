"""The Delta lake keeps the port's contract, and its files tell nothing they need not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import sqlglot

from amity.kernel.errors import Invalid
from amity.kernel.scope import Scope
from amity.storage.delta.lake import DeltaLake
from amity.storage.ports import LakeTable
from amity.testing.lake_suite import LakeSuite

_TABLE = LakeTable(Scope("A@Org", "prod"), "d1")


class TestDeltaLake(LakeSuite):
    @pytest.fixture
    def lake(self, tmp_path: Path) -> DeltaLake:
        # A data folder may be called anything.
        return DeltaLake(tmp_path / "a lake" / "ü #'")


def test_another_process_sees_rows_at_once(tmp_path: Path) -> None:
    """Two lakes on one folder: what one appends or deletes the other sees at its next call."""
    writer, reader = DeltaLake(tmp_path), DeltaLake(tmp_path)
    rows = pa.table({"_amity_id": ["x", "y"]})
    count = sqlglot.parse_one("SELECT count(*) AS n FROM t", dialect="duckdb")

    for version in range(3):
        writer.append(_TABLE, rows, app="a", version=version)
        assert reader.query(count, {"t": _TABLE}).to_pylist() == [{"n": 2 * (version + 1)}]
    assert not reader.append(_TABLE, rows, app="a", version=2)
    assert reader.delete(_TABLE, "_amity_id", ["x"]) == 3
    writer.maintain(_TABLE)
    assert writer.query(count, {"t": _TABLE}).to_pylist() == [{"n": 3}]


def test_statistics_hold_no_values_of_people(tmp_path: Path) -> None:
    """The transaction log names minimum and maximum of time and partition alone."""
    lake = DeltaLake(tmp_path)
    rows = pa.table(
        {
            "mail": ["a@example.test"],
            "_amity_time": pa.array([1], pa.int64()),
            "_amity_partition": [0],
        }
    )
    lake.append(_TABLE, rows, app="a", version=1)
    lake.append(LakeTable(_TABLE.scope, "d2"), rows.select(["mail"]), app="a", version=1)

    logs = [path.read_text() for path in tmp_path.rglob("_delta_log/*.json")]

    assert len(logs) == 2
    assert "_amity_time" in "".join(logs)
    assert not [log for log in logs if "a@example.test" in log]


def test_maintenance_removes_files_no_version_needs(tmp_path: Path) -> None:
    """With no retention, a deleted person's values are on the disk no more."""
    lake = DeltaLake(tmp_path, retention_h=0)
    for version, name in enumerate(["first-person", "second-person"]):
        lake.append(_TABLE, pa.table({"_amity_id": [name]}), app="a", version=version)
    lake.delete(_TABLE, "_amity_id", ["first-person"])
    lake.maintain(_TABLE)

    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [content for content in files if b"first-person" in content]
    assert [content for content in files if b"second-person" in content]


def test_a_folder_the_engine_would_misread_is_refused(tmp_path: Path) -> None:
    """Before anything is written to a place nobody meant."""
    with pytest.raises(Invalid, match="%"):
        DeltaLake(tmp_path / "a%20b")
