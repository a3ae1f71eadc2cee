"""Runs, errors, commands and times of workflows."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from amity.campaign.workflow import store
from amity.campaign.workflow.activity import Done, Exclusion, Out
from amity.campaign.workflow.errors import BadGraph, NotNow, UnknownTransition, WorkflowTaken
from amity.campaign.workflow.model import ErrorHandling
from amity.kernel.errors import Invalid, Unavailable
from amity.testing.workflow_world import Flaky, Simulated, _spec

pytestmark = pytest.mark.thorough

DAILY = ("scheduler", {"cron": "0 6 * * *"})


class Lying(Simulated):
    """Loses a row and does not say so; its effect must not last."""

    def run(self, task: Any) -> Done:
        """Put everything, pass on all but one row."""
        table = task.table
        told = [Exclusion(reason="x", count=1)] if self.options.fails == 0 else []
        came = table.count + 1 if told else None
        less = msgspec.structs.replace(table, count=table.count - 1 + len(told))
        return Done(
            outputs={"out": Out(table=less)},
            excluded=told,
            came_in=came,
            effects=lambda connection: connection.exec_driver_sql(
                "INSERT INTO SimEffect (activity, thing) VALUES ('lie', 1)"
            ),
        )


class Broken(Simulated):
    """Has a bug."""

    def run(self, task: Any) -> Done:
        """Fail as nobody foresaw."""
        raise KeyError(task.activity)


class BrokenEffect(Simulated):
    """Has a bug in its closing half."""

    def run(self, task: Any) -> Done:
        """Write, then fail."""

        def effects(connection: Any) -> None:
            connection.exec_driver_sql("INSERT INTO SimEffect (activity, thing) VALUES ('b', 1)")
            raise ValueError("half done")

        return Done(outputs={"out": Out(table=task.table)}, effects=effects)


class Down(Simulated):
    """A server that never answers."""

    def run(self, task: Any) -> Done:
        """Fail by something that passes, or does not."""
        raise Unavailable("the server is down", retry_after_s=5)


class Meeting(Simulated):
    """Ends only when another one runs at the same time."""

    barrier = threading.Barrier(2)

    def run(self, task: Any) -> Done:
        """Wait for the other."""
        self.barrier.wait(timeout=20)
        return Done(outputs={"out": Out(table=task.table)})


class Patient(Simulated):
    """Works until it is asked to stop."""

    begun = threading.Event()
    ended = 0

    def run(self, task: Any) -> Done:
        """Look from time to time."""
        self.begun.set()
        for _ in range(2_000):
            if task.stopped():
                break
            threading.Event().wait(0.01)
        type(self).ended += 1
        return Done(outputs={"out": Out()}, instance_vars={"ended": True})


@pytest.fixture
def desk(desk: Any) -> Any:
    """With activities that go wrong."""
    for name, make in {
        "lying": Lying,
        "broken": Broken,
        "broken_effect": BrokenEffect,
        "down": Down,
        "meeting": Meeting,
        "patient": Patient,
    }.items():
        desk.activities[name] = _spec(name, make)
    return desk


def after_make(graph: Any, arrows: str, boxes: dict[str, Any], **more: Any) -> Any:
    """A graph whose first box makes ten things."""
    return graph(f"s>m {arrows}", {"s": "start", "m": ("make", {"count": 10}), **boxes}, **more)


# --- Runs ------------------------------------------------------------------------------------


def test_a_lie_about_rows_is_an_error(desk: Any, graph: Any) -> None:
    """In is out and excluded: a row lost without reason fails the task, and no effect lasts."""
    wanted = after_make(graph, "m>l l>e", {"l": ("lying", {"fails": 1}), "e": "end"})
    id = desk.start(wanted)

    assert desk.state(id) == ("paused", True)
    assert "took in 10 rows, but 9 go out and 0 are excluded" in desk.said(id, "error")[0]
    assert desk.effects() == []


def test_forks_run_at_the_same_time(desk: Any, graph: Any) -> None:
    """Two branches that wait for one another both end."""
    boxes = {"f": "fork", "a": "meeting", "b": "meeting", "j": ("and_join", {"main": "b"})}
    id = desk.start(after_make(graph, "m>f f.out1>a f.out2>b a>j b>j", boxes))

    assert desk.state(id) == ("finished", False)
    assert desk.counts(id)["j.out"] == 10
    joined = desk.workflows.transitions(id)[0]
    assert joined["excluded"] == [{"reason": "not of the main population", "count": 10}]


def test_one_task_ends_after_the_other(desk: Any, graph: Any) -> None:
    """No two closing halves run at once, and each runs once."""
    at_once: list[int] = []
    inside = threading.Lock()

    class Slow(Simulated):
        def run(self, task: Any) -> Done:
            def effects(connection: Any) -> None:
                at_once.append(int(inside.acquire(blocking=False)))
                threading.Event().wait(0.02)
                inside.release()

            return Done(outputs={"out": Out(table=task.table)}, effects=effects)

    desk.activities["slow"] = _spec("slow", Slow)
    boxes = {"f": ("fork", {"transitions": list("abcd")}), **dict.fromkeys("abcd", "slow")}
    id = desk.start(after_make(graph, "m>f f.a>a f.b>b f.c>c f.d>d", boxes))

    assert desk.state(id) == ("finished", False)
    assert at_once == [1, 1, 1, 1]


def test_results_are_dropped_or_kept(desk: Any, graph: Any) -> None:
    """Work tables go when nothing needs them, stay on request, and make room for the next run's."""
    plain = desk.start(after_make(graph, "m>k", {"k": ("keep", {"divisor": 2, "rest": True})}))
    assert desk.work.names() == []
    newest = desk.workflows.transitions(plain)[0]
    with pytest.raises(UnknownTransition, match="set keepResults"):
        desk.workflows.rows(newest["id"], workflow=plain)

    kept = after_make(graph, "m>k", {"k": ("keep", {"divisor": 2})}, name="kept", keep_results=True)
    id = desk.start(kept)
    before = desk.work.names()
    assert len(before) == 2
    rows = desk.workflows.rows(desk.workflows.transitions(id)[0]["id"], workflow=id, limit=2)
    assert rows["rows"] == [{"n": 1, "id": 0}, {"n": 2, "id": 2}]

    desk.command(id, "start")
    assert len(desk.work.names()) == 2
    assert not set(before) & set(desk.work.names())
    desk.workflows.delete(id)
    assert desk.work.names() == []


