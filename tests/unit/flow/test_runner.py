from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from amity.flow import failed
from amity.flow.failed import FAILED_TOPIC, FailedRecord
from amity.flow.runner import Runner
from amity.flow.step import Outcome, Timer
from amity.kernel.clock import MINUTE_MS
from amity.kernel.errors import LostOwnership, Unavailable
from amity.kernel.scope import Scope
from amity.storage.ports import Entry, LogRecord
from amity.storage.sqlite.log import SqliteLog
from amity.storage.sqlite.state import SqliteState
from amity.testing.counting import (
    COUNT_TABLE,
    COUNTS_TOPIC,
    HITS_TOPIC,
    TOTAL_TABLE,
    Count,
    Counted,
    CountStage,
    Hit,
    TotalStage,
    encode,
)
from amity.testing.memory import MemoryLog, MemoryState

SCOPE = Scope("O", "prod")
Ports = tuple[SqliteLog | MemoryLog, SqliteState | MemoryState]


@pytest.fixture(params=["sqlite", "memory"])
def ports(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ports]:
    if request.param == "memory":
        yield MemoryLog(writer=0), MemoryState()
        return
    log, state = SqliteLog(tmp_path, writer=0), SqliteState(tmp_path / "state-0.db")
    yield log, state
    log.close()
    state.close()


def hits(*found: tuple[str, str, int] | tuple[str, str, int, int]) -> list[Entry]:
    return [
        Entry(HITS_TOPIC, hit[0].encode(), encode(Hit(SCOPE.key, *hit)))  # type: ignore[call-arg]
        for hit in found
    ]


def totals(state: SqliteState | MemoryState, scope: Scope = SCOPE) -> dict[str, tuple[int, int]]:
    with state.read() as reader:
        return {
            key.decode(): tuple(msgspec.msgpack.decode(value)[1:])
            for key, value in reader.scan(TOTAL_TABLE, scope)
        }


def records(log: SqliteLog | MemoryLog, topic: str) -> list[LogRecord]:
    return log.poll(topic, {}, 10_000)


def filed(log: SqliteLog | MemoryLog) -> list[FailedRecord]:
    return [failed.DECODER.decode(record.body) for record in records(log, FAILED_TOPIC)]


def drain(*runners: Runner, now_ms: int = 0) -> None:
    while sum(runner.run_once(now_ms) for runner in runners):
        pass


def test_a_fused_topic_stays_inside(ports: Ports) -> None:
    """Stages of one runner pass messages in memory; the topic between them stays off the log."""
    log, state = ports
    runner = Runner([CountStage(), TotalStage()], log=log, state=state, name="r")
    log.append(hits(("a", "1", 10), ("a", "2", 10), ("b", "3", 20)))

    drain(runner)

    assert totals(state) == {"a": (2, 2), "b": (1, 1)}
    assert records(log, COUNTS_TOPIC) == []
    assert (runner.lag(), runner.quiet()) == (0, True)


def test_a_published_fused_topic_is_not_handled_twice(ports: Ports) -> None:
    """A topic heard inside and published: the runner skips its own records on the log."""
    log, state = ports
    seen: list[int] = []

    class Watching(TotalStage):
        def step(self, state, messages, fired, now_ms):  # type: ignore[no-untyped-def]
            seen.extend(told.ever for told in messages)
            return super().step(state, messages, fired, now_ms)

    runner = Runner(
        [CountStage(), Watching()],
        log=log, state=state, name="r", publish=frozenset({COUNTS_TOPIC}),
    )  # fmt: skip
    log.append(hits(("a", "1", 10)))

    drain(runner)

    assert seen == [1]
    assert len(records(log, COUNTS_TOPIC)) == 1


def test_unfused_equals_fused(ports: Ports) -> None:
    """Stages in runners of their own give the same tables by way of the log."""
    log, state = ports
    one = Runner([CountStage()], log=log, state=state, name="one")
    two = Runner([TotalStage()], log=log, state=state, name="two")
    log.append(hits(("a", "1", 10), ("a", "2", 10), ("b", "3", 20)))

    drain(one, two)

    assert totals(state) == {"a": (2, 2), "b": (1, 1)}
    assert len(records(log, COUNTS_TOPIC)) > 0


