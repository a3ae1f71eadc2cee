"""What do the four workflows look like that export the logs?"""

from __future__ import annotations

import msgspec

from amity.campaign.exports.model import DEFAULT_ACCOUNT, DEFAULT_FOLDER
from amity.campaign.workflow.model import Arrow, ErrorHandling, Graph, Step


class ExportConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What differs from place to place."""

    name: str
    account: str = DEFAULT_ACCOUNT
    """The external account that the file goes to."""

    folder: str = DEFAULT_FOLDER
    every: str = "PT4H"
    """ISO 8601; less than four hours is refused when it runs."""

    immediately: bool = True
    """Export when the workflow is started, not only at its next slot."""


def export_graph(config: ExportConfig, kind: str) -> Graph:
    """Scheduler and export; an export that fails is tried again at the next slot."""
    return Graph(
        name=config.name,
        label=f"Export of {kind}",
        activities=(
            Step(
                name="schedule",
                type="scheduler",
                options={"every": config.every, "immediately": config.immediately},
            ),
            Step(
                name="export",
                type="log_export",
                options={"kind": kind, "account": config.account, "folder": config.folder},
            ),
        ),
        transitions=(Arrow(start="schedule", end="export"),),
        error_handling=ErrorHandling(mode="ignore"),
    )
