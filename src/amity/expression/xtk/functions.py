"""Which functions do campaign conditions have, and what do they mean?

Values are null, integers, doubles, strings, dates (ISO texts) and date-times (milliseconds, UTC). A
function of null is null unless it says otherwise; so is one that has no answer. Letters are those of
ASCII where case is changed, so that every engine says the same. Behaviour: campaign.md §1.1, §1.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import re2

from amity.expression.times import in_calendar, moment_of, shifted
from amity.kernel.clock import DAY_MS, HOUR_MS, MINUTE_MS, from_iso
from amity.kernel.errors import Invalid

Type = Literal["long", "double", "boolean", "string", "date", "datetime", "condition"]
Takes = Literal["long", "number", "string", "time", "any", "same", "condition"]
"""`time`: a date or date-time, given as milliseconds. `same`: all of them of one type."""

_INT64 = 1 << 63
_EXACT = 1 << 52
_DATE = re2.compile(r"^(\d{4})-(\d\d)-(\d\d)$")
_WHOLE = re2.compile(r"^[+-]?[0-9]{1,18}$")
_DECIMAL = re2.compile(r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$")
DECIMAL_CHARS_MAX = 16
"""Longer numerals are null in `ToDouble`: engines round them differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class XtkFunction:
    """One function.

    Attributes:
        name: As the documentation writes it; any case is read.
        takes: What its arguments are; `more` says that the last may come again.
        gives: The type of its value; None: that of its last argument.
        apply: Its meaning, of values that are not null.
        summary: One sentence.
    """

    name: str
    takes: tuple[Takes, ...]
    gives: Type | None
    summary: str
    apply: Callable[..., Any]
    more: bool = False

    @property
    def signature(self) -> str:
        """``AddDays(time, long)``."""
        return f"{self.name}({', '.join(self.takes)}{', …' if self.more else ''})"


def bounded(value: Any) -> int | float:
    """What leaves 64 bits goes on as a double, as in SQL.

    >>> bounded(1 << 64)
    1.8446744073709552e+19
    """
    fits = isinstance(value, float) or -_INT64 <= value < _INT64
    return value if fits else float(value)


def day_start(day: str) -> int | None:
    """Midnight UTC of an ISO date; null when it is none.

    >>> day_start("1970-01-02"), day_start("1970-02-31")
    (86400000, None)
    """
    if _DATE.match(day) is None:
        return None
    try:
        return from_iso(f"{day}T00:00:00Z")
    except Invalid:
        return None


def to_datetime(text: str) -> int | None:
    """The instant of an ISO date or date-time; null when it is none.

    >>> to_datetime("1970-01-01 00:00:01"), to_datetime("x")
    (1000, None)
    """
    start = day_start(text)
    if start is not None:
        return start
    zoned = text.replace(" ", "T", 1)
    try:
        return from_iso(zoned if zoned.endswith("Z") or "+" in zoned else f"{zoned}Z")
    except Invalid:
        return None


def to_date(at_ms: int) -> str | None:
    """The day of an instant, UTC."""
    return moment_of(at_ms).strftime("%Y-%m-%d") if _has_year(at_ms) else None


def _has_year(at_ms: int) -> bool:
    """Years of four digits: what engines can write as text."""
    return in_calendar(at_ms) and moment_of(at_ms).year >= _YEAR_MIN


_YEAR_MIN = 1000


def _part(read: Callable[[Any], int]) -> Callable[[int], int | None]:
    return lambda at_ms: read(moment_of(at_ms)) if _has_year(at_ms) else None


def _add(size_ms: int) -> Callable[[int, int], int | float]:
    return lambda at_ms, amount: bounded(at_ms + amount * size_ms)


def _add_months(at_ms: int, amount: int) -> int | None:
    """The same day of another month, or its last one; the time of day stays."""
    if not _has_year(at_ms) or abs(amount) > _MONTHS_MAX:
        return None
    first = shifted(at_ms - (moment_of(at_ms).day - 1) * DAY_MS, amount, "month")
    if not _has_year(first):
        return None
    following = shifted(first, 1, "month")
    last = following - DAY_MS
    return min(first + (moment_of(at_ms).day - 1) * DAY_MS, last)


_MONTHS_MAX = 12_000


def years_between(later_ms: int, earlier_ms: int) -> int | None:
    """Whole years, as of an age."""
    if not (_has_year(later_ms) and _has_year(earlier_ms)):
        return None
    later, earlier = moment_of(later_ms), moment_of(earlier_ms)
    before = (later.month, later.day) < (earlier.month, earlier.day)
    return later.year - earlier.year - before