def test_timers_fire_at_their_own_time_before_later_records(ports: Ports) -> None:
    """A timer due at or before a record's stamp fires first, and is told its due time."""
    log, state = ports
    told: list[tuple[int, int, int]] = []

    class Watching(TotalStage):
        def step(self, state, messages, fired, now_ms):  # type: ignore[no-untyped-def]
            told.extend((now_ms, item.ever, item.lately) for item in messages)
            return super().step(state, messages, fired, now_ms)

    runner = Runner([CountStage(), Watching()], log=log, state=state, name="r")
    log.append(hits(("a", "1", 0), ("a", "2", 30_000), ("a", "3", MINUTE_MS)))

    drain(runner)
    assert told == [(0, 1, 1), (30_000, 2, 2), (60_000, 2, 1), (60_000, 3, 2)]

    told.clear()
    assert runner.next_due() == 90_000
    assert runner.fire_due(89_999) == 0
    assert runner.fire_due(10 * MINUTE_MS) == 2
    assert told == [(90_000, 3, 1), (120_000, 3, 0)]
    assert runner.next_due() is None


def test_timers_wait_for_waiting_records(ports: Ports) -> None:
    """Timers do not overtake records that are already on the log."""
    log, state = ports
    runner = Runner([CountStage()], log=log, state=state, name="r")
    log.append(hits(("a", "1", 0)))
    drain(runner)
    log.append(hits(("a", "2", 10)))

    assert runner.fire_due(MINUTE_MS) == 0
    drain(runner)
    assert runner.fire_due(MINUTE_MS) == 1


def test_a_new_owner_stops_the_old_one(ports: Ports) -> None:
    """After another runner of the name has started, the first one can commit nothing."""
    log, state = ports
    old = Runner([CountStage(), TotalStage()], log=log, state=state, name="r")
    new = Runner([CountStage(), TotalStage()], log=log, state=state, name="r")
    log.append(hits(("a", "1", 10)))

    with pytest.raises(LostOwnership):
        old.run_once(0)
    assert totals(state) == {}
    assert new.run_once(0) == 1
    assert totals(state) == {"a": (1, 1)}


def test_a_restart_goes_on_where_it_was(ports: Ports) -> None:
    """Progress, time and timers survive the runner."""
    log, state = ports
    log.append(hits(("a", "1", 10)))
    drain(Runner([CountStage(), TotalStage()], log=log, state=state, name="r"))
    log.append(hits(("a", "2", 20)))

    runner = Runner([CountStage(), TotalStage()], log=log, state=state, name="r")

    assert runner.lag() == 1
    assert runner.next_due() == 10 + MINUTE_MS
    drain(runner)
    assert totals(state) == {"a": (2, 2)}


def test_poison_among_a_batch_becomes_a_failed_record(ports: Ports) -> None:
    """A message that breaks the step is filed with its reason; all others are handled."""
    log, state = ports
    runner = Runner([CountStage(), TotalStage()], log=log, state=state, name="r")
    good = [("a", str(n), 10) for n in range(20)]
    log.append(hits(*good[:10], ("a", "bad", 10, -1), *good[10:]))
    log.append([Entry(HITS_TOPIC, b"x", b"\xc1no hit")])
    log.append(hits(("b", "none", 10, 0)))

    drain(runner)

    assert totals(state) == {"a": (20, 20)}
    found = filed(log)
    assert {record.code for record in found} == {"ValueError", "Corrupt", "weightless"}
    assert {record.scope for record in found} == {"O/prod", "amity/system"}
    assert "weight -1" in next(r.reason for r in found if r.code == "ValueError")
    assert next(r.raw for r in found if r.code == "Corrupt") == b"\xc1no hit"
    assert runner.lag() == 0


def test_a_poison_timer_is_filed_and_the_rest_fire(ports: Ports) -> None:
    """A timer that breaks the step is given up with its reason; others and records go on."""
    log, state = ports

    class Breaking(CountStage):
        def step(self, state, messages, fired, now_ms):  # type: ignore[no-untyped-def]
            if any(timer.key == b"bad" for timer in fired):
                raise ValueError("cannot wake")
            return super().step(state, messages, fired, now_ms)

    runner = Runner([Breaking(), TotalStage()], log=log, state=state, name="r")
    log.append(hits(("a", "1", 0), ("bad", "2", 0), ("b", "3", 0)))
    drain(runner)
    log.append(hits(("a", "4", MINUTE_MS)))
    drain(runner)

    assert totals(state) == {"a": (2, 1), "bad": (1, 1), "b": (1, 0)}
    assert [(record.code, record.raw) for record in filed(log)] == [("ValueError", b"bad")]


