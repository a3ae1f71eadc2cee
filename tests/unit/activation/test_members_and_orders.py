"""The activation stage: members by revision, timers, orders."""

from __future__ import annotations

from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from amity.flow.runner import Runner
from amity.kernel.clock import DAY_MS, HOUR_MS
from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.activation import store
from amity.platform.activation.model import ENCODER as FLOW_ENCODER
from amity.platform.activation.model import (
    EVALUATIONS_TOPIC,
    EXPORTS_TOPIC,
    FLOWS_TOPIC,
    ORDER_DECODER,
    Evaluated,
    ExportOrder,
    FlowChanged,
    Schedule,
)
from amity.platform.activation.stage import ActivationStage
from amity.platform.segmentation.model import MEMBERSHIPS_TOPIC, MembershipChanged
from amity.storage.ports import Entry
from amity.testing.memory import MemoryLog, MemoryState

SCOPE = Scope("A@AmityOrg", "prod")
OTHER = Scope("A@AmityOrg", "dev")
EVERY_6_H = Schedule("FIRST_FULL_THEN_INCREMENTAL", "EVERY_6_HOURS", "SCHEDULED", DAY_MS)
DAILY = Schedule("DAILY_FULL_EXPORT", "DAILY", "SCHEDULED", DAY_MS, 4 * DAY_MS)


class River:
    """A runner with the stage alone."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.state = MemoryState()
        self.runner = Runner([ActivationStage()], log=self.log, state=self.state, name="activation")

    def member(
        self, profile: str, status: Literal["realized", "exited"], at_ms: int = 0, **more: Any
    ) -> None:
        scope, audience = more.get("scope", SCOPE), more.get("audience", "rich")
        change = MembershipChanged(
            scope.key, ProfileId(profile), audience, status, at_ms, "record", 1
        )
        self._say(MEMBERSHIPS_TOPIC, profile, change)

    def flow(self, at_ms: int, *, enabled: bool = True, **schedules: Schedule) -> None:
        self._say(FLOWS_TOPIC, "flow", FlowChanged(SCOPE.key, "flow", at_ms, enabled, schedules))

    def evaluated(self, at_ms: int, *audiences: str) -> None:
        self._say(EVALUATIONS_TOPIC, "", Evaluated(SCOPE.key, audiences, at_ms))

    def run(self, now_ms: int) -> None:
        while self.runner.run_once(now_ms):
            pass
        self.runner.fire_due(now_ms)
        while self.runner.run_once(now_ms):
            pass

    def orders(self) -> list[ExportOrder]:
        found = self.log.poll(EXPORTS_TOPIC, {}, 1_000)
        return [ORDER_DECODER.decode(record.body) for record in found]

    def active(self, scope: Scope = SCOPE, audience: str = "rich") -> set[str]:
        with self.state.read() as reader:
            return {one.profile for page in store.everyone(reader, scope, audience) for one in page}

    def changed(self, told: int) -> list[tuple[str, bool]]:
        with self.state.read() as reader:
            return [
                (person.profile, person.active)
                for page in store.changed(reader, SCOPE, "rich", told)
                for person, _ in page
            ]

    def _say(self, topic: str, key: str, message: Any) -> None:
        self.log.append([Entry(topic, key.encode(), FLOW_ENCODER.encode(message))])


def test_members_and_changes() -> None:
    """Each change raises the revision; a person has one change row, the newest."""
    river = River()
    river.member("p1", "realized")
    river.member("p2", "realized")
    river.member("p1", "realized")
    river.member("p1", "exited")
    river.member("p3", "exited")
    river.member("p1", "realized", scope=OTHER)
    river.run(0)

    assert river.active() == {"p2"}
    assert river.active(OTHER) == {"p1"}
    assert river.changed(0) == [("p2", True), ("p1", False)]
    assert river.changed(2) == [("p1", False)]
    with river.state.read() as reader:
        head = store.head(reader, SCOPE, "rich")
    assert (head.revision, head.active) == (3, 1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=30),
    st.integers(1, 7),
    st.integers(0, 30),
)
def test_members_are_what_a_dictionary_says(
    changes: list[tuple[str, bool]], batch: int, told_after: int
) -> None:
    """In whatever batches: members are the last word on each, changes those since a revision."""
    river = River()
    truth: dict[str, bool] = {}
    revisions: dict[str, int] = {}
    told = 0
    for number, (profile, enters) in enumerate(changes):
        if truth.get(profile, False) != enters:
            truth[profile] = enters
            revisions[profile] = max(revisions.values(), default=0) + 1
        if number < told_after:
            told = max(revisions.values(), default=0)
        river.member(profile, "realized" if enters else "exited")
    while river.runner.run_once(0, batch):
        pass

    assert {name for name, inside in truth.items() if inside} == river.active()
    expected = sorted((at, name) for name, at in revisions.items() if at > told)
    assert [(name, truth[name]) for _, name in expected] == river.changed(told)


def test_orders_come_at_their_slots() -> None:
    """Timers fire each slot once, in order, until the exclusive end."""
    river = River()
    river.flow(0, rich=EVERY_6_H, poor=DAILY)
    river.run(2 * DAY_MS)
    river.run(5 * DAY_MS)

    by_audience: dict[str, list[int]] = {"rich": [], "poor": []}
    for order in river.orders():
        by_audience[order.audience].append(order.scheduled_ms)
    assert [DAY_MS, 2 * DAY_MS, 3 * DAY_MS] == by_audience["poor"]
    assert [DAY_MS + n * 6 * HOUR_MS for n in range(17)] == by_audience["rich"]
    assert len({order.run for order in river.orders()}) == len(river.orders())
    assert {"full", "incremental"} == {order.mode for order in river.orders()}


def test_an_edit_neither_repeats_nor_loses_a_slot() -> None:
    """Saving the flow again at a slot's own time does not order it twice."""
    river = River()
    river.flow(0, rich=EVERY_6_H)
    river.run(DAY_MS)
    river.flow(DAY_MS, rich=EVERY_6_H)
    river.run(DAY_MS + 6 * HOUR_MS)

    assert [DAY_MS, DAY_MS + 6 * HOUR_MS] == [order.scheduled_ms for order in river.orders()]


