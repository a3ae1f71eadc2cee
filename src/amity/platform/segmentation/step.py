"""How does a change of a profile become a change of its audiences?

Pure. An event goes into the slots that want it; the audiences which a slot, an attribute or another
audience touches are evaluated, and no others. Each evaluation tells when its answer may change by
itself; the earliest of them wakes the profile. What is derived is made anew from the profile store
after a merge, split or deletion, or when the rules have changed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, NamedTuple, Protocol

import msgspec

from amity.expression.times import NEVER
from amity.expression.values import Instant
from amity.flow.step import Cancel, Outcome, Output, Timer
from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.profile.model import ProfileChanged
from amity.platform.segmentation.model import (
    MEMBERSHIPS_TOPIC,
    DefinitionChanged,
    MembershipChanged,
    Status,
)
from amity.platform.segmentation.ruleset import CompiledAudience, RuleSet
from amity.platform.segmentation.slots import SlotSpec, Trie, project

BACKFILL_KEY = b"\x00backfill"
"""Wakes the next page of profiles; no profile id begins so."""

BACKFILL_PROFILES = 500
"""Profiles evaluated anew in one go after a definition has changed. Ours."""

Message = ProfileChanged | DefinitionChanged
Key = tuple[Scope, ProfileId]
Event = dict[str, Any]


class Standing(msgspec.Struct, array_like=True):
    """Where a profile stands in an audience; `changes_ms` NEVER = only by a record."""

    inside: bool
    since_ms: int
    version: int
    changes_ms: int


class ProfileState(msgspec.Struct, array_like=True):
    """What the stage knows of a profile. `slots` holds events by (timestamp, id).

    Of a dissolved profile only the versions stay, so that they rise on when a split brings it back.
    """

    rules: str = ""
    version: int = 0
    wake_ms: int = NEVER
    wake_version: int = 0
    attributes: dict[str, Any] = {}
    slots: dict[str, list[Event]] = {}
    standings: dict[str, Standing] = {}

    @property
    def dissolved(self) -> bool:
        """Whether nothing is known of it any more."""
        return not self.rules


class MemberRow(msgspec.Struct, array_like=True, frozen=True):
    """The row of a profile in an audience, and by what it came to stand so."""

    status: Status
    since_ms: int
    version: int
    cause: str = ""


class Backfill(msgspec.Struct, array_like=True, frozen=True):
    """How far the evaluation of changed definitions has come; `after` is the last profile done."""

    after: str = ""
    version: int = 0


class KeptEvent(Protocol):
    """An event as the profile store gives it."""

    @property
    def id(self) -> str: ...
    @property
    def timestamp_ms(self) -> int: ...
    @property
    def body(self) -> dict[str, Any]: ...


class Source(NamedTuple):
    """What the profile store holds of a profile."""

    view: Mapping[str, Any]
    events: Sequence[KeptEvent]


@dataclass(slots=True)
class SegmentationState:
    """Everything a step needs; the stage loads it and writes what is dirty."""

    rules: dict[Scope, RuleSet] = field(default_factory=dict)
    profiles: dict[Key, ProfileState] = field(default_factory=dict)
    sources: dict[Key, Source] = field(default_factory=dict)
    backfills: dict[Scope, Backfill] = field(default_factory=dict)
    pages: dict[Scope, list[ProfileId]] = field(default_factory=dict)
    dirty: set[Key] = field(default_factory=set)
    members: dict[tuple[Scope, str, ProfileId], MemberRow] = field(default_factory=dict)
    dirty_backfills: set[Scope] = field(default_factory=set)


def step(
    state: SegmentationState, messages: Sequence[Message], fired: Sequence[Timer], now_ms: int
) -> Outcome[SegmentationState]:
    """Evaluate what the messages and timers touch."""
    outcome = Outcome(state=state)
    for timer in fired:
        _fire(outcome, timer, now_ms)
    for message in messages:
        if isinstance(message, ProfileChanged):
            _changed(outcome, message, now_ms)
        else:
            _start_backfill(outcome, Scope.parse(message.scope), now_ms)
    return outcome


def _changed(outcome: Outcome[SegmentationState], message: ProfileChanged, now_ms: int) -> None:
    state = outcome.state
    key = (Scope.parse(message.scope), message.profile)
    rules = state.rules[key[0]]
    known = state.profiles.get(key)
    work = _Work(outcome, key, now_ms, message.cause)
    if message.gone:
        work.leave(known)
        return
    if known is None and not message.rebuild:
        known = ProfileState(rules=rules.version)
        touched = work.take(known, rules, message.events, message.attributes)
        work.evaluate(known, rules, touched | rules.blank)
        return
    if known is None or message.rebuild or known.rules != rules.version:
        if not message.rebuild and known is not None and not known.dissolved:
            work = _Work(outcome, key, now_ms, "definition")
        work.rebuild(known or ProfileState(), rules, state.sources.get(key), message)
        return
    touched = work.take(known, rules, message.events, message.attributes)
    if touched:
        work.evaluate(known, rules, touched)


def _fire(outcome: Outcome[SegmentationState], timer: Timer, now_ms: int) -> None:
    if timer.key == BACKFILL_KEY:
        _backfill(outcome, timer, now_ms)
        return
    key = (timer.scope, ProfileId(timer.key.decode()))
    known = outcome.state.profiles.get(key)
    if known is None or known.wake_version != timer.version:
        return
    rules = outcome.state.rules[key[0]]
    known.wake_ms = NEVER
    if known.rules != rules.version:
        work = _Work(outcome, key, now_ms, "definition")
        work.rebuild(known, rules, outcome.state.sources.get(key))
        return
    due: list[int] = []
    next_ms = NEVER
    for id, standing in known.standings.items():
        if standing.changes_ms <= now_ms and id in rules.index:
            due.append(rules.index[id])
        else:
            next_ms = min(next_ms, standing.changes_ms)
    _Work(outcome, key, now_ms, "timer").evaluate(known, rules, due, next_ms)


def _start_backfill(outcome: Outcome[SegmentationState], scope: Scope, now_ms: int) -> None:
    state = outcome.state
    version = state.backfills.get(scope, Backfill()).version + 1
    state.backfills[scope] = Backfill("", version)
    state.dirty_backfills.add(scope)
    _backfill(outcome, Timer(scope, BACKFILL_KEY, now_ms, version), now_ms)


def _backfill(outcome: Outcome[SegmentationState], timer: Timer, now_ms: int) -> None:
    """Evaluate one page of profiles anew, and wake the next one. The first needs no waking."""
    state, scope = outcome.state, timer.scope
    standing = state.backfills.get(scope, Backfill())
    if standing.version != timer.version:
        return
    rules, page = state.rules[scope], state.pages.get(scope, [])
    for profile in page:
        known = state.profiles.get((scope, profile))
        if known is not None and not known.dissolved and known.rules != rules.version:
            work = _Work(outcome, (scope, profile), now_ms, "definition")
            work.rebuild(known, rules, state.sources.get((scope, profile)))
    if len(page) < BACKFILL_PROFILES:
        return
    state.backfills[scope] = Backfill(page[-1], standing.version)
    state.dirty_backfills.add(scope)
    outcome.timers.append(Timer(scope, BACKFILL_KEY, now_ms, standing.version))


@dataclass(slots=True)
class _Work:
    """What is done to one profile at one instant for one cause."""

    outcome: Outcome[SegmentationState]
    key: Key
    now_ms: int
    cause: str

    def take(
        self,
        known: ProfileState,
        rules: RuleSet,
        events: Iterable[KeptEvent],
        attributes: Mapping[str, Any] | None,
    ) -> set[int]:
        """Put events into slots and attributes in place; answers which audiences are touched."""
        touched: set[int] = set()
        for ref in events:
            stamp = Instant(ref.timestamp_ms)
            event = {**ref.body, "_id": ref.id, "timestamp": stamp}
            for slot in rules.slots_for(event):
                if slot.keep_ms is not None and stamp + slot.keep_ms <= self.now_ms:
                    continue
                if _keep(known.slots.setdefault(slot.name, []), event, rules.tries[slot.name]):
                    touched.update(rules.by_slot[slot.name])
        if attributes is not None:
            wanted = project(attributes, rules.attribute_trie)
            touched.update(rules.touched_by_attributes(known.attributes, wanted))
            known.attributes = wanted
        return touched

    def rebuild(
        self,
        known: ProfileState,
        rules: RuleSet,
        source: Source | None,
        message: ProfileChanged | None = None,
    ) -> None:
        """Make everything anew from the profile store and say what has become different."""
        known.slots, known.attributes, known.rules = {}, {}, rules.version
        if source is not None:
            self.take(known, rules, source.events, source.view)
        if message is not None:
            self.take(known, rules, message.events, message.attributes)
        for id in [id for id in known.standings if id not in rules.index]:
            self._turn(known, id, known.standings.pop(id), inside=False)
        self.evaluate(known, rules, range(len(rules.audiences)))

    def leave(self, known: ProfileState | None) -> None:
        """The profile is dissolved: it is in no audience any more."""
        if known is None:
            return
        for id, standing in sorted(known.standings.items()):
            self._turn(known, id, standing, inside=False)
        versions = ProfileState(version=known.version, wake_version=known.wake_version + 1)
        self.outcome.state.profiles[self.key] = versions
        self.outcome.state.dirty.add(self.key)
        self.outcome.timers.append(Cancel(self.key[0], self.key[1].encode()))

    def evaluate(
        self, known: ProfileState, rules: RuleSet, touched: Iterable[int], next_ms: int = NEVER
    ) -> None:
        """Evaluate audiences, each after those it asks for, then set the next waking.

        `next_ms` is the earliest change of those that are not evaluated, when no waking stands for
        them.
        """
        waiting = sorted(touched)
        done = -1
        while waiting:
            place = heappop(waiting)
            if place == done:
                # Who is asked for comes first: what is pushed twice comes out twice in a row.
                continue
            done = place
            audience = rules.audiences[place]
            turned, changes_ms = self._evaluate(known, audience)
            next_ms = min(next_ms, changes_ms)
            if turned:
                for dependent in rules.dependents.get(audience.id, ()):
                    heappush(waiting, dependent)
        self._wake(known, next_ms)
        self.outcome.state.profiles[self.key] = known
        self.outcome.state.dirty.add(self.key)

    def _evaluate(self, known: ProfileState, audience: CompiledAudience) -> tuple[bool, int]:
        """Whether the profile has entered or left, and when that may change by itself."""
        slots = known.slots
        for slot in audience.slots:
            kept = slots.get(slot.name)
            if kept:
                _trim(kept, slot, self.now_ms)
        inside = _inside(known) if audience.depends else _NOBODY
        holds, changes_ms = audience.rule(known.attributes, slots, self.now_ms, inside)
        standing = known.standings.get(audience.id)
        if standing is None:
            if not holds and changes_ms >= NEVER:
                return False, NEVER
            standing = Standing(inside=False, since_ms=self.now_ms, version=0, changes_ms=NEVER)
            known.standings[audience.id] = standing
        standing.changes_ms = changes_ms
        if standing.inside == holds:
            return False, changes_ms
        self._turn(known, audience.id, standing, inside=holds)
        return True, changes_ms

    def _turn(self, known: ProfileState, id: str, standing: Standing, *, inside: bool) -> None:
        """Say that the profile has entered or left, unless it is so already."""
        if standing.inside == inside:
            return
        scope, profile = self.key
        known.version += 1
        standing.inside, standing.since_ms, standing.version = inside, self.now_ms, known.version
        status: Status = "realized" if inside else "exited"
        self.outcome.state.members[scope, id, profile] = MemberRow(
            status, self.now_ms, known.version, self.cause
        )
        message = MembershipChanged(
            scope=scope.key,
            profile=profile,
            audience=id,
            status=status,
            at_ms=self.now_ms,
            cause=self.cause,
            version=known.version,
        )
        self.outcome.outputs.append(Output(MEMBERSHIPS_TOPIC, scope, profile.encode(), message))

    def _wake(self, known: ProfileState, next_ms: int) -> None:
        """See to it that the profile wakes in time.

        A waking that has become too early stays: it finds nothing due and sets the next one. Most
        events put the next change off; to move the timer with each of them would cost two writes.
        """
        if next_ms >= known.wake_ms:
            return
        known.wake_ms = next_ms
        known.wake_version += 1
        self.outcome.timers.append(
            Timer(self.key[0], self.key[1].encode(), next_ms, known.wake_version)
        )


def _keep(kept: list[Event], event: Event, wanted: Trie | None) -> bool:
    """Put what is wanted of an event into its place; False when it is there already."""
    order = _order(event)
    place = len(kept)
    if place:
        _as_instants(kept)
        if _order(kept[-1]) >= order:
            place = bisect_left(kept, order, key=_order)
            if _order(kept[place]) == order:
                return False
    trimmed = dict(event) if wanted is None else project(event, wanted)
    trimmed["_id"] = event["_id"]
    trimmed["timestamp"] = event["timestamp"]
    kept.insert(place, trimmed)
    return True


def _trim(kept: list[Event], slot: SlotSpec, now_ms: int) -> None:
    """Forget what no rule can look at any more, and read timestamps as instants."""
    oldest = kept[0]["timestamp"]
    if slot.keep_ms is not None and oldest <= now_ms - slot.keep_ms:
        del kept[: bisect_right(kept, now_ms - slot.keep_ms, key=_stamp)]
    if type(oldest) is not Instant:
        _as_instants(kept)


def _as_instants(kept: list[Event]) -> None:
    """Read the timestamps of a stored slot as instants; all of them are, or none."""
    if kept and type(kept[0]["timestamp"]) is not Instant:
        for event in kept:
            event["timestamp"] = Instant(event["timestamp"])


def _inside(known: ProfileState) -> frozenset[str]:
    return frozenset(id for id, standing in known.standings.items() if standing.inside)


_NOBODY: frozenset[str] = frozenset()


def _order(event: Event) -> tuple[int, str]:
    return event["timestamp"], event["_id"]


def _stamp(event: Event) -> int:
    stamp: int = event["timestamp"]
    return stamp
