"""What of the past does a change of the graph need, and where does it stop?"""

from __future__ import annotations

from collections.abc import Iterable

from amity.kernel.scope import Scope
from amity.platform.identity.graph import BEGINNING, SeenSet, Sighting
from amity.platform.identity.model import Identity
from amity.platform.identity.step import Group, Known
from amity.platform.identity.store import know, sets_with, sightings_since
from amity.storage.ports import Reader


def load_history(reader: Reader, scope: Scope, known: Known, groups: list[Group]) -> list[Group]:
    """Fill in the past sightings that the groups need; groups of one pool become one."""
    late = [group for group in groups if group.need == "all"]
    rest = [group for group in groups if group.need != "all"]
    if late:
        whole = Group(need="all")
        for group in late:
            whole.absorb(group)
        rest = [*_fill_pool(reader, scope, known, (whole, rest)), whole]
    for group in rest:
        if group.need == "since":
            group.history = _since_floors(reader, scope, known, group)
    return rest


def _since_floors(reader: Reader, scope: Scope, known: Known, group: Group) -> list[Sighting]:
    return [
        seen
        for profile in group.profiles
        for name, held in known.components[profile].sets.items()
        for seen in sightings_since(reader, scope, name, held)
    ]


def _fill_pool(
    reader: Reader, scope: Scope, known: Known, groups: tuple[Group, list[Group]]
) -> list[Group]:
    """Make one group of everything that ever touched its sightings; the groups beyond it."""
    whole, rest = groups
    sets: dict[str, tuple[Identity, ...]] = {}
    reached: set[Identity] = set()
    while True:
        _reach(reader, scope, (reached, sets), _everyone(known, whole))
        know(reader, scope, known, reached)
        touched = [group for group in rest if not reached.isdisjoint(_everyone(known, group))]
        if not touched:
            break
        for group in touched:
            whole.absorb(group)
            rest.remove(group)
    whole.profiles |= {known.members[one] for one in reached if one in known.members}
    whole.identities -= known.members.keys()
    whole.history = [
        seen
        for name, identities in sets.items()
        for seen in sightings_since(reader, scope, name, SeenSet(identities, BEGINNING))
    ]
    return rest


def _everyone(known: Known, group: Group) -> set[Identity]:
    found = set(group.identities)
    for profile in group.profiles:
        found.update(known.components[profile].members)
    return found


def _reach(
    reader: Reader,
    scope: Scope,
    found: tuple[set[Identity], dict[str, tuple[Identity, ...]]],
    seeds: Iterable[Identity],
) -> None:
    reached, sets = found
    pending = [seed for seed in seeds if seed not in reached]
    reached.update(pending)
    while pending:
        for name, identities in sets_with(reader, scope, pending.pop()).items():
            if name not in sets:
                sets[name] = identities
                fresh = [one for one in identities if one not in reached]
                reached.update(fresh)
                pending += fresh
