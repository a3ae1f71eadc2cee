"""When does an instant lie where `occurs` wants it, and when does that answer change by itself?

Every form of `occurs` is a union of half-open spans ``[low, high)`` whose ends are constant or move
with `now`. An end only moves forward, so the answer for an instant changes exactly when an end that
was at or before it has passed it. [PROP] where the followed system is silent: UTC; weeks begin on
Sunday; `<= 3 days before now` is ``(now - 3 days, now]``, so `<` means the same there, and
`>` and `>=` mean ``<= now - 3 days``; `<= 24 hours after X` is ``[X, X + 24 hours]``; `between` takes
both ends in; a day, date, week, ... stands for its start except in `on` and as the second end of
`between`; `on` an instant means its day; `= 3 days before now` is the third whole day back.
Months are calendar months; where the month lacks the day, its last instant is meant.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from amity.expression.errors import TypeFault
from amity.kernel.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

NEVER = 1 << 62
"""An instant that does not come."""

FIXED = {
    "millisecond": 1,
    "second": SECOND_MS,
    "minute": MINUTE_MS,
    "hour": HOUR_MS,
    "day": DAY_MS,
    "week": 7 * DAY_MS,
}
MONTHS = {"month": 1, "year": 12, "decade": 120, "century": 1_200, "millennium": 12_000}
UNITS = (*FIXED, *MONTHS)
_PLURALS = {"centuries": "century", "millennia": "millennium"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUNDAY_MS = 3 * DAY_MS
_MONTH_LAST = 9999 * 12 + 11


def unit_of(word: str) -> str:
    """The unit a word names.

    >>> unit_of("Days"), unit_of("centuries")
    ('day', 'century')
    """
    low = word.lower()
    unit = _PLURALS.get(low, low.removesuffix("s"))
    if unit not in UNITS:
        raise TypeFault(f"{word!r} is no unit of time; use one of {', '.join(UNITS)}")
    return unit


def moment_of(at_ms: int) -> datetime:
    """Milliseconds as a date-time in UTC."""
    return _EPOCH + timedelta(milliseconds=at_ms)


def in_calendar(at_ms: int) -> bool:
    """Whether a calendar has a day for the instant (years 1 to 9999)."""
    return _FIRST_MS <= at_ms < _LAST_MS


def _month_index(at_ms: int) -> int:
    moment = moment_of(at_ms)
    return moment.year * 12 + moment.month - 1


def _month_start(index: int) -> int:
    if index < 12:
        return -NEVER
    if index > _MONTH_LAST:
        return NEVER
    start = datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)
    return (start - _EPOCH) // timedelta(milliseconds=1)


def shifted(at_ms: int, amount: int, unit: str) -> int:
    """`amount` units later; where the month lacks the day, its last instant.

    So a moving end never goes back: 30 March 09:00 less a month is not before 29 March 10:00 less
    a month.

    >>> moment_of(shifted(date_ms(2024, 3, 31), -1, "month")).day
    29
    """
    if unit in FIXED:
        return at_ms + amount * FIXED[unit]
    if not in_calendar(at_ms):
        return at_ms
    index = _month_index(at_ms) + amount * MONTHS[unit]
    start = _month_start(index)
    if abs(start) == NEVER:
        return start
    day = moment_of(at_ms).day
    if day > calendar.monthrange(index // 12, index % 12 + 1)[1]:
        return _month_start(index + 1) - 1
    return start + (day - 1) * DAY_MS + at_ms % DAY_MS


def floor(at_ms: int, unit: str) -> int:
    """The start of the unit that holds the instant.

    >>> floor(date_ms(2024, 2, 29) + 5, "month") == date_ms(2024, 2, 1)
    True
    """
    if unit == "week":
        return at_ms - (at_ms - _SUNDAY_MS) % FIXED["week"]
    if unit in FIXED:
        return at_ms - at_ms % FIXED[unit]
    if not in_calendar(at_ms):
        return at_ms
    size = MONTHS[unit]
    return _month_start(_month_index(at_ms) // size * size)


def date_ms(year: int, month: int, day: int) -> int:
    """Midnight UTC of a date.

    >>> date_ms(1970, 1, 2)
    86400000
    """
    try:
        moment = datetime(year, month, day, tzinfo=UTC)
    except ValueError as error:
        raise TypeFault(f"date({year},{month},{day}) is no date: {error}") from error
    return (moment - _EPOCH) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a span: its base cut down to a unit, then shifted, then moved by `plus`.

    `moving` says that the base is `now`, else it is `base`.
    """

    moving: bool
    base: int = 0
    floor_unit: str = ""
    shifts: tuple[tuple[int, str], ...] = ()
    plus: int = 0

    def at(self, now_ms: int) -> int:
        """Where it stands at `now`."""
        base = now_ms if self.moving else self.base
        if self.floor_unit:
            base = floor(base, self.floor_unit)
        for amount, unit in self.shifts:
            base = shifted(base, amount, unit)
        return base + self.plus

    def shift(self, amount: int, unit: str) -> End:
        """The end moved by so many units."""
        return replace(self, shifts=(*self.shifts, (amount, unit)))

    def later(self, plus_ms: int) -> End:
        """The end some milliseconds later."""
        return replace(self, plus=self.plus + plus_ms)

    def fixed_ms(self) -> int | None:
        """How far from `now` it always lies; None when it does not move that way."""
        if not self.moving or self.floor_unit or any(unit not in FIXED for _, unit in self.shifts):
            return None
        return self.plus + sum(amount * FIXED[unit] for amount, unit in self.shifts)

    def passes(self, instant_ms: int, now_ms: int) -> int:
        """The first `now` at which it lies after the instant; NEVER when it has already."""
        if not self.moving or self.at(now_ms) > instant_ms:
            return NEVER
        fixed = self.fixed_ms()
        if fixed is not None:
            return instant_ms - fixed + 1
        return _first(lambda t: self.at(t) > instant_ms, now_ms)


