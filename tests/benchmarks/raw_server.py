"""The ceiling for durable ingest: raw ASGI, msgspec decode, one fdatasync a group, nothing else.

No authentication, no schema, no partitions: what the machine can do at all (engines.md E).
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvicorn

DECODE = msgspec.json.Decoder().decode


class GroupFile:
    """Appends bodies to a file; a waiting request is resolved after the next fdatasync."""

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._queue: list[tuple[bytes, asyncio.Future[None]]] = []
        self._wake = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        threading.Thread(target=self._write, daemon=True).start()

    async def append(self, body: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.append((body, done))
        self._wake.set()
        await done

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            queue, self._queue = self._queue, []
            if queue and self._loop is not None:
                os.write(self._handle, b"\n".join(body for body, _ in queue) + b"\n")
                os.fdatasync(self._handle)
                self._loop.call_soon_threadsafe(self._resolve, [done for _, done in queue])

    @staticmethod
    def _resolve(waiting: list[asyncio.Future[None]]) -> None:
        for done in waiting:
            if not done.done():
                done.set_result(None)


def application(path: str) -> Callable[..., Awaitable[None]]:
    """The ASGI application that appends every body to `path`."""
    file = GroupFile(path)

    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        DECODE(body)
        await file.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    return answer


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[1]),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
