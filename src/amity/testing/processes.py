"""When does a server that somebody else wrote listen, and how does it end?"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from amity.kernel.clock import RealSystemClock
from amity.kernel.errors import Unavailable

HOST = "127.0.0.1"
START_S = 30.0
STOP_S = 10.0


def await_port(alive: Callable[[], bool], port: int, log: Path, name: str) -> None:
    """Wait until somebody listens; raises with the end of its log when nobody does."""
    clock = RealSystemClock()
    until = clock.monotonic_s() + START_S
    while clock.monotonic_s() < until:
        try:
            with socket.create_connection((HOST, port), timeout=1):
                return
        except OSError:
            if not alive():
                break
            clock.sleep(0.02)
    said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    raise Unavailable(f"{name} does not listen on {HOST}:{port}: {said}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and make it end when it does not."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_by_id(pid: int) -> None:
    """Wait until a process that is no child of ours has ended, and make it end when it does not."""
    clock = RealSystemClock()
    until = clock.monotonic_s() + STOP_S
    while clock.monotonic_s() < until:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        clock.sleep(0.05)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
