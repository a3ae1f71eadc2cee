"""AND-join: when have all branches come?

One population goes on, the main one; unset, the followed product takes any, we take the first in
the order in which the transitions are written.
"""

from __future__ import annotations

import msgspec

from amity.campaign.workflow.activity import ActivitySpec, Done, Exclusion, Out, Task
from amity.campaign.workflow.errors import WrongInputs
from amity.campaign.workflow.means import Means


class AndJoinConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which inbound population goes on."""

    main: str = ""
    """Name of an inbound transition's activity, as in `Task.inputs`."""


class AndJoin:
    """Waits for all its inbound transitions; their variables are merged, the main one's last."""

    def __init__(self, config: AndJoinConfig, means: Means) -> None:  # noqa: ARG002
        self._main = config.main

    def run(self, task: Task) -> Done:
        """Pass the main population on."""
        if not task.inputs:
            return Done(outputs={"out": Out()})
        schemas = sorted({table.schema for table in task.inputs.values()} - {""})
        if len(schemas) > 1:
            raise WrongInputs(
                f"activity {task.activity!r} cannot join populations of {' and '.join(schemas)}: "
                "bring them to one targeting dimension before"
            )
        main = self._main or next(iter(task.inputs))
        table = task.inputs.get(main)
        if table is None:
            raise WrongInputs(
                f"activity {task.activity!r} has no population from {main!r}; "
                f"there are {', '.join(task.inputs)}"
            )
        others = sum(other.count for name, other in task.inputs.items() if name != main)
        excluded = [Exclusion(reason="not of the main population", count=others)] if others else []
        return Done(outputs={"out": Out(table=table)}, excluded=excluded)


SPEC = ActivitySpec(
    name="and_join",
    label="AND-join",
    summary="Goes on once all inbound branches have come.",
    config=AndJoinConfig,
    make=AndJoin,
    effect="transactional",
    inputs=(1, None),
)