def test_a_paused_workflow_keeps_its_tables(desk: Any, graph: Any) -> None:
    """What a failed task needs is there when it is run again."""
    id = desk.start(after_make(graph, "m>b b>p", {"b": "broken", "p": "put"}))

    assert desk.state(id) == ("paused", True)
    assert len(desk.work.names()) == 1


def test_what_a_failed_task_built_is_dropped(desk: Any, graph: Any) -> None:
    """A work table that was published before its task failed is not left lying about."""

    class HalfDone(Simulated):
        def run(self, task: Any) -> Done:
            with task.work.build(task.name("out")) as connection:
                connection.exec_driver_sql("CREATE TABLE rows (n INTEGER PRIMARY KEY)")
            raise Unavailable("and then the disk was full")

    desk.activities["half_done"] = _spec("half_done", HalfDone, inputs=(0, 1))
    id = desk.start(graph("", {"h": "half_done"}))

    assert desk.state(id) == ("started", False)
    assert desk.work.names() == []


def test_files_of_a_killed_engine_are_swept(desk: Any) -> None:
    """A work table nobody refers to is gone after a restart; another one's file is not ours."""
    for name in ("wkf7_9_out", "delivery_3"):
        with desk.work.build(name) as connection:
            connection.exec_driver_sql("CREATE TABLE rows (n INTEGER PRIMARY KEY)")
    desk.new_engine().close()

    assert desk.work.names() == ["delivery_3"]


# --- Times -----------------------------------------------------------------------------------


def test_scheduler_starts_runs_at_local_times(desk: Any, graph: Any) -> None:
    """Six o'clock is six o'clock in Paris, in winter time after summer time ended."""
    desk.clock.advance_to(desk.clock.now_ms())
    boxes = {"c": DAILY, "m": ("make", {"count": 3}), "p": "put"}
    id = desk.start(graph("c>m m>p", boxes, time_zone="Europe/Paris"))
    desk.advance("2017-11-02T12:00:00Z")

    runs = [one["at"] for one in desk.workflows.transitions(id) if one["from"] == "c"]
    assert runs == [f"2017-1{day}T05:00:00.000Z" for day in ("1-02", "1-01", "0-31", "0-30")]
    assert desk.effects() == [("p", thing) for _ in range(4) for thing in range(3)]
    with desk.tables.connect() as connection:
        assert store.memory(connection, id, "p") == {"total": 12}
    assert desk.state(id) == ("started", False)


