"""External signal: what does somebody outside tell the workflow?

Alone at the start of a graph it starts a run for every signal when it `repeat`s. Within a branch it
holds the branch until a signal comes, or until it expires.
"""

from __future__ import annotations

import msgspec

from amity.campaign.workflow.activity import SIGNALLED, ActivitySpec, Again, Done, Later, Out, Task
from amity.campaign.workflow.errors import BadOptions
from amity.campaign.workflow.means import Means
from amity.kernel.clock import duration_ms, to_iso


class SignalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is waited for, and how long."""

    repeat: bool = False
    """Start a run for each signal instead of going on once."""

    expires: str = ""
    """ISO 8601 duration after which the transition `expired` is taken; "" never."""


class Signal:
    """Takes the variables of a signal along."""

    def __init__(self, config: SignalConfig, means: Means) -> None:  # noqa: ARG002
        if config.repeat and config.expires:
            raise BadOptions("a signal that repeats never expires: leave one of the two out")
        self._repeat = config.repeat
        self._expires_ms = duration_ms(config.expires) if config.expires else 0

    def run(self, task: Task) -> Done | Again | Later:
        """Go on with the oldest signal."""
        if task.signal is not None:
            outputs = {"out": Out(table=task.population, vars=dict(task.signal))}
            return (
                Again(at_ms=SIGNALLED, outputs=outputs) if self._repeat else Done(outputs=outputs)
            )
        if not self._expires_ms:
            return Later(at_ms=SIGNALLED, why="waits for a signal")
        at_ms = task.since_ms + self._expires_ms
        if task.now_ms < at_ms:
            return Later(at_ms=at_ms, why=f"waits for a signal until {to_iso(at_ms)}")
        return Done(outputs={"expired": Out(table=task.population)}, label="Expired")


SPEC = ActivitySpec(
    name="signal",
    label="External signal",
    summary="Goes on when somebody outside says so.",
    config=SignalConfig,
    make=Signal,
    effect="transactional",
    inputs=(0, 1),
    transitions=lambda config: ("out", "expired") if config.expires else ("out",),
    pauses=True,
)
