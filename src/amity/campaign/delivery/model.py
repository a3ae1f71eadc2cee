"""Which states does a delivery go through, and which a message of it?

Numbers are those of the followed system. Behaviour: campaign.md §1.7, §1.9, §1.10.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from amity.campaign.recipients.builtin import (
    DELIVERY_STATE,
    FAILURE_REASON,
    FAILURE_TYPE,
    LOG_STATUS,
)
from amity.campaign.recipients.enumerations import number_of
from amity.kernel.clock import DAY_MS, HOUR_MS

EDITION: Final = number_of(DELIVERY_STATE, "edition")
READY: Final = number_of(DELIVERY_STATE, "ready")
START_PENDING: Final = number_of(DELIVERY_STATE, "start_pending")
STARTED: Final = number_of(DELIVERY_STATE, "started")
RETRY_PENDING: Final = number_of(DELIVERY_STATE, "retry_pending")
PAUSED: Final = number_of(DELIVERY_STATE, "paused")
STOPPED: Final = number_of(DELIVERY_STATE, "stopped")
FINISHED: Final = number_of(DELIVERY_STATE, "finished")

UNDER_WAY: Final = (START_PENDING, STARTED, RETRY_PENDING)
"""States in which the sender looks at a delivery."""

IGNORED: Final = number_of(LOG_STATUS, "ignored")
SENT: Final = number_of(LOG_STATUS, "sent")
FAILED: Final = number_of(LOG_STATUS, "failed")
SENDING: Final = number_of(LOG_STATUS, "sending")
PENDING: Final = number_of(LOG_STATUS, "pending")
CANCELLED: Final = number_of(LOG_STATUS, "cancelled")
UNKNOWN: Final = number_of(LOG_STATUS, "unknown")

NEVER_LEFT: Final = (IGNORED, PENDING, CANCELLED)
"""Statuses of messages that nobody has."""

TYPE_SOFT: Final = number_of(FAILURE_TYPE, "soft")
TYPE_IGNORED: Final = number_of(FAILURE_TYPE, "ignored")

UNREACHABLE: Final = number_of(FAILURE_REASON, "unreachable")
NOT_SPECIFIED: Final = number_of(FAILURE_REASON, "addressNotSpecified")
DENYLISTED: Final = number_of(FAILURE_REASON, "denylisted")
QUARANTINED: Final = number_of(FAILURE_REASON, "quarantine")
DUPLICATE: Final = number_of(FAILURE_REASON, "duplicate")
BAD_QUALITY: Final = number_of(FAILURE_REASON, "badQuality")
LIMITED: Final = number_of(FAILURE_REASON, "limited")
CONTROL: Final = number_of(FAILURE_REASON, "control")

CHUNK_MESSAGES: Final = 50
"""Messages claimed in one commit: with the number of workers, the bound of unknown outcomes. Ours."""

VALIDITY_MS: Final = 5 * DAY_MS
"""How long a message is tried where the delivery does not say. Behaviour: campaign.md §1.7."""

RETRIES_MS: Final = tuple(hours * HOUR_MS for hours in (1, 2, 4, 7, 10))
"""Waits before the first five retries, an hour or more and a day in all; then once a day.
Behaviour: campaign.md §1.7."""

PROOF_RECIPIENTS_MAX: Final = 100
"""Behaviour: campaign.md §1.7."""


class Excluded(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that will not be sent, and why."""

    reason: str
    code: int
    count: int


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What the analysis has to say of the content."""

    level: str
    """``warning`` or ``error``: an error stops the analysis."""

    rule: str
    text: str


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the analysis found: `target` = `to_deliver` + all that is excluded."""

    analysed: str
    target: int
    to_deliver: int
    seeds: int = 0
    excluded: tuple[Excluded, ...] = ()
    checks: tuple[Check, ...] = ()


class Targeting(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """How the target becomes messages."""

    keep_duplicates: bool = False
    """Write to an address as often as it has recipients."""

    limit: Annotated[int, msgspec.Meta(ge=0)] = 0
    """At most so many messages, chosen at random; 0 for no limit."""

    control_percent: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0
    """So many of a hundred are left out at random, to be compared with."""

    seeds: bool = True
    """Write to the seed addresses, too."""


def retry_ms(tries: int) -> int:
    """How long to wait after so many tries.

    >>> [retry_ms(tries) // HOUR_MS for tries in (1, 5, 6, 20)]
    [1, 10, 24, 24]
    """
    return RETRIES_MS[tries - 1] if tries <= len(RETRIES_MS) else DAY_MS


def report_of(source: str) -> Report:
    """A report in its stored form."""
    return msgspec.json.decode(source, type=Report)
