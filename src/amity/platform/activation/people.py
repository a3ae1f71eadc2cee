"""Who is behind a profile id, also when it has been merged away meanwhile?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.identity.model import Identity
from amity.platform.identity.store import components_of, members_of, profile_of
from amity.platform.profile import store as kept
from amity.platform.profile.merge import Piece, Policy, chosen, view_of
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
        profiles: Finds those who have moved.
        policies: The merge policies.
    """

    def __init__(self, *, state: State, profiles: Profiles, policies: MergePolicies) -> None:
        self._state = state
        self._profiles = profiles
        self._policies = policies

    def views(
        self, scope: Scope, ids: Sequence[ProfileId], merge_policy: str
    ) -> Mapping[ProfileId, Seen]:
        """All of one snapshot; whoever still has their id is read together with the others."""
        policy = self._policies.policy(scope, merge_policy or None)
        with self._state.read() as reader:
            found = _at_home(reader, scope, ids, policy)
            for id in ids:
                if id not in found:
                    moved = self._moved(reader, scope, id, policy)
                    if moved is not None:
                        found[id] = Seen(moved.id, moved.entity)
        return found

    def _moved(self, reader: Reader, scope: Scope, id: ProfileId, policy: Policy) -> Profile | None:
        """A profile id is the name of one of the person's identities: a merge moves it elsewhere."""
        identity = self._profiles.identity_of(reader, scope, id)
        if identity is None:
            return None
        home = profile_of(reader, scope, identity)
        return self._profiles.profile(reader, scope, home, policy)


def _at_home(
    reader: Reader, scope: Scope, ids: Sequence[ProfileId], policy: Policy
) -> dict[ProfileId, Seen]:
    """The people who are known by these very ids, with few questions to the store."""
    members = _members(reader, scope, ids)
    everyone = {identity for identities in members.values() for identity in identities}
    rows = kept.key_rows(reader, scope, everyone)
    found: dict[ProfileId, Seen] = {}
    for id, identities in members.items():
        known = [identity for identity in identities if identity in rows]
        if not any(rows[identity].live for identity in known):
            continue
        pieces: list[Piece] = []
        for identity in known:
            if rows[identity].recorded:
                pieces += kept.pieces_of(kept.fragments_of(reader, scope, identity))
        found[id] = Seen(id, view_of(chosen(pieces, policy), identities, policy))
    return found


def _members(
    reader: Reader, scope: Scope, ids: Sequence[ProfileId]
) -> dict[ProfileId, tuple[Identity, ...]]:
    """The identities of those who are known by these very ids."""
    found = {id: one.members for id, one in components_of(reader, scope, ids).items()}
    named = {
        id: identity
        for id in ids
        if id not in found and (identity := kept.identity_of(reader, scope, id)) is not None
    }
    homes = members_of(reader, scope, named.values())
    alone = {id: (one,) for id, one in named.items() if homes.get(one, id) == id}
    return found | alone
