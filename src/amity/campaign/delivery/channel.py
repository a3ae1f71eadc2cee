"""What is a channel to the sender?

The port of the plug-ins in `channels/`. A channel hands messages over and tells, for each, what it
knows of its fate: the sender decides by that alone whether a message may be handed over again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from enum import Enum
from typing import NamedTuple, Protocol

from amity.campaign.delivery.message import Outgoing


class Fate(Enum):
    """What is known of a message that was to be handed over."""

    TAKEN = "taken"
    """The other side has answered that it will deliver it."""

    REFUSED = "refused"
    """The other side has answered that it will never take it."""

    DEFERRED = "deferred"
    """The other side has answered that it may take it later."""

    UNSENT = "unsent"
    """It was not begun, for a reason that has nothing to do with it: try again soon."""

    BROKEN = "broken"
    """The connection ended before all of it was sent: it was not taken, and may be the reason."""

    UNSURE = "unsure"
    """All of it was sent and no answer came: nobody can know."""


class Outcome(NamedTuple):
    """The fate of one message, and what the other side said."""

    id: int
    fate: Fate
    code: int = 0
    enhanced: str = ""
    text: str = ""


class Channel(Protocol):
    """Hands messages over."""

    name: str
    parallel: int
    """How many chunks it works on at a time."""

    def hand_over(self, messages: Sequence[Outgoing]) -> Future[list[Outcome]]:
        """Begin to hand a chunk over; the future holds one outcome for each message, never an error."""

    def close(self) -> None:
        """End what is under way and let go."""
