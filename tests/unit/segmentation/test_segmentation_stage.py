"""Every audience is exact in time, whatever the order of events, timers and definitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.expression.evaluators.rows import evaluate
from amity.expression.syntax.pql import parse
from amity.flow.runner import Runner
from amity.kernel.clock import DAY_MS, HOUR_MS, from_iso, to_iso
from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.profile.model import CHANGES_TOPIC, EventRef, ProfileChanged
from amity.platform.segmentation.model import (
    DEFINITIONS_TOPIC,
    MEMBERSHIPS_TOPIC,
    DefinitionChanged,
    MembershipChanged,
)
from amity.platform.segmentation.ruleset import Definition, RuleSet
from amity.platform.segmentation.stage import SegmentationStage
from amity.platform.segmentation.store import Members
from amity.storage.ports import Entry, Reader
from amity.testing.memory import MemoryLog, MemoryState

SCOPE = Scope("A@AmityOrg", "prod")
NOW = from_iso("2017-11-01T00:00:00Z")
COUNTING = (
    '(select E from xEvent where E.eventType = "commerce.purchases" '
    "and E.timestamp occurs <= 28 days before now).count() >= 2"
)
SEQUENCE = (
    'exists V from xEvent where V.eventType = "commerce.productViews" '
    "and V.timestamp occurs <= 14 days before now, "
    'P from xEvent where P.eventType = "commerce.purchases" '
    "and P.timestamp occurs <= 24 hours after V.timestamp "
    "and P.timestamp occurs <= 14 days before now"
)
INCOME = '_acme.incomeBand in ["100-124K", "125-149K"]'


class World:
    """A segmentation stage on in-memory ports, with the profile store's content at hand."""

    def __init__(self, rules: Mapping[str, str]) -> None:
        self.log, self.state = MemoryLog(), MemoryState()
        self.views: dict[ProfileId, dict[str, Any]] = {}
        self.all_events: dict[ProfileId, list[EventRef]] = {}
        self.define(rules)
        stage = SegmentationStage(rules=self, profiles=self)
        self.runner = Runner([stage], log=self.log, state=self.state, name="w")
        self.members = Members(self.state)

    def define(self, rules: Mapping[str, str]) -> None:
        self.texts = dict(rules)
        self.ruleset = RuleSet(Definition(id, parse(text)) for id, text in rules.items())

    def rules(self, scope: Scope) -> RuleSet:
        return self.ruleset

    def view(self, reader: Reader, scope: Scope, profile_id: ProfileId) -> Mapping[str, Any]:
        return self.views.get(profile_id, {})

    def events(self, reader: Reader, scope: Scope, profile_id: ProfileId) -> Iterable[EventRef]:
        return self.all_events.get(profile_id, [])

    def say(self, topic: str, message: Any) -> None:
        self.log.append([Entry(topic, b"k", msgspec.msgpack.encode(message))])

    def event(self, profile: str, kind: str, at_ms: int, received_ms: int | None = None) -> None:
        found = self.all_events.setdefault(ProfileId(profile), [])
        body = {"_id": f"e{len(found)}", "eventType": kind, "timestamp": to_iso(at_ms)}
        ref = EventRef(body["_id"], at_ms, "d", body)
        found.append(ref)
        self.change(profile, received_ms or at_ms, events=(ref,))

    def attributes(self, profile: str, view: dict[str, Any], at_ms: int) -> None:
        self.views[ProfileId(profile)] = view
        self.change(profile, at_ms, attributes=view)

    def change(self, profile: str, at_ms: int, **more: Any) -> None:
        message = ProfileChanged(SCOPE.key, ProfileId(profile), at_ms, **more)
        self.say(CHANGES_TOPIC, message)
        self.drain(at_ms)

    def drain(self, now_ms: int) -> None:
        while self.runner.run_once(now_ms):
            pass

    def until(self, now_ms: int) -> None:
        self.drain(now_ms)
        self.runner.fire_due(now_ms)

    def inside(self, audience: str) -> list[str]:
        with self.state.read() as reader:
            return [str(one.profile) for one in self.members.members(reader, SCOPE, audience)]

    def changes(self) -> list[MembershipChanged]:
        records = self.log.poll(MEMBERSHIPS_TOPIC, {}, 10_000)
        return [msgspec.msgpack.decode(r.body, type=MembershipChanged) for r in records]

    def expected(self, profile: str, now_ms: int) -> set[str]:
        bodies = [ref.body for ref in self.all_events.get(ProfileId(profile), [])]
        found: set[str] = set()
        for id, text in self.texts.items():
            view = self.views.get(ProfileId(profile), {})
            value = evaluate(parse(text), view, bodies, now_ms, audiences=found).value
            if value is True or (isinstance(value, list) and value):
                found.add(id)
        return found


