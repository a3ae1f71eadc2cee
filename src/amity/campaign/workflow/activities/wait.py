"""Wait: how long does a branch rest?"""

from __future__ import annotations

import msgspec

from amity.campaign.workflow.activity import ActivitySpec, Done, Later, Out, Task
from amity.campaign.workflow.errors import BadOptions
from amity.campaign.workflow.means import Means
from amity.kernel.clock import duration_ms, from_iso, to_iso


class WaitConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the two."""

    duration: str = ""
    """ISO 8601, e.g. ``P3D`` or ``PT2H``."""

    until: str = ""
    """RFC 3339; a time that has passed does not wait."""


class Wait:
    """Holds nothing while it waits: a wait of weeks is a row with a time."""

    def __init__(self, config: WaitConfig, means: Means) -> None:  # noqa: ARG002
        if bool(config.duration) == bool(config.until):
            raise BadOptions("a wait needs either duration (P3D) or until (2017-11-02T08:00:00Z)")
        self._duration_ms = duration_ms(config.duration) if config.duration else 0
        self._until_ms = from_iso(config.until) if config.until else 0

    def run(self, task: Task) -> Done | Later:
        """Go on when the time has come."""
        at_ms = self._until_ms or task.since_ms + self._duration_ms
        if task.now_ms < at_ms:
            return Later(at_ms=at_ms, why=f"waits until {to_iso(at_ms)}")
        return Done(outputs={"out": Out(table=task.population)})


SPEC = ActivitySpec(
    name="wait",
    label="Wait",
    summary="Goes on after a time, or at a time.",
    config=WaitConfig,
    make=Wait,
    effect="transactional",
    inputs=(1, None),
    each=True,
    pauses=True,
)
