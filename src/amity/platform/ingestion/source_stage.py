"""How does a source's flow wake up at the right moment?

A flow that is made, changed or taken away says so on a topic; a small stage keeps a timer for each,
and when it fires orders that the source be read, which a sink does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from amity.flow.step import Cancel, Outcome, Output, Timer
from amity.kernel.errors import Corrupt
from amity.kernel.scope import Scope
from amity.storage.ports import LogRecord, Reader, Writer

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


Key = tuple[Scope, bytes]


@dataclass(slots=True)
class SourceState:
    """The touched flows."""

    known: dict[Key, Standing] = field(default_factory=dict)
    dirty: set[Key] = field(default_factory=set)


_ENCODER = msgspec.msgpack.Encoder()
_CHANGED = msgspec.msgpack.Decoder(SourceFlowChanged)
_STANDING = msgspec.msgpack.Decoder(Standing)
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


class SourceStage:
    """Keeps a timer for every flow that is on."""

    name = "source_schedules"
    consumes = (FLOWS_TOPIC,)

    def decode(self, record: LogRecord) -> Sequence[SourceFlowChanged]:
        """One message a record."""
        try:
            return [_CHANGED.decode(record.body)]
        except msgspec.DecodeError as error:
            raise Corrupt(f"no message of {record.topic}: {error}") from error

    def encode(self, message: Any) -> bytes:
        """The log body of an order."""
        return _ENCODER.encode(message)

    def load(
        self, reader: Reader, messages: Sequence[SourceFlowChanged], fired: Sequence[Timer]
    ) -> SourceState:
        """The flows that messages and timers name."""
        keys: set[Key] = {(timer.scope, timer.key) for timer in fired}
        keys |= {(Scope.parse(one.scope), one.flow.encode()) for one in messages}
        state = SourceState()
        for scope, key in keys:
            for value in reader.get_many(TABLE, scope, [key]).values():
                state.known[scope, key] = _STANDING.decode(value)
        return state

    def step(
        self,
        state: SourceState,
        messages: Sequence[SourceFlowChanged],
        fired: Sequence[Timer],
        now_ms: int,
    ) -> Outcome[SourceState]:
        """The pure step."""
        outcome = Outcome(state=state)
        for timer in fired:
            _fire(outcome, timer, now_ms)
        for message in messages:
            _change(outcome, message, now_ms)
        return outcome

    def save(self, writer: Writer, state: SourceState) -> None:
        """Write the flows that have changed."""
        for scope, key in sorted(state.dirty, key=lambda one: (one[0].key, one[1])):
            writer.put_many(TABLE, scope, [(key, _ENCODER.encode(state.known[scope, key]))])


def _change(outcome: Outcome[SourceState], message: SourceFlowChanged, now_ms: int) -> None:
    """A flow that is on is read at once: what is published already waits for nothing."""
    scope, key = Scope.parse(message.scope), message.flow.encode()
    known = outcome.state.known.get((scope, key))
    version = known.version + 1 if known else 1
    outcome.state.known[scope, key] = Standing(version, message.start_ms, message.interval_ms)
    outcome.state.dirty.add((scope, key))
    if message.active:
        outcome.timers.append(Timer(scope, key, max(message.start_ms, now_ms), version))
    else:
        outcome.timers.append(Cancel(scope, key))


def _fire(outcome: Outcome[SourceState], timer: Timer, now_ms: int) -> None:
    known = outcome.state.known.get((timer.scope, timer.key))
    if known is None or known.version != timer.version:
        return
    order = SourceDue(timer.scope.key, timer.key.decode(), timer.due_ms)
    outcome.outputs.append(Output(RUNS_TOPIC, timer.scope, timer.key, order))
    if known.interval_ms:
        # A server that was down for days reads once, not once for each time it has missed.
        after_ms = max(now_ms, timer.due_ms)
        again_ms = next_due(after_ms, known.start_ms, known.interval_ms)
        outcome.timers.append(Timer(timer.scope, timer.key, again_ms, known.version))
