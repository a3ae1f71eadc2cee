"""Which time zone is meant by a name?"""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from amity.campaign.workflow.errors import BadOptions


def zone(name: str) -> tzinfo:
    """A zone of the IANA database; UTC needs none. Raises `BadOptions`."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadOptions(f"{name[:80]!r} is no time zone; write Europe/Paris or UTC") from error
