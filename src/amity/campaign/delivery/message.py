"""How does a message look on the wire?

RFC 5322 with MIME, written directly: ASCII, CRLF, lines below the limits. Nothing that a recipient's
data holds can add a header: every value passes `_unstructured` or `mailbox`, which refuse or encode.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import lru_cache
from typing import Final, NamedTuple

import re2

from amity.campaign.delivery.content import Content, Rendered
from amity.campaign.delivery.dkim import Dkim
from amity.campaign.delivery.errors import BadHeader
from amity.campaign.delivery.links import LinkSigner
from amity.kernel.ids import digest

ADDRESS_CHARS_MAX: Final = 254
"""RFC 5321 §4.5.3.1.3, without the brackets."""

UNSUBSCRIBE_SUBJECT: Final = "unsubscribe"
"""Subject of the mail by which a mail program without one-click unsubscribes."""

_LINE_CHARS: Final = 72
_QUOTED_CHARS: Final = (
    250  # a longer name is cut into encoded words, so that no line grows too long
)
_WORD_BYTES: Final = 45  # 45 bytes make 60 letters of base64; with the frame an encoded word has 72
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_QUOTED = ('"', "\\", "=?")
_CONTROL = re2.compile(r"[\x00-\x1f\x7f\x{85}\x{2028}\x{2029}]")
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_LOCAL: Final = frozenset(_LETTERS + "!#$%&'*+/=?^_`{|}~-.")
_LABEL: Final = frozenset(_LETTERS + "-")
_LABEL_CHARS_MAX: Final = 63

Headers = list[tuple[str, str]]


class Outgoing(NamedTuple):
    """A message to hand over: its delivery log, its envelope, its bytes."""

    id: int
    sender: str
    recipient: str
    body: bytes


class Letter(NamedTuple):
    """What is known of a message before it is written."""

    broadlog: int
    delivery: int
    address: str
    at_ms: int
    marketing: bool
    name: str = ""
    campaign: str = ""


class Writer:
    """Writes messages.

    Args:
        signer: Signs the links and the envelope sender.
        bounce_domain: Domain of the envelope sender.
        dkim: Signs the message.
    """

    def __init__(self, signer: LinkSigner, *, bounce_domain: str, dkim: Dkim) -> None:
        self._signer = signer
        self._bounce_domain = bounce_domain
        self._dkim = dkim

    def message_id(self, letter: Letter, domain: str) -> str:
        """The same for the same delivery log, however often it is written."""
        return _message_id(letter, self._signer.verp(letter.broadlog, letter.delivery), domain)

    def write(self, letter: Letter, content: Content, rendered: Rendered) -> Outgoing:
        """The whole message, signed."""
        verp = self._signer.verp(letter.broadlog, letter.delivery)
        headers = self._headers(letter, content, rendered.subject, verp)
        parts = [("plain", rendered.text)]
        if rendered.html:
            parts.append(("html", rendered.html))
        more, body = _body(parts, boundary=_boundary(letter.delivery))
        headers += more
        signature = self._dkim.header(headers, body, domain=_domain(content.from_address))
        head = "".join([f"{name}: {value}\r\n" for name, value in headers])
        whole = f"DKIM-Signature: {signature}\r\n{head}\r\n".encode("ascii") + body
        return Outgoing(letter.broadlog, f"{verp}@{self._bounce_domain}", letter.address, whole)

    def _headers(self, letter: Letter, content: Content, subject: str, verp: str) -> Headers:
        domain = _domain(content.from_address)
        headers = [
            ("From", _sender(content.from_name, content.from_address)),
            ("To", mailbox(letter.name, letter.address)),
            ("Subject", _unstructured(subject)),
            ("Date", _date(letter.at_ms // 1_000)),
            ("Message-ID", _message_id(letter, verp, domain)),
        ]
        if content.reply_to:
            headers.append(("Reply-To", _sender("", content.reply_to)))
        if letter.marketing:
            page = self._signer.url("u", broadlog=letter.broadlog, delivery=letter.delivery)
            mail = f"mailto:{verp}@{self._bounce_domain}?subject={UNSUBSCRIBE_SUBJECT}"
            headers += [
                ("List-Unsubscribe", f"<{page}>,\r\n <{mail}>"),
                ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ]
        headers.append(("Feedback-ID", _feedback_id(letter.delivery, letter.campaign, domain)))
        return headers


def checked(address: str) -> str:
    """The address, if a message may go to it.

    >>> checked("ann@example.org")
    'ann@example.org'
    """
    local, _, domain = address.rpartition("@")
    labels = domain.split(".")
    if (
        len(address) > ADDRESS_CHARS_MAX
        or len(labels) == 1
        or not all(map(_is_label, labels))
        or not _LOCAL.issuperset(local)
        or not all(local.split("."))
    ):
        raise BadHeader(f"{address[:100]!r} is no address a message can go to")
    return address


def _is_label(label: str) -> bool:
    return (
        0 < len(label) <= _LABEL_CHARS_MAX
        and _LABEL.issuperset(label)
        and label[0] != "-"
        and label[-1] != "-"
    )


def mailbox(name: str, address: str) -> str:
    """An address with its display name as it stands in a header.

    >>> mailbox("Ann Hara", "ann@example.org")
    '"Ann Hara" <ann@example.org>'
    """
    checked(address)
    if not name:
        return address
    if not _on_one_line(name):
        raise BadHeader(
            f"the name {name[:60]!r} holds a line break or another control character, which could "
            "add a header to the message; clean the recipient's data"
        )
    if (
        len(name) <= _QUOTED_CHARS
        and name.isascii()
        and not any(one in name for one in _NOT_QUOTED)
    ):
        return f'"{name}"{_fold_before(name, address)}<{address}>'
    return f"{_encoded(name)}\r\n <{address}>"


def _fold_before(name: str, address: str) -> str:
    return " " if len(name) + len(address) < _LINE_CHARS - 10 else "\r\n "


def _unstructured(value: str) -> str:
    if not _on_one_line(value):
        raise BadHeader(f"{value[:60]!r} holds a line break or another control character")
    short = len(value) <= _LINE_CHARS - 10 and value.isascii()
    return value if short and "=?" not in value else _encoded(value)


def _on_one_line(value: str) -> bool:
    """No control character and no line separator; what is printable needs no closer look."""
    return value.isprintable() or not _CONTROL.search(value)


def _encoded(value: str) -> str:
    """Encoded words (RFC 2047), none of which breaks a character."""
    words, chunk = [], b""
    for one in value:
        raw = one.encode("utf-8", "replace")
        if len(chunk) + len(raw) > _WORD_BYTES:
            words.append(chunk)
            chunk = b""
        chunk += raw
    words.append(chunk)
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in words)


def _body(parts: Sequence[tuple[str, str]], *, boundary: str) -> tuple[Headers, bytes]:
    """MIME headers of the message and its body."""
    if len(parts) == 1:
        kind, text = parts[0]
        headers = [("MIME-Version", "1.0"), *_part_headers(kind)]
        return headers, _quoted(text)
    pieces = []
    for kind, text in parts:
        pieces += [_part_head(kind, boundary), _quoted(text)]
    pieces.append(f"--{boundary}--\r\n".encode())
    headers = [
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/alternative;\r\n boundary="{boundary}"'),
    ]
    return headers, b"".join(pieces)


@lru_cache(maxsize=256)
def _part_head(kind: str, boundary: str) -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in _part_headers(kind))
    return f"--{boundary}\r\n{head}\r\n".encode()


def _part_headers(kind: str) -> Headers:
    return [
        ("Content-Type", f"text/{kind}; charset=utf-8"),
        ("Content-Transfer-Encoding", "quoted-printable"),
    ]


def _quoted(text: str) -> bytes:
    """Quoted-printable with CRLF line ends; ends in one."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.rstrip("\n") + "\n"
    raw = lines.replace("\n", "\r\n").encode("utf-8", "replace")
    return binascii.b2a_qp(raw, istext=True)


def _identifier(value: str) -> str:
    return "".join(one if one.isascii() and one.isalnum() else "-" for one in value)[:60]


def _message_id(letter: Letter, verp: str, domain: str) -> str:
    return f"<{letter.delivery}.{letter.broadlog}.{digest(verp, length=24)}@{domain}>"


# What is the same in all messages of a delivery is made once.


@lru_cache(maxsize=256)
def _domain(address: str) -> str:
    return address.rpartition("@")[2]


@lru_cache(maxsize=256)
def _sender(name: str, address: str) -> str:
    return mailbox(name, address)


@lru_cache(maxsize=256)
def _date(at_s: int) -> str:
    return format_datetime(_EPOCH + timedelta(seconds=at_s))


@lru_cache(maxsize=256)
def _feedback_id(delivery: int, campaign: str, domain: str) -> str:
    """Gmail's feedback loop counts complaints by these; the last one names the sender."""
    return f"{delivery}:{_identifier(campaign) or 'none'}:email:{_identifier(domain)}"


@lru_cache(maxsize=256)
def _boundary(delivery: int) -> str:
    """No quoted-printable text holds it: there ``=`` is never followed by ``_``."""
    return f"=_{digest(str(delivery), 'boundary')}"
