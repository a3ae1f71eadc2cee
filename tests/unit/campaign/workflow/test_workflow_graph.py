"""What a graph cannot be is told when it is saved, with the activity and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from amity.campaign.workflow.errors import BadGraph

CASES = [
    ("", {"a": "nonsense"}, "there is no type 'nonsense'; known: and_join"),
    ("", {"a": ("wait", {"tomorrow": 1})}, "tomorrow"),
    ("", {}, "has no activities"),
    ("a>b", {"a": "start"}, "there is no activity 'b'"),
    ("a.left>b", {"a": "start", "b": "end"}, "has no output 'left'; it has out"),
    ("a>b a>c", {"a": "start", "b": "end", "c": "end"}, "put a fork between"),
    ("", {"a": "keep"}, "takes 1 inbound transitions, not 0"),
    (
        "a>b b.out1>c b.out2>c",
        {"a": "start", "b": "fork", "c": "keep"},
        "takes 1 inbound transitions, not 2",
    ),
    ("a>a", {"a": ("wait", {"duration": "P1D"})}, "nothing would start"),
    (
        "s>t t.again>u t.stop>e u>t",
        {
            "s": "start",
            "t": ("test", {"ways": [{"transition": "again", "when": []}], "default": "stop"}),
            "u": "flaky",
            "e": "end",
        },
        "would never rest: put a wait into it",
    ),
    (
        "s>j j>w w>j",
        {"s": "start", "j": "and_join", "w": ("wait", {"duration": "P1D"})},
        "waits for all that lead to it",
    ),
    (
        "s>j c>j",
        {"s": "start", "c": ("scheduler", {"every": "P1D"}), "j": "and_join"},
        "never meet in one run",
    ),
    ("", {"c": ("scheduler", {"cron": "every day"})}, "is no cron expression"),
    ("", {"c": ("scheduler", {"cron": "0 6 * * *", "every": "P1D"})}, "needs one of cron"),
    ("", {"c": ("scheduler", {"cron": "0 6 * * *", "timeZone": "Paris"})}, "is no time zone"),
    ("s>w", {"s": "start", "w": "wait"}, "needs either duration"),
]


@pytest.mark.parametrize(("arrows", "boxes", "told"), CASES)
def test_what_a_graph_cannot_be(
    desk: Any, graph: Any, arrows: str, boxes: dict[str, Any], told: str
) -> None:
    """Each mistake is refused in words that name it."""
    with pytest.raises(BadGraph) as refused:
        desk.workflows.create(graph(arrows, boxes))

    assert told in refused.value.message
    assert desk.workflows.find() == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"name": "no/name"}, "is no name"),
        ({"time_zone": "Mars/Olympus"}, "is no time zone"),
        ({"time_zone": "Europe"}, "is no time zone"),
        ({"time_zone": "../../etc/passwd"}, "is no time zone"),
        ({"history_days": -1}, "0 or more"),
    ],
)
def test_what_a_workflow_cannot_be(desk: Any, graph: Any, more: dict[str, Any], told: str) -> None:
    """Fields beside the graph are held to their form too."""
    with pytest.raises(BadGraph, match=told):
        desk.workflows.create(graph("", {"s": "start"}, **more))


def test_a_loop_with_a_wait_runs(desk: Any, graph: Any) -> None:
    """A loop that rests goes round until its test says otherwise."""
    boxes = {
        "s": "start",
        "w": ("wait", {"duration": "PT1H"}),
        "t": (
            "test",
            {
                "ways": [
                    {
                        "transition": "enough",
                        "when": [{"var": "instance.stop", "op": "isSet"}],
                    }
                ],
                "default": "again",
            },
        ),
        "e": "end",
    }
    id = desk.start(graph("s>w w>t t.again>w t.enough>e", boxes))
    desk.advance("2017-10-30T05:30:00Z")

    ways = [one["output"] for one in desk.workflows.transitions(id) if one["from"] == "t"]
    assert ways == ["again"] * 5
    assert desk.state(id) == ("started", False)
