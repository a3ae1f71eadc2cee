"""How does what has a schedule wake up at the right moment?

What is scheduled (an audience's job, a source's flow) says on a topic that it was made, changed or
taken away. A stage keeps a timer for each and, when it fires, orders the work, which a sink does.
What differs from one kind to the next is a `Plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from amity.flow.step import Cancel, Outcome, Output, Timer
from amity.kernel.errors import Corrupt
from amity.kernel.scope import Scope
from amity.storage.ports import LogRecord, Reader, Writer

_ENCODER = msgspec.msgpack.Encoder()


class Changed(Protocol):
    """Says that something scheduled is this one now, or is no more."""

    @property
    def scope(self) -> str: ...

    @property
    def active(self) -> bool: ...


class Standing(Protocol):
    """What the stage keeps of it; `version` rises with each change, so that old timers do nothing."""

    @property
    def version(self) -> int: ...


M = TypeVar("M", bound=Changed)
S = TypeVar("S", bound=Standing)
Key = tuple[Scope, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[M, S]):
    """What one kind of scheduled thing is.

    Attributes:
        table: Where standings are kept.
        changed: Type of the messages.
        standing: Type of what is kept.
        orders: Topic of the orders.
        key: Names the thing that a message speaks of.
        stand: What is kept of a message, under a version.
        first_ms: When it wakes first after a change, from the message and the time.
        again_ms: When it wakes again after an instant; None for never.
        order: The order of a fired timer.
    """

    table: str
    changed: type[M]
    standing: type[S]
    orders: str
    key: Callable[[M], str]
    stand: Callable[[M, int], S]
    first_ms: Callable[[M, int], int]
    again_ms: Callable[[S, int], int | None]
    order: Callable[[Timer, S], Any]


@dataclass(slots=True)
class TimetableState(Generic[S]):
    """The touched things."""

    known: dict[Key, S] = field(default_factory=dict)
    dirty: set[Key] = field(default_factory=set)


class TimetableStage(Generic[M, S]):
    """Keeps a timer for everything scheduled of one kind; a stage derives from it with its plan."""

    def __init__(self, plan: Plan[M, S]) -> None:
        self._plan = plan
        self._changed = msgspec.msgpack.Decoder(plan.changed)
        self._standing = msgspec.msgpack.Decoder(plan.standing)

    def decode(self, record: LogRecord) -> Sequence[M]:
        """One message a record."""
        try:
            return [self._changed.decode(record.body)]
        except msgspec.DecodeError as error:
            raise Corrupt(f"no message of {record.topic}: {error}") from error

    def encode(self, message: Any) -> bytes:
        """The log body of an order."""
        return _ENCODER.encode(message)

    def load(
        self, reader: Reader, messages: Sequence[M], fired: Sequence[Timer]
    ) -> TimetableState[S]:
        """What messages and timers name."""
        keys: set[Key] = {(timer.scope, timer.key) for timer in fired}
        keys |= {self._key(message) for message in messages}
        state: TimetableState[S] = TimetableState()
        for scope, key in keys:
            for value in reader.get_many(self._plan.table, scope, [key]).values():
                state.known[scope, key] = self._standing.decode(value)
        return state

    def step(
        self, state: TimetableState[S], messages: Sequence[M], fired: Sequence[Timer], now_ms: int
    ) -> Outcome[TimetableState[S]]:
        """The pure step."""
        outcome = Outcome(state=state)
        for timer in fired:
            self._fire(outcome, timer, now_ms)
        for message in messages:
            self._change(outcome, message, now_ms)
        return outcome

    def save(self, writer: Writer, state: TimetableState[S]) -> None:
        """Write what has changed."""
        for scope, key in sorted(state.dirty, key=lambda one: (one[0].key, one[1])):
            row = _ENCODER.encode(state.known[scope, key])
            writer.put_many(self._plan.table, scope, [(key, row)])

    def _key(self, message: M) -> Key:
        return Scope.parse(message.scope), self._plan.key(message).encode()

    def _change(self, outcome: Outcome[TimetableState[S]], message: M, now_ms: int) -> None:
        scope, key = self._key(message)
        known = outcome.state.known.get((scope, key))
        version = known.version + 1 if known else 1
        outcome.state.known[scope, key] = self._plan.stand(message, version)
        outcome.state.dirty.add((scope, key))
        if message.active:
            due_ms = self._plan.first_ms(message, now_ms)
            outcome.timers.append(Timer(scope, key, due_ms, version))
        else:
            outcome.timers.append(Cancel(scope, key))

    def _fire(self, outcome: Outcome[TimetableState[S]], timer: Timer, now_ms: int) -> None:
        known = outcome.state.known.get((timer.scope, timer.key))
        if known is None or known.version != timer.version:
            return
        order = self._plan.order(timer, known)
        outcome.outputs.append(Output(self._plan.orders, timer.scope, timer.key, order))
        # A server that was down for days catches up once, not once for each time it has missed.
        again_ms = self._plan.again_ms(known, max(now_ms, timer.due_ms))
        if again_ms is not None:
            outcome.timers.append(Timer(timer.scope, timer.key, again_ms, known.version))
