"""Schedules: exact slots, exclusive end, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.kernel.clock import DAY_MS, HOUR_MS, from_iso
from amity.platform.activation.errors import BadSchedule
from amity.platform.activation.model import Schedule
from amity.platform.activation.schedule import next_slot, read_schedule, wants_evaluation

TABLE = [
    [cell.strip() for cell in line.split("|")]
    for line in Path(__file__).with_name("schedules.txt").read_text().splitlines()
    if not line.startswith("#")
]


def value(mode: str, frequency: str, trigger: str, *when: str) -> dict[str, Any]:
    start_date, start_time, end_date = when
    schedule = {
        "frequency": frequency,
        "triggerType": trigger,
        "startDate": start_date,
        "startTime": start_time,
        "endDate": end_date,
    }
    kept = {name: text for name, text in schedule.items() if text}
    return {"exportMode": mode, "schedule": kept}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[1]}-{row[3]}-{row[6]}")
def test_slots_of_the_table(row: list[str]) -> None:
    """Each line of the table names the slots one gets by asking again and again."""
    mode, frequency, trigger, start_date, start_time, end_date, asked, slots = row
    schedule = read_schedule(
        value(mode, frequency, trigger, start_date, start_time, end_date), calendar=True
    )

    at_ms = from_iso(asked)
    for expected in slots.split():
        found = next_slot(schedule, at_ms)
        assert (None if expected == "-" else from_iso(expected)) == found
        at_ms = (found or 0) + 1


@settings(max_examples=150)
@given(
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "EVERY_3_HOURS", "EVERY_8_HOURS"]),
    st.integers(0, 800),
    st.integers(0, 23),
    st.integers(0, 30 * 24),
    st.integers(0, 900 * DAY_MS),
)
def test_a_slot_is_the_first_and_stays_it(
    frequency: Any, day: int, hour: int, length_h: int, from_ms: int
) -> None:
    """A slot is never before what was asked, never at or after the end, and asking at it gives it."""
    start = day * DAY_MS + hour * HOUR_MS
    end = start + length_h * HOUR_MS
    schedule = Schedule("DAILY_FULL_EXPORT", frequency, "SCHEDULED", start, end)

    found = next_slot(schedule, from_ms)

    if found is None:
        unbounded = Schedule("DAILY_FULL_EXPORT", frequency, "SCHEDULED", start)
        free = next_slot(unbounded, from_ms)
        assert free is not None
        assert free >= end
    else:
        assert max(start, from_ms) <= found < end
        assert found == next_slot(schedule, found)
        assert found == next_slot(schedule, (from_ms + found) // 2)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (value("DAILY_FULL_EXPORT", "EVERY_3_HOURS", "", "2024-01-01", "", ""), "does not go"),
        (value("FIRST_FULL_THEN_INCREMENTAL", "ONCE", "", "2024-01-01", "", ""), "does not go"),
        (value("DAILY_FULL_EXPORT", "DAILY", "", "2024-01-01", "06:30", ""), "full hour"),
        (value("DAILY_FULL_EXPORT", "DAILY", "", "01/02/2024", "", ""), "no date"),
        (value("DAILY_FULL_EXPORT", "DAILY", "", "2024-02-30", "", ""), "no day"),
        (value("DAILY_FULL_EXPORT", "DAILY", "", "2024-01-02", "", "2024-01-02"), "exclusive"),
        (value("DAILY_FULL_EXPORT", "DAILY", "SOMETIMES", "2024-01-02", "", ""), "one of"),
        (value("SOMETIMES", "DAILY", "", "2024-01-02", "", ""), "one of"),
        (
            value("DAILY_FULL_EXPORT", "DAILY", "AFTER_SEGMENT_EVAL", "2024-01-02", "06:00", ""),
            "no startTime",
        ),
        (
            value("DAILY_FULL_EXPORT", "WEEKLY", "AFTER_SEGMENT_EVAL", "2024-01-02", "", ""),
            "SCHEDULED only",
        ),
        ({"exportMode": "DAILY_FULL_EXPORT"}, "must hold"),
    ],
)
def test_what_is_refused(given_: dict[str, Any], said: str) -> None:
    """A schedule that cannot be kept is refused with what to do."""
    with pytest.raises(BadSchedule, match=said):
        read_schedule(given_, calendar=True)


def test_weekly_needs_a_destination_that_takes_it() -> None:
    """Campaign takes no weekly files."""
    weekly = value("DAILY_FULL_EXPORT", "WEEKLY", "", "2024-01-02", "", "")

    with pytest.raises(BadSchedule, match="no WEEKLY"):
        read_schedule(weekly, calendar=False)


def test_after_evaluation_once_a_day() -> None:
    """The first evaluation of a day starts the export, a second one does not; the end ends it."""
    daily = Schedule("DAILY_FULL_EXPORT", "DAILY", "AFTER_SEGMENT_EVAL", DAY_MS, 3 * DAY_MS)

    assert [
        wants_evaluation(daily, DAY_MS - 1, -1),
        wants_evaluation(daily, DAY_MS, -1),
        wants_evaluation(daily, DAY_MS + 5, DAY_MS),
        wants_evaluation(daily, 2 * DAY_MS, DAY_MS),
        wants_evaluation(daily, 3 * DAY_MS, 2 * DAY_MS),
    ] == [False, True, False, True, False]
