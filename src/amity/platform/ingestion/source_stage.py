"""How does a source's flow wake up at the right moment?

A flow that is made, changed or taken away says so on a topic; a small stage keeps a timer for each,
and when it fires orders that the source be read, which a sink does.
"""

from __future__ import annotations

import msgspec

from amity.flow.timetable import Plan, TimetableStage

FLOWS_TOPIC = "platform.source_flows"
"""`SourceFlowChanged`, keyed by flow."""

RUNS_TOPIC = "platform.source_runs"
"""`SourceDue`, keyed by flow."""

TABLE = "source_schedule"


class SourceFlowChanged(msgspec.Struct, frozen=True, array_like=True):
    """A flow is this one now; `interval_ms` 0 = once."""

    scope: str
    flow: str
    active: bool
    start_ms: int
    interval_ms: int


class SourceDue(msgspec.Struct, frozen=True, array_like=True):
    """A source is to be read."""

    scope: str
    flow: str
    due_ms: int


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """A flow as the stage knows it."""

    version: int
    start_ms: int
    interval_ms: int


_ENCODER = msgspec.msgpack.Encoder()
DUE_DECODER = msgspec.msgpack.Decoder(SourceDue)


def encode(message: SourceFlowChanged) -> bytes:
    """The log body of a change."""
    return _ENCODER.encode(message)


def next_due(after_ms: int, start_ms: int, interval_ms: int) -> int:
    """The first moment of a schedule after an instant.

    >>> next_due(0, 500, 100), next_due(500, 500, 100), next_due(650, 500, 100)
    (500, 600, 700)
    """
    if start_ms > after_ms:
        return start_ms
    return start_ms + ((after_ms - start_ms) // interval_ms + 1) * interval_ms


def _again_ms(known: Standing, after_ms: int) -> int | None:
    return next_due(after_ms, known.start_ms, known.interval_ms) if known.interval_ms else None


_PLAN = Plan(
    table=TABLE,
    changed=SourceFlowChanged,
    standing=Standing,
    orders=RUNS_TOPIC,
    key=lambda changed: changed.flow,
    stand=lambda changed, version: Standing(version, changed.start_ms, changed.interval_ms),
    # A flow that is on is read at once: what is published already waits for nothing.
    first_ms=lambda changed, now_ms: max(changed.start_ms, now_ms),
    again_ms=_again_ms,
    order=lambda timer, _: SourceDue(timer.scope.key, timer.key.decode(), timer.due_ms),
)


class SourceStage(TimetableStage[SourceFlowChanged, Standing]):
    """Keeps a timer for every flow that is on."""

    name = "source_schedules"
    consumes = (FLOWS_TOPIC,)

    def __init__(self) -> None:
        super().__init__(_PLAN)
