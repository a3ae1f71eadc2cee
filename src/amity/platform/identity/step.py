"""How do new sightings change the graph, whatever order they come in?

The result is always what the fold of `graph` gives over all sightings in order of event time. A
sighting that fits and is newer than the floor of what it touches is added as it is. One that does
not fit needs the sightings since the floors; one older than a floor needs the whole pool: every
sighting that shares an identity with it, directly or not. `plan` says which, the stage loads it,
`regroup` folds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from amity.kernel.ids import ProfileId
from amity.kernel.limits import GRAPH_IDENTITIES_MAX
from amity.platform.identity.graph import BEGINNING, Graph, Link, Pair, SeenSet, Sighting, Stamp
from amity.platform.identity.model import Identity
from amity.platform.identity.rules import Rules

Need = Literal["nothing", "since", "all"]
Cause = Literal["merge", "split"]


class Component(msgspec.Struct, frozen=True, array_like=True):
    """A person's identities, what they were at the last drop, and what was only added since.

    `base` holds links by position in `members`: (one, other, first_ms, last stamp). `names` are
    those of `sets`: with `floor` they stand in front, so that most readers decode no further.
    """

    names: str
    floor: Stamp
    members: tuple[Identity, ...]
    base: tuple[tuple[int, int, int, Stamp], ...]
    sets: dict[str, SeenSet]


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """What tells whether a sighting changes anything; the rest stays undecoded."""

    names: str
    floor: Stamp


_WHOLE = msgspec.msgpack.Decoder(Component)
_HEAD = msgspec.msgpack.Decoder(_Head)


class Components:
    """Components as stored; most are only asked whether they change, and never decoded whole."""

    __slots__ = ("_heads", "_raw", "_whole")

    def __init__(self) -> None:
        self._raw: dict[ProfileId, bytes] = {}
        self._heads: dict[ProfileId, _Head] = {}
        self._whole: dict[ProfileId, Component] = {}

    def add(self, raw: dict[ProfileId, bytes]) -> None:
        """Take up stored components."""
        self._raw.update(raw)

    def __contains__(self, name: object) -> bool:
        return name in self._raw

    def __getitem__(self, name: ProfileId) -> Component:
        found = self._whole.get(name)
        if found is None:
            found = self._whole[name] = _WHOLE.decode(self._raw[name])
        return found

    def settles(self, name: ProfileId, seen: Sighting) -> bool:
        """Whether the component takes a sighting without any change."""
        head = self._heads.get(name)
        if head is None:
            head = self._heads[name] = _HEAD.decode(self._raw[name])
        return seen.stamp.set in head.names and seen.stamp > head.floor


@dataclass(slots=True, kw_only=True)
class Known:
    """What is known of one scope before these sightings, as far as they need it.

    Attributes:
        members: Identity → profile id; an identity that is not here stands alone.
        components: Profile id → component.
    """

    members: dict[Identity, ProfileId] = field(default_factory=dict)
    components: Components = field(default_factory=Components)


@dataclass(slots=True, kw_only=True)
class Group:
    """Sightings that touch each other, with the components they touch."""

    sightings: list[Sighting] = field(default_factory=list)
    profiles: set[ProfileId] = field(default_factory=set)
    identities: set[Identity] = field(default_factory=set)
    history: list[Sighting] = field(default_factory=list)
    need: Need = "nothing"

    def absorb(self, other: Group) -> None:
        """Become one with another group."""
        self.sightings += other.sightings
        self.profiles |= other.profiles
        self.identities |= other.identities


@dataclass(slots=True, kw_only=True)
class Regrouping:
    """Who holds which identities from now on, and who did before."""

    before: dict[ProfileId, tuple[Identity, ...]]
    after: dict[ProfileId, Component]

    @property
    def cause(self) -> Cause:
        """Whether anybody was taken apart, or people were only put together."""
        home = {one: name for name, held in self.after.items() for one in held.members}
        for held in self.before.values():
            if len({home[identity] for identity in held}) > 1:
                return "split"
        return "merge"


def plan(known: Known, sightings: Iterable[Sighting], rules: Rules) -> list[Group]:
    """The groups that these sightings change; those that change nothing are in none of them."""
    at: dict[ProfileId | Identity, Group] = {}
    settled: list[tuple[ProfileId, Sighting]] = []
    for seen in sightings:
        home = known.members.get(seen.identities[0])
        if home is not None and known.components.settles(home, seen):
            settled.append((home, seen))
        else:
            _place(known, seen, at)
    for home, seen in settled:
        if home in at:
            at[home].sightings.append(seen)
    groups = list({id(group): group for group in at.values()}.values())
    for group in groups:
        group.need = need(known, group, rules)
    return groups


def need(known: Known, group: Group, rules: Rules) -> Need:
    """How much of the past it takes to get this group right."""
    floor = max((known.components[name].floor for name in group.profiles), default=BEGINNING)
    if min(group.sightings).stamp <= floor:
        return "all"
    everyone = set(group.identities)
    for name in group.profiles:
        everyone.update(known.components[name].members)
    if len(everyone) > GRAPH_IDENTITIES_MAX or rules.clashes(everyone):
        return "since"
    return "nothing"


def regroup(known: Known, group: Group, rules: Rules) -> Regrouping:
    """Take the group's sightings in. Components that stay as they are, are not in the answer."""
    olds = {name: known.components[name] for name in group.profiles}
    if group.need == "nothing":
        news = [_joined(olds.values(), group)]
    else:
        news = _folded([] if group.need == "all" else list(olds.values()), group, rules)
    after = {profile_name(new.members, rules): new for new in news}
    same = {name for name, new in after.items() if olds.get(name) == new}
    before = {name: old.members for name, old in olds.items() if name not in same}
    after = {name: new for name, new in after.items() if name not in same}
    linked = {identity for old in olds.values() for identity in old.members}
    for new in after.values():
        for identity in new.members:
            if identity not in linked:
                before[ProfileId(identity.xid)] = (identity,)
    return Regrouping(before=before, after=after)


