"""What stands in the addresses a message carries, and who may have written it?

A link names a delivery log, its delivery and the number of a URL, and is signed: whoever changes a
character, or the kind of the link, holds nothing. The envelope sender of a message (VERP) is signed in
the same way, in letters that survive a mail server that changes case. See docs/adr/0017-delivery.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, get_args

from amity.campaign.delivery.errors import BadKey, BadLink

LinkKind = Literal["r", "o", "m", "u"]
"""Redirect of a click, open pixel, mirror page, unsubscription."""

KEY_BYTES_MIN = 32
"""Shorter signing keys are refused. Ours."""

_SIGNATURE_BYTES: Final = 16
_LINK: Final = struct.Struct(">QIH")
_VERP: Final = struct.Struct(">QI")
_VERP_SIGNATURE_BYTES: Final = 13
_VERP_PREFIX: Final = "b"
# 30 bytes make 40 letters of base64, 25 bytes 40 letters of base32: neither is padded, so one token
# has one spelling.
_LETTERS: Final = 40
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS: Final = tuple(one + two for one in _BASE32 for two in _BASE32)
_PAIR_BITS: Final = tuple(range(190, -1, -10))
"""The library's base32 is written in Python and takes twice as long."""


class Link(NamedTuple):
    """What a signed link names; `url` is 0 where its kind has none."""

    kind: LinkKind
    broadlog: int
    delivery: int
    url: int


class LinkSigner:
    """Makes and opens the links of messages.

    Args:
        key: The installation's secret, at least `KEY_BYTES_MIN` bytes.
        public_url: Where recipients reach this installation, without a slash at the end.
    """

    def __init__(self, key: bytes, public_url: str) -> None:
        if len(key) < KEY_BYTES_MIN:
            raise BadKey(
                f"the key that signs links has {len(key)} bytes; make one of {KEY_BYTES_MIN}"
            )
        self._links = {
            kind: _Mac(key, b"amity link " + kind.encode()) for kind in get_args(LinkKind)
        }
        self._envelopes = _Mac(key, b"amity envelope")
        self._base = public_url.rstrip("/")

    @property
    def public_url(self) -> str:
        """Where links lead to."""
        return self._base

    def url(self, kind: LinkKind, *, broadlog: int, delivery: int, url: int = 0) -> str:
        """The whole address of a link; the pixel's ends in ``.gif``."""
        packed = _LINK.pack(broadlog, delivery, url)
        token = base64.urlsafe_b64encode(packed + self._signature(kind, packed)).decode()
        suffix = ".gif" if kind == "o" else ""
        return f"{self._base}/{kind}/{token}{suffix}"

    def open(self, kind: LinkKind, token: str) -> Link:
        """What a token of that kind names; `BadLink` when anything about it is not ours."""
        raw = _decoded(token, base64.urlsafe_b64decode)
        packed, signature = raw[: _LINK.size], raw[_LINK.size :]
        if not hmac.compare_digest(signature, self._signature(kind, packed)):
            raise BadLink
        broadlog, delivery, url = _LINK.unpack(packed)
        if base64.urlsafe_b64encode(raw).decode() != token:
            raise BadLink
        return Link(kind, broadlog, delivery, url)

    def verp(self, broadlog: int, delivery: int) -> str:
        """The local part of the envelope sender: a bounce that comes back to it names its message."""
        packed = _VERP.pack(broadlog, delivery)
        raw = packed + self._envelope_signature(packed)
        whole = int.from_bytes(raw, "big")
        return _VERP_PREFIX + "".join([_PAIRS[whole >> at & 1023] for at in _PAIR_BITS])

    def open_verp(self, local: str) -> tuple[int, int]:
        """(delivery log, delivery) of an envelope sender, in any case; `BadLink` if it is not ours."""
        name = local.lower()
        if not name.startswith(_VERP_PREFIX):
            raise BadLink
        raw = _decoded(name.removeprefix(_VERP_PREFIX).upper(), base64.b32decode)
        packed, signature = raw[: _VERP.size], raw[_VERP.size :]
        if not hmac.compare_digest(signature, self._envelope_signature(packed)):
            raise BadLink
        broadlog, delivery = _VERP.unpack(packed)
        return broadlog, delivery

    def _signature(self, kind: LinkKind, packed: bytes) -> bytes:
        return self._links[kind].of(packed)[:_SIGNATURE_BYTES]

    def _envelope_signature(self, packed: bytes) -> bytes:
        return self._envelopes.of(packed)[:_VERP_SIGNATURE_BYTES]


class _Mac:
    """HMAC-SHA-256 (RFC 2104) of messages that begin alike.

    A message has ten links. Copies of the two hashes that have read the key already take half the time
    of the library's copies.
    """

    def __init__(self, key: bytes, begin: bytes) -> None:
        block = hashlib.sha256().block_size
        short = key if len(key) <= block else hashlib.sha256(key).digest()
        padded = short.ljust(block, b"\0")
        self._inner = hashlib.sha256(bytes(one ^ 0x36 for one in padded) + begin)
        self._outer = hashlib.sha256(bytes(one ^ 0x5C for one in padded))

    def of(self, rest: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(rest)
        outer.update(inner.digest())
        return outer.digest()


def _decoded(token: str, decode: Callable[[str], bytes]) -> bytes:
    if len(token) != _LETTERS or not token.isascii():
        raise BadLink
    try:
        return decode(token)
    except (binascii.Error, ValueError):
        raise BadLink from None
