"""Which rules of the exchange are never broken, and when may one try again?

Each is a number, its source and a function that refuses with the reason.
"""

from __future__ import annotations

from collections.abc import Collection

from amity.exchange.errors import CreatesRecipient, ExportTooSoon, TooManyOrgUnits
from amity.kernel.clock import to_iso

EXPORT_INTERVAL_MS_MIN = 4 * 3_600_000
"""Log exports of one kind lie at least this far apart. Behaviour: platform-activation.md §8."""

ORG_UNITS_MAX = 1
"""Organisational units one exchange serves. Behaviour: platform-activation.md §8."""

SEGMENT_CREATES_RECIPIENT = False
"""The campaign side is the truth about who may be written to. Behaviour: platform-activation.md §8."""

ROWS_PER_FILE_MAX = 5_000_000
"""A file set is split here. Behaviour: platform-activation.md §4.5."""

FILE_NAME_BYTES_MAX = 255
"""Behaviour: platform-activation.md §4.5."""

DESTINATION_AUDIENCES_MAX = 250
"""Audiences mapped to one destination. Behaviour: platform-activation.md §4.9."""

MAPPED_ATTRIBUTES_MAX = 50
"""Attributes mapped to one destination. Behaviour: platform-activation.md §4.9."""


def check_export_interval(kind: str, wait_ms: int, now_ms: int) -> None:
    """Refuse a log export that comes too soon after the last one of its kind.

    Args:
        kind: Of log.
        wait_ms: What is left of the interval, by every clock that its keeper trusts; 0: nothing.
        now_ms: Business time.
    """
    if wait_ms > 0:
        next_ms = now_ms + wait_ms
        raise ExportTooSoon(
            f"{kind} was exported less than 4 h ago; exports lie 4 h apart, the next is "
            f"allowed at {to_iso(next_ms)}",
            next_allowed_ms=next_ms,
            next_allowed=to_iso(next_ms),
        )


def check_org_units(units: Collection[str]) -> None:
    """Refuse an exchange for more than one organisational unit."""
    known = sorted(set(units))
    if len(known) > ORG_UNITS_MAX:
        raise TooManyOrgUnits(
            f"the exchange serves {ORG_UNITS_MAX} organisational unit, not {len(known)}: "
            f"{', '.join(known[:5])}; set up an installation for each",
            units=known,
        )


def check_creates_no_recipient(file: str, unmatched: int) -> None:
    """Refuse an import of a segment file that would insert those it cannot match."""
    if unmatched and not SEGMENT_CREATES_RECIPIENT:
        raise CreatesRecipient(
            f"{file} names {unmatched} people who are no recipients; a segment file never creates "
            "one: send them to the rejects",
            unmatched=unmatched,
        )
