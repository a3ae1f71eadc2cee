"""How do all audiences of a sandbox become one thing that can be evaluated at every event?

Compiled once for a version of the definitions: rules in the order in which they may look at one
another, slots by event type, and which audiences a slot, an attribute or another audience touches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from amity.expression.evaluators.closures import Rule, compile_rule
from amity.expression.times import NEVER
from amity.expression.tree import Node
from amity.kernel.ids import digest
from amity.platform.segmentation.errors import CyclicAudiences
from amity.platform.segmentation.slots import (
    Needs,
    Path,
    SlotDraft,
    SlotSpec,
    Trie,
    at,
    audiences_in,
    needs_of,
    trie,
)

_TYPE: Path = ("eventType",)


class Definition(NamedTuple):
    """What evaluation must know of an audience."""

    id: str
    rule: Node


@dataclass(frozen=True, slots=True)
class CompiledAudience:
    """One audience, ready to be evaluated."""

    id: str
    rule: Rule
    slots: tuple[SlotSpec, ...]
    attributes: frozenset[Path]
    depends: frozenset[str]


class RuleSet:
    """The audiences of one sandbox at one version of their definitions."""

    def __init__(self, definitions: Iterable[Definition]) -> None:
        ordered = in_order({definition.id: definition.rule for definition in definitions})
        needs = {id: needs_of(rule) for id, rule in ordered}
        self.version = digest(
            "rules", *(f"{id}={rule!r}" for id, rule in sorted(ordered)), length=12
        )
        self.slots = _slots(needs.values())
        self.audiences = tuple(_compiled(id, needs[id], self.slots) for id, _ in ordered)
        self.index = {audience.id: at for at, audience in enumerate(self.audiences)}
        self.tries: dict[str, Trie | None] = {s.name: trie(s.paths) for s in self.slots.values()}
        self.attributes = frozenset(path for need in needs.values() for path in need.attributes)
        self.attribute_trie = trie(self.attributes)
        self._by_type, self._any_type = _by_type(self.slots.values())
        self._each = _Branch((), tuple(self.slots.values()))
        self.by_slot = self._touched(lambda audience: (slot.name for slot in audience.slots))
        self.by_attribute = self._touched(lambda audience: audience.attributes)
        self.blank = frozenset(
            place for place, audience in enumerate(self.audiences) if _holds_of_nobody(audience)
        )
        self.dependents = self._touched(lambda audience: audience.depends)

    def slots_for(self, event: Mapping[str, Any]) -> Sequence[SlotSpec]:
        """The slots that take this event."""
        kind = event.get("eventType")
        if kind is None or type(kind) is str:
            branch = self._by_type.get(kind, self._any_type).branch(event)
        else:
            branch = self._each
        if not branch.doubtful:
            return branch.sure
        return [*branch.sure, *(slot for slot in branch.doubtful if slot.test(event))]

    def touched_by_attributes(
        self, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> Iterator[int]:
        """The audiences that read an attribute which is another one now."""
        for path, audiences in self.by_attribute.items():
            if at(before, path) != at(after, path):
                yield from audiences

    def _touched(self, of: Any) -> dict[Any, tuple[int, ...]]:
        found: dict[Any, list[int]] = {}
        for place, audience in enumerate(self.audiences):
            for key in of(audience):
                found.setdefault(key, []).append(place)
        return {key: tuple(places) for key, places in found.items()}


def in_order(rules: Mapping[str, Node]) -> list[tuple[str, Node]]:
    """The rules so that each comes after those it asks for; refuses a circle."""
    ordered: list[tuple[str, Node]] = []
    state: dict[str, bool] = {}

    def visit(id: str, way: tuple[str, ...]) -> None:
        if state.get(id):
            return
        if id in state:
            circle = " → ".join((*way[way.index(id) :], id))
            raise CyclicAudiences(f"audiences ask for one another in a circle: {circle}", way=way)
        state[id] = False
        for other in sorted(audiences_in(rules[id])):
            if other in rules:
                visit(other, (*way, id))
        state[id] = True
        ordered.append((id, rules[id]))

    for id in sorted(rules):
        visit(id, ())
    return ordered


def _holds_of_nobody(audience: CompiledAudience) -> bool:
    """Whether a profile of which nothing is known is, or may come to be, in it by itself."""
    holds, changes_ms = audience.rule({}, {}, 0, ())
    return holds or changes_ms < NEVER


def _compiled(id: str, needs: Needs, slots: Mapping[str, SlotSpec]) -> CompiledAudience:
    return CompiledAudience(
        id=id,
        rule=compile_rule(needs.rule),
        slots=tuple(slots[name] for name in sorted(needs.slots)),
        attributes=needs.attributes,
        depends=needs.audiences,
    )


def _slots(needs: Iterable[Needs]) -> dict[str, SlotSpec]:
    drafts: dict[str, SlotDraft] = {}
    for need in needs:
        for name, draft in need.slots.items():
            drafts[name] = drafts[name].merged(draft) if name in drafts else draft
    return {name: draft.spec() for name, draft in sorted(drafts.items())}


class _Branch(NamedTuple):
    """Slots that take an event for certain by what was looked at, and those to be asked."""

    sure: tuple[SlotSpec, ...]
    doubtful: tuple[SlotSpec, ...]


class _Fork(NamedTuple):
    """The slots of one event type, told apart by the field that most of them ask a text of."""

    path: Path
    by_text: Mapping[str, _Branch]
    others: _Branch
    any: _Branch

    def branch(self, event: Mapping[str, Any]) -> _Branch:
        if not self.by_text:
            return self.any
        value: Any = event
        for name in self.path:
            value = value.get(name) if type(value) is dict else None
        # What is no text (a list may hold several) leaves it to each slot.
        return self.by_text.get(value, self.others) if type(value) is str else self.any


def _fork(specs: Iterable[SlotSpec], kind: str = "") -> _Fork:
    found = tuple(specs)
    asked = Counter(path for spec in found for path in spec.values if path != _TYPE)
    path = max(sorted(asked), key=asked.__getitem__, default=())
    texts = {text for spec in found for text in spec.values.get(path, ())}
    by_text = {
        text: _branch(
            (spec for spec in found if path not in spec.values or text in spec.values[path]),
            {_TYPE: kind, path: text},
        )
        for text in texts
    }
    others = _branch((spec for spec in found if path not in spec.values), {_TYPE: kind})
    return _Fork(path, by_text, others, _branch(found, {_TYPE: kind}))


def _branch(specs: Iterable[SlotSpec], seen: Mapping[Path, str]) -> _Branch:
    """The slots, for events of which these texts are known."""
    found = tuple(specs)
    sure = tuple(
        spec
        for spec in found
        if spec.plain and all(seen.get(path) in texts for path, texts in spec.values.items())
    )
    return _Branch(sure, tuple(spec for spec in found if spec not in sure))


def _by_type(specs: Iterable[SlotSpec]) -> tuple[dict[str | None, _Fork], _Fork]:
    found = tuple(specs)
    anywhere = _fork(spec for spec in found if spec.types is None)
    types = {name for spec in found if spec.types is not None for name in spec.types}
    by_type: dict[str | None, _Fork] = {
        name: _fork((spec for spec in found if spec.types is None or name in spec.types), name)
        for name in types
    }
    return by_type, anywhere
