"""How does an opt-out reach the platform at once?

The campaign side says each change of who may be written to on a topic of the log; the four-hour
rule is for logs, an opt-out does not wait (docs/adr/0019-log-exports-and-the-campaign-source.md).
An entry carries the number of the change as its origin's sequence: said twice, it is heard once.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from amity.kernel.errors import Corrupt
from amity.storage.ports import Entry

PREFERENCES_TOPIC = "exchange.preferences"
"""`PreferenceChanged`, keyed by scope and recipient: the changes of one person keep their order."""

PREFERENCES_ORIGIN = "campaign.opt_outs"

PreferenceChannel = Literal["all", "email", "sms", "phone", "paper", "mobile"]


class PreferenceChanged(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Somebody no longer wants to be written to on a channel, or does so again. Version 1."""

    version: Literal[1] = 1
    scope: str
    number: int
    """Of the change: they rise."""

    recipient_id: int
    external_id: str = ""
    email: str = ""
    channel: PreferenceChannel
    allowed: bool
    at_ms: int


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(PreferenceChanged)


def entry_of(changed: PreferenceChanged) -> Entry:
    """The change as a log entry."""
    return Entry(
        PREFERENCES_TOPIC,
        f"{changed.scope}/{changed.recipient_id}".encode(),
        _ENCODER.encode(changed),
        PREFERENCES_ORIGIN,
        changed.number,
    )


def change_of(body: bytes) -> PreferenceChanged:
    """The change that a log record's body tells."""
    try:
        return _DECODER.decode(body)
    except msgspec.DecodeError as wrong:
        raise Corrupt(f"no change of a preference: {wrong}") from None
