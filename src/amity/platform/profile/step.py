"""What do identified records change in the profile store?

Events are kept once, whichever delivery comes first; records fall into their fragment by receipt.
So any order and any repetition of the same stamped records leaves the same store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from amity.flow.step import Output
from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.identity.model import Identified, Identity, Regrouped
from amity.platform.profile.fragment import Fragment, ReceiptStamp, upsert
from amity.platform.profile.merge import Piece, Policy, stitched, view_of
from amity.platform.profile.model import CHANGES_TOPIC, EraseProfile, EventRef, ProfileChanged

Slot = tuple[Identity, str]
"""Where a fragment lies: an identity and a dataset."""


class Counted(NamedTuple):
    """The delivery of an event that counts: its receipt, its key, whose it is."""

    stamp: ReceiptStamp
    key: bytes
    identity: Identity


@dataclass(slots=True, kw_only=True)
class Delivery:
    """An event as it was delivered, with the keys it is stored under."""

    message: Identified
    digest: bytes
    key: bytes
    stamp: ReceiptStamp


@dataclass(slots=True, kw_only=True)
class Person:
    """What is known of one profile whose attributes may change."""

    members: tuple[Identity, ...]
    fragments: dict[Slot, Fragment]


@dataclass(slots=True, kw_only=True)
class Work:
    """One scope's part of a batch: what is known, and what changes.

    Attributes:
        homes: Identity → profile id as the graph stands now.
        live: Identities under which something is kept.
        recorded: Those of them that have fragments.
        erased: Identity → receipts up to this time are forgotten.
        deliveries: Digest → the delivery that counts.
        people: Profiles of whom attributes are told.
        indexed: Those of the regrouped under whom something was kept.
        entities: Fragments of things.
        stored: Digests and keys of the events of those who may be erased.
        held: How many events are kept under those who may lose one (counted no further than the
            batch can take).
    """

    policy: Policy
    homes: dict[Identity, ProfileId] = field(default_factory=dict)
    live: set[Identity] = field(default_factory=set)
    recorded: set[Identity] = field(default_factory=set)
    erased: dict[Identity, int] = field(default_factory=dict)
    deliveries: dict[bytes, Counted] = field(default_factory=dict)
    people: dict[ProfileId, Person] = field(default_factory=dict)
    indexed: set[ProfileId] = field(default_factory=set)
    entities: dict[Slot, Fragment] = field(default_factory=dict)
    stored: dict[Identity, dict[bytes, bytes]] = field(default_factory=dict)

    held: dict[Identity, int] = field(default_factory=dict)

    events_put: dict[bytes, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    events_gone: set[bytes] = field(default_factory=set)
    delivered: dict[bytes, Counted | None] = field(default_factory=dict)
    fragments_put: dict[Slot, Fragment] = field(default_factory=dict)
    fragments_gone: set[Slot] = field(default_factory=set)
    entities_put: dict[Slot, Fragment] = field(default_factory=dict)
    keys_put: set[Identity] = field(default_factory=set)
    index: dict[ProfileId, bool] = field(default_factory=dict)
    events_more: int = 0
    fragments_more: int = 0

    _told: dict[ProfileId, _Change] = field(default_factory=dict)

    def home(self, identity: Identity) -> ProfileId:
        """The profile that holds an identity now."""
        found = self.homes.get(identity)
        return ProfileId(identity.xid) if found is None else found

    def holds(self, profile: ProfileId) -> bool:
        """Whether something is kept under one of the regrouped."""
        return self.index.get(profile, profile in self.indexed)

    def told(self, profile: ProfileId, at_ms: int) -> _Change:
        """What is to be told of a profile."""
        found = self._told.get(profile)
        if found is None:
            found = self._told[profile] = _Change()
        found.at_ms = max(found.at_ms, at_ms)
        return found

    def changes(self) -> Iterable[tuple[ProfileId, _Change]]:
        """All that is to be told."""
        return self._told.items()


@dataclass(slots=True)
class _Change:
    at_ms: int = 0
    events: list[EventRef] = field(default_factory=list)
    attributes: bool = False
    rebuild: bool = False
    gone: bool = False
    cause: str = "record"


def take_regrouped(work: Work, message: Regrouped) -> None:
    """Those who are dissolved leave the index; whose data are others now, is to be made anew."""
    homes = {work.home(one) for held in message.groups.values() for one in held}
    holding = {profile for profile in message.before if work.holds(profile)}
    for profile in holding - homes:
        work.index[profile] = False
        change = work.told(profile, message.at_ms)
        change.gone, change.cause = True, message.cause
    for profile in homes:
        held = work.people.get(profile)
        if held is None or work.live.isdisjoint(held.members):
            work.index[profile] = False
            continue
        work.index[profile] = True
        change = work.told(profile, message.at_ms)
        change.cause = message.cause
        if holding == {profile} and not change.gone and _only_joined(message, profile, held):
            change.attributes = True
        else:
            change.rebuild = True


def _only_joined(message: Regrouped, profile: ProfileId, person: Person) -> bool:
    """Whether others have joined a person who stays, and nobody has left."""
    return message.cause == "merge" and set(message.groups.get(profile, ())) == set(person.members)


def take_event(work: Work, delivery: Delivery) -> None:
    """Keep an event once: of several deliveries the first received counts."""
    message = delivery.message
    if message.received_ms <= work.erased.get(message.primary, -1):
        return
    counted = work.deliveries.get(delivery.digest)
    if counted is not None:
        if counted.stamp <= delivery.stamp:
            return
        _take_back(work, counted, message.received_ms)
    else:
        work.events_more += 1
    counts = Counted(delivery.stamp, delivery.key, message.primary)
    work.deliveries[delivery.digest] = work.delivered[delivery.digest] = counts
    work.events_put[delivery.key] = (message.received_ms, message.body)
    work.events_gone.discard(delivery.key)
    if message.primary in work.held:
        work.held[message.primary] += 1
    change = _keep(work, message)
    change.events.append(EventRef(message.id, message.timestamp_ms, message.dataset, message.body))
    change.rebuild = change.rebuild or counted is not None


def take_record(work: Work, message: Identified) -> None:
    """Lay a record into its fragment."""
    if message.received_ms <= work.erased.get(message.primary, -1):
        return
    slot = (message.primary, message.dataset)
    person = work.people[work.home(message.primary)]
    old = person.fragments.get(slot)
    new = upsert(old, ReceiptStamp.of(message.received_ms, message.position), message.body)
    if new is None:
        return
    work.fragments_more += old is None
    work.fragments_gone.discard(slot)
    person.fragments[slot] = work.fragments_put[slot] = new
    if message.primary not in work.recorded:
        work.recorded.add(message.primary)
        work.keys_put.add(message.primary)
    _keep(work, message).attributes = True


def take_entity(work: Work, message: Identified) -> None:
    """Lay a record of a thing into its fragment; nobody's profile changes."""
    slot = (message.primary, message.dataset)
    stamp = ReceiptStamp.of(message.received_ms, message.position)
    new = upsert(work.entities.get(slot), stamp, message.body)
    if new is not None:
        work.entities[slot] = work.entities_put[slot] = new