def test_scheduler_skips_while_a_run_is_not_over(desk: Any, graph: Any) -> None:
    """A run of two and a half days leaves out two slots, and the journal says so."""
    boxes = {"c": DAILY, "w": ("wait", {"duration": "PT60H"}), "e": "end"}
    id = desk.start(graph("c>w w>e", boxes))
    desk.advance("2017-11-02T07:00:00Z")

    starts = [one["at"] for one in desk.workflows.transitions(id) if one["from"] == "c"]
    assert starts == ["2017-11-02T06:00:00.000Z", "2017-10-30T06:00:00.000Z"]
    skipped = desk.said(id, "warning")
    assert len(skipped) == 2
    assert "skipped this slot: the run before is not over" in skipped[0]


def test_slots_that_passed_while_nothing_ran(desk: Any, graph: Any) -> None:
    """After days without an engine one run makes up for all slots."""
    id = desk.start(graph("c>e", {"c": DAILY, "e": "end"}))
    desk.clock.advance_to(desk.clock.now_ms() + 4 * 86_400_000)
    desk.engine.fire_due(desk.clock.now_ms())
    desk.settle()

    assert len([one for one in desk.workflows.transitions(id) if one["from"] == "c"]) == 1
    assert desk.engine.next_due() == desk.clock.now_ms() + 6 * 3_600_000


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        ({"at": "2017-10-30T03:00:00Z"}, ["03:00"]),
        ({"at": "2017-10-01T00:00:00Z"}, ["00:00"]),
        ({"every": "PT4H", "until": "2017-10-30T09:00:00Z"}, ["04:00", "08:00"]),
        (
            {"every": "PT4H", "until": "2017-10-30T08:00:00Z", "immediately": True},
            ["00:00", "04:00"],
        ),
    ],
)
def test_schedules_that_end(
    desk: Any, graph: Any, options: dict[str, Any], runs: list[str]
) -> None:
    """A scheduler without a next slot ends, and the workflow with it."""
    id = desk.start(graph("c>e", {"c": ("scheduler", options), "e": "end"}))
    desk.advance("2017-10-31T00:00:00Z")

    found = [one["at"][11:16] for one in desk.workflows.transitions(id) if one["from"] == "c"]
    assert found[::-1] == runs
    assert desk.state(id) == ("finished", False)


def test_a_wait_outlives_the_engine(desk: Any, graph: Any) -> None:
    """A wait of weeks is a row: another engine ends it at its time."""
    id = desk.start(after_make(graph, "m>w w>p", {"w": ("wait", {"duration": "P21D"}), "p": "put"}))
    desk.engine.close()
    desk.engine = desk.new_engine()
    desk.advance("2017-11-19T23:00:00Z")
    assert desk.state(id) == ("started", False)

    desk.advance("2017-11-20T00:00:00Z")
    assert desk.state(id) == ("finished", False)
    assert len(desk.effects()) == 10


def test_signals(desk: Any, graph: Any) -> None:
    """A signal that repeats starts a run for each; one in a branch holds it; one may expire."""
    boxes = {"g": ("signal", {"repeat": True}), "e": "end"}
    each = desk.start(graph("g>e", boxes, name="each"))
    for number in (1, 2):
        desk.workflows.signal(each, "g", {"number": number})
    desk.settle()
    passed = [one["vars"]["number"] for one in desk.workflows.transitions(each)]
    assert passed == [2, 1]

    boxes = {"s": "start", "g": ("signal", {"expires": "PT1H"}), "y": "end", "n": "end"}
    held = desk.start(graph("s>g g>y g.expired>n", boxes, name="held"))
    desk.advance("2017-10-30T00:30:00Z")
    assert desk.state(held) == ("started", False)
    desk.advance("2017-10-30T01:00:00Z")
    assert desk.workflows.transitions(held)[0]["output"] == "expired"
    with pytest.raises(NotNow):
        desk.workflows.signal(held, "g", {})


# --- Errors ----------------------------------------------------------------------------------


def test_an_error_pauses_and_resuming_runs_only_what_failed(desk: Any, graph: Any) -> None:
    """Stop is the default: paused, failed, told; resuming runs the failed activity alone again."""
    id = desk.start(after_make(graph, "m>p p>b b>q", {"p": "put", "b": "broken", "q": "put"}))
    assert desk.state(id) == ("paused", True)
    assert desk.workflows.get(id)["failedText"] == "activity b: KeyError: 'b'"
    assert [one["id"] for one in desk.workflows.find(failed=True)] == [id]

    desk.activities["broken"] = _spec("broken", Flaky)
    desk.command(id, "resume")
    assert desk.state(id) == ("finished", False)
    assert desk.effects() == [(name, thing) for name in "pq" for thing in range(10)]