def test_disabled_flows_sleep_and_unmapped_audiences_start_anew() -> None:
    """Disabling keeps what was told; unmapping and mapping again tells everything again."""
    river = River()
    river.flow(0, rich=EVERY_6_H)
    river.run(DAY_MS)
    river.flow(DAY_MS + 1, enabled=False, rich=EVERY_6_H)
    river.run(DAY_MS + 13 * HOUR_MS)
    river.flow(DAY_MS + 13 * HOUR_MS, rich=EVERY_6_H)
    river.run(DAY_MS + 18 * HOUR_MS)
    river.flow(DAY_MS + 19 * HOUR_MS)
    river.run(2 * DAY_MS)
    river.flow(2 * DAY_MS + 1, rich=EVERY_6_H)
    river.run(2 * DAY_MS + 6 * HOUR_MS)

    assert [
        (DAY_MS, 1),
        (DAY_MS + 18 * HOUR_MS, 1),
        (2 * DAY_MS + 6 * HOUR_MS, 2),
    ] == [(order.scheduled_ms, order.mapping) for order in river.orders()]


def test_after_evaluation() -> None:
    """An evaluation orders the audiences that wait for it, and no others."""
    river = River()
    waits = Schedule("DAILY_FULL_EXPORT", "DAILY", "AFTER_SEGMENT_EVAL", DAY_MS)
    river.flow(0, rich=waits, poor=waits, other=DAILY)
    river.run(1)
    river.evaluated(DAY_MS + 5, "rich", "other")
    river.evaluated(DAY_MS + 6, "rich")
    river.run(DAY_MS - 1)

    assert [("rich", DAY_MS + 5)] == [
        (order.audience, order.scheduled_ms)
        for order in river.orders()
        if order.audience != "other"
    ]
