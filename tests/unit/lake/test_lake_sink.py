"""Every accepted record comes into the lake once, whatever dies in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.kernel.errors import Corrupt
from amity.kernel.scope import Scope
from amity.platform.ingestion.identities import identities_of
from amity.platform.ingestion.lake_sink import LakeSink
from amity.platform.ingestion.model import ENCODER, INGEST_TOPIC, Frame
from amity.platform.schema.model import IdentityField, ResolvedSchema
from amity.storage.delta.lake import DeltaLake
from amity.storage.ports import Lake, LakeTable, LogRecord, State, Writer
from amity.testing.memory import MemoryState

PROD = Scope("A@Org", "prod")
_PROPERTIES: dict[str, Any] = {
    "_id": {"type": "string"},
    "timestamp": {"type": "string", "format": "date-time"},
    "crm": {"type": "string"},
    "n": {"type": "integer"},
}


def _schema(behavior: Any) -> ResolvedSchema:
    return ResolvedSchema(
        id=behavior,
        alt_id=behavior,
        title=behavior,
        version="1",
        class_id="c",
        behavior=behavior,
        json_schema={"type": "object", "properties": _PROPERTIES},
        identities=(IdentityField(path=("crm",), namespace="CRMID", primary=True),),
    )


_SCHEMAS = {name: _schema(name) for name in ("record", "time-series")}


class _Batches:
    def __init__(self) -> None:
        self.done: list[tuple[Scope, str]] = []

    def finished(self, scope: Scope, batch: str) -> None:
        self.done.append((scope, batch))


def _sink(lake: Lake, state: State, batches: _Batches | None = None) -> LakeSink:
    return LakeSink(
        lake=lake,
        state=state,
        resolve=lambda _, schema: _SCHEMAS[schema],
        identities=identities_of,
        batches=batches or _Batches(),
    )


def _frame(
    *bodies: dict[str, Any], dataset: str = "e", batch: str = "", scope: Scope = PROD
) -> Frame:
    behavior: Any = "record" if dataset.startswith("p") else "time-series"
    return Frame(
        scope.key,
        dataset,
        behavior,
        behavior,
        5_000,
        "in",
        [orjson.dumps(b) for b in bodies],
        batch,
    )


def _log(frames: Sequence[Frame], partitions: int = 2) -> list[LogRecord]:
    return [
        LogRecord(
            INGEST_TOPIC, at % partitions, at // partitions, b"", ENCODER.encode(frame), "", 0
        )
        for at, frame in enumerate(frames)
    ]


def _rows(lake: Lake, dataset: str, scope: Scope = PROD) -> list[dict[str, Any]]:
    table = LakeTable(scope, dataset)
    if lake.schema(table) is None:
        return []
    statement = sqlglot.parse_one("SELECT * FROM t ORDER BY ALL", dialect="duckdb")
    return lake.query(statement, {"t": table}).to_pylist()


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLake:
    return DeltaLake(tmp_path / "lake")


def test_a_row_says_where_it_comes_from(lake: DeltaLake) -> None:
    """The schema's columns, the event's id and time, identity, batch and log position."""
    event = {"_id": "a", "timestamp": "1970-01-01T00:00:01Z", "crm": "c1", "n": 7, "x": "?"}
    _sink(lake, MemoryState()).handle(_log([_frame({}, dataset="q"), _frame(event, batch="b")]), 0)

    (row,) = _rows(lake, "e")
    row.pop("timestamp")
    assert row == {
        "_amity_id": "a",
        "_amity_time": 1_000,
        "_amity_received": 5_000,
        "_amity_identity": "CRMID:c1",
        "_amity_batch": "b",
        "_amity_partition": 1,
        "_amity_offset": 0,
        "_amity_n": 0,
        "_id": "a",
        "crm": "c1",
        "n": 7,
    }
    (bare,) = _rows(lake, "q")
    assert (bare["_amity_time"], bare["_amity_identity"], bare["_id"]) == (5_000, "", None)


def test_an_event_of_a_known_id_is_left_out(lake: DeltaLake) -> None:
    """In the same frame, the same call or another one; other datasets and scopes do not matter."""
    state = MemoryState()
    dev = Scope("A@Org", "dev")
    frames = [
        _frame({"_id": "a", "n": 1}, {"_id": "a", "n": 2}),
        _frame({"_id": "a"}, {"_id": "b"}),
        _frame({"_id": "a"}, dataset="e2"),
        _frame({"_id": "a"}, scope=dev),
    ]
    log = _log(frames, partitions=1)
    _sink(lake, state).handle(log[:1], 0)
    _sink(lake, state).handle(log[1:], 0)

    assert [(row["_id"], row["n"]) for row in _rows(lake, "e")] == [("a", 1), ("b", None)]
    assert len(_rows(lake, "e2")) == len(_rows(lake, "e", dev)) == 1


def test_a_record_equal_to_its_newest_is_left_out(lake: DeltaLake) -> None:
    """There and back again are three rows; the same twice is one, however its keys are ordered."""
    states = [
        {"crm": "c", "n": 1},
        {"n": 1, "crm": "c"},
        {"crm": "c", "n": 2},
        {"crm": "c", "n": 1},
        {"crm": "d", "n": 1},
        {"n": 9},
        {"n": 9},
    ]
    frames = [_frame(body, dataset="p") for body in states]
    _sink(lake, MemoryState()).handle(_log(frames, partitions=1), 0)

    rows = sorted(_rows(lake, "p"), key=lambda row: row["_amity_offset"])
    assert [(row["crm"], row["n"]) for row in rows] == [
        ("c", 1),
        ("c", 2),
        ("c", 1),
        ("d", 1),
        (None, 9),
        (None, 9),
    ]


def test_a_batch_taken_out_is_news_again(lake: DeltaLake) -> None:
    """Its rows go, other rows stay, and its records come back when they are sent again."""
    state = MemoryState()
    sink = _sink(lake, state)
    old = [
        _frame({"_id": "a", "n": 1}, {"n": 5}, batch="b'1"),
        _frame({"_id": "b", "n": 1}, batch="b2"),
        _frame({"crm": "c", "n": 1}, dataset="p", batch="b'1"),
    ]
    new = [
        _frame({"_id": "a", "n": 2}, {"_id": "b", "n": 2}, batch="b3"),
        _frame({"crm": "c", "n": 1}, dataset="p", batch="b3"),
    ]
    log = _log([*old, *new], partitions=1)
    assert sink.take_out(PROD, "e", "b'1") == 0
    sink.handle(log[:3], 0)
    assert (sink.take_out(PROD, "e", "b'1"), sink.take_out(PROD, "p", "b'1")) == (2, 1)
    assert [row["_id"] for row in _rows(lake, "e")] == ["b"]
    sink.handle(log[3:], 0)

    assert sorted((row["_id"], row["n"]) for row in _rows(lake, "e")) == [("a", 2), ("b", 1)]
    assert len(_rows(lake, "p")) == 1


def test_a_batch_is_finished_once_its_end_has_come(lake: DeltaLake) -> None:
    """The frame of no records says so, and by then the rows can be queried."""
    batches = _Batches()
    sink = _sink(lake, MemoryState(), batches)
    log = _log([_frame({"_id": "a"}, batch="b1"), _frame({"_id": "b"}), _frame(batch="b1")], 1)
    sink.handle(log[:2], 0)
    assert batches.done == []
    sink.handle(log[2:], 0)
    assert batches.done == [(PROD, "b1")]
    assert len(_rows(lake, "e")) == 2


def test_what_is_no_frame_is_refused(lake: DeltaLake) -> None:
    """The runner files it as failed; it says where it stands."""
    with pytest.raises(Corrupt, match=r"platform\.ingest/3/4"):
        _sink(lake, MemoryState()).handle([LogRecord(INGEST_TOPIC, 3, 4, b"", b"?", "", 0)], 0)


class _Crash(Exception):
    pass


class _Dying:
    """Counts commits of state and lake and dies at one of them: before, or after it has happened."""

    def __init__(self, lake: DeltaLake, state: MemoryState) -> None:
        self.lake, self.state = lake, state
        self.left = -1

    def _die(self) -> None:
        if self.left >= 0:
            self.left -= 1
            if self.left == -1:
                raise _Crash

    @contextmanager
    def write(self) -> Iterator[Writer]:
        with self.state.write() as writer:
            yield writer
            self._die()
        self._die()

    def read(self) -> AbstractContextManager[Any]:
        return self.state.read()

    def close(self) -> None:
        self.state.close()

    def append(self, table: LakeTable, rows: pa.Table, *, app: str, version: int) -> bool:
        self._die()
        done = self.lake.append(table, rows, app=app, version=version)
        self._die()
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lake, name)


_BODIES = st.fixed_dictionaries(
    {"n": st.integers(0, 2)},
    optional={"_id": st.sampled_from("abc"), "crm": st.sampled_from("xy")},
)
_FRAMES = st.lists(
    st.tuples(st.sampled_from(["e", "p"]), st.lists(_BODIES, min_size=1, max_size=3)),
    min_size=2,
    max_size=6,
)


@pytest.mark.thorough
@settings(max_examples=8, deadline=None)
@given(frames=_FRAMES, crashes=st.lists(st.integers(0, 6), max_size=3), slices=st.integers(1, 3))
def test_a_crash_at_any_commit_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    frames: list[tuple[str, list[dict[str, Any]]]],
    crashes: list[int],
    slices: int,
) -> None:
    """The same rows as without a crash: none lost, none twice, of the same places in the log."""
    log = _log([_frame(*bodies, dataset=dataset) for dataset, bodies in frames])
    calm = DeltaLake(tmp_path_factory.mktemp("calm"))
    _sink(calm, MemoryState()).handle(log, 0)
    dying = _Dying(DeltaLake(tmp_path_factory.mktemp("dying")), MemoryState())

    done, pending = 0, list(crashes)
    while done < len(log):
        dying.left = pending.pop() if pending else -1
        try:
            _sink(dying, dying).handle(log[done : done + slices], 0)
        except _Crash:
            continue
        done += slices
    dying.left = -1
    _sink(dying, dying).handle(log, 0)

    for dataset in ("e", "p"):
        expected = _rows(calm, dataset)
        assert _counted(_rows(dying.lake, dataset)) == _counted(expected)


def _counted(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(str(sorted(row.items())) for row in rows)
