from __future__ import annotations

from pathlib import Path

from amity.flow import failed
from amity.flow.failed import FAILED_TOPIC, FailedRecord
from amity.flow.failures import Failures, FailuresStage, Where, mark_entries
from amity.flow.runner import Runner
from amity.kernel.scope import Scope
from amity.storage.ports import Entry
from amity.storage.sqlite.log import SqliteLog
from amity.storage.sqlite.state import SqliteState

SCOPE, OTHER = Scope("O", "prod"), Scope("O", "dev")


def refused(id: str, at_ms: int = 1, **fields: str) -> FailedRecord:
    values = {"scope": SCOPE.key, "source": "inlet", "code": "C1", "reason": "Not good."} | fields
    return FailedRecord(id=id, received_ms=at_ms, raw=b"raw " + id.encode(), **values)


def filed(tmp_path: Path, *records: FailedRecord) -> tuple[SqliteLog, Runner, Failures]:
    log, state = SqliteLog(tmp_path, writer=0), SqliteState(tmp_path / "state-0.db")
    runner = Runner([FailuresStage()], log=log, state=state, name="failures")
    log.append([Entry(FAILED_TOPIC, r.id.encode(), failed.ENCODER.encode(r)) for r in records])
    runner.run_once(0)
    return log, runner, Failures(state)


def test_listing_by_time_batch_and_field(tmp_path: Path) -> None:
    """Failed records are found by batch, data set, source, code and text, in order of time."""
    _, _, failures = filed(
        tmp_path,
        refused("c", 3, batch="B1", dataset="D"),
        refused("a", 1, batch="B1", code="C2"),
        refused("b", 2, reason="Unknown field.", source="batch"),
        refused("z", 9, scope=OTHER.key),
    )

    def ids(**how: object) -> list[str]:
        return [record.id for record in failures.find(SCOPE, **how)]  # type: ignore[arg-type]

    assert ids() == ["a", "b", "c"]
    assert ids(where=Where(newest_first=True), limit=2) == ["c", "b"]
    assert ids(start=1, limit=1) == ["b"]
    assert ids(batch="B1") == ["a", "c"]
    assert ids(batch="B") == []
    assert ids(dataset="D") == ["c"]
    assert ids(where=Where(code="C2")) == ["a"]
    assert ids(where=Where(source="batch")) == ["b"]
    assert ids(where=Where(text="unknown FIELD")) == ["b"]
    assert failures.counts(SCOPE) == {"C1": 2, "C2": 1}
    assert (failures.count(SCOPE), failures.count(SCOPE, batch="B1")) == (3, 2)
    assert (failures.count(OTHER), failures.get(OTHER, "a")) == (1, None)


def test_the_same_refusal_is_filed_once(tmp_path: Path) -> None:
    """A refusal told twice, in one batch or two, is one failed record."""
    log, runner, failures = filed(tmp_path, refused("a"), refused("a"))
    again = refused("a", 7)
    log.append([Entry(FAILED_TOPIC, b"a", failed.ENCODER.encode(again))])
    runner.run_once(0)

    assert failures.find(SCOPE) == [refused("a")]


def test_marks(tmp_path: Path) -> None:
    """Replayed records stay listed as such; deleted ones are gone with their bytes."""
    log, runner, failures = filed(tmp_path, refused("a", batch="B"), refused("b", 2, batch="B"))
    log.append(mark_entries(SCOPE, ["a", "unknown"], "replayed", 5))
    log.append(mark_entries(SCOPE, ["b"], "deleted", 6))
    log.append(mark_entries(OTHER, ["a"], "deleted", 6))
    runner.run_once(0)

    found = failures.get(SCOPE, "a")
    assert found is not None
    assert (found.status, found.marked_ms, found.record.raw) == ("replayed", 5, b"raw a")
    assert failures.get(SCOPE, "b") is None
    assert [r.id for r in failures.find(SCOPE, batch="B")] == ["a"]
    assert failures.find(SCOPE, where=Where(status="open")) == []
    assert failures.count(SCOPE) == 1

    log.append([Entry(FAILED_TOPIC, b"b", failed.ENCODER.encode(refused("b", 2)))])
    runner.run_once(0)
    assert failures.get(SCOPE, "b") is None
