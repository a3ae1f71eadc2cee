"""Who carries out the exports that somebody has asked for?

A host of the campaign's worker: what has begun is finished there, also what a crash interrupted.
"""

from __future__ import annotations

import structlog

from amity.campaign.exports.service import LogExports
from amity.kernel.clock import SystemClock
from amity.kernel.errors import Terminal, Transient

RETRY_S_MIN = 5.0
RETRY_S_MAX = 300.0
"""Between two tries when the place cannot be reached. Ours."""

LOG = structlog.get_logger()


class ExportHost:
    """Finishes the exports that have begun.

    Args:
        exports: The exports.
        system: Times the wait after a failure that passes.
    """

    name = "log_exports"

    def __init__(self, *, exports: LogExports, system: SystemClock) -> None:
        self._exports = exports
        self._system = system
        self._tries = 0
        self._not_before_s = 0.0

    def run_once(self, now_ms: int, limit: int = 1) -> int:  # noqa: ARG002 - the port's
        """Carry out what has begun, at most one of a kind; answers how many came to an end.

        A place that cannot be reached holds up no other.
        """
        if self._system.monotonic_s() < self._not_before_s:
            return 0
        ended, trouble = 0, None
        for export in self._exports.under_way():
            try:
                self._exports.carry_out(export.id)
            except Terminal as error:
                LOG.warning("a log export failed", kind=export.kind, error=str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on
                trouble = error
                continue
            ended += 1
        if trouble is None:
            self._tries, self._not_before_s = 0, 0.0
        else:
            self._back_off(trouble)
        return ended

    def fire_due(self, to_ms: int) -> int:  # noqa: ARG002 - it has no timers
        """Nothing: it has no timers."""
        return 0

    def next_due(self) -> int | None:
        """Never: it has no timers."""
        return None

    def lag(self) -> int:
        """Exports that are not done."""
        return len(self._exports.under_way())

    def positions(self) -> dict[str, dict[int, int]]:
        """It reads no topic."""
        return {}

    def _back_off(self, error: Exception) -> None:
        wait_s = min(RETRY_S_MIN * 2.0**self._tries, RETRY_S_MAX)
        if isinstance(error, Transient):
            wait_s = max(wait_s, error.retry_after_s)
        self._tries += 1
        self._not_before_s = self._system.monotonic_s() + wait_s
        LOG.warning("a log export waits to try again", error=str(error))
