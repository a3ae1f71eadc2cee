"""What does the profile stage say when a profile has changed?"""

from __future__ import annotations

from typing import Any

import msgspec

from amity.kernel.ids import ProfileId

CHANGES_TOPIC = "platform.profile_changes"
"""`ProfileChanged`, keyed by profile id."""


class EventRef(msgspec.Struct, frozen=True, array_like=True):
    """An event that is new to the profile."""

    id: str
    timestamp_ms: int
    dataset: str
    body: dict[str, Any]


class ProfileChanged(msgspec.Struct, frozen=True, array_like=True):
    """Something about a profile is new.

    `attributes` is the whole merged view under the default merge policy when an attribute changed
    (or on rebuild), else None. `rebuild` tells that derived state of this person must be made anew
    from the profile store (merge, split, deletion). `gone` tells that the profile id is dissolved.
    """

    scope: str
    profile: ProfileId
    at_ms: int
    events: tuple[EventRef, ...] = ()
    attributes: dict[str, Any] | None = None
    rebuild: bool = False
    gone: bool = False
    cause: str = "record"


ERASURES_TOPIC = "platform.profile_erasures"
"""`EraseProfile`, keyed by identity."""


class EraseProfile(msgspec.Struct, frozen=True, array_like=True):
    """Forget what was received of this person up to `at_ms`."""

    scope: str
    ns: str
    id: str
    at_ms: int
