"""End: where does a branch of a workflow stop?"""

from __future__ import annotations

import msgspec

from amity.campaign.workflow.activity import ActivitySpec, Done, Task
from amity.campaign.workflow.means import Means


class EndConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing to choose."""


class End:
    """Marks where branches end; optional. Other branches go on."""

    def __init__(self, config: EndConfig, means: Means) -> None: ...

    def run(self, task: Task) -> Done:  # noqa: ARG002
        """Nothing comes after."""
        return Done()


SPEC = ActivitySpec(
    name="end",
    label="End",
    summary="Where a branch ends; the others go on.",
    config=EndConfig,
    make=End,
    effect="transactional",
    inputs=(1, None),
    transitions=lambda _config: (),
    each=True,
)
