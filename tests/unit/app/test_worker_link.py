"""The HTTP process keeps a worker, whatever becomes of it, and remembers how far behind it was."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from amity.app import worker_link
from amity.app.worker_link import WorkerLink
from amity.kernel.clock import RealSystemClock
from amity.kernel.errors import AmityError, Unavailable

LAGS = 'import sys; print(\'{"ready": true, "lag": 7}\', flush=True)'
LISTENS = f"{LAGS}; sys.stdin.read()"


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerLink]:
    """A link that does not wait long between workers."""
    monkeypatch.setattr(worker_link, "RESTART_PAUSE_S", 0.01)
    made = WorkerLink("platform", [], RealSystemClock())
    yield made
    made.stop(5)


def _soon(told: Callable[[], bool]) -> bool:
    waiting = threading.Event()
    return any(told() or waiting.wait(0.02) or told() for _ in range(250))


@pytest.mark.thorough
def test_a_worker_that_cannot_be_started_is_tried_again(link: WorkerLink) -> None:
    """Out of processes or memory at this moment: the next try may find some."""
    link._arguments = ["/nowhere/python"]
    link.start()
    assert _soon(lambda: link.restarts > 2)
    assert not link.ready

    link._arguments = [sys.executable, "-c", LISTENS]

    assert _soon(lambda: link.ready)


def test_the_lag_outlives_the_worker(link: WorkerLink) -> None:
    """While no worker runs, the doors still know how much waits; it is not said to be ready."""
    link._arguments = [sys.executable, "-c", LAGS]
    link.start()
    assert _soon(lambda: link.status.get("lag") == 7)

    link._arguments = ["/nowhere/python"]

    assert _soon(lambda: "ready" not in link.status)
    assert (link.status, link.ready) == ({"lag": 7}, False)


def test_nobody_waits_for_a_worker_that_is_stopped(link: WorkerLink) -> None:
    """A request that waits for the worker is answered when the server goes down, not minutes on."""
    link._arguments = [sys.executable, "-c", LISTENS]
    link.start()
    assert _soon(lambda: link.ready)
    told: list[AmityError] = []

    def wait() -> None:
        try:
            link.wait_for("tick_done", 5, 600)
        except Unavailable as error:
            told.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    link.stop(5)
    waiting.join(5)

    assert (waiting.is_alive(), len(told)) == (False, 1)
