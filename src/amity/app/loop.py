"""In which order does the worker let its hosts run?

Records before timers before sinks, until nothing moves; then it sleeps until it is woken or a timer
is due. A tick of the virtual clock is done when everything before it is drained and every timer up
to it has fired, in order of due time across all hosts, with all effects of each before the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
import structlog

from amity.flow.retention import Retention
from amity.flow.ticks import TICK_TOPIC, Tick
from amity.kernel.clock import BusinessClock, SystemClock, VirtualBusinessClock
from amity.kernel.scope import Scope
from amity.storage.keys import pack, unpack
from amity.storage.ports import Log, State

SYSTEM = Scope("amity", "system")
TICK_TABLE = "app_tick"
IDLE_WAIT_S_MAX = 1.0
SETTLE_S_MAX = 300.0
"""How long a tick waits for sinks that try again. Ours."""

PACE_S = 0.5
PACED_RECORDS = 1_000
PACED_RECORDS_MAX = 5_000
"""A lake commit costs some 20 ms however few its rows: it waits half a second or 1,000 records."""

TRIM_IDLE_S = 10.0
TRIM_BUSY_S = 60.0
"""How often the log forgets what all have read. Ours."""

ANY_TICK = 1 << 62
LOG = structlog.get_logger()


class Host(Protocol):
    """A runner or a sink runner."""

    name: str

    def run_once(self, now_ms: int, limit: int = ..., /) -> int: ...

    def lag(self) -> int: ...

    def positions(self) -> Mapping[str, Mapping[int, int]]: ...


class SinkHost(Host, Protocol):
    """A host whose side effects may have to be tried again later."""

    def retry_in_s(self) -> float: ...


class TimedHost(Host, Protocol):
    """A host that also has timers."""

    def next_due(self) -> int | None: ...

    def fire_due(self, to_ms: int) -> int: ...


class Hosts(NamedTuple):
    """What a loop drives.

    Attributes:
        timed: Hosts with timers, in the order of the flow.
        sinks: Hosts with side effects.
        paced: Sinks whose every call has a price of its own.
    """

    timed: Sequence[TimedHost] = ()
    sinks: Sequence[SinkHost] = ()
    paced: Sequence[SinkHost] = ()


class Beside(NamedTuple):
    """How a worker stands to another one of the same folder.

    Attributes:
        ticks_up_to: The last tick it may do, by log offset: the other one comes first.
        told: Counts what it has said to the other by the log; that one is woken when it rises.
    """

    ticks_up_to: Callable[[], int] = lambda: ANY_TICK
    told: Callable[[], int] = lambda: 0


ALONE = Beside()


class Loop:
    """Drives hosts; `turn` is one pass, `settle` runs passes until nothing moves.

    Args:
        hosts: What it drives.
        clock: Business time.
        system: Times pauses.
        log: Where ticks come from.
        state: Where it notes the last tick it has done.
        beside: Another worker.
    """

    def __init__(
        self,
        hosts: Hosts,
        *,
        clock: BusinessClock,
        system: SystemClock,
        log: Log,
        state: State,
        beside: Beside = ALONE,
    ) -> None:
        timed, sinks, paced = hosts
        self.told = beside.told
        self._ticks_up_to = beside.ticks_up_to
        self._timed = timed
        self._sinks = [*sinks, *paced]
        self._paced = paced
        self._prompt: list[Host] = [*timed, *sinks]
        self._hosts: list[Host] = [*self._prompt, *paced]
        self._pace_s = 0.0
        self._retention = Retention(log, self._hosts)
        self._trimmed_s = system.monotonic_s()
        self._clock = clock
        self._system = system
        self._log = log
        self._state = state
        self.tick_done = self._load_tick()

    def turn(self) -> int:
        """Let every host handle one batch, fire what is due, do a tick when nothing else moves."""
        # Each by its own look at the clock: the one before may have waited for a slow place.
        moved = sum(host.run_once(self._clock.now_ms()) for host in self._prompt)
        moved += sum(host.fire_due(self._clock.now_ms()) for host in self._timed)
        moved += self._keep_pace(self._clock.now_ms())
        self._trim(idle=moved == 0)
        if moved == 0 and isinstance(self._clock, VirtualBusinessClock):
            moved += self._tick()
        return moved

    def settle(self) -> None:
        """Run until no host has anything left to do now.

        A sink that waits to try again is waited for, within bounds: a destination that is down for
        long must not hold the clock.
        """
        now_ms = self._clock.now_ms()
        until_s = self._system.monotonic_s() + SETTLE_S_MAX
        while self._system.monotonic_s() < until_s:
            if sum(host.run_once(now_ms) for host in self._hosts):
                continue
            wait_s = max((sink.retry_in_s() for sink in self._sinks), default=0.0)
            if wait_s <= 0:
                return
            self._system.sleep(min(wait_s, IDLE_WAIT_S_MAX))
        LOG.warning("the clock goes on although a sink still waits to try again")

    def lag(self) -> int:
        """Log records not yet handled, over all hosts."""
        return sum(host.lag() for host in self._hosts)

    def idle_wait_s(self) -> float:
        """How long it may sleep when nothing moves."""
        paced = max(self._pace_s - self._system.monotonic_s(), 0.0)
        wait_s = paced if any(host.lag() for host in self._paced) else IDLE_WAIT_S_MAX
        if isinstance(self._clock, VirtualBusinessClock):
            return wait_s
        due = self._next_due()
        if due is None:
            return wait_s
        return min(max(due - self._clock.now_ms(), 0) / 1_000, wait_s)

    def _trim(self, *, idle: bool) -> None:
        """Let the log forget, rather while nothing else is to be done."""
        now_s = self._system.monotonic_s()
        if now_s >= self._trimmed_s + (TRIM_IDLE_S if idle else TRIM_BUSY_S):
            self._trimmed_s = now_s
            self._retention.trim()

    def _keep_pace(self, now_ms: int) -> int:
        """Hosts whose every call has a price of its own wait until it is worth it."""
        now_s = self._system.monotonic_s()
        due = now_s >= self._pace_s
        wanted = [host for host in self._paced if due or host.lag() >= PACED_RECORDS]
        if due:
            self._pace_s = now_s + PACE_S
        return sum(host.run_once(now_ms, PACED_RECORDS_MAX) for host in wanted)

    def _tick(self) -> int:
        records = self._log.poll(TICK_TOPIC, {0: self.tick_done + 1}, 64)
        last = self._ticks_up_to() if records else 0
        ticks = [record for record in records if self.tick_done < record.offset <= last]
        for record in ticks:
            to_ms = msgspec.msgpack.decode(record.body, type=Tick).to_ms
            self.settle()
            self._fire_in_order(to_ms)
            self._note(record.offset, to_ms)
        return len(ticks)

    def _fire_in_order(self, to_ms: int) -> None:
        """Fire every timer up to `to_ms`.

        One host may fire all its timers up to the next due time of another: what it says carries
        those times and is heard in order. At that point everything is settled first, for sinks read
        the state as it is then. A host that is `one_by_one` looks at the clock itself.
        """
        while (first := self._first_due(to_ms)) is not None:
            alone = getattr(first, "one_by_one", False)
            bounds = [due for host, due in self._dues() if alone or host is not first]
            until_ms = min([to_ms, *bounds])
            self._advance(until_ms)
            first.fire_due(until_ms)
            self.settle()
        self._advance(to_ms)
        self.settle()

    def _dues(self) -> list[tuple[TimedHost, int]]:
        return [(host, due) for host in self._timed if (due := host.next_due()) is not None]

    def _first_due(self, to_ms: int) -> TimedHost | None:
        """The host whose timer is due first; the earlier one in the flow when two are."""
        due = [(at_ms, n, host) for n, (host, at_ms) in enumerate(self._dues()) if at_ms <= to_ms]
        return min(due)[2] if due else None

    def _advance(self, to_ms: int) -> None:
        if isinstance(self._clock, VirtualBusinessClock):
            self._clock.advance_to(max(to_ms, self._clock.now_ms()))

    def _next_due(self) -> int | None:
        return min((due for _, due in self._dues()), default=None)

    def _note(self, offset: int, to_ms: int) -> None:
        with self._state.write() as writer:
            writer.put_many(TICK_TABLE, SYSTEM, [(pack("done"), pack(offset, to_ms))])
        self.tick_done = offset

    def _load_tick(self) -> int:
        done = done_tick(self._state)
        if done is None:
            return -1
        offset, to_ms = done
        self._advance(to_ms)
        return offset


def done_tick(state: State) -> tuple[int, int] | None:
    """The log offset of the last tick that is done, and the business time it brought."""
    with state.read() as reader:
        found = reader.get_many(TICK_TABLE, SYSTEM, [pack("done")])
    for value in found.values():
        offset, to_ms = unpack(value, "ii")
        return int(offset), int(to_ms)
    return None