def test_published_twice_is_handled_once(ports: Ports) -> None:
    """A reader drops what an outbox has published before."""
    log, state = ports
    runner = Runner([TotalStage()], log=log, state=state, name="two")
    body = [encode(Counted(SCOPE.key, "a", n, n, 5)) for n in (1, 2)]
    entries = [Entry(COUNTS_TOPIC, b"a", body[n], "one", n + 1) for n in (0, 1)]
    log.append(entries)
    drain(runner)
    log.append([entries[0]])

    drain(runner)

    assert totals(state) == {"a": (2, 2)}
    assert runner.lag() == 0


def test_what_was_committed_is_published_after_a_crash(ports: Ports) -> None:
    """An outbox that never reached the log is published by the next runner, numbers unchanged."""
    log, state = ports

    class Broken:
        def __getattr__(self, name: str) -> object:
            return getattr(log, name)

        def append(self, entries: object) -> None:
            raise OSError("no disk")

    log.append(hits(("a", "1", 10)))
    runner = Runner([CountStage()], log=Broken(), state=state, name="one")  # type: ignore[arg-type]
    with pytest.raises(OSError, match="no disk"):
        runner.run_once(0)

    again = Runner([CountStage()], log=log, state=state, name="one")
    assert again.quiet() is False
    again.publish()

    assert [(record.origin, record.origin_seq) for record in records(log, COUNTS_TOPIC)] == [
        ("one", 1)
    ]


def test_scopes_stay_apart(ports: Ports) -> None:
    """Two sandboxes with the same keys and ids share nothing, timers included."""
    log, state = ports
    runner = Runner([CountStage(), TotalStage()], log=log, state=state, name="r")
    other = Scope("O", "dev")
    log.append(hits(("a", "1", 0)))
    log.append([Entry(HITS_TOPIC, b"a", encode(Hit(other.key, "a", "1", 30_000)))])

    drain(runner)
    runner.fire_due(MINUTE_MS)

    assert (totals(state), totals(state, other)) == ({"a": (1, 0)}, {"a": (1, 1)})
    with state.read() as reader:
        counts = [reader.get_many(COUNT_TABLE, scope, [b"a"])[b"a"] for scope in (SCOPE, other)]
    assert [msgspec.msgpack.decode(c, type=Count).hits for c in counts] == [{"1": 0}, {"1": 30_000}]


def test_a_timer_that_breaks_a_later_stage_is_filed(ports: Ports) -> None:
    """What a timer leads to counts as the timer's doing: records beside it are handled."""
    log, state = ports

    class Breaking(TotalStage):
        def step(self, state, messages, fired, now_ms):  # type: ignore[no-untyped-def]
            if any(told.lately == 0 for told in messages):
                raise ValueError("nothing lately")
            return super().step(state, messages, fired, now_ms)

    runner = Runner([CountStage(), Breaking()], log=log, state=state, name="r")
    log.append(hits(("a", "1", 0), ("b", "2", 0)))
    drain(runner)
    log.append(hits(("c", "bad", 1, -1), ("c", "3", MINUTE_MS), ("b", "4", MINUTE_MS)))
    drain(runner)

    assert totals(state) == {"a": (1, 1), "b": (2, 1), "c": (1, 1)}
    assert sorted(record.code for record in filed(log)) == ["ValueError"] * 3
    assert runner.fire_due(3 * MINUTE_MS) == 2
    assert runner.next_due() is None
    assert sorted(r.raw for r in filed(log) if r.where.startswith("timer")) == [
        b"a", b"b", b"b", b"c",
    ]  # fmt: skip


def test_records_that_fail_only_together_are_handled_one_by_one(ports: Ports) -> None:
    """When no message alone is to blame, none is given up."""
    log, state = ports

    class Crowded(CountStage):
        def step(self, state, messages, fired, now_ms):  # type: ignore[no-untyped-def]
            if len(messages) > 2:
                raise ValueError("too many at once")
            return super().step(state, messages, fired, now_ms)

    runner = Runner([Crowded(), TotalStage()], log=log, state=state, name="r")
    log.append(hits(*(("a", str(n), 0) for n in range(5)), ("a", "bad", 0, -1)))
    drain(runner)

    assert totals(state) == {"a": (5, 5)}
    assert ["weight" in record.reason for record in filed(log)] == [True]


