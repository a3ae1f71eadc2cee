"""Are signed links ours alone?"""

from __future__ import annotations

import base64
import hmac
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.campaign.delivery.errors import BadKey, BadLink
from amity.campaign.delivery.links import Link, LinkKind, LinkSigner

SIGNER = LinkSigner(b"k" * 32, "https://t.example.org/")
IDS = st.integers(0, 2**63 - 1)
DELIVERIES = st.integers(0, 2**32 - 1)
KINDS = st.sampled_from(["r", "o", "m", "u"])


def _token(url: str) -> str:
    return url.rsplit("/", 1)[1].removesuffix(".gif")


@settings(max_examples=50)
@given(KINDS, IDS, DELIVERIES, st.integers(0, 65_535))
def test_round_trip(kind: LinkKind, broadlog: int, delivery: int, url: int) -> None:
    """What was signed is what is opened."""
    made = SIGNER.url(kind, broadlog=broadlog, delivery=delivery, url=url)
    assert made.startswith(f"https://t.example.org/{kind}/")
    assert SIGNER.open(kind, _token(made)) == Link(kind, broadlog, delivery, url)


@settings(max_examples=50)
@given(st.binary(min_size=32, max_size=100), IDS, DELIVERIES)
def test_signatures_are_hmac(key: bytes, broadlog: int, delivery: int) -> None:
    """A link ends in HMAC-SHA-256 as the library makes it, an envelope sender is its base32."""
    signer = LinkSigner(key, "https://t.example.org")
    raw = base64.urlsafe_b64decode(_token(signer.url("r", broadlog=broadlog, delivery=delivery)))
    assert raw[14:] == hmac.digest(key, b"amity link r" + raw[:14], "sha256")[:16]
    packed = struct.pack(">QI", broadlog, delivery)
    signed = packed + hmac.digest(key, b"amity envelope" + packed, "sha256")[:13]
    assert signer.verp(broadlog, delivery) == "b" + base64.b32encode(signed).decode().lower()


@settings(max_examples=100)
@given(st.integers(0, 39), st.sampled_from("ABCxyz019-_=é\n"), KINDS)
def test_tampered(position: int, letter: str, kind: LinkKind) -> None:
    """A link of which one character was changed is none, whichever."""
    token = _token(SIGNER.url(kind, broadlog=1_234, delivery=1_000, url=3))
    changed = token[:position] + letter + token[position + 1 :]
    if changed != token:
        with pytest.raises(BadLink):
            SIGNER.open(kind, changed)


@pytest.mark.parametrize("kind", ["r", "o", "m"])
def test_kind_is_signed(kind: LinkKind) -> None:
    """A click's link does not unsubscribe anybody."""
    token = _token(SIGNER.url(kind, broadlog=1, delivery=1))
    with pytest.raises(BadLink):
        SIGNER.open("u", token)


def test_other_key() -> None:
    """A link that another installation signed is not ours."""
    other = LinkSigner(b"o" * 32, "https://t.example.org")
    token = _token(other.url("u", broadlog=1, delivery=1))
    with pytest.raises(BadLink):
        SIGNER.open("u", token)
    with pytest.raises(BadLink):
        SIGNER.open_verp(other.verp(1, 1))


@pytest.mark.parametrize("token", ["", "A", "A" * 39, "A" * 40, "A" * 41, "A" * 100_000, "=" * 40])
def test_rubbish(token: str) -> None:
    """Rubbish of any length is refused as such."""
    with pytest.raises(BadLink):
        SIGNER.open("r", token)
    with pytest.raises(BadLink):
        SIGNER.open_verp("b" + token)


@settings(max_examples=50)
@given(IDS, DELIVERIES)
def test_verp(broadlog: int, delivery: int) -> None:
    """An envelope sender fits into a local part and survives a change of case."""
    local = SIGNER.verp(broadlog, delivery)
    assert len(local) <= 64
    assert SIGNER.open_verp(local) == (broadlog, delivery)
    assert SIGNER.open_verp(local.upper()) == (broadlog, delivery)


@settings(max_examples=100)
@given(st.integers(0, 40), st.sampled_from("abz27-"))
def test_verp_tampered(position: int, letter: str) -> None:
    """An envelope sender of which one character was changed is none."""
    local = SIGNER.verp(1_234, 1_000)
    changed = local[:position] + letter + local[position + 1 :]
    if changed != local:
        with pytest.raises(BadLink):
            SIGNER.open_verp(changed)


def test_short_key() -> None:
    """A key that could be guessed is refused."""
    with pytest.raises(BadKey, match="31 bytes"):
        LinkSigner(b"k" * 31, "https://t.example.org")
