"""How does a receiver know that a message is ours, unchanged?

By a DKIM signature (RFC 6376): rsa-sha256, relaxed/relaxed. The canonical forms are our own, because a
signer in plain Python makes a hundred signatures a second and the library's RSA makes thousands; a
second implementation judges them in the tests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import re2
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from amity.campaign.delivery.errors import BadKey

KEY_BITS: Final = 2048
"""Behaviour: campaign.md §3: receivers ask for 1024 at least."""

_SIGNED: Final = (
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "feedback-id",
    "mime-version",
    "content-type",
)
_OVERSIGNED: Final = ("from", "to", "subject", "date", "reply-to", "content-type")
"""Named once more than they occur: a second one put in front breaks the signature."""

_SPACES = re2.compile(rb"[ \t]+")
_PADDING = padding.PKCS1v15()
_HASH = hashes.SHA256()


class Dkim:
    """Signs messages, with one key for all the domains of the installation.

    Args:
        key: RSA private key; loaded once.
        selector: Where the public key is: ``<selector>._domainkey.<domain>``.
    """

    def __init__(self, key: rsa.RSAPrivateKey, *, selector: str = "amity") -> None:
        self._key = key
        self._selector = selector

    @property
    def record(self) -> str:
        """The text to publish in the DNS under ``<selector>._domainkey.<domain>``."""
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"

    def header(self, headers: Sequence[tuple[str, str]], body: bytes, *, domain: str) -> str:
        """The value of the ``DKIM-Signature`` header, folded; `body` has CRLF line ends.

        `domain` is that of the sender's address, so that receivers find the two aligned.
        """
        signed, names = _chosen(tuple(name for name, _ in headers))
        digest = binascii.b2a_base64(hashlib.sha256(relaxed_body(body)).digest(), newline=False)
        tags = f"v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain}; s={self._selector};"
        value = f"{tags}\r\n h={names};\r\n bh={digest.decode()};\r\n b="
        canonical = [_relaxed_header(name, headers[at][1]) for name, at in signed]
        canonical.append(_relaxed_header("dkim-signature", value))
        made = self._key.sign("\r\n".join(canonical).encode(), _PADDING, _HASH)
        return value + _folded(base64.b64encode(made).decode())


@lru_cache(maxsize=64)
def _chosen(names: tuple[str, ...]) -> tuple[tuple[tuple[str, int], ...], str]:
    """Which of a message's headers are signed and where they stand; what ``h=`` says."""
    found = {name.lower(): at for at, name in enumerate(names)}
    signed = tuple((name, found[name]) for name in _SIGNED if name in found)
    over = [name for name in _OVERSIGNED if name in found or name == "reply-to"]
    return signed, ":".join([*(name for name, _ in signed), *over])


def relaxed_body(body: bytes) -> bytes:
    r"""The relaxed canonical form of a body (RFC 6376 §3.4.4).

    >>> relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n")
    b' C\r\nD E\r\n'
    >>> relaxed_body(b"\r\n")
    b''
    """
    if b"\t" in body or b"  " in body:
        body = _SPACES.sub(b" ", body)
    body = body.replace(b" \r\n", b"\r\n").rstrip(b" ")
    body = _without_empty_end(body)
    return body + b"\r\n" if body else b""


def load_key(path: Path) -> rsa.RSAPrivateKey:
    """The key of a file that only its owner reads; it is made where it is missing."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return _make_key(path)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise BadKey(f"{path.name} holds no private key in PEM form: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise BadKey(f"{path.name} holds no RSA key: messages are signed with rsa-sha256")
    return key


def _make_key(path: Path) -> rsa.RSAPrivateKey:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    try:
        # Two processes that start at once agree on the key of the first.
        os.link(draft, path)
    except FileExistsError:
        return load_key(path)
    finally:
        draft.unlink()
    return key


def _without_empty_end(body: bytes) -> bytes:
    while body.endswith(b"\r\n"):
        body = body[:-2]
    return body


def _relaxed_header(name: str, value: str) -> str:
    """Headers of ours are ASCII, so that splitting at any white space is splitting at WSP."""
    return f"{name}:{' '.join(value.split())}"


def _folded(signature: str) -> str:
    lines = [signature[at : at + 70] for at in range(0, len(signature), 70)]
    return "\r\n ".join(lines)
