"""What time is it, for business and for the machine?

Two clocks, never mixed (docs/adr/0004-two-clocks.md). The business clock decides windows, schedules,
receipt stamps and what "in the past" means; it may be virtual. The system clock serves TLS, tokens,
leases and time-outs; it is never virtual. Both speak integer milliseconds since the epoch, UTC.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

import re2

from amity.kernel.errors import Invalid

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999: no later one can be written as RFC 3339."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re2.compile(
    r"^P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d{1,3})?)S)?)?$"
)


class BusinessClock(Protocol):
    """Tells business time; never goes back."""

    def now_ms(self) -> int: ...


class SystemClock(Protocol):
    """Tells machine time; `monotonic_s` is for durations only."""

    def now_ms(self) -> int: ...

    def monotonic_s(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class RealSystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class RealBusinessClock:
    """`max(last, now)`: a machine clock set back never takes business time back."""

    def __init__(self, system: SystemClock, last_ms: int = 0) -> None:
        self._system = system
        self._last = last_ms

    def now_ms(self) -> int:
        self._last = max(self._last, self._system.now_ms())
        return self._last


class VirtualBusinessClock:
    """Stands still until `advance_to`; refuses to go back."""

    def __init__(self, start_ms: int) -> None:
        self._now = start_ms

    def now_ms(self) -> int:
        return self._now

    def check(self, to_ms: int) -> None:
        """Raise `Invalid` for a time that lies before now."""
        if to_ms < self._now:
            raise Invalid(
                f"the business clock stands at {to_iso(self._now)} and never goes back; "
                f"{to_iso(to_ms)} is earlier"
            )

    def advance_to(self, to_ms: int) -> None:
        self.check(to_ms)
        self._now = to_ms


def to_iso(at_ms: int) -> str:
    """Milliseconds to RFC 3339 in UTC with milliseconds.

    >>> to_iso(0)
    '1970-01-01T00:00:00.000Z'
    """
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def from_iso(text: str) -> int:
    """RFC 3339 date-time (or date, read as midnight UTC) to milliseconds.

    >>> from_iso("2017-10-30T00:00:00Z")
    1509321600000
    >>> from_iso("1970-01-01T01:00:00+01:00")
    0
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{text!r} is no RFC 3339 date-time; write 2017-10-30T00:00:00Z") from error


def duration_ms(text: str) -> int:
    """ISO 8601 duration of weeks to seconds, to milliseconds.

    >>> duration_ms("PT1H")
    3600000
    >>> duration_ms("P1DT0.5S")
    86400500
    """
    found = _DURATION.match(text)
    if found is None or text.endswith("T") or text == "P":
        raise Invalid(f"{text!r} is no ISO 8601 duration; write PT1H or P7D")
    weeks, days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return round(
        (weeks * 7 + days) * DAY_MS + hours * HOUR_MS + minutes * MINUTE_MS + seconds * SECOND_MS
    )
