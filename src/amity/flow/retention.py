"""When may the log forget a record?

When every reader of its topic has committed what it made of it: state, lake and files hold it then.
A topic that nobody here reads is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from amity.storage.ports import Log

Positions = Mapping[int, int]


class Hosted(Protocol):
    """A runner or a sink runner."""

    def positions(self) -> Mapping[str, Positions]:
        """Topic → partition → the offset it reads next; all before is durably done."""


class Retention:
    """Trims the log.

    Args:
        log: What is trimmed.
        hosts: All who read it.
    """

    def __init__(self, log: Log, hosts: Sequence[Hosted]) -> None:
        self._log = log
        self._hosts = hosts
        self._trimmed: dict[str, Positions] = {}

    def trim(self) -> None:
        """Forget what all are past; costs nothing where nobody has moved."""
        for topic, positions in _passed(self._hosts).items():
            if positions and positions != self._trimmed.get(topic):
                self._log.trim(topic, positions)
                self._trimmed[topic] = positions


def _passed(hosts: Sequence[Hosted]) -> dict[str, Positions]:
    """Where the slowest reader of each partition stands; a partition that one has not begun is out."""
    passed: dict[str, Positions] = {}
    for host in hosts:
        for topic, positions in host.positions().items():
            known = passed.get(topic, positions)
            passed[topic] = {
                partition: min(offset, known[partition])
                for partition, offset in positions.items()
                if partition in known
            }
    return passed