def profile_name(members: Iterable[Identity], rules: Rules) -> ProfileId:
    """The name of the person who holds these identities: that of the highest-ranking one.

    It depends on who is in the graph alone, never on who came first, and a known person's name
    survives every new device.
    """
    first = min(members, key=lambda one: (rules.priority(one.ns), one))
    return ProfileId(first.xid)


def links_of(component: Component) -> list[tuple[Pair, Link]]:
    """The links a component had at its floor."""
    members = component.members
    return [
        ((members[one], members[other]), Link(first_ms, last))
        for one, other, first_ms, last in component.base
    ]


def _place(known: Known, seen: Sighting, at: dict[ProfileId | Identity, Group]) -> None:
    """Put a sighting into the group of what it touches; groups that it joins become one."""
    group = Group(sightings=[seen])
    for identity in seen.identities:
        profile = known.members.get(identity)
        if profile is None:
            group.identities.add(identity)
        else:
            group.profiles.add(profile)
    nodes: list[ProfileId | Identity] = [*group.profiles, *group.identities]
    touched = {id(at[node]): at[node] for node in nodes if node in at}
    home = max(touched.values(), key=lambda other: len(other.sightings), default=group)
    for other in (group, *touched.values()):
        if other is not home:
            home.absorb(other)
            at.update(dict.fromkeys((*other.profiles, *other.identities), home))
    at.update(dict.fromkeys(nodes, home))


def _joined(olds: Iterable[Component], group: Group) -> Component:
    """All in one component, nothing dropped."""
    floor = BEGINNING
    everyone = set(group.identities)
    links: list[tuple[Pair, Link]] = []
    sets: dict[str, SeenSet] = {}
    for old in olds:
        floor = max(floor, old.floor)
        everyone.update(old.members)
        links += links_of(old)
        sets.update(old.sets)
    for seen in group.sightings:
        sets.setdefault(seen.stamp.set, SeenSet(seen.identities, floor))
    return _component(everyone, floor, links, sets)


def _folded(olds: list[Component], group: Group, rules: Rules) -> list[Component]:
    graph = Graph(rules)
    for old in olds:
        graph.restore(old.members, old.floor, links_of(old), old.sets)
    graph.fold((*group.history, *group.sightings))
    return [_taken(graph, found) for found in graph.components()]


def _taken(graph: Graph, members: set[Identity]) -> Component:
    floor = BEGINNING
    links: list[tuple[Pair, Link]] = []
    sets: dict[str, SeenSet] = {}
    for identity in members:
        floor = max(floor, graph.floors.get(identity, BEGINNING))
        links += (((identity, other), link) for other, link in graph.base.get(identity, {}).items())
        sets.update(graph.sets.get(identity, {}))
    return _component(members, floor, links, sets)


def _component(
    members: set[Identity],
    floor: Stamp,
    links: list[tuple[Pair, Link]],
    sets: dict[str, SeenSet],
) -> Component:
    ordered = tuple(sorted(members))
    at = {identity: place for place, identity in enumerate(ordered)}
    base = sorted((at[one], at[other], *link) for (one, other), link in links)
    return Component(",".join(sorted(sets)), floor, ordered, tuple(base), sets)
