"""When is an audience exported next?

Slots are exact: the first lies at the start date and time, the others on its grid. The end date is
exclusive and does not apply to exports that happen once. Behaviour: platform-activation.md §4.4.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from datetime import date, timedelta
from itertools import count
from typing import Any, cast, get_args

import re2

from amity.kernel.clock import DAY_MS, HOUR_MS
from amity.platform.activation.errors import BadSchedule
from amity.platform.activation.model import ExportMode, Frequency, Schedule, Trigger

_EPOCH = date(1970, 1, 1)
_TIME = re2.compile(r"^([01]\d|2[0-3]):00(?::00)?$")
_DATE = re2.compile(r"^\d{4}-\d{2}-\d{2}$")
_STEPS_MS: Mapping[str, int] = {
    "DAILY": DAY_MS,
    "WEEKLY": 7 * DAY_MS,
    "EVERY_3_HOURS": 3 * HOUR_MS,
    "EVERY_6_HOURS": 6 * HOUR_MS,
    "EVERY_8_HOURS": 8 * HOUR_MS,
    "EVERY_12_HOURS": 12 * HOUR_MS,
}
_OF_MODE: Mapping[str, frozenset[str]] = {
    "DAILY_FULL_EXPORT": frozenset({"ONCE", "DAILY", "WEEKLY", "MONTHLY"}),
    "FIRST_FULL_THEN_INCREMENTAL": frozenset(
        {"DAILY", "EVERY_3_HOURS", "EVERY_6_HOURS", "EVERY_8_HOURS", "EVERY_12_HOURS"}
    ),
}


def next_slot(schedule: Schedule, from_ms: int) -> int | None:
    """The first slot at or after `from_ms`; None when there is none.

    >>> daily = Schedule("DAILY_FULL_EXPORT", "DAILY", "SCHEDULED", 0, 2 * DAY_MS)
    >>> next_slot(daily, 1) == DAY_MS
    True
    >>> next_slot(daily, DAY_MS + 1) is None
    True
    """
    if schedule.trigger == "AFTER_SEGMENT_EVAL":
        return None
    if schedule.frequency == "ONCE":
        return schedule.start_ms if schedule.start_ms >= from_ms else None
    if schedule.frequency == "MONTHLY":
        slot = _monthly(schedule.start_ms, from_ms)
    else:
        step = _STEPS_MS[schedule.frequency]
        slot = schedule.start_ms + max(0, -((schedule.start_ms - from_ms) // step)) * step
    return None if schedule.end_ms is not None and slot >= schedule.end_ms else slot


def wants_evaluation(schedule: Schedule, at_ms: int, last_ms: int) -> bool:
    """Whether an evaluation that ended at `at_ms` starts an export: once a day, or once at all."""
    if schedule.trigger != "AFTER_SEGMENT_EVAL" or at_ms < schedule.start_ms:
        return False
    if schedule.frequency == "ONCE":
        return last_ms < schedule.start_ms
    if schedule.end_ms is not None and at_ms >= schedule.end_ms:
        return False
    return last_ms // DAY_MS < at_ms // DAY_MS


def read_schedule(value: Mapping[str, Any], *, calendar: bool) -> Schedule:
    """The schedule of a selector whose defaults are filled in.

    Args:
        value: The selector's value: `exportMode` and `schedule`.
        calendar: Whether the destination takes weekly and monthly schedules.
    """
    mode = _one_of(value.get("exportMode"), get_args(ExportMode), "exportMode")
    body = value.get("schedule")
    if not isinstance(body, Mapping):
        raise BadSchedule("`schedule` must hold frequency, startDate and startTime")
    frequency = _one_of(body.get("frequency"), get_args(Frequency), "frequency")
    trigger = _one_of(body.get("triggerType") or "SCHEDULED", get_args(Trigger), "triggerType")
    _check(mode, frequency, trigger, calendar=calendar)
    if trigger == "AFTER_SEGMENT_EVAL" and body.get("startTime"):
        raise BadSchedule("an export after evaluation has no startTime: leave it out")
    start_ms = _midnight(body.get("startDate"), "startDate")
    if trigger == "SCHEDULED":
        start_ms += _time(body.get("startTime") or "00:00")
    end_ms = _midnight(body["endDate"], "endDate") if body.get("endDate") else None
    if end_ms is not None and end_ms <= start_ms and frequency != "ONCE":
        raise BadSchedule("endDate is exclusive and must lie after startDate")
    return Schedule(
        cast("ExportMode", mode),
        cast("Frequency", frequency),
        cast("Trigger", trigger),
        start_ms,
        end_ms,
    )


def _check(mode: str, frequency: str, trigger: str, *, calendar: bool) -> None:
    if frequency not in _OF_MODE[mode]:
        allowed = ", ".join(sorted(_OF_MODE[mode]))
        raise BadSchedule(f"frequency {frequency} does not go with {mode}; choose {allowed}")
    if frequency in ("WEEKLY", "MONTHLY"):
        if not calendar:
            raise BadSchedule(f"this destination takes no {frequency} exports; choose DAILY")
        if trigger == "AFTER_SEGMENT_EVAL":
            raise BadSchedule(f"{frequency} goes with triggerType SCHEDULED only")
    if mode == "FIRST_FULL_THEN_INCREMENTAL" and trigger == "AFTER_SEGMENT_EVAL":
        raise BadSchedule("an incremental export goes with triggerType SCHEDULED only")


def _monthly(start_ms: int, from_ms: int) -> int:
    """The same day each month; in a short month its last day."""
    start_day, time_ms = divmod(start_ms, DAY_MS)
    first = _EPOCH + timedelta(days=start_day)
    wanted = _EPOCH + timedelta(days=max(from_ms, start_ms) // DAY_MS)
    months = (wanted.year - first.year) * 12 + wanted.month - first.month
    for ahead in count(max(months, 0)):
        slot = (_month_day(first, ahead) - _EPOCH).days * DAY_MS + time_ms
        if slot >= from_ms and slot >= start_ms:
            return slot
    raise AssertionError("months never end")


def _month_day(first: date, months: int) -> date:
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return date(year, month + 1, min(first.day, monthrange(year, month + 1)[1]))


def _midnight(text: Any, name: str) -> int:
    if not isinstance(text, str) or not _DATE.match(text):
        raise BadSchedule(f"{name} {text!r} is no date; write 2017-10-30")
    try:
        return (date.fromisoformat(text) - _EPOCH).days * DAY_MS
    except ValueError as error:
        raise BadSchedule(f"{name} {text!r} is no day of the calendar") from error


def _time(text: Any) -> int:
    found = _TIME.match(text) if isinstance(text, str) else None
    if found is None:
        raise BadSchedule(f"startTime {text!r} must be a full hour in UTC; write 06:00")
    return int(found.group(1)) * HOUR_MS


def _one_of(value: Any, allowed: tuple[str, ...], name: str) -> str:
    if value not in allowed:
        raise BadSchedule(f"{name} is one of {', '.join(allowed)}, not {value!r}")
    return str(value)
