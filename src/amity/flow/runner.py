"""Who runs a stage, and what does it promise?

One transaction takes a batch from the log, through the stages, into their state, with their timers,
their outbox and the progress; so a crash at any point loses and doubles nothing. See
docs/adr/0002-flow-contract.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from heapq import merge
from typing import Any, TypeVar

from amity.flow.intake import Intake
from amity.flow.outbox import Outbox
from amity.flow.timers import Timers, earliest
from amity.flow.work import (
    AnyStage,
    Item,
    PoisonTimer,
    Refused,
    StageTimer,
    Wiring,
    Work,
    reason_of,
)
from amity.kernel.errors import Transient
from amity.kernel.limits import STEP_BATCH_RECORDS_MAX, STEP_TRIES_MAX
from amity.storage.ports import Log, LogRecord, State

T = TypeVar("T")

FIRED_MAX = 2_000
"""Timers after which a transaction commits. Ours."""

FIRES_MAX = 100
"""Due times after which a transaction commits: a timer may wake a page of a long task. Ours."""


class _Undone(Exception):
    """A probe has ended well; nothing of it is kept."""


class Runner:
    """Hosts one stage, or several fused into one transaction.

    What one of its stages says on a topic that another of them hears passes in memory; such a topic
    goes to the log only if `publish` lists it. All other topics always do.

    Args:
        stages: In the order of the flow.
        log: Read from, and published to.
        state: Holds the stages' state, and progress, timers and outbox beside it.
        name: Names progress and origin; never changes once data exists.
        publish: Topics heard inside that others hear too.
    """

    def __init__(
        self,
        stages: Sequence[AnyStage],
        *,
        log: Log,
        state: State,
        name: str,
        publish: frozenset[str] = frozenset(),
    ) -> None:
        self.name = name
        self._state = state
        self._wiring = Wiring(stages, publish)
        self._outbox = Outbox(log=log, state=state, name=name)
        self._intake = Intake(list(self._wiring.hears), log=log, state=state, name=name)
        self._bad_items: dict[tuple[str, int, int, int, int], Refused] = {}
        self._bad_timers: dict[StageTimer, Refused] = {}
        with state.read() as reader:
            self._next_due = earliest(reader, self._wiring.names)

    def run_once(self, now_ms: int, limit: int = STEP_BATCH_RECORDS_MAX) -> int:
        """Handle about `limit` messages; how many.

        The time a step is told is that of the records' stamps (`received_ms` or `at_ms` of a
        message), never falling; `now_ms` stands in for messages without one. When no record waits,
        timers due by the time reached fire (a step may have asked for its next turn at once).
        """
        published = self.publish()
        records, items = self._gather(now_ms, limit)
        if not records:
            self._outbox.tidy()
            return published or self._catch_up()
        self._settle(records, items)
        self.publish()
        return max(len(items), len(records))

    def fire_due(self, to_ms: int) -> int:
        """Fire the timers due up to `to_ms` in order, unless records wait; how many."""
        fired = 0
        while self._next_due is not None and self._next_due <= to_ms and not self._intake.waiting():
            fired += self._settle([], [], to_ms)
            self.publish()
        return fired

    def publish(self) -> int:
        """Append to the log what committed transactions have said; how many entries."""
        return self._outbox.publish()

    def next_due(self) -> int | None:
        """When the earliest timer is due."""
        return self._next_due

    def lag(self) -> int:
        """Log records not yet handled."""
        return self._intake.lag()

    def positions(self) -> dict[str, dict[int, int]]:
        """Topic → partition → the offset it reads next; all before is durably done."""
        return self._intake.positions()

    def quiet(self) -> bool:
        """Whether nothing is left to do until a record comes or a timer is due."""
        return self._outbox.empty() and not self._intake.waiting()

    def _catch_up(self) -> int:
        now_ms = self._intake.standing.now_ms
        if self._next_due is None or self._next_due > now_ms:
            return 0
        fired = self._settle([], [], now_ms)
        self.publish()
        return fired

    def _gather(self, now_ms: int, limit: int) -> tuple[list[LogRecord], list[Item]]:
        """Whole records up to `limit` messages, topics merged by time."""
        lists = [
            self._decode(self._intake.read(topic, limit), now_ms, limit)
            for topic in self._wiring.hears
        ]
        records: list[LogRecord] = []
        items: list[Item] = []
        now = self._intake.standing.now_ms
        for _, record, decoded in merge(*lists, key=lambda found: found[0]):
            if len(items) >= limit:
                break
            records.append(record)
            for item in decoded:
                now = max(now, item.at_ms)
                items.append(item if item.at_ms == now else item._replace(at_ms=now))
        return records, items

    def _decode(
        self, records: Sequence[LogRecord], now_ms: int, limit: int
    ) -> list[tuple[int, LogRecord, list[Item]]]:
        fresh = {id(record) for record in self._intake.fresh(records, without=self.name)}
        found: list[tuple[int, LogRecord, list[Item]]] = []
        at_ms = messages = 0
        for record in records:
            if messages >= limit:
                break
            items = self._messages(record, now_ms) if id(record) in fresh else []
            at_ms = max([at_ms, *(item.at_ms for item in items[:1])])
            messages += len(items)
            found.append((at_ms, record, items))
        return found

    def _messages(self, record: LogRecord, now_ms: int) -> list[Item]:
        items: list[Item] = []
        for index in self._wiring.hears[record.topic]:
            try:
                messages = self._wiring.stages[index].decode(record)
            except Exception as error:  # noqa: BLE001 - it becomes a failed record
                item = Item(record, index, 0, None, now_ms)
                self._bad_items[item.place] = reason_of(error)
                items.append(item)
            else:
                items += [
                    Item(record, index, n, message, _stamp(message, now_ms))
                    for n, message in enumerate(messages)
                ]
        return items

    def _commit(
        self, records: list[LogRecord], items: Sequence[Item], fire_to_ms: int | None = None
    ) -> int:
        with self._state.write() as writer:
            timers = Timers(writer, self._wiring.names, self._next_due)
            work = Work(writer, self._wiring, timers, self._intake.standing.now_ms)
            self._intake.check(writer)
            work.handle(items, self._bad_items, self._bad_timers)
            if fire_to_ms is not None:
                self._fire(work, fire_to_ms)
            next_due = timers.next_due()
            seq = self._outbox.put(writer, work.entries, self._intake.standing.outbox_seq)
            self._intake.move(writer, records, now_ms=work.now_ms, outbox_seq=seq)
        self._intake.moved(records)
        self._outbox.committed()
        self._next_due = next_due
        self._bad_items.clear()
        self._bad_timers.clear()
        return work.fired

    def _fire(self, work: Work, to_ms: int) -> None:
        for _ in range(FIRES_MAX):
            if work.fired >= FIRED_MAX or not work.fire(to_ms, self._bad_timers):
                return

    def _settle(
        self, records: list[LogRecord], items: list[Item], fire_to_ms: int | None = None
    ) -> int:
        """Commit; after `STEP_TRIES_MAX` tries find what is poison, set it aside, commit again."""
        tries = 0
        while True:
            try:
                return self._commit(records, items, fire_to_ms)
            except Transient:
                self._intake.forget_ahead()
                raise
            except PoisonTimer as poison:
                tries += 1
                if tries >= STEP_TRIES_MAX:
                    self._set_timers_aside(poison)
            except Exception as error:
                tries += 1
                if tries < STEP_TRIES_MAX or self._set_items_aside(items, error):
                    continue
                if len(records) < 2:
                    raise
                return self._one_by_one(records, items)

    def _one_by_one(self, records: list[LogRecord], items: list[Item]) -> int:
        """For records that are well alone and not together."""
        return sum(
            self._settle([record], [item for item in items if item.record is record])
            for record in records
        )

    def _set_items_aside(self, items: list[Item], error: Exception) -> bool:
        """Whether anything more was found to blame."""
        left = [item for item in items if item.place not in self._bad_items]
        found = self._blame(left, self._probe_items) if left else []
        if not found and all(item.record is items[0].record for item in left):
            # A record is handled whole or not at all.
            found = [(item, reason_of(error)) for item in left]
        self._bad_items |= {item.place: refused for item, refused in found}
        return bool(found)

    def _set_timers_aside(self, poison: PoisonTimer) -> None:
        found = self._blame(poison.timers, self._probe_timers)
        self._bad_timers |= dict(found or [(timer, poison.reason) for timer in poison.timers])

    def _blame(
        self, suspects: Sequence[T], probe: Callable[[Sequence[T]], Refused | None]
    ) -> list[tuple[T, Refused]]:
        """Those that fail alone, by halving."""
        refused = probe(suspects)
        if refused is None:
            return []
        if len(suspects) == 1:
            return [(suspects[0], refused)]
        half = len(suspects) // 2
        return self._blame(suspects[:half], probe) + self._blame(suspects[half:], probe)

    def _probe_items(self, items: Sequence[Item]) -> Refused | None:
        while True:
            try:
                self._undone(lambda work: work.handle(items, self._bad_items, self._bad_timers))
            except PoisonTimer as poison:
                self._set_timers_aside(poison)
            except Transient:
                raise
            except Exception as error:  # noqa: BLE001 - it becomes a failed record
                return reason_of(error)
            else:
                return None

    def _probe_timers(self, timers: Sequence[StageTimer]) -> Refused | None:
        try:
            self._undone(lambda work: work.wake(list(timers)))
        except PoisonTimer as poison:
            return poison.reason
        return None

    def _undone(self, attempt: Callable[[Work], None]) -> None:
        """Run in a transaction that is never kept."""
        with suppress(_Undone), self._state.write() as writer:
            timers = Timers(writer, self._wiring.names, self._next_due)
            attempt(Work(writer, self._wiring, timers, self._intake.standing.now_ms))
            raise _Undone


def _stamp(message: Any, now_ms: int) -> int:
    for field in ("received_ms", "at_ms"):
        value = getattr(message, field, None)
        if isinstance(value, int):
            return value
    return now_ms