def take_erasure(work: Work, message: EraseProfile) -> None:
    """Forget everything received of a person up to a time; what comes later begins anew."""
    profile = work.home(Identity(message.ns, message.id))
    person = work.people[profile]
    for identity in person.members:
        work.erased[identity] = max(work.erased.get(identity, -1), message.at_ms)
        work.keys_put.add(identity)
        work.live.discard(identity)
        work.recorded.discard(identity)
        for digest, key in work.stored.pop(identity, {}).items():
            work.events_gone.add(key)
            work.deliveries.pop(digest, None)
            work.delivered[digest] = None
            work.events_more -= 1
    work.fragments_gone.update(person.fragments)
    work.fragments_more -= len(person.fragments)
    person.fragments.clear()
    work.index[profile] = False
    change = work.told(profile, message.at_ms)
    change.gone, change.cause = True, "erasure"


def settle(work: Work) -> None:
    """Who has lost the only event kept under them, and has no fragment, is nobody any more."""
    for identity, events in work.held.items():
        profile = work.home(identity)
        person = work.people[profile]
        if events > 0 or any(slot[0] == identity for slot in person.fragments):
            continue
        work.live.discard(identity)
        work.keys_put.add(identity)
        if work.live.isdisjoint(person.members):
            work.index[profile] = False
            change = work.told(profile, 0)
            change.gone, change.rebuild = True, False


def outputs(scope: Scope, work: Work) -> list[Output]:
    """What segmentation is told: one message a profile, the dissolved first."""
    told = sorted(work.changes(), key=lambda item: not item[1].gone)
    return [
        Output(CHANGES_TOPIC, scope, profile.encode(), _message(scope, work, profile, change))
        for profile, change in told
        if change.gone or change.rebuild or change.attributes or change.events
    ]


def _keep(work: Work, message: Identified) -> _Change:
    """Something is kept under this identity now."""
    primary = message.primary
    profile = work.home(primary)
    if primary not in work.live:
        work.live.add(primary)
        work.keys_put.add(primary)
        work.index[profile] = True
    change = work.told(profile, message.received_ms)
    if change.gone:
        change.gone, change.rebuild = False, True
    return change


def _take_back(work: Work, counted: Counted, at_ms: int) -> None:
    """A delivery received earlier has turned up: the later one never counted."""
    work.events_put.pop(counted.key, None)
    work.events_gone.add(counted.key)
    work.held[counted.identity] -= 1
    work.told(work.home(counted.identity), at_ms).rebuild = True


def _message(scope: Scope, work: Work, profile: ProfileId, change: _Change) -> ProfileChanged:
    person = work.people.get(profile)
    attributes = None
    if person is not None and (change.attributes or change.rebuild):
        attributes = _attributes(profile, person, work.policy)
    return ProfileChanged(
        scope=scope.key,
        profile=profile,
        at_ms=change.at_ms,
        events=() if change.rebuild or change.gone else tuple(change.events),
        attributes=attributes,
        rebuild=change.rebuild,
        gone=change.gone,
        cause=change.cause,
    )


def _attributes(profile: ProfileId, person: Person, policy: Policy) -> dict[str, Any]:
    members = stitched(person.members, profile, policy)
    pieces = [
        Piece(identity, dataset, fragment.stamp, fragment.fields)
        for (identity, dataset), fragment in person.fragments.items()
        if identity in members
    ]
    return view_of(pieces, members, policy)
