"""What is a workflow?

A graph as people write it (JSON in camelCase) and what the engine knows of a graph it may run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

ErrorMode = Literal["stop", "ignore", "abort"]
OnError = Literal["", "stop", "ignore", "transition"]

ERROR_OUTPUT = "error"
"""The outbound transition of an activity whose `onError` is ``transition``."""

EDITED, STARTED, PAUSED, FINISHED = 0, 11, 13, 20
"""States of a workflow. Source: campaign.md §1.6."""

STATE_LABELS = {EDITED: "edited", STARTED: "started", PAUSED: "paused", FINISHED: "finished"}


class Step(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An activity of a graph: a box."""

    name: str
    type: str
    label: str = ""
    options: dict[str, Any] = {}
    on_error: OnError = ""
    """"" leaves it to the workflow's `errorHandling`."""

    position: tuple[float, float] | None = None
    """Where the picture shows it."""


class Arrow(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"start": "from", "end": "to"},
    forbid_unknown_fields=True,
):
    """A transition of a graph: from an output of one activity to another activity."""

    start: str
    end: str
    output: str = "out"


class ErrorHandling(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What an error does to the workflow, unless the activity says otherwise.

    `stop` pauses it with the failed flag; `ignore` goes on, until `consecutive` errors came in a
    row (0: for ever); `abort` ends it.
    """

    mode: ErrorMode = "stop"
    consecutive: int = 0


class Graph(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A workflow as it is written."""

    name: str
    label: str = ""
    activities: tuple[Step, ...] = ()
    transitions: tuple[Arrow, ...] = ()
    time_zone: str = "UTC"
    history_days: int = 30
    """How long tasks, transitions and journal are kept; 0: for ever."""

    error_handling: ErrorHandling = ErrorHandling()
    keep_results: bool = False
    """Keep the work tables of the last run: for development."""

    def step(self, name: str) -> Step:
        """The activity of that name."""
        return next(step for step in self.activities if step.name == name)

    def into(self, name: str) -> list[Arrow]:
        """Its inbound transitions, in the order in which they are written."""
        return [arrow for arrow in self.transitions if arrow.end == name]

    def out_of(self, name: str) -> list[Arrow]:
        """Its outbound transitions, in the order in which they are written."""
        return [arrow for arrow in self.transitions if arrow.start == name]

    def initial(self) -> list[Step]:
        """The activities that start with the workflow."""
        inward = {arrow.end for arrow in self.transitions}
        return [step for step in self.activities if step.name not in inward]


def input_names(arrows: Sequence[Arrow]) -> Mapping[Arrow, str]:
    """What each inbound transition is called: its activity, with the output where two would clash."""
    starts = [arrow.start for arrow in arrows]
    return {
        arrow: arrow.start if starts.count(arrow.start) == 1 else f"{arrow.start}.{arrow.output}"
        for arrow in arrows
    }
