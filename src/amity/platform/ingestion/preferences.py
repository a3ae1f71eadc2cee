"""How does an opt-out come into the profile at once?

A sink on what the campaign side says of preferences: each change becomes a record of the ready-made
dataset, which no four-hour rule holds up. It counts from its receipt, so a file that was exported
before and is read after it does not take it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from amity.exchange.preferences import (
    PREFERENCES_TOPIC,
    PreferenceChanged,
    PreferenceChannel,
    change_of,
)
from amity.kernel.clock import to_iso
from amity.kernel.scope import Scope
from amity.platform.ingestion.campaign_records import Naming
from amity.platform.ingestion.reception import Reception
from amity.storage.ports import Entry, LogRecord

SOURCE = "campaign:preferences"

_CHANNELS: Mapping[PreferenceChannel, str] = {
    "all": "any",
    "email": "email",
    "sms": "sms",
    "phone": "call",
    "paper": "postalMail",
    "mobile": "push",
}


class Place(Protocol):
    """Where preferences go in a scope, and how people are called there."""

    def preferences(self, scope: Scope) -> tuple[str, Naming]:
        """The dataset's id, and the naming."""


class PreferencesSink:
    """Makes a record of each change.

    Args:
        place: Knows the dataset.
        reception: Judges records.
        append: Puts entries on the log, durable on return.
    """

    name = "campaign_preferences"
    consumes = (PREFERENCES_TOPIC,)

    def __init__(
        self,
        *,
        place: Place,
        reception: Reception,
        append: Callable[[Sequence[Entry]], object],
    ) -> None:
        self._place = place
        self._reception = reception
        self._append = append

    def handle(self, records: Sequence[LogRecord], now_ms: int) -> None:
        """Take the changes in, in their order."""
        entries: list[Entry] = []
        for record in records:
            changed = change_of(record.body)
            scope = Scope.parse(changed.scope)
            dataset, naming = self._place.preferences(scope)
            body = preference_record(changed, naming)
            verdict = self._reception.record(scope, SOURCE, dataset, body)
            entries += self._reception.entries([verdict], now_ms, f"change {changed.number}")
        if entries:
            self._append(entries)


def preference_record(changed: PreferenceChanged, naming: Naming) -> dict[str, Any]:
    """The record that a change becomes.

    >>> preference_record(
    ...     PreferenceChanged(
    ...         scope="A/prod",
    ...         number=1,
    ...         recipient_id=7,
    ...         email="a@b",
    ...         channel="email",
    ...         allowed=False,
    ...         at_ms=0,
    ...     ),
    ...     Naming("", "Email", "shop"),
    ... )["consents"]
    {'marketing': {'email': {'val': 'n', 'time': '1970-01-01T00:00:00.000Z'}}}
    """
    choice = {"val": "y" if changed.allowed else "n", "time": to_iso(changed.at_ms)}
    return {
        **naming.identity_map(changed.external_id, changed.email),
        "consents": {"marketing": {_CHANNELS[changed.channel]: choice}},
    }
