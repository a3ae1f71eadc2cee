"""Bodies that attack the control plane."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from amity.app.bodies import BadBody, BodyGuard, check_json
from amity.app.front import Front
from amity.kernel.limits import BODY_BYTES_MAX, JSON_DEPTH_MAX


def _nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    "body",
    [
        _nested(JSON_DEPTH_MAX + 1),
        _nested(100_000),
        b"[" * 100_000,
        b'{"name": "\\ud800"}',
        b'{"name": NaN}',
        b'{"name": 1e999}',
        b'{"name": 9223372036854775808}',
        b'{"name": -100000000000000000000000}',
        b'{"name": ' + b"9" * 5_000 + b"}",
        b'{"name": "\xff"}',
        b"{",
    ],
)
def test_a_body_that_could_not_be_kept_is_refused(body: bytes) -> None:
    """Depth, half characters, numbers without end: refused by name before any route sees them."""
    with pytest.raises(BadBody):
        check_json(body)


@pytest.mark.parametrize(
    "body",
    [_nested(JSON_DEPTH_MAX), b'{"id": 9223372036854775807}', b'{"id": "99999999999999999999"}'],
)
def test_a_body_at_the_limit_is_taken(body: bytes) -> None:
    """The limits themselves are allowed."""
    check_json(body)


def _ask(application: Any, body: list[bytes], headers: list[tuple[bytes, bytes]]) -> list[Any]:
    sent: list[Any] = []
    chunks = [
        {"type": "http.request", "body": part, "more_body": at < len(body) - 1}
        for at, part in enumerate(body)
    ]

    async def receive() -> Any:
        return chunks.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/data/x", "raw_path": b"/data/x", "headers": headers}
    asyncio.run(application(scope, receive, send))
    return sent


async def _echo(_: Any, receive: Any, send: Any) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def test_a_body_in_pieces_is_handed_on_whole() -> None:
    """What the guard has read, the application reads again."""
    sent = _ask(BodyGuard(_echo), [b'{"a"', b": 1}"], [(b"content-type", b"application/json")])
    assert sent[1]["body"] == b'{"a": 1}'


def test_a_body_without_a_length_is_bounded() -> None:
    """A sender that does not say how much it sends is cut off all the same."""
    half = b"x" * (BODY_BYTES_MAX // 2)
    sent = _ask(BodyGuard(_echo), [half, half, b"x", b"x"], [])
    assert sent[0]["status"] == 413


def test_an_unforeseen_error_is_an_answer_and_a_line_of_the_log() -> None:
    """What nobody foresaw says nothing of people to the caller, and goes through our own log."""

    async def broken(*_: Any) -> None:
        raise KeyError("ann.smith@example.test")

    with capture_logs() as lines:
        sent = _ask(Front(broken, broken), [b""], [])
    assert sent[0]["status"] == 500
    assert b"ann.smith" not in sent[1]["body"]
    assert [line["error"] for line in lines] == ["KeyError"]
