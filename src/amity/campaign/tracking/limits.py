"""How often may one link be followed before nobody believes it any more?

A link is public: whoever holds one could fill the log with it. Beyond the limit it still leads where
it should, but is not recorded.
"""

from __future__ import annotations

from collections import Counter

from amity.kernel.clock import HOUR_MS

HITS_PER_HOUR_MAX = 60
"""Recorded hits of one link. Ours: a forwarded mail is opened by a few, a flood by a program."""

LINKS_MAX = 200_000
"""Links counted at a time. Ours: some 20 MB."""


class Flood:
    """Counts the hits of links within an hour of business time."""

    def __init__(self, *, per_hour: int = HITS_PER_HOUR_MAX, links: int = LINKS_MAX) -> None:
        self._per_hour = per_hour
        self._links = links
        self._hour = -1
        self._seen: Counter[tuple[str, int, int]] = Counter()

    def take(self, link: tuple[str, int, int], now_ms: int) -> bool:
        """Whether a hit of this link is still to be recorded."""
        hour = now_ms // HOUR_MS
        if hour != self._hour or len(self._seen) >= self._links:
            self._hour = hour
            self._seen.clear()
        self._seen[link] += 1
        return self._seen[link] <= self._per_hour
