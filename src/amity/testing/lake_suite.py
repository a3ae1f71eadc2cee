"""What must every `Lake` do? Subclass and give it a `lake` fixture."""

from __future__ import annotations

from typing import cast

import pyarrow as pa
import pytest
import sqlglot
import sqlglot.expressions as sge

from amity.kernel.errors import Conflict, Invalid
from amity.kernel.scope import Scope
from amity.storage.ports import Lake, LakeTable

_PROD = Scope("A@Org", "prod")
_TABLE = LakeTable(_PROD, "d1")


def _select(text: str) -> sge.Expression:
    return cast("sge.Expression", sqlglot.parse_one(text, dialect="duckdb"))


def _rows(*ids: str, **more: list[object]) -> pa.Table:
    return pa.table({"_amity_id": list(ids), "n": list(range(len(ids))), **more})


def _ids(lake: Lake, table: LakeTable = _TABLE) -> list[str]:
    statement = _select("SELECT _amity_id FROM t ORDER BY 1")
    found: list[str] = lake.query(statement, {"t": table})["_amity_id"].to_pylist()
    return found


class LakeSuite:
    """The contract of the port."""

    def test_rows_are_added_once_per_app_and_version(self, lake: Lake) -> None:
        """A version not above the last one of its app is dropped; other apps do not matter."""
        assert lake.last_version(_TABLE, "a") == -1
        assert lake.append(_TABLE, _rows("x"), app="a", version=0)
        assert not lake.append(_TABLE, _rows("x"), app="a", version=0)
        assert lake.append(_TABLE, _rows("y"), app="a", version=7)
        assert not lake.append(_TABLE, _rows("y"), app="a", version=6)
        assert lake.append(_TABLE, _rows("z"), app="b", version=3)

        assert _ids(lake) == ["x", "y", "z"]
        assert (lake.last_version(_TABLE, "a"), lake.last_version(_TABLE, "b")) == (7, 3)

    def test_a_table_has_no_schema_before_its_first_rows(self, lake: Lake) -> None:
        """Asking is no error, and makes nothing."""
        assert lake.schema(_TABLE) is None
        with pytest.raises(Invalid):
            _ids(lake)
        lake.maintain(_TABLE)
        assert lake.delete(_TABLE, "_amity_id", ["x"]) == 0

    def test_new_columns_join_and_old_rows_have_them_null(self, lake: Lake) -> None:
        """Also new fields within a struct; another type of a known column is refused."""
        lake.append(_TABLE, _rows("x", person=[{"name": "A"}]), app="a", version=1)
        lake.append(_TABLE, _rows("y", person=[{"name": "B", "age": 7}], c=[1]), app="a", version=2)

        schema = lake.schema(_TABLE)
        assert schema is not None
        assert schema.names == ["_amity_id", "n", "person", "c"]
        statement = _select("SELECT person.age AS age, c FROM t ORDER BY _amity_id")
        found = lake.query(statement, {"t": _TABLE}).to_pylist()
        assert found == [{"age": None, "c": None}, {"age": 7, "c": 1}]
        with pytest.raises(Conflict):
            lake.append(_TABLE, _rows("z", c=["text"]), app="a", version=3)
        assert lake.last_version(_TABLE, "a") == 2

    def test_scopes_never_touch(self, lake: Lake) -> None:
        """The same dataset in other scopes, however they are written, is another table."""
        hostile = [
            LakeTable(Scope("A@Org", "dev"), "d1"),
            LakeTable(Scope("A@Org", "prod/d1"), "x"),
            LakeTable(Scope("A@Org", ".."), "../A@Org/prod/d1"),
            LakeTable(Scope("..", "A@Org"), "prod"),
            LakeTable(Scope("A@Org/prod", "d1"), "."),
            LakeTable(Scope("A@Org", "prod"), "d1 "),
            LakeTable(Scope("A@Org", "prod"), "d%31"),
            LakeTable(Scope("A@Org", "prod"), "d~31"),
        ]
        for at, table in enumerate([_TABLE, *hostile]):
            assert lake.schema(table) is None
            assert lake.append(table, _rows(str(at)), app="a", version=1)

        assert [_ids(lake, table) for table in [_TABLE, *hostile]] == [
            [str(at)] for at in range(len(hostile) + 1)
        ]

    def test_deleted_rows_are_gone_and_survive_no_maintenance(self, lake: Lake) -> None:
        """Values are values: a quote or a condition in one matches nothing but itself."""
        lake.append(_TABLE, _rows("a'", "b", "' OR true --", "d\\"), app="a", version=1)

        assert lake.delete(_TABLE, "_amity_id", ["' OR true --", "nobody"]) == 1
        assert lake.delete(_TABLE, "_amity_id", ["a'", "d\\"]) == 2
        lake.maintain(_TABLE)
        assert _ids(lake) == ["b"]
        assert lake.delete(_TABLE, "_amity_id", ["b"]) == 1
        lake.maintain(_TABLE)
        assert _ids(lake) == []
        assert not lake.append(_TABLE, _rows("b"), app="a", version=1)

    def test_a_column_whose_rows_are_all_deleted_reads_as_null(self, lake: Lake) -> None:
        """The schema outlives the files that had a column."""
        lake.append(_TABLE, _rows("x"), app="a", version=1)
        lake.append(_TABLE, _rows("y", c=[1]), app="a", version=2)
        lake.delete(_TABLE, "_amity_id", ["y"])
        lake.maintain(_TABLE)

        statement = _select("SELECT c FROM t")
        assert lake.query(statement, {"t": _TABLE}).to_pylist() == [{"c": None}]

    def test_maintenance_keeps_rows_and_versions(self, lake: Lake) -> None:
        """Compaction changes files, never answers."""
        for version in range(6):
            lake.append(_TABLE, _rows(f"{version}"), app="a", version=version)
        before = _ids(lake)
        lake.maintain(_TABLE)

        assert _ids(lake) == before
        assert lake.last_version(_TABLE, "a") == 5

    def test_queries_join_lake_and_given_tables(self, lake: Lake) -> None:
        """`extra` is joined by its name; nothing else on the machine can be read."""
        lake.append(_TABLE, _rows("x", "y"), app="a", version=1)
        members = pa.table({"id": ["y"], "profile": ["p"]})
        joined = _select("SELECT profile, n FROM t JOIN m ON m.id = t._amity_id")
        assert lake.query(joined, {"t": _TABLE}, {"m": members}).to_pylist() == [
            {"profile": "p", "n": 1}
        ]
        for attack in (
            "SELECT * FROM read_csv('/etc/passwd')",
            "SELECT * FROM read_text('/etc/hostname')",
            "COPY (SELECT 1) TO '/dev/null'",
            "DROP TABLE t",
        ):
            with pytest.raises(Exception, match=r"(?i)permission|SELECT|disabled"):
                lake.query(_select(attack), {"t": _TABLE})