def test_messages_of_one_record_that_fail_only_together_are_all_filed(ports: Ports) -> None:
    """A record goes whole or not at all: its messages become failed records, the flow goes on."""
    log, state = ports

    class Crowded(CountStage):
        def decode(self, record: LogRecord) -> list[Hit]:
            return [Hit(SCOPE.key, "a", f"{record.body!r}{n}", 0) for n in range(len(record.body))]

        def step(self, state, messages, fired, now_ms):  # type: ignore[no-untyped-def]
            if len(messages) > 2:
                raise ValueError("too many at once")
            return super().step(state, messages, fired, now_ms)

    runner = Runner([Crowded(), TotalStage()], log=log, state=state, name="r")
    log.append([Entry(HITS_TOPIC, b"a", b"xxx"), Entry(HITS_TOPIC, b"a", b"xx")])
    drain(runner)

    assert totals(state) == {"a": (2, 2)}
    assert len({record.id for record in filed(log)}) == 3


def test_transient_trouble_is_no_ones_fault(ports: Ports) -> None:
    """A transient error leaves all as it was; the same records come again."""
    log, state = ports

    class Waiting(CountStage):
        away = True

        def load(self, reader, messages, fired):  # type: ignore[no-untyped-def]
            if self.away:
                raise Unavailable("the store is away")
            return super().load(reader, messages, fired)

    stage = Waiting()
    runner = Runner([stage, TotalStage()], log=log, state=state, name="r")
    log.append(hits(("a", "1", 0)))
    with pytest.raises(Unavailable):
        runner.run_once(0)
    stage.away = False
    drain(runner)

    assert totals(state) == {"a": (1, 1)}
    assert filed(log) == []


def test_batches_of_any_size_come_out_equal(ports: Ports) -> None:
    """A limit cuts between records; time groups within a batch are those of the stamps."""
    log, _ = ports
    runners = {
        limit: Runner([CountStage(), TotalStage()], log=log, state=MemoryState(), name="r")
        for limit in (1, 2, 1_000)
    }
    log.append(hits(*(("a", str(n), n * 7_000) for n in range(30))))
    found = []
    for limit, runner in runners.items():
        assert runner.run_once(0, limit) == min(limit, 30)
        while runner.run_once(0, limit):
            pass
        found.append(runner.next_due())
    assert len(set(found)) == 1


def test_a_turn_asked_for_at_once_comes_without_an_advance(ports: Ports) -> None:
    """A timer due at the time reached fires once no record waits: long tasks go on by pages."""
    log, state = ports
    turns: list[int] = []

    class Paging(CountStage):
        def step(self, state, messages, fired, now_ms):  # type: ignore[no-untyped-def]
            turns.append(now_ms)
            if len(turns) < 250:
                timer = Timer(SCOPE, b"page", now_ms, len(turns))
                return Outcome(state={}, timers=[timer])
            return Outcome(state={})

    runner = Runner([Paging()], log=log, state=state, name="r")
    log.append(hits(("a", "1", 77)))
    handled = 0
    while moved := runner.run_once(0):
        handled += moved

    assert (handled, turns) == (250, [77] * 250)
    assert runner.next_due() is None


def test_a_failed_record_names_scope_and_dataset_of_its_source(ports: Ports) -> None:
    """Messages that share a source are filed under the scope and data set it names."""
    log, state = ports

    class Source(NamedTuple):
        scope: str
        dataset: str

    class Part(NamedTuple):
        source: Source
        raw: bytes

    class Parts(CountStage):
        def decode(self, record: LogRecord) -> list[Part]:  # type: ignore[override]
            return [Part(Source(SCOPE.key, "D"), b"part")]

        def load(self, reader, messages, fired):  # type: ignore[no-untyped-def]
            raise ValueError("no")

    log.append(hits(("a", "1", 77)))
    drain(Runner([Parts()], log=log, state=state, name="r"))

    assert [(r.scope, r.dataset, r.source, r.raw) for r in filed(log)] == [
        (SCOPE.key, "D", HITS_TOPIC, b"part")
    ]
