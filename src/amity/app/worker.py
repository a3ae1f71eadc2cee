"""A worker process: stages, sinks and timers of one side of one data folder.

There are two, so that neither side waits for the other: `platform` and `campaign`. On a virtual
clock the platform's does a tick first.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import structlog

from amity.app.campaign_core import CampaignOptions
from amity.app.campaign_worker import build_campaign_worker
from amity.app.folder import DataFolder
from amity.app.garbage import collect_less
from amity.app.logs import configure_logs
from amity.app.loop import Loop
from amity.app.worker_side import build_worker
from amity.kernel.clock import RealSystemClock, SystemClock
from amity.kernel.errors import LostOwnership, Transient
from amity.transports.outbound import Outbound

STATUS_INTERVAL_S = 0.25
LOG = structlog.get_logger()


class Reporter:
    """Writes status lines for the HTTP process, no oftener than needed."""

    def __init__(self, loop: Loop, system: SystemClock) -> None:
        self._loop = loop
        self._system = system
        self._last: dict[str, Any] = {}
        self._next_s = 0.0

    def report(self, *, force: bool = False) -> None:
        now_s = self._system.monotonic_s()
        ticked = self._last.get("tick_done") != self._loop.tick_done
        if not (force or ticked or now_s >= self._next_s):
            return
        self._next_s = now_s + STATUS_INTERVAL_S
        loop = self._loop
        status = {
            "ready": True,
            "tick_done": loop.tick_done,
            "lag": loop.lag(),
            "told": loop.told(),
        }
        if status != self._last:
            self._last = status
            sys.stdout.write(json.dumps(status) + "\n")
            sys.stdout.flush()


def wait_for_wake(timeout_s: float) -> bool:
    """Sleep until a wake-up byte comes; False when the HTTP process has closed the pipe."""
    readable, _, _ = select.select([0], [], [], timeout_s)
    return not readable or os.read(0, 65_536) != b""


def turn(loop: Loop, system: SystemClock) -> int:
    """One pass; what may go better later (a full disk, a busy file) is tried again after a pause."""
    try:
        return loop.turn()
    except LostOwnership:
        raise
    except Transient as error:
        LOG.exception("the worker pauses", error=error.message)
        system.sleep(error.retry_after_s)
        return 0


def main() -> None:
    """Run until the pipe from the HTTP process closes."""
    arguments = _arguments()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    configure_logs()
    system = RealSystemClock()
    with _built(arguments) as loop:
        collect_less()
        reporter = Reporter(loop, system)
        reporter.report(force=True)
        alive = True
        while alive:
            moved = turn(loop, system)
            reporter.report(force=not moved)
            alive = wait_for_wake(0.0 if moved else loop.idle_wait_s())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="amity.app.worker")
    parser.add_argument("--role", choices=("platform", "campaign"), required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--public-url", required=True)
    parser.add_argument("--clock", default="")
    parser.add_argument("--allow-loopback", action="store_true")
    parser.add_argument("--allow-private", action="store_true")
    parser.add_argument("--smtp", default="")
    parser.add_argument("--bounce-domain", default="bounces.example.test")
    return parser.parse_args()


def _built(arguments: argparse.Namespace) -> AbstractContextManager[Loop]:
    folder = DataFolder(arguments.data)
    outbound = Outbound(
        allow_private=arguments.allow_private, allow_loopback=arguments.allow_loopback
    )
    if arguments.role == "campaign":
        options = CampaignOptions(
            public_url=arguments.public_url,
            smtp=arguments.smtp,
            bounce_domain=arguments.bounce_domain,
        )
        return build_campaign_worker(
            folder, clock=arguments.clock, options=options, outbound=outbound
        )
    return build_worker(
        folder, clock=arguments.clock, public_url=arguments.public_url, outbound=outbound
    )


if __name__ == "__main__":
    main()
