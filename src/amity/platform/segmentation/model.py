"""What is an audience membership, and how is its change told?"""

from __future__ import annotations

from typing import Literal

import msgspec

from amity.kernel.ids import ProfileId

MEMBERSHIPS_TOPIC = "platform.memberships"
"""`MembershipChanged`, keyed by profile id."""

DEFINITIONS_TOPIC = "platform.definitions"
"""`DefinitionChanged`: an audience was published, edited, or taken away."""

Status = Literal["realized", "exited"]


class MembershipChanged(msgspec.Struct, frozen=True, array_like=True):
    """A profile has entered or left an audience. `n` rises with every change of this profile."""

    scope: str
    profile: ProfileId
    audience: str
    status: Status
    at_ms: int
    cause: str
    """`record`, `timer`, `merge`, `split`, `unlink`, `rules`, `definition`, `batch`."""
    version: int


class DefinitionChanged(msgspec.Struct, frozen=True, array_like=True):
    """The set of audiences of a scope is another one now."""

    scope: str
    audience: str
