"""How do tuples become keys whose byte order is the tuples' order?

Strings must hold no NUL (identity values with one are refused at the door); integers are signed
64-bit.
"""

from __future__ import annotations

import struct

from amity.kernel.errors import Invalid

_SIGN = 1 << 63


def pack(*parts: str | int) -> bytes:
    r"""Join parts into a key; a shorter tuple sorts before every tuple it begins.

    >>> pack("a", 1) < pack("a", 2) < pack("b")
    True
    >>> pack("a", -1) < pack("a", 0)
    True
    """
    out = bytearray()
    for part in parts:
        if isinstance(part, int):
            out += struct.pack(">Q", part + _SIGN)
        else:
            raw = part.encode("utf-8", "surrogatepass")
            if b"\x00" in raw:
                raise Invalid(f"a key part holds a NUL character: {part[:40]!r}")
            out += raw + b"\x00"
    return bytes(out)


def after(prefix: bytes) -> bytes | None:
    r"""The first key after all keys that begin with `prefix`; None when there is none.

    >>> after(b"a\x00")
    b'a\x01'
    """
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def unpack(key: bytes, shape: str) -> tuple[str | int, ...]:
    r"""Take a key apart; `shape` holds one letter a part: `s` string, `i` integer.

    >>> unpack(pack("a", 7, "b"), "sis")
    ('a', 7, 'b')
    """
    parts: list[str | int] = []
    at = 0
    for letter in shape:
        if letter == "i":
            parts.append(struct.unpack_from(">Q", key, at)[0] - _SIGN)
            at += 8
        else:
            end = key.index(b"\x00", at)
            parts.append(key[at:end].decode("utf-8", "surrogatepass"))
            at = end + 1
    return tuple(parts)
