"""Have four hours passed, whatever has been done to the clocks?

A restart, a manual start or a clock set forward must not bring the next export sooner. So each
export remembers business time and, beside it, how long the machine had been up and in which boot:
that count nobody can set. See docs/adr/0019-log-exports-and-the-campaign-source.md.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from amity.exchange.guardrails import EXPORT_INTERVAL_MS_MIN
from amity.kernel.clock import BusinessClock, SystemClock, VirtualBusinessClock

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """An instant by both clocks.

    Attributes:
        business_ms: What the business clock said.
        machine_ms: Milliseconds that the machine has been up.
        boot: Which start of the machine that counts from; "" where it does not tell.
        virtual: Whether business time was virtual.
    """

    business_ms: int
    machine_ms: int
    boot: str
    virtual: bool


class Watch:
    """Tells moments.

    Args:
        clock: Business time.
        system: Counts while the machine is up.
        boot: Names the start of the machine that it counts from.
    """

    def __init__(self, *, clock: BusinessClock, system: SystemClock, boot: str) -> None:
        self._clock = clock
        self._system = system
        self._boot = boot

    def now(self) -> Moment:
        """This instant."""
        return Moment(
            business_ms=self._clock.now_ms(),
            machine_ms=int(self._system.monotonic_s() * 1_000),
            boot=self._boot,
            virtual=isinstance(self._clock, VirtualBusinessClock),
        )


def boot_id() -> str:
    """This start of the machine; "" where the operating system does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def wait_ms(last: Moment, now: Moment) -> int:
    """How long the next export still has to wait.

    Both clocks must agree that four hours have passed. Where business time lies before the last
    export, the clock was set back and the machine's count alone is the proof.

    >>> last = Moment(business_ms=0, machine_ms=0, boot="b", virtual=False)
    >>> wait_ms(last, Moment(business_ms=9**9, machine_ms=60_000, boot="b", virtual=False))
    14340000
    """
    by_clock = last.business_ms + EXPORT_INTERVAL_MS_MIN - now.business_ms
    if _only_business(last, now):
        return max(by_clock, 0)
    by_machine = EXPORT_INTERVAL_MS_MIN - machine_elapsed_ms(last, now)
    if now.business_ms < last.business_ms:
        return max(by_machine, 0)
    if last.boot != now.boot:
        return max(by_clock, 0)
    return max(by_clock, by_machine, 0)


def machine_elapsed_ms(last: Moment, now: Moment) -> int:
    """For how long, at least, the machine has been up since: after a new start, since that."""
    return now.machine_ms - (last.machine_ms if last.boot == now.boot else 0)


def set_back_ms(last: Moment, now: Moment) -> int:
    """By how much business time is known to have been set back since: rows bear such times.

    >>> last = Moment(business_ms=100_000, machine_ms=0, boot="b", virtual=False)
    >>> set_back_ms(last, Moment(business_ms=40_000, machine_ms=10_000, boot="b", virtual=False))
    70000
    """
    if _only_business(last, now):
        return 0
    elapsed_ms = now.business_ms - last.business_ms
    return max(machine_elapsed_ms(last, now) - elapsed_ms, 0)


def _only_business(last: Moment, now: Moment) -> bool:
    return (last.virtual and now.virtual) or not now.boot
