"""Who is this person, and what is known of them?

Reads over the profile store. What is derived of a person (audience memberships) comes in through a
small port, because a later stage keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.identity.model import Identity
from amity.platform.identity.store import identity_of_xid, profile_of
from amity.platform.profile import store
from amity.platform.profile.fragment import overlay
from amity.platform.profile.merge import Piece, Policy, chosen, stitched, view_of
from amity.platform.profile.policies import MergePolicies
from amity.storage.ports import Reader, State

SEGMENT_MEMBERSHIP = "segmentMembership"


class Memberships(Protocol):
    """Tells the audiences of a person in the form of the field `segmentMembership`."""

    def of_profile(self, reader: Reader, scope: Scope, profile: ProfileId) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A person as one merge policy sees them."""

    id: ProfileId
    members: tuple[Identity, ...]
    policy: Policy
    entity: dict[str, Any]
    datasets: tuple[str, ...]
    modified_ms: int


class Profiles:
    """Reads of people, their events and their numbers."""

    def __init__(
        self, *, state: State, policies: MergePolicies, memberships: Memberships | None = None
    ) -> None:
        self._state = state
        self._policies = policies
        self._memberships = memberships

    def view(self, reader: Reader, scope: Scope, profile: ProfileId) -> dict[str, Any]:
        """Everything known of a person under the default policy; {} when there is nobody."""
        found = self.profile(reader, scope, profile, self._policies.default(scope))
        return {} if found is None else found.entity

    def views(self, scope: Scope, profiles: Iterable[ProfileId]) -> dict[ProfileId, dict[str, Any]]:
        """The views of several people, of one snapshot."""
        with self._state.read() as reader:
            return {one: self.view(reader, scope, one) for one in profiles}

    def profile(
        self, reader: Reader, scope: Scope, profile: ProfileId, policy: Policy
    ) -> Profile | None:
        """A person under a policy; None when nothing is kept of anyone by this id."""
        members = stitched(store.members(reader, scope, profile), profile, policy)
        return self.profile_at(reader, scope, members, policy)

    def profile_at(
        self,
        reader: Reader,
        scope: Scope,
        members: tuple[Identity, ...],
        policy: Policy,
    ) -> Profile | None:
        """The person who is these identities; the first is the one asked for."""
        rows = store.key_rows(reader, scope, members)
        if not any(row.live for row in rows.values()):
            return None
        home = profile_of(reader, scope, members[0])
        pieces: list[Piece] = []
        for identity in (one for one in members if one in rows and rows[one].recorded):
            pieces += store.pieces_of(store.fragments_of(reader, scope, identity))
        pieces = chosen(pieces, policy)
        entity = view_of(pieces, members, policy)
        audiences = self._audiences(reader, scope, home)
        if audiences:
            entity = {
                **entity,
                SEGMENT_MEMBERSHIP: overlay(entity.get(SEGMENT_MEMBERSHIP, {}), audiences),
            }
        return Profile(
            id=home,
            members=members,
            policy=policy,
            entity=entity,
            datasets=tuple(sorted({piece.dataset for piece in pieces})),
            modified_ms=max((piece.stamp.received_ms for piece in pieces), default=0),
        )

    def of_identity(
        self, reader: Reader, scope: Scope, identity: Identity, policy: Policy
    ) -> Profile | None:
        """The person who holds an identity, stitched as the policy says."""
        home = profile_of(reader, scope, identity)
        members = store.members(reader, scope, home) or (identity,)
        return self.profile_at(reader, scope, stitched(members, identity.xid, policy), policy)

    def events(
        self,
        reader: Reader,
        scope: Scope,
        profile: ProfileId,
        *,
        start_ms: int = -store.FOREVER_MS,
        end_ms: int = store.FOREVER_MS,
        reverse: bool = False,
    ) -> Iterator[store.StoredEvent]:
        """A person's events from `start_ms` to before `end_ms`, by time."""
        members = store.members(reader, scope, profile)
        return store.events_of(
            reader, scope, members, start_ms=start_ms, end_ms=end_ms, reverse=reverse
        )

    def entity(self, reader: Reader, scope: Scope, identity: Identity) -> dict[str, Any] | None:
        """A thing (a product, say) by its primary identity."""
        found = store.fragments_of(reader, scope, identity, store.ENTITY)
        pieces = store.pieces_of(found)
        return view_of(pieces, (), self._policies.default(scope)) if pieces else None

    def identity_of(self, reader: Reader, scope: Scope, xid: str) -> Identity | None:
        """The identity that an xid names."""
        return store.identity_of(reader, scope, xid) or identity_of_xid(reader, scope, xid)

    def profile_of(self, scope: Scope, identity: Identity) -> ProfileId:
        """The id of the person who holds an identity."""
        with self._state.read() as reader:
            return profile_of(reader, scope, identity)

    def members(self, scope: Scope, profile: ProfileId) -> list[Identity]:
        """The identities of a person."""
        with self._state.read() as reader:
            return list(store.members(reader, scope, profile))

    def iterate(self, scope: Scope, start: str = "", limit: int = 1_000) -> list[ProfileId]:
        """Up to `limit` ids of people of whom something is kept, from `start` on, in order."""
        with self._state.read() as reader:
            rows = reader.scan(store.INDEX, scope, start=start.encode(), limit=limit)
            return [ProfileId(key.decode()) for key, _ in rows]

    def counts(self, scope: Scope) -> dict[str, int]:
        """How many people, events and fragments are kept."""
        with self._state.read() as reader:
            return {
                "profiles": reader.count(store.INDEX, scope),
                "events": store.count(reader, scope, "events"),
                "fragments": store.count(reader, scope, "fragments"),
            }

    def _audiences(self, reader: Reader, scope: Scope, profile: ProfileId) -> dict[str, Any]:
        if self._memberships is None:
            return {}
        return self._memberships.of_profile(reader, scope, profile)
