"""Which identities are one person, when the records are taken in order of event time?

The documented algorithm, one sighting at a time. As long as no unique namespace would hold two
values, a sighting's links are added. Otherwise the links of all components that it touches are put
back one by one: those of the sighting first, the rest by the sum of the priorities of their two
namespaces, then newer first; a link that would bring two values of a unique namespace together is
dropped. Then the limit: of a graph with too many identities the oldest leaves, cookies before
devices before the rest. Behaviour: platform-audiences.md §1.4, §2.2.

A sighting after which nothing was dropped commutes with every other such sighting. The graph
therefore keeps, besides its links, what each component was at its last drop (its *floor*) and
which identity sets were only added since: a sighting newer than the floor that fits is added
without looking at history (docs/adr/0009-identity-in-any-order.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from amity.kernel.ids import digest
from amity.kernel.limits import GRAPH_IDENTITIES_MAX
from amity.platform.identity.model import Identity
from amity.platform.identity.rules import Rules


class Stamp(NamedTuple):
    """Where a sighting stands in the order of things: event time, record id, identity set."""

    at_ms: int
    record: str
    set: str


class Sighting(NamedTuple):
    """A record that shows two or more identities together. Identities are sorted, each once."""

    stamp: Stamp
    identities: tuple[Identity, ...]


class Link(NamedTuple):
    """Since when two identities are linked, and the newest sighting that says so."""

    first_ms: int
    last: Stamp


Pair = tuple[Identity, Identity]
"""Two linked identities, the smaller first."""

BEGINNING = Stamp(-(1 << 62), "", "")
"""Before every sighting."""


class SeenSet(NamedTuple):
    """An identity set seen together since `since`, without a drop."""

    identities: tuple[Identity, ...]
    since: Stamp


def sighting(at_ms: int, record: str, identities: Iterable[Identity]) -> Sighting:
    """The sighting of a record; its identity set gets a stable name."""
    held = tuple(sorted(set(identities)))
    return Sighting(Stamp(at_ms, record, set_name(held)), held)


@lru_cache(maxsize=1 << 15)
def set_name(identities: tuple[Identity, ...]) -> str:
    """A stable short name of a sorted identity set."""
    return digest(*(part for identity in identities for part in identity), length=20)


class Graph:
    """Links among identities, folded over sightings in order."""

    def __init__(self, rules: Rules, *, identities_max: int = GRAPH_IDENTITIES_MAX) -> None:
        self._rules = rules
        self._max = identities_max
        self._near: dict[Identity, set[Identity]] = {}
        self.links: dict[Pair, Link] = {}
        self.base: dict[Identity, dict[Identity, Link]] = {}
        self.sets: dict[Identity, dict[str, SeenSet]] = {}
        self.floors: dict[Identity, Stamp] = {}

    def restore(
        self,
        members: Iterable[Identity],
        floor: Stamp,
        base: Iterable[tuple[Pair, Link]],
        sets: Mapping[str, SeenSet],
    ) -> None:
        """Take up a component as it was at its floor.

        The sightings of `sets` are still to be folded: their links are not here yet.
        """
        for name, held in sets.items():
            self.sets.setdefault(held.identities[0], {})[name] = held
        if floor != BEGINNING:
            self.floors.update(dict.fromkeys(members, floor))
        for pair, link in base:
            self.base.setdefault(pair[0], {})[pair[1]] = link
            self._add(pair, link)

    def fold(self, sightings: Iterable[Sighting]) -> None:
        """Take in sightings that come after all taken in before, in any given order."""
        newest = BEGINNING
        for one in sorted(sightings):
            if one.stamp != newest:
                self.see(one)
            newest = one.stamp

    def see(self, seen: Sighting) -> None:
        """Take in the next sighting. One that clashes with itself is refused: nothing happens."""
        if self._rules.clashes(seen.identities):
            return
        touched = self._touched(seen.identities)
        if self._rules.clashes(touched):
            self._rebuild(seen, touched)
            self._settle(seen.stamp, touched)
        else:
            self._union(seen, touched)
        self._evict(seen)

    def component(self, identity: Identity) -> set[Identity]:
        """Everyone linked to `identity`, directly or not, and itself."""
        found = {identity}
        pending = [identity]
        while pending:
            fresh = self._near.get(pending.pop(), set()) - found
            found |= fresh
            pending += fresh
        return found

    def components(self) -> Iterator[set[Identity]]:
        """All components, also those of one identity that a drop has left alone."""
        done: set[Identity] = set()
        for identity in (*self._near, *self.floors):
            if identity not in done:
                found = self.component(identity)
                done |= found
                yield found

    def _touched(self, identities: Iterable[Identity]) -> set[Identity]:
        touched: set[Identity] = set()
        for identity in identities:
            if identity not in touched:
                touched |= self.component(identity)
        return touched

    def _union(self, seen: Sighting, touched: set[Identity]) -> None:
        for pair in combinations(seen.identities, 2):
            self._refresh(pair, seen.stamp)
        held = self.sets.setdefault(seen.identities[0], {})
        if seen.stamp.set not in held:
            since = max(self.floors.get(each, BEGINNING) for each in touched)
            held[seen.stamp.set] = SeenSet(seen.identities, since)

    def _rebuild(self, seen: Sighting, touched: set[Identity]) -> None:
        latest = list(combinations(seen.identities, 2))
        for pair in latest:
            self._refresh(pair, seen.stamp)
        rest = {pair: self.links[pair] for pair in self._pairs(touched)}
        for pair in latest:
            del rest[pair]
        together = {identity: {identity} for identity in touched}
        shared = set(seen.identities)
        together.update((identity, shared) for identity in shared)
        for pair, _ in sorted(rest.items(), key=self._order, reverse=True):
            one, other = together[pair[0]], together[pair[1]]
            if one is other:
                continue
            if self._rules.clashes(one | other):
                self._drop(pair)
            else:
                one |= other
                together.update(dict.fromkeys(other, one))

    def _order(self, item: tuple[Pair, Link]) -> tuple[float, Stamp, Pair]:
        """The greatest is put back first: lowest sum of priorities, then newest."""
        (one, other), link = item
        total = self._rules.priority(one.ns) + self._rules.priority(other.ns)
        return -total, link.last, (one, other)

    def _evict(self, seen: Sighting) -> None:
        """Let the oldest leave until the graph fits; who is seen just now stays."""
        members = self.component(seen.identities[0])
        if len(members) <= self._max:
            return
        everyone = set(members)
        kept = set(seen.identities)
        while len(members) > self._max and members - kept:
            oldest = min(members - kept, key=self._age)
            for other in list(self._near[oldest]):
                self._drop(_pair(oldest, other))
            members = self.component(seen.identities[0])
        self._settle(seen.stamp, everyone)

    def _age(self, identity: Identity) -> tuple[int, int, str]:
        first = min(self.links[_pair(identity, other)].first_ms for other in self._near[identity])
        return self._rules.leaves_first(identity), first, identity.xid

    def _settle(self, stamp: Stamp, touched: set[Identity]) -> None:
        """Something was dropped: from here on these components begin anew."""
        self.floors.update(dict.fromkeys(touched, stamp))
        for identity in touched:
            self.base.pop(identity, None)
            self.sets.pop(identity, None)
        for one, other in self._pairs(touched):
            self.base.setdefault(one, {})[other] = self.links[one, other]

    def _pairs(self, identities: set[Identity]) -> list[Pair]:
        return [
            (one, other) for one in identities for other in self._near.get(one, ()) if one < other
        ]

    def _refresh(self, pair: Pair, stamp: Stamp) -> None:
        old = self.links.get(pair)
        self._add(pair, Link(old.first_ms if old else stamp.at_ms, stamp))

    def _add(self, pair: Pair, link: Link) -> None:
        one, other = pair
        self.links[pair] = link
        self._near.setdefault(one, set()).add(other)
        self._near.setdefault(other, set()).add(one)

    def _drop(self, pair: Pair) -> None:
        one, other = pair
        del self.links[pair]
        for here, there in ((one, other), (other, one)):
            near = self._near[here]
            near.discard(there)
            if not near:
                del self._near[here]


def _pair(one: Identity, other: Identity) -> Pair:
    return (one, other) if one < other else (other, one)
