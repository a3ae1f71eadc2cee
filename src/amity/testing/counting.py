"""What is the smallest pair of stages that uses all a runner offers?

`CountStage` counts hits of a key, all and those of the last minute (timers); `TotalStage` adds up
what the first one says. Both come out the same whatever the order and repetition of hits.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from amity.flow.failed import FailedRecord
from amity.flow.failures import RECORD_TABLE, FailuresStage, Filed
from amity.flow.stage import Stage
from amity.flow.step import Cancel, Failure, Outcome, Output, Position, Timer
from amity.kernel.clock import MINUTE_MS
from amity.kernel.errors import Corrupt
from amity.kernel.scope import Scope
from amity.storage.ports import Entry, LogRecord, Reader, Writer
from amity.testing.simulator import Dump, Input

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
    """How often by now, ever and within the last minute; `added` since it was last told."""

    scope: str
    key: str
    ever: int
    lately: int
    at_ms: int
    added: int = 0


class Count(msgspec.Struct, array_like=True):
    """The hits of one key by id, and how often this state has changed."""

    hits: dict[str, int] = {}
    version: int = 0


_ENCODER = msgspec.msgpack.Encoder()
_HIT = msgspec.msgpack.Decoder(Hit)
_COUNTED = msgspec.msgpack.Decoder(Counted)
_COUNT = msgspec.msgpack.Decoder(Count)
_TOTAL = msgspec.msgpack.Decoder(tuple[int, int, int])

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
    consumes: tuple[str, ...] = (HITS_TOPIC,)

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
        changed: dict[tuple[str, str], int] = {}
        for hit in messages:
            count = state[hit.scope, hit.key]
            if hit.weight < 0:
                raise ValueError(f"weight {hit.weight}")
            if hit.weight == 0:
                outcome.failures.append(_refusal(hit))
            elif hit.id not in count.hits:
                count.hits = {**count.hits, hit.id: hit.received_ms}
                changed[hit.scope, hit.key] = changed.get((hit.scope, hit.key), 0) + 1
        for timer in fired:
            place = (timer.scope.key, timer.key.decode())
            if state[place].version == timer.version:
                changed.setdefault(place, 0)
        for place, added in changed.items():
            _tell(outcome, state[place], Counted(*place, 0, 0, now_ms, added))
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


def _tell(outcome: Outcome[CountState], count: Count, told: Counted) -> None:
    count.version += 1
    scope, key, now_ms = Scope.parse(told.scope), told.key.encode(), told.at_ms
    told = msgspec.structs.replace(told, ever=len(count.hits), lately=lately(count, now_ms))
    outcome.outputs.append(Output(COUNTS_TOPIC, scope, key, told))
    ages = [at_ms + MINUTE_MS for at_ms in count.hits.values() if at_ms + MINUTE_MS > now_ms]
    if ages:
        outcome.timers.append(Timer(scope, key, min(ages), count.version))
    else:
        outcome.timers.append(Cancel(scope, key))


TotalState = dict[tuple[str, str], tuple[int, int, int]]


class TotalStage:
    """Keeps the newest count of every key, and adds up: a count told twice would show."""

    name = "total"
    consumes: tuple[str, ...] = (COUNTS_TOPIC,)

    def decode(self, record: LogRecord) -> Sequence[Counted]:
        """One count a record."""
        return [_COUNTED.decode(record.body)]

    def encode(self, message: Any) -> bytes:
        """The log body of a message."""
        return encode(message)

    def load(
        self,
        reader: Reader,
        messages: Sequence[Counted],
        fired: Sequence[Timer],  # noqa: ARG002 - the stage's own signature
    ) -> TotalState:
        """The totals of all keys concerned."""
        state: TotalState = {}
        for told in messages:
            found = reader.get_many(TOTAL_TABLE, Scope.parse(told.scope), [told.key.encode()])
            state[told.scope, told.key] = next(map(_TOTAL.decode, found.values()), (0, 0, 0))
        return state

    def step(
        self,
        state: TotalState,
        messages: Sequence[Counted],
        fired: Sequence[Timer],  # noqa: ARG002 - the stage's own signature
        now_ms: int,  # noqa: ARG002 - the stage's own signature
    ) -> Outcome[TotalState]:
        """Take over what is told."""
        for told in messages:
            place = (told.scope, told.key)
            state[place] = (state[place][0] + told.added, told.ever, told.lately)
        return Outcome(state=state)

    def save(self, writer: Writer, state: TotalState) -> None:
        """Write it."""
        for (scope, key), total in state.items():
            row = (key.encode(), _ENCODER.encode(total))
            writer.put_many(TOTAL_TABLE, Scope.parse(scope), [row])


class CountingScenario:
    """Hits of a few keys in two sandboxes, some refused, some poison."""

    name = "counting"
    publish: frozenset[str] = frozenset()

    def stages(self) -> Sequence[Stage[Any, Any]]:
        """Both."""
        return [CountStage(), TotalStage(), FailuresStage()]

    def inputs(self, rng: random.Random) -> Sequence[Input]:
        """A few dozen hits over some minutes."""
        at_ms = 1_000_000
        found = []
        for n in range(rng.randint(1, 60)):
            at_ms += rng.choice([0, 0, 1, 700, 9_000])
            scope = rng.choice(["O/prod", "O/dev"])
            weight = rng.choices([1, 0, -1], [30, 1, 1])[0]
            hit = Hit(scope, rng.choice("abcde"), str(n), at_ms, weight)
            body = b"\xc1no hit" if rng.random() < 0.02 else encode(hit)
            found.append(Input(Entry(HITS_TOPIC, hit.key.encode(), body), at_ms))
        return found

    def horizon_ms(self, inputs: Sequence[Input], rng: random.Random) -> int:
        """Some hits are old by then and some are not."""
        return max(sent.at_ms for sent in inputs) + rng.randint(0, 2 * MINUTE_MS)

    def dump(self, reader: Reader) -> Dump:
        """Hits by key, totals by key, and what was refused."""
        found: Dump = {}
        for scope in (Scope("O", "prod"), Scope("O", "dev")):
            counts = reader.scan(COUNT_TABLE, scope)
            found[f"{COUNT_TABLE} {scope.key}"] = {
                key.decode(): sorted(_COUNT.decode(value).hits) for key, value in counts
            }
            totals = reader.scan(TOTAL_TABLE, scope)
            found[f"{TOTAL_TABLE} {scope.key}"] = {
                key.decode(): msgspec.msgpack.decode(value) for key, value in totals
            }
            found[f"refused {scope.key}"] = {
                (record.code, record.raw): 1 for record in _refused(reader, scope)
            }
        return found


def _refused(reader: Reader, scope: Scope) -> Iterator[FailedRecord]:
    for _, value in reader.scan(RECORD_TABLE, scope):
        yield msgspec.msgpack.decode(value, type=Filed).record