def test_a_bug_in_the_closing_half_leaves_nothing(desk: Any, graph: Any) -> None:
    """What an effect wrote before it failed is not there."""
    id = desk.start(after_make(graph, "m>b", {"b": "broken_effect"}))

    assert desk.state(id) == ("paused", True)
    assert desk.effects() == []
    assert "ValueError: half done" in desk.said(id, "error")[0]


def test_errors_that_are_ignored(desk: Any, graph: Any) -> None:
    """Ignored errors go on until there are too many in a row."""
    boxes = {"c": ("scheduler", {"every": "P1D"}), "m": ("make", {"count": 1}), "b": "broken"}
    handling = ErrorHandling(mode="ignore", consecutive=3)
    id = desk.start(graph("c>m m>b", boxes, error_handling=handling))
    desk.advance("2017-10-31T12:00:00Z")
    assert desk.state(id) == ("started", False)
    assert [one["state"] for one in desk.workflows.tasks(id) if one["activity"] == "b"] == [
        "ignored"
    ]


def test_three_errors_in_a_row(desk: Any, graph: Any) -> None:
    """The third of three errors in a row stops the workflow; a task that ends well between resets."""
    boxes = {"f": ("fork", {"transitions": ["a", "b", "c"]}), **dict.fromkeys("abc", "broken")}
    handling = ErrorHandling(mode="ignore", consecutive=3)
    id = desk.start(after_make(graph, "m>f f.a>a f.b>b f.c>c", boxes, error_handling=handling))

    assert desk.state(id) == ("paused", True)
    states = {one["activity"]: one["state"] for one in desk.workflows.tasks(id)}
    assert [states[name] for name in "abc"] == ["ignored", "ignored", "failed"]


def test_an_error_that_aborts(desk: Any, graph: Any) -> None:
    """Aborted is finished and failed; what else ran is over."""
    boxes = {"f": "fork", "b": "broken", "w": ("wait", {"duration": "P1D"})}
    handling = ErrorHandling(mode="abort")
    id = desk.start(after_make(graph, "m>f f.out1>b f.out2>w", boxes, error_handling=handling))

    assert desk.state(id) == ("finished", True)
    assert desk.engine.next_due() is None
    assert desk.work.names() == []
    with pytest.raises(NotNow, match="is finished: resume means nothing now"):
        desk.workflows.command(id, "resume")


def test_an_error_that_goes_another_way(desk: Any, graph: Any) -> None:
    """An activity with an error transition takes it, with what was said."""
    boxes = {"b": ("broken", {"onError": "transition"}), "good": "end", "bad": "end"}
    id = desk.start(after_make(graph, "m>b b>good b.error>bad", boxes))

    assert desk.state(id) == ("finished", False)
    newest = desk.workflows.transitions(id)[0]
    assert (newest["output"], newest["vars"]["errorMessage"]) == ("error", "KeyError: 'b'")


def test_what_passes_is_tried_again(desk: Any, graph: Any) -> None:
    """A transient error waits and backs off; after eight tries it is an error."""
    id = desk.start(after_make(graph, "m>d", {"d": "down"}))
    assert desk.state(id) == ("started", False)
    assert desk.engine.next_due() == desk.clock.now_ms() + 60_000

    desk.advance("2017-10-30T06:00:00Z")
    assert desk.state(id) == ("paused", True)
    assert len(desk.said(id, "warning")) == 7


# --- Commands --------------------------------------------------------------------------------


def test_pause_and_resume(desk: Any, graph: Any) -> None:
    """While paused nothing begins; what became due meanwhile runs when it is resumed."""
    id = desk.start(after_make(graph, "m>w w>p", {"w": ("wait", {"duration": "PT1H"}), "p": "put"}))
    desk.command(id, "pause")
    desk.advance("2017-10-30T05:00:00Z")
    assert desk.effects() == []

    desk.command(id, "resume")
    desk.advance("2017-10-30T05:00:00Z")
    assert len(desk.effects()) == 10


def test_restart_keeps_variables_and_start_clears_them(desk: Any, graph: Any) -> None:
    """Documents contradict each other: restart keeps instance variables, stop and start does not."""
    boxes = {
        "s": ("start", {"instanceVars": {"count": 1}}),
        "w": ("wait", {"duration": "P1D"}),
    }
    id = desk.start(graph("s>w", boxes))
    changed = graph("s>w", {**boxes, "s": ("start", {"instanceVars": {"count": 2}})})
    desk.command(id, "pause")
    desk.workflows.update(id, changed)

    desk.command(id, "restart")
    assert desk.workflows.get(id)["vars"] == {"count": 1}
    assert desk.state(id) == ("started", False)

    desk.command(id, "stop")
    assert desk.state(id) == ("finished", False)
    desk.command(id, "start")
    assert desk.workflows.get(id)["vars"] == {"count": 2}


