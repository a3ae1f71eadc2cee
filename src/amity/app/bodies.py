"""May the control plane read the body of this request?

Asked once, before any route: how long a body is, how deeply it nests, and whether each of its values
is one that can be kept. Uploads are streamed elsewhere and carry limits of their own.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
import re2

from amity.app.problems import answer
from amity.kernel.depth import deeper_than
from amity.kernel.errors import AmityError, Invalid, TooLarge
from amity.kernel.limits import BODY_BYTES_MAX, JSON_DEPTH_MAX

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

UPLOAD_PREFIX = "/data/foundation/import/"
_LONG_NUMBER = re2.compile(rb"\d{19}")
_INTEGER_BITS_MAX = 63
_INTEGER_CHARS_MAX = 20


class BadBody(Invalid):
    """The body is no JSON that can be read."""


class BodyGuard:
    """Lets requests through to an application whose bodies it has read."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(UPLOAD_PREFIX):
            await self._app(scope, receive, send)
            return
        try:
            body = await _whole(scope, receive)
            if body and b"json" in _header(scope, b"content-type").lower():
                check_json(body)
        except AmityError as error:
            await answer(error)(scope, receive, send)
            return
        await self._app(scope, _again(body, receive), send)


def check_json(body: bytes) -> None:
    """Raise unless the body is JSON whose values can be kept.

    >>> check_json(b'{"name": 1e999}')
    Traceback (most recent call last):
    amity.app.bodies.BadBody: the body is no JSON: number is infinity when parsed as double: line 1 column 10 (char 9)
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"the body is no JSON: {error}") from error
    if deeper_than(JSON_DEPTH_MAX, value, body):
        raise BadBody(f"the body nests deeper than {JSON_DEPTH_MAX} levels")
    if _LONG_NUMBER.search(body):
        json.loads(body, parse_int=_integer)


def _integer(digits: str) -> int:
    number = int(digits) if len(digits) <= _INTEGER_CHARS_MAX else None
    if number is None or number.bit_length() > _INTEGER_BITS_MAX:
        raise BadBody(f"{digits[:40]} is a larger number than can be kept; send it as a text")
    return number


def _header(scope: Message, wanted: bytes) -> bytes:
    return next((bytes(value) for name, value in scope["headers"] if name == wanted), b"")


async def _whole(scope: Message, receive: Receive) -> bytes:
    length = _header(scope, b"content-length")
    if length.isdigit() and int(length) > BODY_BYTES_MAX:
        raise _too_large()
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > BODY_BYTES_MAX:
            raise _too_large()
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """What was read, for the application to receive; then whatever else comes."""
    told = False

    async def receive_again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _too_large() -> TooLarge:
    return TooLarge(f"the body is larger than {BODY_BYTES_MAX} bytes; upload data as a batch file")
