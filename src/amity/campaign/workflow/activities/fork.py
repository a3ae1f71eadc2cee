"""Fork: how do several branches go on from one population?

Each branch gets the whole population; they run at the same time, unlike in the followed product.
"""

from __future__ import annotations

import msgspec

from amity.campaign.workflow.activity import ActivitySpec, Done, Out, Task
from amity.campaign.workflow.means import Means


class ForkConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The branches, by name."""

    transitions: tuple[str, ...] = ("out1", "out2")


class Fork:
    """Starts its branches together."""

    def __init__(self, config: ForkConfig, means: Means) -> None:  # noqa: ARG002
        self._names = config.transitions

    def run(self, task: Task) -> Done:
        """Hand the same work table, which never changes, to every branch."""
        table = task.population
        return Done(
            outputs={name: Out(table=table) for name in self._names},
            came_in=table.count * len(self._names) if table else None,
        )


SPEC = ActivitySpec(
    name="fork",
    label="Fork",
    summary="Lets several branches go on at the same time.",
    config=ForkConfig,
    make=Fork,
    effect="transactional",
    inputs=(0, 1),
    transitions=lambda config: config.transitions,
)
