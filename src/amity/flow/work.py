"""What happens to a batch inside its one transaction?

Messages go through the stages in groups of one business time; timers due by then fire first; what
one stage says and another hears passes in memory. Nothing here commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from amity.flow import failed
from amity.flow.failed import FAILED_TOPIC, FailedRecord
from amity.flow.intake import SYSTEM
from amity.flow.stage import Stage
from amity.flow.step import Failure, Output, Timer
from amity.flow.timers import Timers
from amity.kernel.errors import AmityError, Corrupt, Transient
from amity.kernel.ids import digest
from amity.kernel.scope import Scope
from amity.storage.keys import pack
from amity.storage.ports import Entry, LogRecord, Writer

AnyStage = Stage[Any, Any]

TIMERS_MAX = 1_000
"""Timers of one due time in one step. Ours."""

ROUNDS_MAX = 100
"""How often fused stages may answer one another within a group. Ours."""


class Item(NamedTuple):
    """A message of a log record for one stage; `at_ms` never falls within a batch."""

    record: LogRecord
    stage: int
    n: int
    message: Any
    at_ms: int

    @property
    def place(self) -> tuple[str, int, int, int, int]:
        """Names the message for good."""
        record = self.record
        return (record.topic, record.partition, record.offset, self.stage, self.n)


class Refused(NamedTuple):
    """Why a message or timer was given up."""

    code: str
    reason: str


class StageTimer(NamedTuple):
    """A timer and the stage that set it."""

    stage: str
    timer: Timer


class PoisonTimer(Exception):
    """Something failed on timers or on what they led to, not on messages."""

    def __init__(self, timers: list[StageTimer]) -> None:
        super().__init__()
        self.timers = timers

    @property
    def reason(self) -> Refused:
        """Why."""
        return reason_of(self.__cause__ if isinstance(self.__cause__, Exception) else self)


class Wiring:
    """Which stage hears which topic, and which topics leave."""

    def __init__(self, stages: Sequence[AnyStage], publish: frozenset[str]) -> None:
        self.stages = stages
        self.names = [stage.name for stage in stages]
        self.hears: dict[str, list[int]] = {}
        for index, stage in enumerate(stages):
            for topic in stage.consumes:
                self.hears.setdefault(topic, []).append(index)
        self._publish = publish

    def stage(self, name: str) -> AnyStage:
        """The stage of that name."""
        return self.stages[self.names.index(name)]

    def leaves(self, topic: str) -> bool:
        """Whether messages of this topic go to the log."""
        return topic in self._publish or topic not in self.hears


class Work:
    """One transaction of a runner.

    Args:
        writer: The transaction.
        wiring: The stages.
        timers: Their timers, within the transaction.
        now_ms: Business time reached before.
    """

    def __init__(self, writer: Writer, wiring: Wiring, timers: Timers, now_ms: int) -> None:
        self._writer = writer
        self._wiring = wiring
        self._inbox: dict[int, list[Any]] = {}
        self.timers = timers
        self.now_ms = now_ms
        self.entries: list[Entry] = []
        self.fired = 0

    def handle(
        self,
        items: Sequence[Item],
        bad_items: dict[tuple[str, int, int, int, int], Refused],
        bad_timers: dict[StageTimer, Refused],
    ) -> None:
        """Take messages through all stages, each group after the timers due by its time."""
        for at_ms, group in groupby(items, key=lambda item: item.at_ms):
            while self.fire(at_ms, bad_timers):
                pass
            self.now_ms = max(self.now_ms, at_ms)
            for item in group:
                refused = bad_items.get(item.place) if bad_items else None
                if refused is None:
                    self._inbox.setdefault(item.stage, []).append(item.message)
                else:
                    self._say(self._wiring.stages[item.stage], _refused_item(item, refused))
            self._deliver()

    def fire(self, to_ms: int, bad: dict[StageTimer, Refused]) -> int:
        """Fire the timers of the earliest due time up to `to_ms`, with all that follows."""
        due = self.timers.pop_due(to_ms, TIMERS_MAX)
        if due is None:
            return 0
        due_ms, by_stage = due
        self.now_ms = max(self.now_ms, due_ms)
        timers = [StageTimer(name, timer) for name, found in by_stage.items() for timer in found]
        for timer in timers:
            if timer in bad:
                self._say(self._wiring.stage(timer.stage), _refused_timer(timer, bad[timer]))
        self.wake([timer for timer in timers if timer not in bad])
        self.fired += len(timers)
        return len(timers)

    def wake(self, timers: list[StageTimer]) -> None:
        """Fire timers, with all that follows; `PoisonTimer` when something fails on it."""
        try:
            for index, name in enumerate(self._wiring.names):
                fired = [timer.timer for timer in timers if timer.stage == name]
                if fired:
                    self._step(index, [], fired)
            self._deliver()
        except Transient:
            raise
        except Exception as error:
            raise PoisonTimer(timers) from error

    def _deliver(self) -> None:
        for _ in range(ROUNDS_MAX):
            if not self._inbox:
                return
            for index in range(len(self._wiring.stages)):
                messages = self._inbox.pop(index, None)
                if messages:
                    self._step(index, messages, [])
        names = ", ".join(self._wiring.names)
        raise Corrupt(f"the stages {names} answer one another without end")

    def _step(self, index: int, messages: list[Any], fired: list[Timer]) -> None:
        stage = self._wiring.stages[index]
        state = stage.load(self._writer, messages, fired)
        outcome = stage.step(state, messages, fired, self.now_ms)
        stage.save(self._writer, outcome.state)
        self.timers.change(stage.name, outcome.timers)
        for output in outcome.outputs:
            self._say(stage, output)
        for failure in outcome.failures:
            self._say(stage, _failure(stage, failure, self.now_ms))

    def _say(self, stage: AnyStage, output: Output) -> None:
        for index in self._wiring.hears.get(output.topic, ()):
            self._inbox.setdefault(index, []).append(output.message)
        if self._wiring.leaves(output.topic):
            if isinstance(output.message, FailedRecord):
                body = failed.ENCODER.encode(output.message)
            else:
                body = stage.encode(output.message)
            self.entries.append(Entry(output.topic, pack(output.scope.key) + output.key, body))


def reason_of(error: Exception) -> Refused:
    """The code and the sentence of an error."""
    if isinstance(error, AmityError):
        return Refused(error.code or type(error).__name__, error.message)
    return Refused(type(error).__name__, f"the step failed on it: {error}")


def failure_output(scope: Scope, record: FailedRecord) -> Output:
    """The message that files a failed record."""
    return Output(FAILED_TOPIC, scope, record.id.encode(), record)


def _failure(stage: AnyStage, failure: Failure, now_ms: int) -> Output:
    position = failure.position
    place = (str(position.partition), str(position.offset), str(position.n))
    record = FailedRecord(
        id=digest(stage.name, *place, failure.path, failure.code),
        scope=failure.scope.key,
        source=stage.name,
        dataset=failure.dataset,
        code=failure.code,
        reason=failure.reason,
        path=failure.path,
        where="/".join(place),
        received_ms=now_ms,
        raw=failure.raw,
    )
    return failure_output(failure.scope, record)


def _refused_item(item: Item, refused: Refused) -> Output:
    record, message = item.record, item.message
    named = _named(message, "scope")
    scope = Scope.parse(named) if named else SYSTEM
    raw = getattr(message, "raw", None)
    place = [str(part) for part in item.place]
    filed = FailedRecord(
        id=digest(*place),
        scope=scope.key,
        source=_named(message, "source") or record.topic,
        dataset=_named(message, "dataset"),
        batch=_named(message, "batch"),
        code=refused.code,
        reason=refused.reason,
        where="/".join((record.topic, str(record.partition), str(record.offset), str(item.n))),
        received_ms=item.at_ms,
        raw=raw if isinstance(raw, bytes) else record.body,
    )
    return failure_output(scope, filed)


def _named(message: Any, field: str) -> str:
    """A text field of a message, or of its source when messages share one."""
    for holder in (message, getattr(message, "source", None)):
        value = getattr(holder, field, None)
        if isinstance(value, Scope):
            return value.key
        if isinstance(value, str) and value:
            return value
    return ""


def _refused_timer(found: StageTimer, refused: Refused) -> Output:
    timer = found.timer
    filed = FailedRecord(
        id=digest(found.stage, timer.scope.key, timer.key.hex(), str(timer.due_ms)),
        scope=timer.scope.key,
        source=found.stage,
        code=refused.code,
        reason=refused.reason,
        where=f"timer/{timer.key.hex()}/{timer.due_ms}",
        received_ms=timer.due_ms,
        raw=timer.key,
    )
    return failure_output(timer.scope, filed)
