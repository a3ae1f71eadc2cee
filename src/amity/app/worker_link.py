"""How do the HTTP process and its worker speak?

Over the worker's own pipes: a byte on stdin says "there is something new in the log" (so that an
idle worker costs nothing), closing it says "end"; each line on stdout is a JSON status: ready, lag,
the last tick done. The log, not this link, carries the data: losing a wake-up costs at most one
poll interval.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from amity.kernel.clock import SystemClock
from amity.kernel.errors import Unavailable

LOG = structlog.get_logger()
RESTART_PAUSE_S = 0.5


class WorkerLink:
    """Keeps one worker process running and knows its newest status.

    Args:
        role: Which worker: `platform` or `campaign`.
        arguments: More arguments for it.
        system: Times pauses and waits.
        heard: Called when it says that it has told others something by the log.
    """

    def __init__(
        self,
        role: str,
        arguments: Sequence[str],
        system: SystemClock,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self._arguments = [sys.executable, "-m", "amity.app.worker", "--role", role, *arguments]
        self._heard = heard
        self._system = system
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._pipe = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"{role}-link", daemon=True)
        self.status: dict[str, Any] = {}
        self.restarts = -1

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """End the worker after its current transaction; nobody waits for it any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        process = self._process
        if process is not None:
            self._close_pipe(process)
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(timeout_s)

    def wake(self) -> None:
        """Tell the worker that the log has grown."""
        with self._pipe:
            process = self._process
            if process is None or process.stdin is None or process.stdin.closed:
                return
            try:
                os.write(process.stdin.fileno(), b"\n")
            except BlockingIOError:
                pass  # the pipe is full of wake-ups: one more says nothing new
            except (OSError, ValueError):
                LOG.debug("worker is away; it reads the log when it is back")

    def wait_for(self, ready: str, at_least: int, timeout_s: float) -> None:
        """Wait until `status[ready] >= at_least`.

        Raises `Unavailable` when it takes too long, or when the server ends meanwhile: a thread
        that waited on would keep the process alive.
        """
        until = self._system.monotonic_s() + timeout_s
        with self._changed:
            while self.status.get(ready, -1) < at_least:
                if self._stopping:
                    raise Unavailable(
                        f"the server is going down; the worker goes on to {ready} ≥ {at_least} "
                        "when it is back"
                    )
                left = until - self._system.monotonic_s()
                if left <= 0:
                    raise Unavailable(
                        f"the worker did not report {ready} ≥ {at_least} within {timeout_s:g} s; "
                        "it goes on: ask again, and see /healthz",
                        retry_after_s=5,
                    )
                self._changed.wait(min(left, 0.5))

    @property
    def ready(self) -> bool:
        """Whether a worker runs and has finished starting."""
        process = self._process
        return process is not None and process.poll() is None and bool(self.status.get("ready"))

    def _keep(self) -> None:
        while not self._stopping:
            try:
                self._run_once()
            except Exception as error:
                LOG.exception("no worker can be started now", error=str(error))
            if not self._stopping:
                LOG.error("worker ended; starting another", restarts=self.restarts + 1)
                self._system.sleep(RESTART_PAUSE_S)

    def _run_once(self) -> None:
        self.restarts += 1
        with subprocess.Popen(  # noqa: S603 - our own command
            self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            self._process = process
            if process.stdin is not None:
                os.set_blocking(process.stdin.fileno(), False)
            if self._stopping:
                self._close_pipe(process)
            for line in process.stdout or ():
                self._note(line)
            self._close_pipe(process)
        with self._changed:
            # How far behind the next one will be is known; the rest it says itself.
            self.status = {"lag": self.status.get("lag", 0)}
            self._changed.notify_all()

    def _close_pipe(self, process: subprocess.Popen[bytes]) -> None:
        """Under the lock: a number closed meanwhile may be another file's by the next write."""
        with self._pipe:
            if process.stdin is None:
                return
            try:
                process.stdin.close()
            except OSError as error:
                LOG.debug("worker pipe was already closed", error=str(error))

    def _note(self, line: bytes) -> None:
        try:
            status = json.loads(line)
        except ValueError:
            LOG.info("worker says", line=line.decode(errors="replace").rstrip())
            return
        with self._changed:
            told = status.get("told", 0) > self.status.get("told", 0)
            self.status = {**self.status, **status}
            self._changed.notify_all()
        if told:
            self._heard()
