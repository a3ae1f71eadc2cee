"""How is the body of a streaming request read without trusting it?"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from amity.kernel.errors import Invalid, TooLarge, WrongMediaType
from amity.kernel.limits import STREAM_REQUEST_BYTES_MAX

_GZIP_WINDOW = 31


class Disconnected(Invalid):
    """The sender went away before its request was whole."""


async def read_body(
    headers: Mapping[bytes, bytes],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    bytes_max: int = STREAM_REQUEST_BYTES_MAX,
) -> bytes:
    """The whole body, unpacked; at most `bytes_max`, packed and unpacked."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > bytes_max:
        raise _too_large(bytes_max)
    chunks: list[bytes] = []
    taken, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        taken += len(chunk)
        if taken > bytes_max:
            raise _too_large(bytes_max)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return _unpacked(headers.get(b"content-encoding", b"").lower(), b"".join(chunks), bytes_max)


def _unpacked(encoding: bytes, body: bytes, bytes_max: int) -> bytes:
    if encoding in {b"", b"identity"}:
        return body
    if encoding != b"gzip":
        raise WrongMediaType(
            f"content-encoding {encoding.decode('latin-1')!r} is not known: use gzip"
        )
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        content = unpacker.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise Invalid(f"the body is said to be gzip, but is not: {error}") from error
    if len(content) > bytes_max:
        raise _too_large(bytes_max)
    if not unpacker.eof or unpacker.unused_data:
        raise Invalid("the gzip body is cut short or followed by something else")
    return content


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(
        f"a streaming request has at most {bytes_max} bytes, unpacked too: "
        "send fewer messages at once, or upload a batch file"
    )