def _first(test: Callable[[int], bool], after_ms: int) -> int:
    """The first instant after `after_ms` at which a test that never turns back holds."""
    step = DAY_MS
    high = after_ms + step
    while not test(high):
        step *= 2
        high = after_ms + step
        if not in_calendar(high):
            return NEVER
    low = after_ms
    while high - low > 1:
        middle = (low + high) // 2
        if test(middle):
            high = middle
        else:
            low = middle
    return high


_FIRST_MS = date_ms(1, 1, 1)
_LAST_MS = date_ms(9999, 12, 31)

Span = tuple[End | None, End | None]
"""From (inclusive) and to (exclusive); None = without end."""


def holds(spans: tuple[Span, ...], instant_ms: int, now_ms: int) -> bool:
    """Whether the instant lies in one of the spans."""
    return any(
        (low is None or low.at(now_ms) <= instant_ms)
        and (high is None or instant_ms < high.at(now_ms))
        for low, high in spans
    )


def changes(spans: tuple[Span, ...], instant_ms: int, now_ms: int) -> int:
    """The next `now` at which `holds` may answer otherwise; NEVER when it stays.

    >>> spans = distance(End(moving=True), "<=", 28, ("day", "before"))
    >>> holds(spans, 0, 28 * DAY_MS - 1), holds(spans, 0, 28 * DAY_MS)
    (True, False)
    >>> changes(spans, 0, 5) == 28 * DAY_MS
    True
    """
    return min(
        (end.passes(instant_ms, now_ms) for span in spans for end in span if end is not None),
        default=NEVER,
    )


def distance(ref: End, op: str, amount: int, how: tuple[str, str]) -> tuple[Span, ...]:
    """The spans of `occurs <op> <amount> <unit> <before|after|from> <ref>`."""
    unit, direction = how
    if direction == "from":
        before, after = (distance(ref, op, amount, (unit, side)) for side in ("before", "after"))
        return (*before, *after)
    return (_before if direction == "before" else _after)(ref, op, amount, unit)


def _before(ref: End, op: str, amount: int, unit: str) -> tuple[Span, ...]:
    edge = ref.shift(-amount, unit).later(1)
    if op == "=":
        return ((ref.shift(-amount - 1, unit).later(1), edge),)
    return ((edge, ref.later(1)),) if op in {"<", "<="} else ((None, edge),)


def _after(ref: End, op: str, amount: int, unit: str) -> tuple[Span, ...]:
    edge = ref.shift(amount, unit)
    if op == "=":
        return ((edge, ref.shift(amount + 1, unit)),)
    if op in {"<", "<="}:
        return ((ref, edge.later(1 if op == "<=" else 0)),)
    return ((edge.later(1 if op == ">" else 0), None),)


def side(ref: End, direction: str) -> tuple[Span, ...]:
    """The spans of `occurs before|after|from <ref>`; `from` is at or after [PROP]."""
    if direction == "before":
        return ((None, ref),)
    return ((ref.later(1 if direction == "after" else 0), None),)


def moment_start(word: str, unit: str) -> End:
    """The start of a time word; `now` is the moment itself."""
    if word == "now":
        return End(moving=True)
    unit, amount = _PERIODS.get(word, (unit, _STEPS.get(word, 0)))
    return End(moving=True, floor_unit=unit, shifts=((amount, unit),))


def moment_end(word: str, unit: str) -> End:
    """The instant after the last one of a time word."""
    if word == "now":
        return End(moving=True).later(1)
    unit, amount = _PERIODS.get(word, (unit, _STEPS.get(word, 0)))
    return End(moving=True, floor_unit=unit, shifts=((amount + 1, unit),))


_PERIODS = {"today": ("day", 0), "yesterday": ("day", -1), "tomorrow": ("day", 1)}
_STEPS = {"this": 0, "last": -1, "next": 1}
