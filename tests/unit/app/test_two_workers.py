"""The campaign's worker does a tick after the platform's; doors begin and end with the server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from amity.app.clock_routes import append_tick
from amity.app.core import CAMPAIGN_WRITER, HTTP_WRITER, WORKER_WRITER, open_core
from amity.app.doors import Doors
from amity.app.folder import DataFolder
from amity.app.front import Front
from amity.app.loop import Beside, Hosts, Loop, done_tick
from amity.kernel.clock import from_iso
from amity.kernel.errors import Invalid
from amity.storage.sqlite.state import SqliteState

START = "2017-10-30T00:00:00Z"
T0 = from_iso(START)


def turned(folder: DataFolder, writer: int) -> tuple[int, int]:
    """Let one worker turn until nothing moves; its last tick, and where its clock stands."""
    core = open_core(folder, clock=START, writer=writer)
    own = writer == CAMPAIGN_WRITER
    state = SqliteState(folder.campaign_state) if own else core.state

    def platform_done() -> int:
        done = done_tick(core.state)
        return -1 if done is None else done[0]

    beside = Beside(ticks_up_to=platform_done) if own else Beside()
    loop = Loop(
        Hosts(), clock=core.clock, system=core.system, log=core.log, state=state, beside=beside
    )
    while loop.turn():
        pass
    core.close()
    return loop.tick_done, core.clock.now_ms()


def test_the_platform_does_a_tick_first(tmp_path: Path) -> None:
    """However often the campaign's worker turns, it waits for the platform's; then it does the same tick."""
    folder = DataFolder(tmp_path)
    folder.create()
    core = open_core(folder, clock=START, writer=HTTP_WRITER)
    offset = append_tick(core.log, T0 + 1_000)
    core.close()

    assert turned(folder, CAMPAIGN_WRITER)[0] < offset
    assert turned(folder, WORKER_WRITER) == (offset, T0 + 1_000)
    assert turned(folder, CAMPAIGN_WRITER) == (offset, T0 + 1_000)


class Listening:
    """A door that says when it begins and ends."""

    def __init__(self, said: list[str], *, wrong: bool = False) -> None:
        self._said = said
        self._wrong = wrong

    async def start(self, host: str, port: int) -> int:
        if self._wrong:
            raise Invalid(f"cannot listen on {host}:{port}")
        self._said.append(f"{host}:{port}")
        return port + 1

    async def stop(self) -> None:
        self._said.append("ended")


def lived(doors: Doors) -> list[str]:
    """What the server is told over a whole life."""
    sent: list[str] = []

    async def no_answer(*_: Any) -> None:
        raise AssertionError

    async def run() -> None:
        come = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, Any]:
            return {"type": next(come)}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        front = Front(no_answer, no_answer, doors=doors)
        await front({"type": "lifespan"}, receive, send)

    asyncio.run(run())
    return sent


def test_doors_live_with_the_server() -> None:
    """They listen before the server is ready, tell where, and end with it."""
    said: list[str] = []
    ports: list[dict[str, int]] = []
    doors = Doors("127.0.0.1", {"bounce": (Listening(said), 24)}, ports.append)

    assert lived(doors) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert said == ["127.0.0.1:24", "ended"]
    assert ports == [{"bounce": 25}]


def test_a_door_that_cannot_open_ends_the_server() -> None:
    """A port that is taken is told at once; the server does not run without one of its doors."""
    doors = Doors("127.0.0.1", {"sftp": (Listening([], wrong=True), 22)}, lambda _: None)

    assert lived(doors) == ["lifespan.startup.failed"]
