"""In which order does the worker let its hosts run?

Records before timers before sinks, until nothing moves; then it sleeps until it is woken or a timer
is due. A tick of the virtual clock is done when everything before it is drained and every timer up
to it has fired, in order of due time across all hosts, with all effects of each before the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from amity.flow.ticks import TICK_TOPIC, Tick
from amity.kernel.clock import BusinessClock, VirtualBusinessClock
from amity.kernel.scope import Scope
from amity.storage.keys import pack
from amity.storage.ports import Log, State

SYSTEM = Scope("amity", "system")
TICK_TABLE = "app_tick"
IDLE_WAIT_S_MAX = 1.0


class Host(Protocol):
    """A runner or a sink runner."""

    name: str

    def run_once(self, now_ms: int) -> int: ...

    def lag(self) -> int: ...


class TimedHost(Host, Protocol):
    """A host that also has timers."""

    def next_due(self) -> int | None: ...

    def fire_due(self, to_ms: int) -> int: ...


class Loop:
    """Drives hosts; `turn` is one pass, `settle` runs passes until nothing moves."""

    def __init__(
        self,
        *,
        timed: Sequence[TimedHost],
        sinks: Sequence[Host],
        clock: BusinessClock,
        log: Log,
        state: State,
    ) -> None:
        self._timed = timed
        self._hosts: list[Host] = [*timed, *sinks]
        self._clock = clock
        self._log = log
        self._state = state
        self.tick_done = self._load_tick()

    def turn(self) -> int:
        """Let every host handle one batch; on real time also fire what is due."""
        now_ms = self._clock.now_ms()
        moved = sum(host.run_once(now_ms) for host in self._hosts)
        if not isinstance(self._clock, VirtualBusinessClock):
            moved += sum(host.fire_due(now_ms) for host in self._timed)
        elif moved == 0:
            moved += self._tick()
        return moved

    def settle(self) -> None:
        """Run until no host has anything left to do now."""
        now_ms = self._clock.now_ms()
        while sum(host.run_once(now_ms) for host in self._hosts):
            pass

    def lag(self) -> int:
        """Log records not yet handled, over all hosts."""
        return sum(host.lag() for host in self._hosts)

    def idle_wait_s(self) -> float:
        """How long it may sleep when nothing moves."""
        if isinstance(self._clock, VirtualBusinessClock):
            return IDLE_WAIT_S_MAX
        due = self._next_due()
        if due is None:
            return IDLE_WAIT_S_MAX
        return min(max(due - self._clock.now_ms(), 0) / 1_000, IDLE_WAIT_S_MAX)

    def _tick(self) -> int:
        records = self._log.poll(TICK_TOPIC, {0: self.tick_done + 1}, 64)
        ticks = [record for record in records if record.offset > self.tick_done]
        for record in ticks:
            to_ms = msgspec.msgpack.decode(record.body, type=Tick).to_ms
            self.settle()
            self._fire_in_order(to_ms)
            self._note(record.offset, to_ms)
        return len(ticks)

    def _fire_in_order(self, to_ms: int) -> None:
        while (due := self._next_due()) is not None and due <= to_ms:
            self._advance(due)
            for host in self._timed:
                host.fire_due(due)
            self.settle()
        self._advance(to_ms)
        self.settle()

    def _advance(self, to_ms: int) -> None:
        if isinstance(self._clock, VirtualBusinessClock):
            self._clock.advance_to(max(to_ms, self._clock.now_ms()))

    def _next_due(self) -> int | None:
        dues = [due for host in self._timed if (due := host.next_due()) is not None]
        return min(dues, default=None)

    def _note(self, offset: int, to_ms: int) -> None:
        with self._state.write() as writer:
            writer.put_many(TICK_TABLE, SYSTEM, [(pack("done"), pack(offset, to_ms))])
        self.tick_done = offset

    def _load_tick(self) -> int:
        with self._state.read() as reader:
            found = reader.get_many(TICK_TABLE, SYSTEM, [pack("done")])
        if not found:
            return -1
        offset, to_ms = (
            int.from_bytes(part, "big") - (1 << 63) for part in _halves(*found.values())
        )
        self._advance(to_ms)
        return offset


def _halves(value: bytes) -> tuple[bytes, bytes]:
    return value[:8], value[8:16]
