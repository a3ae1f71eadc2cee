"""Log export: how do the logs of deliveries get to the platform?

The file comes from the exports, which keep the cursor and the four-hour rule; the window, the names
and the rule are the same whoever starts the workflow.
"""

from __future__ import annotations

from typing import Any

import msgspec

from amity.campaign.exports.model import DEFAULT_ACCOUNT, DEFAULT_FOLDER, Order, log_kind
from amity.campaign.workflow.activity import ActivitySpec, Done, Later, Out, Task
from amity.campaign.workflow.means import Means
from amity.kernel.clock import MINUTE_MS, to_iso

EARLY_MS_MAX = 5 * MINUTE_MS
"""A run that comes so little too soon waits: a schedule of four hours is never exact. Ours."""


class LogExportConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which log, and where its file goes."""

    kind: str
    """``broadLog``, ``trackingLog``, ``nonDeliverable`` or ``preferences``."""

    account: str = DEFAULT_ACCOUNT
    """An external account; ``exchange`` is this installation's own folder."""

    folder: str = DEFAULT_FOLDER


class LogExportActivity:
    """Publishes one export; one that comes too soon is refused with the next allowed time."""

    def __init__(self, config: LogExportConfig, means: Means) -> None:
        self._config = config
        self._kind = log_kind(config.kind)
        self._exports = means.exports

    def run(self, task: Task) -> Done | Later:
        """Begin the export and carry it out; run again after a crash, finish the same one."""
        order = Order(
            kind=self._kind,
            key=f"workflow {task.workflow} task {task.id}",
            by=f"workflow {task.workflow}",
            account=self._config.account,
            folder=self._config.folder.strip("/"),
        )
        wait_ms = self._exports.wait_ms(self._kind)
        if 0 < wait_ms <= EARLY_MS_MAX:
            at_ms = task.now_ms + wait_ms
            return Later(at_ms=at_ms, why=f"exports lie 4 h apart: waits until {to_iso(at_ms)}")
        export = self._exports.run(order)
        task.journal("info", f"exported {export.rows} rows of {self._kind} to {export.manifest}")
        told: dict[str, Any] = {"manifest": export.manifest, "rows": export.rows}
        return Done(outputs={"out": Out(vars=told)}, label=f"{export.rows} rows")


SPEC = ActivitySpec(
    name="log_export",
    label="Log export",
    summary="Publishes a log for the platform, at most every four hours.",
    config=LogExportConfig,
    make=LogExportActivity,
    effect="named",
    inputs=(0, 1),
)