@pytest.mark.parametrize("method", ["stop", "kill", "restart"])
def test_stopping_what_runs(desk: Any, graph: Any, method: str) -> None:
    """A task that runs is told to stop, and whatever it answers is not kept."""
    Patient.begun.clear()
    id = int(desk.workflows.create(graph("s>p", {"s": "start", "p": "patient"}))["id"])
    desk.workflows.command(id, "start")
    while not Patient.begun.is_set():
        desk.engine.run_once(desk.clock.now_ms())
    desk.workflows.command(id, method)
    desk.engine.run_once(desk.clock.now_ms())
    if method == "restart":
        desk.workflows.command(id, "kill")
    desk.settle()

    assert desk.state(id) == ("finished", False)
    assert desk.workflows.get(id)["vars"] == {}


def test_commands_that_mean_nothing(desk: Any, graph: Any) -> None:
    """A command is refused in a state in which it means nothing."""
    id = int(desk.workflows.create(graph("s>e", {"s": "start", "e": "end"}))["id"])
    for method in ("pause", "resume", "stop", "kill"):
        with pytest.raises(NotNow, match="is edited"):
            desk.workflows.command(id, method)
    with pytest.raises(Invalid, match="there is no command 'explode'"):
        desk.workflows.command(id, "explode")


def test_changing_a_workflow(desk: Any, graph: Any) -> None:
    """Not while it is started, and not under a task that waits."""
    boxes = {"s": "start", "w": ("wait", {"duration": "P1D"}), "e": "end"}
    id = desk.start(graph("s>w w>e", boxes))
    with pytest.raises(NotNow, match="pause or stop it"):
        desk.workflows.update(id, graph("s>e", {"s": "start", "e": "end"}))
    desk.command(id, "pause")
    with pytest.raises(NotNow, match="'w' has a task that is not over"):
        desk.workflows.update(id, graph("s>e", {"s": "start", "e": "end"}))
    with pytest.raises(NotNow, match="is not over"):
        desk.workflows.delete(id)
    with pytest.raises(WorkflowTaken):
        desk.workflows.create(graph("s>w w>e", boxes))
    shorter = {name: boxes[name] for name in "sw"}
    desk.workflows.update(id, graph("s>w", shorter, label="shorter"))
    desk.command(id, "resume")
    desk.advance("2017-10-31T00:00:00Z")
    assert desk.state(id) == ("finished", False)


def test_a_workflow_left_paused(desk: Any, graph: Any) -> None:
    """Four warnings, a week apart; then it is stopped."""
    id = desk.start(graph("s>w", {"s": "start", "w": ("wait", {"duration": "P1D"})}))
    desk.command(id, "pause")
    desk.advance("2017-11-27T00:00:00Z")
    assert len(desk.said(id, "warning")) == 4
    assert desk.state(id) == ("paused", False)

    desk.advance("2017-12-04T00:00:00Z")
    assert desk.state(id)[0] == "finished"
    assert "nobody resumed it" in desk.said(id)[-1]


def test_history_is_purged(desk: Any, graph: Any) -> None:
    """Runs older than the history is long are forgotten; 0 keeps all."""
    boxes = {"c": DAILY, "m": ("make", {"count": 1}), "e": "end"}
    short = desk.start(graph("c>m m>e", boxes, name="short", history_days=3))
    long = desk.start(graph("c>m m>e", boxes, name="long", history_days=0))
    desk.advance("2017-11-10T12:00:00Z")

    assert len([one for one in desk.workflows.tasks(long) if one["activity"] == "m"]) == 12
    assert len([one for one in desk.workflows.tasks(short) if one["activity"] == "m"]) == 4


def test_no_activity_of_that_kind_any_more(desk: Any, graph: Any) -> None:
    """A plug-in that is gone pauses its workflows and stops nothing else."""
    id = desk.start(after_make(graph, "m>w w>k", {"w": ("wait", {"duration": "P1D"}), "k": "keep"}))
    del desk.activities["keep"]
    desk.advance("2017-10-31T00:00:00Z")

    assert desk.state(id) == ("paused", True)
    assert "there is no type 'keep'" in desk.said(id, "error")[0]
    with pytest.raises(BadGraph):
        desk.workflows.check(after_make(graph, "m>k", {"k": "keep"}))
