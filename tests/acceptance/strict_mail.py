"""Is a message one that every mail server takes? By the letter of RFC 5322, 2045 and 8058."""

from __future__ import annotations

import re
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parseaddr, parsedate_to_datetime

import dkim

ONCE = ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "DKIM-Signature")
SIGNED = {"from", "to", "subject", "date", "list-unsubscribe", "list-unsubscribe-post"}
LINE_MAX = 998
HEADER_LINE_MAX = 78
_FIELD = re.compile(rb"^[!-9;-~]+:")
_MESSAGE_ID = re.compile(r"^<[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+>$")


def strict(raw: bytes) -> EmailMessage:
    """The message, after everything that a strict reader looks at."""
    assert b"\0" not in raw
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    head, separator, body = raw.partition(b"\r\n\r\n")
    assert separator
    assert body.endswith(b"\r\n")
    assert head.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= LINE_MAX
    for line in head.split(b"\r\n"):
        assert _FIELD.match(line) or (line[:1] in b" \t" and line.strip()), line
    message = BytesParser(_class=EmailMessage, policy=policy.SMTP).parsebytes(raw)
    for part in message.walk():
        assert part.defects == []
        for value in part.values():
            assert value.defects == (), (value, value.defects)
        if not part.is_multipart():
            assert part.get_content()
    for name in ONCE:
        assert len(message.get_all(name, [])) == 1, name
    assert _MESSAGE_ID.match(str(message["Message-ID"])), message["Message-ID"]
    assert parsedate_to_datetime(str(message["Date"])).tzinfo is not None
    assert "@" in parseaddr(str(message["From"]))[1]
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    return message


def signed_well(raw: bytes, record: str) -> bool:
    """Whether dkimpy, with the key that DNS would give, finds the signature right.

    Args:
        raw: The message as it was received.
        record: The TXT record that is to be published: ``v=DKIM1; k=rsa; p=…``.
    """
    return bool(dkim.verify(raw, dnsfunc=lambda *_, **__: record.encode()))


def signed_fields(message: EmailMessage) -> set[str]:
    """The header fields that the signature covers."""
    tags = dict(
        tag.strip().split("=", 1) for tag in str(message["DKIM-Signature"]).split(";") if "=" in tag
    )
    return {name.strip().lower() for name in tags["h"].split(":")}
