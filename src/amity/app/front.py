"""Which application answers a request?

The doors take what streams in, without a framework in between; the control plane takes the rest. A
trailing slash is ignored; bodies of the control plane are bounded here, uploads excepted (they
stream to disk and carry limits of their own).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from amity.app.problems import answer
from amity.kernel.errors import TooLarge
from amity.kernel.limits import BODY_BYTES_MAX

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

DOOR_PREFIXES = ("/collection/", "/v1/")
UPLOAD_PREFIX = "/data/foundation/import/"


class Front:
    """The ASGI application of the HTTP process."""

    def __init__(self, door: Application, control: Application) -> None:
        self._door = door
        self._control = control

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
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
        if path.startswith(DOOR_PREFIXES):
            await self._door(scope, receive, send)
        elif path.startswith(UPLOAD_PREFIX):
            await self._control(scope, receive, send)
        elif _length(scope) > BODY_BYTES_MAX:
            await answer(_too_large())(scope, receive, send)
        else:
            await self._control(scope, _bounded(receive), send)


def _length(scope: Message) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _bounded(receive: Receive) -> Receive:
    taken = 0

    async def receive_bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > BODY_BYTES_MAX:
            raise _too_large()
        return message

    return receive_bounded


def _too_large() -> TooLarge:
    return TooLarge(f"the body is larger than {BODY_BYTES_MAX} bytes; upload data as a batch file")
