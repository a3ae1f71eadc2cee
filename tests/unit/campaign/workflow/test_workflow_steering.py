"""What the activities that steer do: test, and-join, signals, and time that is real."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from amity.campaign.workflow.activities import test as test_activity
from amity.campaign.workflow.activity import Done, Out, Task
from amity.campaign.workflow.engine import Engine
from amity.kernel.clock import RealBusinessClock, RealSystemClock
from amity.testing.workflow_world import Make, Simulated, _spec


def way(**variables: Any) -> str:
    """Which way a test takes for these variables: the first that holds, or `else`."""
    ways = [
        ("many", [("recCount", ">", 10)]),
        ("paris", [("city", "in", ["Paris", "Lyon"]), ("recCount", ">=", 1)]),
        ("late", [("time", "<", "12:00")]),
        ("none", [("recCount", "=", 0)]),
        ("unset", [("city", "isEmpty", None), ("instance.known", "isSet", None)]),
        ("other", [("city", "!=", "Rome"), ("city", "isSet", None)]),
    ]
    options = {
        "ways": [
            {
                "transition": name,
                "when": [{"var": var, "op": op, "value": value} for var, op, value in when],
            }
            for name, when in ways
        ],
        "default": "else",
    }
    config = msgspec.convert(options, test_activity.TestConfig)
    instance = {"known": variables.pop("known")} if "known" in variables else {}
    task = Task(
        workflow=1,
        id=1,
        activity="t",
        inputs={},
        vars=variables,
        instance_vars=instance,
        memory={},
        now_ms=0,
        attempt=1,
        work=None,  # type: ignore[arg-type]
        journal=lambda _level, _text: None,
        stopped=lambda: False,
    )
    (taken,) = test_activity.SPEC.make(config, None).run(task).outputs  # type: ignore[union-attr]
    return str(taken)


@pytest.mark.parametrize(
    ("variables", "taken"),
    [
        ({"recCount": 11}, "many"),
        ({"recCount": 10, "city": "Lyon"}, "paris"),
        ({"recCount": "11", "city": "Rome"}, "else"),
        ({"recCount": 0, "city": "Rome"}, "none"),
        ({"time": "08:30", "city": "Rome"}, "late"),
        ({"time": 8, "city": "Rome"}, "else"),
        ({"city": "", "known": 1}, "unset"),
        ({"city": "Lyon"}, "other"),
        ({}, "else"),
    ],
)
def test_the_first_way_that_holds(variables: dict[str, Any], taken: str) -> None:
    """Ways are asked in order; a number and a text have no order, and what is missing is empty."""
    assert way(**variables) == taken


def test_runs_never_meet_in_a_join(desk: Any, graph: Any) -> None:
    """A join waits for branches of one run: what came in another run is not one of them."""
    boxes = {
        "g": ("signal", {"repeat": True}),
        "f": "fork",
        "w": ("wait", {"duration": "P1D"}),
        "t": (
            "test",
            {
                "ways": [{"transition": "a", "when": [{"var": "to", "value": "a"}]}],
                "default": "b",
            },
        ),
        "j": "and_join",
        "e": "end",
    }
    id = desk.start(graph("g>f f.out1>w f.out2>t t.a>j t.b>j j>e", boxes))
    for to in ("a", "b"):
        desk.workflows.signal(id, "g", {"to": to})
    desk.settle()

    arrived = [one for one in desk.workflows.transitions(id) if one["to"] == "j"]
    assert [one["state"] for one in arrived] == ["arrived", "arrived"]
    assert "j.out" not in desk.counts(id)
    desk.advance("2017-11-01T00:00:00Z")
    lost = [one for one in desk.workflows.transitions(id) if one["to"] == "j"]
    assert [one["state"] for one in lost] == ["lost", "lost"]


def test_a_join_of_two_dimensions(desk: Any, graph: Any) -> None:
    """Populations of different schemas are not joined; the journal says which."""

    class MakeShops(Make):
        def run(self, task: Task) -> Done:
            made = super().run(task)
            table = made.outputs["out"].table
            assert table is not None
            other = msgspec.structs.replace(table, schema="sim:shop")
            return Done(outputs={"out": Out(table=other)}, came_in=made.came_in)

    desk.activities["shops"] = _spec("shops", MakeShops, inputs=(0, 1))
    boxes = {
        "s": "start",
        "f": "fork",
        "m": ("make", {"count": 2}),
        "n": ("shops", {"count": 3}),
        "j": "and_join",
    }
    id = desk.start(graph("s>f f.out1>m f.out2>n m>j n>j", boxes))

    assert desk.state(id) == ("paused", True)
    assert "cannot join populations of sim:shop and sim:thing" in desk.said(id, "error")[0]


def test_on_real_time_a_short_branch_overtakes(desk: Any, graph: Any) -> None:
    """A branch goes on to its end while another one still works."""
    let_go = threading.Event()

    class Long(Simulated):
        def run(self, task: Task) -> Done:
            let_go.wait(20)
            return Done(outputs={"out": Out(table=task.table)})

    desk.activities["long"] = _spec("long", Long)
    desk.engine.close()
    system = RealSystemClock()
    clock = RealBusinessClock(system)
    desk.engine = Engine(
        tables=desk.tables,
        work=desk.work,
        activities=desk.activities,
        means=None,  # type: ignore[arg-type]
        clock=clock,
        system=system,
    )
    boxes = {
        "s": "start",
        "m": ("make", {"count": 4}),
        "f": "fork",
        "l": "long",
        "k": ("keep", {"divisor": 2}),
        "p": "put",
        "w": ("wait", {"duration": "PT0.05S"}),
        "q": "put",
    }
    id = int(desk.workflows.create(graph("s>m m>f f.out1>l f.out2>k k>p p>w w>q", boxes))["id"])
    desk.workflows.command(id, "start")
    while len(desk.effects()) < 4:
        desk.engine.run_once(clock.now_ms())
        desk.engine.fire_due(clock.now_ms())
    assert not let_go.is_set()
    assert desk.state(id) == ("started", False)

    let_go.set()
    while desk.state(id)[0] == "started":
        desk.engine.run_once(clock.now_ms())
    assert desk.state(id) == ("finished", False)
    assert desk.effects() == [("p", 0), ("p", 2), ("q", 0), ("q", 2)]
    assert desk.work.names() == []
