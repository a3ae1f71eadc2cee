"""How does one advance the virtual business clock?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import APIRouter

from amity.access.guard import needs
from amity.flow.ticks import ENCODER, TICK_TOPIC, Tick
from amity.kernel.clock import (
    LATEST_MS,
    BusinessClock,
    VirtualBusinessClock,
    duration_ms,
    from_iso,
    to_iso,
)
from amity.kernel.errors import Conflict, Invalid
from amity.storage.ports import Entry, Log


class ClockIsReal(Conflict):
    """This server runs on real time: start it with --clock to have a clock you can advance."""


class ClockAdvance:
    """Moves the virtual clock and waits until the effects can be seen.

    Args:
        clock: The business clock of this process.
        log: Where the tick is appended.
        wait: Waits until both workers have done the tick at this log offset, and what they told
            each other of it has been taken in.
    """

    def __init__(
        self,
        clock: BusinessClock,
        log: Log,
        *,
        wait: Callable[[int], None],
    ) -> None:
        self._clock = clock
        self._log = log
        self._wait = wait
        self._turn = threading.Lock()

    def advance(self, body: dict[str, Any]) -> dict[str, str]:
        clock = self._clock
        if not isinstance(clock, VirtualBusinessClock):
            raise ClockIsReal
        with self._turn:
            to_ms = self._target(body, clock.now_ms())
            if to_ms > LATEST_MS:
                raise Invalid("the business clock ends with the year 9999")
            clock.check(to_ms)
            # First the tick: what carries the new time must not outlive it.
            offset = append_tick(self._log, to_ms)
            clock.advance_to(to_ms)
        self._wait(offset)
        # What the campaign's worker said at this tick lies before the next one.
        with self._turn:
            offset = append_tick(self._log, clock.now_ms())
        self._wait(offset)
        return {"now": to_iso(to_ms)}

    def now(self) -> dict[str, Any]:
        virtual = isinstance(self._clock, VirtualBusinessClock)
        return {"now": to_iso(self._clock.now_ms()), "virtual": virtual}

    @staticmethod
    def _target(body: dict[str, Any], now_ms: int) -> int:
        match body:
            case {"advance": str(text), **rest} if not rest:
                return now_ms + duration_ms(text)
            case {"to": str(text), **rest} if not rest:
                return from_iso(text)
        raise Invalid('send {"advance": "PT1H"} or {"to": "2017-10-30T01:00:00Z"}')


def append_tick(log: Log, to_ms: int) -> int:
    """Append a tick, durable on return; its offset."""
    ((_, offset),) = log.append([Entry(TICK_TOPIC, b"", ENCODER.encode(Tick(to_ms=to_ms)))])
    return offset


def last_tick_ms(log: Log) -> int:
    """Where the virtual clock stood when it last moved; 0 when it never did."""
    decode = msgspec.msgpack.Decoder(Tick).decode
    positions: dict[int, int] = {}
    newest = 0
    while records := log.poll(TICK_TOPIC, positions, 1_000):
        for record in records:
            newest = max(newest, decode(record.body).to_ms)
            positions[record.partition] = record.offset + 1
    return newest


def router(clock: ClockAdvance) -> APIRouter:
    """`GET|POST /admin/clock`."""
    routes = APIRouter(prefix="/admin", tags=["clock"])

    @routes.post("/clock", dependencies=[needs("manage-clock")])
    def advance(body: dict[str, Any]) -> dict[str, str]:
        return clock.advance(body)

    @routes.get("/clock", dependencies=[needs("manage-clock")])
    def now() -> dict[str, Any]:
        return clock.now()

    return routes
