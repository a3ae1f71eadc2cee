"""Which application answers a request?

The doors take what streams in, without a framework in between; the control plane takes the rest. A
trailing slash is ignored. Here, too, an error that nobody foresaw becomes an answer and a log line:
what it says may name a person, and the log masks that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import structlog
from starlette.requests import ClientDisconnect

from amity.app.bodies import Application, Message, Receive, Send
from amity.app.problems import Unforeseen, answer

DOOR_PREFIXES = ("/collection/", "/v1/")
EDGE_PREFIX = "/ee/"
Count = Callable[[str, int], None]


class Doors(Protocol):
    """Listens beside HTTP: files and mail that come in."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


LOG = structlog.get_logger()


class Front:
    """The ASGI application of the HTTP process.

    Args:
        door: Takes what streams in.
        control: Takes the rest.
        count: Hears of every answer.
        doors: What else listens on the loop of the HTTP server, and begins and ends with it.
        edge: Takes what Edge clients send.
    """

    def __init__(
        self,
        door: Application,
        control: Application,
        count: Count = lambda _, __: None,
        doors: Doors | None = None,
        *,
        edge: Application | None = None,
    ) -> None:
        self._door = door
        self._edge = edge
        self._control = control
        self._count = count
        self._doors = doors

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(self._doors, receive, send)
            return
        if scope["type"] != "http":
            await self._control(scope, receive, send)
            return
        path: str = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            path = path.rstrip("/") or "/"
            scope = {
                **scope,
                "path": path,
                "raw_path": scope["raw_path"].split(b"?")[0].rstrip(b"/"),
            }
        application = self._application(path)
        count = partial(self._count, scope.get("method", ""))
        await _answered(application, (scope, receive, send), count)

    def _application(self, path: str) -> Application:
        if path.startswith(DOOR_PREFIXES):
            return self._door
        if self._edge is not None and path.startswith(EDGE_PREFIX):
            return self._edge
        return self._control


async def _live(doors: Doors | None, receive: Receive, send: Send) -> None:
    """Begin and end the doors with the server: the ASGI lifespan protocol."""
    await receive()
    try:
        if doors is not None:
            await doors.start()
    except Exception as error:
        LOG.exception("a door cannot be opened", error=str(error))
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if doors is not None:
        await doors.stop()
    await send({"type": "lifespan.shutdown.complete"})


async def _answered(
    application: Application,
    call: tuple[Message, Receive, Send],
    count: Callable[[int], None],
) -> None:
    scope, receive, send = call
    begun = False

    async def send_noted(message: Message) -> None:
        nonlocal begun
        if message["type"] == "http.response.start":
            begun = True
            count(message["status"])
        await send(message)

    try:
        await application(scope, receive, send_noted)
    except ClientDisconnect:
        LOG.debug("the caller went away", path=scope["path"])
    except Exception as error:
        LOG.exception("request failed", path=scope["path"], error=type(error).__name__)
        if not begun:
            count(500)
            await answer(Unforeseen())(scope, receive, send)
