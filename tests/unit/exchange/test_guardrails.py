"""The rules of the exchange refuse with the reason, and say when one may try again."""

from __future__ import annotations

import pytest

from amity.exchange.errors import CreatesRecipient, ExportTooSoon, TooManyOrgUnits
from amity.exchange.guardrails import (
    EXPORT_INTERVAL_MS_MIN,
    check_creates_no_recipient,
    check_export_interval,
    check_org_units,
)


def test_log_exports_lie_four_hours_apart() -> None:
    """At four hours it passes, one millisecond earlier it does not, and is told when it will."""
    check_export_interval("broadLog", 0, 1_000 + EXPORT_INTERVAL_MS_MIN)

    with pytest.raises(
        ExportTooSoon, match=r"broadLog .* allowed at 1970-01-01T04:00:01"
    ) as raised:
        check_export_interval("broadLog", 1, 999 + EXPORT_INTERVAL_MS_MIN)
    assert raised.value.data["next_allowed_ms"] == 1_000 + EXPORT_INTERVAL_MS_MIN


def test_one_organisational_unit() -> None:
    """One passes, however often it is named; two do not."""
    check_org_units(["north", "north"])
    with pytest.raises(TooManyOrgUnits, match="not 2: north, south"):
        check_org_units(["south", "north"])


def test_a_segment_file_creates_no_recipient() -> None:
    """Nobody unmatched passes, one does not."""
    check_creates_no_recipient("f.csv", 0)
    with pytest.raises(CreatesRecipient, match=r"f\.csv names 1 people"):
        check_creates_no_recipient("f.csv", 1)