def test_a_member_leaves_at_the_second_its_window_runs_out() -> None:
    """With no event arriving; one millisecond earlier it is still in."""
    world = World({"often": COUNTING})
    world.event("p", "commerce.purchases", NOW)
    world.event("p", "commerce.purchases", NOW + HOUR_MS)

    world.until(NOW + 28 * DAY_MS - 1)
    before = world.inside("often")
    world.until(NOW + 28 * DAY_MS)

    assert before == ["p"]
    assert world.inside("often") == []
    assert [(c.status, c.at_ms, c.cause, c.version) for c in world.changes()] == [
        ("realized", NOW + HOUR_MS, "record", 1),
        ("exited", NOW + 28 * DAY_MS, "timer", 2),
    ]


def test_an_event_that_comes_twice_counts_once() -> None:
    """Repeating a record changes nothing."""
    world = World({"often": COUNTING})
    world.event("p", "commerce.purchases", NOW)
    ref = world.all_events[ProfileId("p")][0]
    world.change("p", NOW + 5, events=(ref, ref))

    assert world.inside("often") == []


def test_attributes_decide_at_once() -> None:
    """A changed attribute moves the profile in and out."""
    world = World({"rich": INCOME})
    world.attributes("p", {"_acme": {"incomeBand": "100-124K"}, "other": 1}, NOW)
    inside = world.inside("rich")
    world.attributes("p", {"_acme": {"incomeBand": "Under 15K"}}, NOW + 1)

    assert inside == ["p"]
    assert world.inside("rich") == []


def test_an_audience_of_audiences_follows() -> None:
    """`inSegment` turns in the same instant as what it asks for."""
    world = World(
        {"a-both": 'inSegment("rich") and inSegment("seq")', "rich": INCOME, "seq": SEQUENCE}
    )
    world.attributes("p", {"_acme": {"incomeBand": "100-124K"}}, NOW)
    world.event("p", "commerce.productViews", NOW)
    world.event("p", "commerce.purchases", NOW + DAY_MS)
    inside = world.inside("a-both")
    world.until(NOW + 14 * DAY_MS)

    assert inside == ["p"]
    assert world.inside("a-both") == []
    assert world.changes()[-1].at_ms == NOW + 14 * DAY_MS


def test_a_dissolved_profile_leaves_everything_with_the_cause() -> None:
    """After a merge the survivor is made anew from the profile store."""
    world = World({"often": COUNTING})
    world.event("p", "commerce.purchases", NOW)
    world.event("q", "commerce.purchases", NOW + 1)
    world.event("q", "commerce.purchases", NOW + 2)
    world.all_events[ProfileId("p")] += world.all_events.pop(ProfileId("q"))
    for at, ref in enumerate(world.all_events[ProfileId("p")]):
        world.all_events[ProfileId("p")][at] = msgspec.structs.replace(ref, id=f"m{at}")
    world.change("q", NOW + 3, gone=True, cause="merge")
    world.change("p", NOW + 3, rebuild=True, cause="merge")

    assert world.inside("often") == ["p"]
    assert [(c.profile, c.status, c.cause) for c in world.changes()] == [
        ("q", "realized", "record"),
        ("q", "exited", "merge"),
        ("p", "realized", "merge"),
    ]


