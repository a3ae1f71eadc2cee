"""What is the smallest pair of stages that uses all a runner offers?

`CountStage` counts hits of a key, all and those of the last minute (timers); `TotalStage` adds up
what the first one says. Both come out the same whatever the order and repetition of hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from amity.flow.step import Cancel, Failure, Outcome, Output, Position, Timer
from amity.kernel.clock import MINUTE_MS
from amity.kernel.errors import Corrupt
from amity.kernel.scope import Scope
from amity.storage.ports import LogRecord, Reader, Writer

HITS_TOPIC = "test.hits"
COUNTS_TOPIC = "test.counts"
COUNT_TABLE = "count_key"
TOTAL_TABLE = "total_key"


class Hit(msgspec.Struct, frozen=True, array_like=True):
    """Something happened to `key`. A weight of 0 is refused, a negative one breaks the step."""

    scope: str
    key: str
    id: str
    received_ms: int
    weight: int = 1


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """How often by now: ever, and within the last minute."""

    scope: str
    key: str
    ever: int
    lately: int
    at_ms: int


class Count(msgspec.Struct, array_like=True):
    """The hits of one key by id, and how often this state has changed."""

    hits: dict[str, int] = {}
    version: int = 0


_ENCODER = msgspec.msgpack.Encoder()
_HIT = msgspec.msgpack.Decoder(Hit)
_COUNTED = msgspec.msgpack.Decoder(Counted)
_COUNT = msgspec.msgpack.Decoder(Count)

CountState = dict[tuple[str, str], Count]


def encode(message: Any) -> bytes:
    """The log body of a message."""
    return _ENCODER.encode(message)


def lately(count: Count, now_ms: int) -> int:
    """Hits of the minute before `now_ms`."""
    return sum(at_ms + MINUTE_MS > now_ms for at_ms in count.hits.values())


class CountStage:
    """Counts the hits of a key."""

    name = "count"
    consumes = (HITS_TOPIC,)

    def decode(self, record: LogRecord) -> Sequence[Hit]:
        """One hit a record."""
        try:
            return [_HIT.decode(record.body)]
        except msgspec.DecodeError as error:
            raise Corrupt(f"no hit: {error}") from error

    def encode(self, message: Any) -> bytes:
        """The log body of a message."""
        return encode(message)

    def load(self, reader: Reader, messages: Sequence[Hit], fired: Sequence[Timer]) -> CountState:
        """The counts of all keys concerned."""
        places = {(hit.scope, hit.key) for hit in messages}
        places |= {(timer.scope.key, timer.key.decode()) for timer in fired}
        state: CountState = {}
        for scope, key in sorted(places):
            found = reader.get_many(COUNT_TABLE, Scope.parse(scope), [key.encode()])
            state[scope, key] = next(map(_COUNT.decode, found.values()), Count())
        return state

    def step(
        self, state: CountState, messages: Sequence[Hit], fired: Sequence[Timer], now_ms: int
    ) -> Outcome[CountState]:
        """Count what is new, say what has changed, and wake when a hit grows old."""
        outcome = Outcome(state=state)
        changed: dict[tuple[str, str], None] = {}
        for hit in messages:
            count = state[hit.scope, hit.key]
            if hit.weight < 0:
                raise ValueError(f"weight {hit.weight}")
            if hit.weight == 0:
                outcome.failures.append(_refusal(hit))
            elif hit.id not in count.hits:
                count.hits = {**count.hits, hit.id: hit.received_ms}
                changed[hit.scope, hit.key] = None
        for timer in fired:
            place = (timer.scope.key, timer.key.decode())
            if state[place].version == timer.version:
                changed[place] = None
        for place in changed:
            _tell(outcome, place, state[place], now_ms)
        return outcome

    def save(self, writer: Writer, state: CountState) -> None:
        """Write all of it."""
        for (scope, key), count in state.items():
            if count.version:
                writer.put_many(
                    COUNT_TABLE, Scope.parse(scope), [(key.encode(), _ENCODER.encode(count))]
                )


def _refusal(hit: Hit) -> Failure:
    return Failure(
        scope=Scope.parse(hit.scope),
        dataset="hits",
        code="weightless",
        reason="a hit needs a weight; send 1",
        path="/weight",
        raw=encode(hit),
        position=Position(0, hit.received_ms, 0),
    )


def _tell(outcome: Outcome[CountState], place: tuple[str, str], count: Count, now_ms: int) -> None:
    count.version += 1
    scope, key = Scope.parse(place[0]), place[1]
    now_lately = lately(count, now_ms)
    told = Counted(place[0], key, len(count.hits), now_lately, now_ms)
    outcome.outputs.append(Output(COUNTS_TOPIC, scope, key.encode(), told))
    ages = [at_ms + MINUTE_MS for at_ms in count.hits.values() if at_ms + MINUTE_MS > now_ms]
    if ages:
        outcome.timers.append(Timer(scope, key.encode(), min(ages), count.version))
    else:
        outcome.timers.append(Cancel(scope, key.encode()))


class TotalStage:
    """Keeps the newest count of every key."""

    name = "total"
    consumes = (COUNTS_TOPIC,)

    def decode(self, record: LogRecord) -> Sequence[Counted]:
        """One count a record."""
        return [_COUNTED.decode(record.body)]

    def encode(self, message: Any) -> bytes:
        """The log body of a message."""
        return encode(message)

    def load(
        self,
        reader: Reader,  # noqa: ARG002 - the stage's own signature
        messages: Sequence[Counted],  # noqa: ARG002
        fired: Sequence[Timer],  # noqa: ARG002
    ) -> list[Counted]:
        """Nothing: the newest count is all there is to know."""
        return []

    def step(
        self,
        state: list[Counted],
        messages: Sequence[Counted],
        fired: Sequence[Timer],  # noqa: ARG002
        now_ms: int,  # noqa: ARG002
    ) -> Outcome[list[Counted]]:
        """Take over what is told."""
        return Outcome(state=[*state, *messages])

    def save(self, writer: Writer, state: list[Counted]) -> None:
        """Write it, without the time it was told at."""
        for told in state:
            row = (told.key.encode(), _ENCODER.encode((told.ever, told.lately)))
            writer.put_many(TOTAL_TABLE, Scope.parse(told.scope), [row])