def _substring(text: str, start: int, length: int) -> str:
    first = max(start, 1) - 1
    return text[first : first + max(length, 0)]


def _round(value: float) -> float:
    half = float(value) + (-0.5 if value < 0 else 0.5)
    return float(int(half)) if abs(value) < _EXACT else float(value)


def _lower(text: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in text)


def _upper(text: str) -> str:
    return "".join(char.upper() if char.isascii() else char for char in text)


def _to_integer(value: Any) -> int | None:
    if isinstance(value, str):
        text = value.strip(" ")
        return int(text) if _WHOLE.match(text) else None
    return int(value) if abs(value) < _INT64 else None


def _to_double(value: Any) -> float | None:
    if isinstance(value, str):
        text = value.strip(" ")
        fits = len(text) <= DECIMAL_CHARS_MAX and _DECIMAL.match(text)
        return float(text) if fits else None
    return float(value)


_F = XtkFunction

LISTED = (
    _F(name="AddDays", takes=("time", "long"), gives="datetime", apply=_add(DAY_MS),
       summary="So many days later."),
    _F(name="AddHours", takes=("time", "long"), gives="datetime", apply=_add(HOUR_MS),
       summary="So many hours later."),
    _F(name="AddMinutes", takes=("time", "long"), gives="datetime", apply=_add(MINUTE_MS),
       summary="So many minutes later."),
    _F(name="AddMonths", takes=("time", "long"), gives="datetime", apply=_add_months,
       summary="The same day so many months later, or the last one of that month."),
    _F(name="DaysDiff", takes=("time", "time"), gives="long",
       apply=lambda later, earlier: bounded(bounded(later - earlier) // DAY_MS),
       summary="Whole days from the second to the first."),
    _F(name="YearsDiff", takes=("time", "time"), gives="long", apply=years_between,
       summary="Whole years from the second to the first."),
    _F(name="Year", takes=("time",), gives="long", apply=_part(lambda at: at.year),
       summary="The year."),
    _F(name="Month", takes=("time",), gives="long", apply=_part(lambda at: at.month),
       summary="The month, 1 to 12."),
    _F(name="Day", takes=("time",), gives="long", apply=_part(lambda at: at.day),
       summary="The day of the month."),
    _F(name="Hour", takes=("time",), gives="long", apply=_part(lambda at: at.hour),
       summary="The hour, UTC."),
    _F(name="ToDate", takes=("time",), gives="date", apply=to_date, summary="The day, UTC."),
    _F(name="ToDateTime", takes=("time",), gives="datetime", apply=lambda at_ms: at_ms,
       summary="A date as the instant at which it begins, UTC."),
    _F(name="Lower", takes=("string",), gives="string", apply=_lower, summary="In small letters."),
    _F(name="Upper", takes=("string",), gives="string", apply=_upper,
       summary="In capital letters."),
    _F(name="Length", takes=("string",), gives="long", apply=len, summary="The characters."),
    _F(name="Substring", takes=("string", "long", "long"), gives="string", apply=_substring,
       summary="So many characters from a place; the first is 1."),
    _F(name="Left", takes=("string", "long"), gives="string",
       apply=lambda text, length: text[: max(length, 0)], summary="The first characters."),
    _F(name="Trim", takes=("string",), gives="string", apply=lambda text: text.strip(" "),
       summary="Without spaces around."),
    _F(name="ToInteger", takes=("any",), gives="long", apply=_to_integer,
       summary="A numeral or number as a whole number; null when it is none."),
    _F(name="ToDouble", takes=("any",), gives="double", apply=_to_double,
       summary="A numeral or number as a double; null when it is none."),
    _F(name="Abs", takes=("number",), gives=None, apply=lambda value: bounded(abs(value)),
       summary="Without its sign."),
    _F(name="Round", takes=("number",), gives="double", apply=_round,
       summary="The nearest whole number, halves away from zero."),
    _F(name="Coalesce", takes=("same", "same"), more=True, gives=None,
       apply=lambda *values: next((one for one in values if one is not None), None),
       summary="The first that is not null."),
    _F(name="Iif", takes=("condition", "same", "same"), gives=None,
       apply=lambda condition, then, otherwise: then if condition else otherwise,
       summary="The second where the condition holds, else the third."),
)  # fmt: skip

FUNCTIONS = {function.name.lower(): function for function in LISTED}
OF_NULL = frozenset({"Coalesce", "Iif"})
"""Functions that are asked about nulls too."""
