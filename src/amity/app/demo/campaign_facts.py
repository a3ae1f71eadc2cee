"""What has become of the campaign? Asked of both sides, and read in files and mailboxes.

The log files are read back with DuckDB, not with our reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from amity.app.demo.campaign import CampaignPart, Sent
from amity.app.demo.campaign_graphs import LIST

LOG_FOLDER = "campaign-logs"
KINDS = ("broadLog", "trackingLog", "nonDeliverable")
PAGE = 1_000

_STATES: Mapping[str, str] = {
    "broadLog": "SELECT DISTINCT id, status, failureType, failureReason",
    "trackingLog": "SELECT DISTINCT hit",
    "nonDeliverable": "SELECT DISTINCT id, status, failureReason, errorCount, lastError",
}
"""What makes two rows of a log the same event. Behaviour: campaign.md §2 (ship each new state)."""

_READ = "FROM read_csv(?, header = true, all_varchar = true, union_by_name = true)"


class Facts:
    """Looks things up; changes nothing.

    Args:
        part: The campaign as it was run.
        exports: The folder that both sides exchange files in.
    """

    def __init__(self, part: CampaignPart, exports: Path) -> None:
        self._part = part
        self._side = part.campaign
        self._exports = exports

    def recipients(self, **filters: str) -> int:
        """Recipients for whom this holds."""
        return int(self._side.get("recipients", limit=1, **filters)["total"])

    def members(self) -> int:
        """Who is on the campaign's list."""
        return int(self._side.get(f"lists/{LIST}/members", limit=1)["total"])

    def bad_addresses(self, status: str) -> int:
        """Addresses in quarantine or on the denylist."""
        return int(self._side.get("quarantine", limit=1, status=status)["total"])

    def delivery(self, sent: Sent) -> dict[str, Any]:
        """The delivery that a workflow made."""
        (found,) = (
            one
            for one in self._side.every("deliveries", "deliveries")
            if one["workflowId"] == sent.workflow
        )
        return found

    def logs(self, sent: Sent) -> list[dict[str, Any]]:
        """The delivery logs of its messages."""
        id = self.delivery(sent)["id"]
        return list(self._side.every(f"deliveries/{id}/logs", "logs"))

    def indicators(self, sent: Sent) -> dict[str, Any]:
        """Its indicators."""
        found: dict[str, Any] = self._side.get(f"deliveries/{self.delivery(sent)['id']}/indicators")
        return found

    def people_with(self, sent: Sent, kind: str) -> int:
        """Recipients who have a hit of a kind."""
        hits = self._rows("trackingLogs", deliveryId=self.delivery(sent)["id"], type=kind)
        return len({hit["recipientId"] for hit in hits})

    def states_shipped(self, kind: str) -> int:
        """Distinct states in the files of one log."""
        files = sorted(map(str, (self._exports / LOG_FOLDER).glob(f"{kind}_*.csv")))
        if not files:
            return 0
        query = f"SELECT count(*) FROM ({_STATES[kind]} {_READ})"  # noqa: S608 - constants
        count: int = duckdb.connect().execute(query, [files]).fetchall()[0][0]
        return count

    def _rows(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        start: int | None = 0
        while start is not None:
            page = self._side.get(path, start=start, limit=PAGE, **params)
            yield from page["items"]
            start = page["_page"].get("next")
