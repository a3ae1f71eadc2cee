"""Start: with what variables does a workflow begin?"""

from __future__ import annotations

from typing import Any

import msgspec

from amity.campaign.workflow.activity import ActivitySpec, Done, Out, Task
from amity.campaign.workflow.means import Means


class StartConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Variables that are set at the beginning."""

    vars: dict[str, Any] = {}
    instance_vars: dict[str, Any] = {}
    """Set where the workflow has none of that name yet: a restart keeps what it has."""


class Start:
    """Marks where a workflow begins; optional."""

    def __init__(self, config: StartConfig, means: Means) -> None:  # noqa: ARG002
        self._config = config

    def run(self, task: Task) -> Done:
        """Go on at once."""
        missing = {
            name: value
            for name, value in self._config.instance_vars.items()
            if name not in task.instance_vars
        }
        return Done(outputs={"out": Out(vars=self._config.vars)}, instance_vars=missing)


SPEC = ActivitySpec(
    name="start",
    label="Start",
    summary="Where a workflow begins, and with what variables.",
    config=StartConfig,
    make=Start,
    effect="transactional",
    inputs=(0, 0),
)
