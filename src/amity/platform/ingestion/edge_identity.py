"""Who is visiting, as far as a device can say?

An ECID names a device: 38 digits. It comes in the request's `identityMap`, in the identity cookie, or
is made of the site's own device id (FPID), always the same one of the same; else a new one is
minted. The cookie is sealed: one that somebody has written himself names nobody.
Behaviour: platform-collect.md §7.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import re2

from amity.kernel.ids import IdSource
from amity.platform.ingestion.errors import EdgeRefused
from amity.platform.ingestion.identities import ECID, ECID_DIGITS

FPID = "FPID"
_SEAL_BYTES = 16
_HALF_BITS = 63
_HALF_DIGITS = 19
# One protobuf message, as clients of the followed system read the cookie: field 1 is the ECID;
# field 100 is our seal, which they skip.
_HEAD = bytes((0x0A, ECID_DIGITS))
_SEAL_HEAD = bytes((0xA2, 0x06, _SEAL_BYTES))
_COOKIE_CHARS_MAX = 128
_FPID = re2.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Visitor(NamedTuple):
    """A device. `ecid` is "" when it has none; `minted` says that it has just got it."""

    ecid: str
    minted: bool = False


class Known(NamedTuple):
    """What a request says of its device.

    Attributes:
        named: The request's identities, from the most shared to the most particular place.
        cookie: The identity cookie, as it came.
        first_party: The site's own device id, from its cookie.
    """

    named: tuple[Mapping[str, Any], ...]
    cookie: str
    first_party: str


class EdgeIdentities:
    """Tells devices apart.

    Args:
        ids: Mints ECIDs: nobody can guess the next one.
        key: Seals identity cookies.
    """

    def __init__(self, *, ids: IdSource, key: bytes) -> None:
        self._ids = ids
        self._key = key

    def visitor(self, org: str, known: Known, *, mint: bool) -> Visitor:
        """The visitor: ECID of the request, of the cookie, FPID of the request, of its cookie."""
        explicit = _named(known.named, ECID)
        if explicit:
            if not _is_ecid(explicit):
                raise EdgeRefused(
                    "0305-400",
                    "Invalid ECID",
                    f"an ECID has exactly {ECID_DIGITS} digits; {explicit[:40]!r} has not",
                )
            return Visitor(explicit)
        ecid = self.opened(org, known.cookie)
        if ecid:
            return Visitor(ecid)
        fpid = _named(known.named, FPID)
        if fpid and not _FPID.fullmatch(fpid):
            raise EdgeRefused(
                "0308-400", "Invalid FPID", f"an FPID is a UUID; {fpid[:40]!r} is none"
            )
        if not fpid and _FPID.fullmatch(known.first_party):
            fpid = known.first_party
        if fpid:
            return Visitor(ecid_of_fpid(org, fpid))
        return Visitor(self._minted(), minted=True) if mint else Visitor("")

    def sealed(self, org: str, ecid: str) -> str:
        """The identity cookie of an ECID."""
        return base64.urlsafe_b64encode(self._message(org, ecid)).decode().rstrip("=")

    def opened(self, org: str, cookie: str) -> str:
        """The ECID of an identity cookie that we have sealed for this organisation, else ""."""
        if not cookie or len(cookie) > _COOKIE_CHARS_MAX:
            return ""
        try:
            raw = base64.b64decode(cookie + "=" * (-len(cookie) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return ""
        ecid = raw[len(_HEAD) : len(_HEAD) + ECID_DIGITS].decode("latin-1")
        if not _is_ecid(ecid):
            return ""
        return ecid if hmac.compare_digest(raw, self._message(org, ecid)) else ""

    def _message(self, org: str, ecid: str) -> bytes:
        seal = hmac.digest(self._key, f"{org}\n{ecid}".encode(), "sha256")[:_SEAL_BYTES]
        return _HEAD + ecid.encode() + _SEAL_HEAD + seal

    def _minted(self) -> str:
        return _digits(int(self._ids.hex(32), 16))


def ecid_of_fpid(org: str, fpid: str) -> str:
    """The ECID of a site's own device id: the same one whenever and wherever it is asked for.

    >>> one = ecid_of_fpid("A@AmityOrg", "123e4567-e89b-12d3-a456-426614174000")
    >>> len(one), one == ecid_of_fpid("A@AmityOrg", "123E4567-e89b-12d3-a456-426614174000")
    (38, True)
    """
    return _digits(int.from_bytes(sha256(f"{org}\nfpid\n{fpid.lower()}".encode()).digest()[:16]))


def with_ecid(identity_map: Any, ecid: str) -> Any:
    """An `identityMap` with the device in it, which is the primary one if no other is; FPID goes.

    >>> with_ecid({"FPID": [{"id": "x", "primary": True}]}, "1")
    {'ECID': [{'id': '1', 'authenticatedState': 'ambiguous', 'primary': True}]}
    """
    if not isinstance(identity_map, dict | None):
        return identity_map
    found = {name: items for name, items in (identity_map or {}).items() if name != FPID}
    if ecid and not found.get(ECID):
        primary = not has_primary(found)
        found[ECID] = [{"id": ecid, "authenticatedState": "ambiguous", "primary": primary}]
    elif ecid and not has_primary(found):
        found[ECID] = _marked(found[ECID])
    return found


def has_primary(identity_map: Any) -> bool:
    """Whether one of the identities is marked primary."""
    if not isinstance(identity_map, dict):
        return False
    return any(
        isinstance(item, dict) and item.get("primary") is True
        for items in identity_map.values()
        for item in (items if isinstance(items, list) else ())
    )


def _is_ecid(text: str) -> bool:
    return len(text) == ECID_DIGITS and text.isascii() and text.isdigit()


def _marked(items: Any) -> Any:
    if not isinstance(items, list) or not items or not isinstance(items[0], dict):
        return items
    return [{**items[0], "primary": True}, *items[1:]]


def _named(maps: tuple[Mapping[str, Any], ...], namespace: str) -> str:
    for one in maps:
        items = one.get(namespace)
        first = items[0] if isinstance(items, list) and items else None
        value = first.get("id") if isinstance(first, dict) else None
        if isinstance(value, str) and value:
            return value
    return ""


def _digits(number: int) -> str:
    low = (1 << _HALF_BITS) - 1
    high = (number >> _HALF_BITS) & low
    return f"{high:0{_HALF_DIGITS}d}{number & low:0{_HALF_DIGITS}d}"
