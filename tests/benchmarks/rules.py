"""Rule evaluation alone: a hundred audiences at every event, without any store.

Ours is segmentation's pure step on decoded events and states in memory, a hundred messages at a
time. The baseline is one hand-written Python function an event type. Both must agree on everybody.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from audiences import rules
from by_hand import HANDLERS, Person
from report import Row, medians
from shop import START_MS, Shop, device, event, person, set_up

from amity.app.garbage import collect_less
from amity.expression.syntax.pql import parse
from amity.kernel.clock import DAY_MS, RealSystemClock
from amity.kernel.ids import ProfileId
from amity.platform.profile.model import EventRef, ProfileChanged
from amity.platform.segmentation.ruleset import Definition, RuleSet
from amity.platform.segmentation.step import Key, ProfileState, SegmentationState, step

RUNS = 3
PEOPLE = 10_000
EVENTS = 60_000
DAYS = 40
TOGETHER = 100
SYSTEM = RealSystemClock()


class Group(NamedTuple):
    """Messages of one instant."""

    at_ms: int
    messages: list[ProfileChanged]


def measure(folder: Path) -> list[Row]:
    """The one row."""
    shop = set_up(folder / "rules")
    ruleset = RuleSet(Definition(name, parse(text)) for name, text in rules().items())
    people = [_changed(shop, n, START_MS, attributes=person(shop, n)) for n in range(PEOPLE)]
    groups = _groups(shop)
    collect_less()
    found: dict[str, dict[str, set[str]]] = {}

    def ours() -> float:
        rate, found["ours"] = _ours(shop, ruleset, people, groups)
        return rate

    def by_hand() -> float:
        rate, found["by hand"] = _by_hand(people, groups)
        return rate

    mine, baseline = medians(ours, by_hand, RUNS)
    if found["ours"] != found["by hand"]:
        raise AssertionError("the stage and the hand-written functions disagree on memberships")
    members = sum(map(len, found["ours"].values()))
    return [
        Row(
            work="rule evaluation alone, 100 audiences",
            ours=mine,
            baseline=baseline,
            unit="events/s",
            hold=0.5,
            note=f"hand-written function per event type; {members:,} memberships, equal",
        )
    ]


def _ours(
    shop: Shop, ruleset: RuleSet, people: Sequence[ProfileChanged], groups: Sequence[Group]
) -> tuple[float, dict[str, set[str]]]:
    profiles: dict[Key, ProfileState] = {}

    def take(messages: Sequence[ProfileChanged], at_ms: int) -> None:
        state = SegmentationState(rules={shop.scope: ruleset}, profiles=profiles)
        step(state, messages, [], at_ms)

    take(people, START_MS)
    begun = SYSTEM.monotonic_s()
    for group in groups:
        take(group.messages, group.at_ms)
    took = SYSTEM.monotonic_s() - begun
    standing = {
        str(key[1]): {name for name, where in known.standings.items() if where.inside}
        for key, known in profiles.items()
    }
    return EVENTS / took, standing


def _by_hand(
    people: Sequence[ProfileChanged], groups: Sequence[Group]
) -> tuple[float, dict[str, set[str]]]:
    held = {one.profile: Person(one.attributes or {}) for one in people}
    begun = SYSTEM.monotonic_s()
    for group in groups:
        for message in group.messages:
            for ref in message.events:
                HANDLERS[ref.body["eventType"]](held[message.profile], ref.body, ref.timestamp_ms)
    took = SYSTEM.monotonic_s() - begun
    return EVENTS / took, {str(name): one.inside for name, one in held.items()}


def _groups(shop: Shop) -> list[Group]:
    rng = random.Random(3)
    groups = []
    for first in range(0, EVENTS, TOGETHER):
        at_ms = START_MS + first * DAYS * DAY_MS // EVENTS
        numbers = range(first, first + TOGETHER)
        messages = [_happened(shop, n, rng.randrange(PEOPLE), at_ms) for n in numbers]
        groups.append(Group(at_ms, messages))
    return groups


def _happened(shop: Shop, n: int, who: int, at_ms: int) -> ProfileChanged:
    body = event(shop, n, at_ms, {"Device": device(who)})
    return _changed(shop, who, at_ms, events=(EventRef(body["_id"], at_ms, shop.events, body),))


def _changed(shop: Shop, who: int, at_ms: int, **more: Any) -> ProfileChanged:
    return ProfileChanged(
        scope=shop.scope.key, profile=ProfileId(f"person-{who:06}"), at_ms=at_ms, **more
    )
