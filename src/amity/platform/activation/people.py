"""Who is behind a profile id, also when it has been merged away meanwhile?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.identity.store import profile_of
from amity.platform.profile.merge import Policy
from amity.platform.profile.policies import MergePolicies
from amity.platform.profile.service import Profile, Profiles
from amity.storage.ports import Reader, State


class Seen(NamedTuple):
    """A person as they are now; `home` is their id now."""

    home: ProfileId
    view: Mapping[str, Any]


class People(Protocol):
    """What the exporter asks of the profiles."""

    def views(
        self, scope: Scope, ids: Sequence[ProfileId], merge_policy: str
    ) -> Mapping[ProfileId, Seen]:
        """Current attributes with `identityMap`; ids behind whom there is nobody are left out."""


class ProfilePeople:
    """`People` over the profile store.

    Args:
        state: Where profiles lie.
        profiles: Reads them; without memberships, which no file asks for.
        policies: The merge policies.
    """

    def __init__(self, *, state: State, profiles: Profiles, policies: MergePolicies) -> None:
        self._state = state
        self._profiles = profiles
        self._policies = policies

    def views(
        self, scope: Scope, ids: Sequence[ProfileId], merge_policy: str
    ) -> Mapping[ProfileId, Seen]:
        """All of one snapshot."""
        policy = self._policies.policy(scope, merge_policy or None)
        found: dict[ProfileId, Seen] = {}
        with self._state.read() as reader:
            for id in ids:
                profile = self._find(reader, scope, id, policy)
                if profile is not None:
                    found[id] = Seen(profile.id, profile.entity)
        return found

    def _find(self, reader: Reader, scope: Scope, id: ProfileId, policy: Policy) -> Profile | None:
        """A profile id is the name of one of the person's identities: a merge moves it elsewhere."""
        found = self._profiles.profile(reader, scope, id, policy)
        if found is not None and found.id == id:
            return found
        identity = self._profiles.identity_of(reader, scope, id)
        if identity is None:
            return None
        home = profile_of(reader, scope, identity)
        return self._profiles.profile(reader, scope, home, policy)
