"""What becomes of recipients and addresses by time alone?

Subscriptions end, addresses with errors and full mailboxes are valid again. A host with timers.
"""

from __future__ import annotations

from collections.abc import Mapping

from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.subscriptions import Services
from amity.storage.ports import Tables


class Upkeep:
    """Does what has come due; looks at the database only after someone has written to it."""

    name = "recipients.upkeep"

    def __init__(self, *, tables: Tables, quarantine: Quarantine, services: Services) -> None:
        self._tables = tables
        self._quarantine = quarantine
        self._services = services
        self._seen: int | None = None
        self._due: int | None = None

    def run_once(self, now_ms: int, limit: int = 0, /) -> int:
        """Nothing comes in here: all it does is due at a time."""
        del now_ms, limit
        return 0

    def fire_due(self, to_ms: int) -> int:
        """Do what is due; answers how many records it changed."""
        due = self.next_due()
        if due is None or due > to_ms:
            return 0
        with self._tables.begin() as connection:
            return self._quarantine.clean(connection, now_ms=to_ms) + self._services.expire(
                connection, to_ms
            )

    def next_due(self) -> int | None:
        """When something is due next."""
        version = self._tables.version()
        if version != self._seen:
            with self._tables.connect() as connection:
                ends = (
                    self._quarantine.next_clean(connection),
                    self._services.next_expiration(connection),
                )
            self._due = min((one for one in ends if one is not None), default=None)
            self._seen = version
        return self._due

    def lag(self) -> int:
        """Nothing waits."""
        return 0

    def positions(self) -> Mapping[str, Mapping[int, int]]:
        """It reads no topic."""
        return {}
