"""Who is in which audience, since which revision, and when is a file due?

Pure. An audience's revision rises with every change of one of its memberships; a destination that
has been told up to a revision needs only what changed after it. A due timer becomes an order to
export; the files are written by `exporter`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import structs

from amity.flow.step import Cancel, Outcome, Output, Timer
from amity.kernel.scope import Scope
from amity.platform.activation.model import (
    EXPORTS_TOPIC,
    AudienceHead,
    Evaluated,
    ExportOrder,
    FlowChanged,
    Member,
    Schedule,
    Slot,
    run_id,
)
from amity.platform.activation.schedule import next_slot, wants_evaluation
from amity.platform.segmentation.model import MembershipChanged

Message = MembershipChanged | FlowChanged | Evaluated
MemberKey = tuple[Scope, str, str]
"""Scope, audience, profile."""

SlotKey = tuple[Scope, str, str]
"""Scope, flow, audience."""


@dataclass(slots=True, kw_only=True)
class ActivationState:
    """What a batch needs; what it has changed stands in the `changed_*` sets."""

    members: dict[MemberKey, Member] = field(default_factory=dict)
    heads: dict[tuple[Scope, str], AudienceHead] = field(default_factory=dict)
    slots: dict[SlotKey, Slot] = field(default_factory=dict)
    changed_members: set[MemberKey] = field(default_factory=set)
    old_revisions: dict[MemberKey, int] = field(default_factory=dict)
    changed_slots: set[SlotKey] = field(default_factory=set)

    def put_member(self, key: MemberKey, member: Member) -> None:
        """Keep where a profile stands; remembers the revision stored before the batch."""
        if key not in self.changed_members:
            stored = self.members.get(key)
            if stored is not None:
                self.old_revisions[key] = stored.revision
            self.changed_members.add(key)
        self.members[key] = member

    def put_slot(self, key: SlotKey, slot: Slot) -> None:
        """Keep how far a schedule has come."""
        self.slots[key] = slot
        self.changed_slots.add(key)


def step(
    state: ActivationState, messages: Sequence[Message], fired: Sequence[Timer], now_ms: int
) -> Outcome[ActivationState]:
    """Take changes in, set timers, give orders for what is due."""
    outcome = Outcome(state=state)
    for message in messages:
        match message:
            case MembershipChanged():
                _membership(state, message)
            case FlowChanged():
                _flow(outcome, message)
            case Evaluated():
                _evaluated(outcome, message)
    for timer in fired:
        _fired(outcome, timer, now_ms)
    return outcome


def slot_key(timer: Timer) -> SlotKey:
    """The schedule that a timer belongs to."""
    flow, _, audience = timer.key.decode().partition("\x00")
    return timer.scope, flow, audience


def _membership(state: ActivationState, change: MembershipChanged) -> None:
    scope = Scope.parse(change.scope)
    key = (scope, change.audience, change.profile)
    known = state.members.get(key)
    enters = change.status == "realized"
    if (known is not None and known.active) == enters:
        return
    head = state.heads.get((scope, change.audience), AudienceHead())
    revision = head.revision + 1
    first = known.first_revision if known is not None else revision
    state.put_member(key, Member(enters, revision, first, change.at_ms))
    state.heads[scope, change.audience] = AudienceHead(
        revision, head.active + (1 if enters else -1)
    )


def _flow(outcome: Outcome[ActivationState], change: FlowChanged) -> None:
    state, scope = outcome.state, Scope.parse(change.scope)
    known = {key[2]: slot for key, slot in state.slots.items() if key[:2] == (scope, change.flow)}
    for audience in sorted(known.keys() | change.schedules.keys()):
        slot = known.get(audience, Slot())
        wanted = change.schedules.get(audience)
        _reschedule(outcome, (scope, change.flow, audience), slot, (wanted, change))


def _reschedule(
    outcome: Outcome[ActivationState],
    key: SlotKey,
    slot: Slot,
    wanted: tuple[Schedule | None, FlowChanged],
) -> None:
    """Set the timer of a mapped audience, or take it back; a new mapping starts from scratch."""
    schedule, change = wanted
    anew = schedule is not None and slot.schedule is None
    changed = Slot(
        schedule,
        change.enabled,
        slot.last_ms,
        slot.version + 1,
        slot.mapping + 1 if anew else slot.mapping,
    )
    outcome.state.put_slot(key, changed)
    due = None
    if schedule is not None and change.enabled:
        due = next_slot(schedule, max(change.at_ms, slot.last_ms + 1))
    _arm(outcome, key, due, changed.version)


def _evaluated(outcome: Outcome[ActivationState], evaluated: Evaluated) -> None:
    scope = Scope.parse(evaluated.scope)
    for key, slot in sorted(_slots_of(outcome.state.slots, scope, evaluated.audiences)):
        if slot.schedule is None or not slot.enabled:
            continue
        if wants_evaluation(slot.schedule, evaluated.at_ms, slot.last_ms):
            _order(outcome, key, slot, evaluated.at_ms)


def _fired(outcome: Outcome[ActivationState], timer: Timer, now_ms: int) -> None:
    key = slot_key(timer)
    slot = outcome.state.slots.get(key)
    if slot is None or slot.schedule is None or slot.version != timer.version:
        return
    _order(outcome, key, slot, timer.due_ms)
    due = next_slot(slot.schedule, max(timer.due_ms, now_ms) + 1)
    _arm(outcome, key, due, slot.version)


def _order(outcome: Outcome[ActivationState], key: SlotKey, slot: Slot, scheduled_ms: int) -> None:
    scope, flow, audience = key
    assert slot.schedule is not None  # noqa: S101 - both callers have looked
    full = slot.schedule.mode == "DAILY_FULL_EXPORT"
    order = ExportOrder(
        scope=scope.key,
        flow=flow,
        audience=audience,
        mode="full" if full else "incremental",
        scheduled_ms=scheduled_ms,
        run=run_id((scope.key, flow, audience, scheduled_ms)),
        mapping=slot.mapping,
    )
    outcome.outputs.append(Output(EXPORTS_TOPIC, scope, _timer_key(key), order))
    outcome.state.put_slot(key, structs.replace(slot, last_ms=scheduled_ms))


def _arm(outcome: Outcome[ActivationState], key: SlotKey, due: int | None, version: int) -> None:
    if due is None:
        outcome.timers.append(Cancel(key[0], _timer_key(key)))
    else:
        outcome.timers.append(Timer(key[0], _timer_key(key), due, version))


def _timer_key(key: SlotKey) -> bytes:
    return f"{key[1]}\x00{key[2]}".encode()


def _slots_of(
    slots: Mapping[SlotKey, Slot], scope: Scope, audiences: Iterable[str]
) -> list[tuple[SlotKey, Slot]]:
    wanted = set(audiences)
    return [(key, slot) for key, slot in slots.items() if key[0] == scope and key[2] in wanted]