def test_versions_rise_on_when_a_split_brings_a_profile_back() -> None:
    """And a dissolved profile is in no audience, also when the rules change meanwhile."""
    world = World({"never": 'not (xEvent[eventType = "x"])'})
    world.event("p", "y", NOW)
    world.change("p", NOW + 1, gone=True, cause="merge")
    world.define({"never": 'not (xEvent[eventType = "z"])'})
    world.say(DEFINITIONS_TOPIC, DefinitionChanged(SCOPE.key, "never"))
    world.until(NOW + 2)
    meanwhile = world.inside("never")
    world.change("p", NOW + 3, rebuild=True, cause="split")

    assert meanwhile == []
    assert [(c.status, c.cause, c.version) for c in world.changes()] == [
        ("realized", "record", 1),
        ("exited", "merge", 2),
        ("realized", "split", 3),
    ]


@pytest.mark.thorough
def test_a_new_definition_reaches_everyone_and_a_deleted_one_lets_all_go() -> None:
    """Also the profiles to which nothing happens, page by page."""
    world = World({})
    for at in range(1_203):
        world.event(f"p{at:04}", "commerce.purchases", NOW)
    world.define({"once": "xEvent.count() = 1"})
    world.say(DEFINITIONS_TOPIC, DefinitionChanged(SCOPE.key, "once"))
    world.until(NOW + 10)
    entered = len(world.inside("once"))
    world.define({})
    world.say(DEFINITIONS_TOPIC, DefinitionChanged(SCOPE.key, "once"))
    world.until(NOW + 20)

    assert entered == 1_203
    assert world.inside("once") == []
    assert {c.cause for c in world.changes()} == {"definition"}
    assert world.members.totals(SCOPE, "once").exited == 1_203


def test_sandboxes_do_not_touch() -> None:
    """The same profile id in another sandbox is another profile."""
    world = World({"once": "xEvent.count() >= 1"})
    world.event("p", "x", NOW)
    other = Scope("A@AmityOrg", "dev")

    with world.state.read() as reader:
        assert world.members.of_profile(reader, other, ProfileId("p")) == {}
        assert world.members.of_profile(reader, SCOPE, ProfileId("p"))["ups"]["once"] == {
            "status": "realized",
            "lastQualificationTime": to_iso(NOW),
            "version": "1",
        }


RULES = {
    "a": COUNTING,
    "b": SEQUENCE,
    "c": 'inSegment("a") and not inSegment("b")',
    "d": 'chain(xEvent, timestamp, [A: WHAT(eventType = "commerce.productViews"), '
    'B: WHAT(eventType = "commerce.purchases") WHEN(<= 3 days before now)])',
    "e": "xEvent[timestamp occurs yesterday].count() > xEvent[timestamp occurs today].count()",
    "f": 'not (xEvent[eventType = "commerce.purchases" and timestamp occurs <= 1 months before now])',
    "g": "xEvent.max(timestamp) occurs >= 2 days before now",
    "h": "xEvent.topN(timestamp, 2).exists(eventType = \"click\")",
}  # fmt: skip

moves = st.lists(
    st.tuples(
        st.sampled_from(["commerce.purchases", "commerce.productViews", "click"]),
        st.integers(0, 12 * 24).map(lambda hours: hours * HOUR_MS),
        st.sampled_from([0, 1, HOUR_MS, 3 * DAY_MS, 10 * DAY_MS]),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.thorough
@settings(max_examples=60, deadline=None)
@given(moves)
def test_streaming_is_what_the_rows_say_at_every_instant(
    moves: list[tuple[str, int, int]],
) -> None:
    """After every record and at every moment a timer fires, and just before it."""
    world = World(RULES)
    now = NOW
    for kind, wait, late in moves:
        now += wait
        world.until(now)
        world.event("p", kind, now - late, now)
        assert inside_now(world) == world.expected("p", now)
    for _ in range(60):
        due = world.runner.next_due()
        if due is None:
            break
        assert inside_now(world) == world.expected("p", due - 1)
        world.until(due)
        assert inside_now(world) == world.expected("p", due)


def inside_now(world: World) -> set[str]:
    return {id for id in world.texts if world.inside(id)}


@pytest.mark.parametrize("text", ['inSegment("a")', 'inSegment("b")'])
def test_audiences_that_ask_for_themselves_are_refused(text: str) -> None:
    """The circle is named."""
    with pytest.raises(Exception, match="circle"):
        RuleSet([Definition("a", parse(text)), Definition("b", parse('inSegment("a")'))])
