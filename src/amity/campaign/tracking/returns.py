"""What does a mail that came back say?

Pure. Reports in the standard forms come first: DSN (RFC 3464) and ARF (RFC 5965), then replies of
machines and wishes to unsubscribe, then the older forms that mail servers still write. What is read here is foreign: it names
addresses and reasons, but which message it is about only a signed address says.
Behaviour: campaign.md §1.9, §3; shape: docs/adr/0018-tracking-and-returns.md.
"""

from __future__ import annotations

from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from typing import Literal, NamedTuple

import re2
from flufl.bounce import all_failures

from amity.campaign.delivery.message import UNSUBSCRIBE_SUBJECT
from amity.campaign.delivery.qualification import cleaned
from amity.campaign.tracking.errors import BadReturn, NoReport

HEAD_BYTES_MAX = 64 * 1024
"""Headers of a returned mail. Ours: ten times what the longest path of servers writes."""

NESTED_PARTS_MAX = 40
"""Parts within parts. Ours: a report has two levels, what it returns seldom more than three."""

TEXT_BYTES_MAX = 32 * 1024
"""How much of a text is searched for a reason. Ours."""

LINES_MAX = 8_000
"""Lines of a mail that are read for a report. Ours: what is kept of a mail has about half as many."""

LINE_CHARS_MAX = 400
"""Longest line that the readers of older forms are given. Ours."""

REFERENCES_MAX = 20

ReportKind = Literal[
    "failed", "delayed", "delivered", "complaint", "notSpam", "autoReply", "unsubscribe"
]


class Verdict(NamedTuple):
    """What a report says of one recipient; `addresses` are the names it gives them, lower case."""

    kind: ReportKind
    addresses: tuple[str, ...] = ()
    code: int = 0
    enhanced: str = ""
    text: str = ""


class Report(NamedTuple):
    """What a mail says, and the signed words found in it that may name the message it is about."""

    verdicts: tuple[Verdict, ...]
    references: tuple[str, ...] = ()


_NESTED = re2.compile(rb"(?im)^content-type:\s*(?:multipart|message)/")
_END_OF_HEAD = re2.compile(rb"\r?\n\r?\n")
_REFERENCE = re2.compile(rb"(?i)\b(b[a-z2-7]{40})\b|/u/([A-Za-z0-9_-]{40})\b")
_SMTP_CODE = re2.compile(
    r"(?:^|[\s;:,(>#])([245]\d\d)(?:[\s-]+#?([245]\.\d{1,3}\.\d{1,3}))?(?:[\s,;:)-]|$)"
)
_ENHANCED = re2.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_ADDRESS = re2.compile(r"[^\s<>;,:\"()\[\]]+@[^\s<>;,:\"()\[\]]+")
_AUTO_SUBJECT = re2.compile(
    r"(?i)^\s*(?:re:\s*)?(?:auto(?:matic|mated)?[ -]?(?:reply|response|antwort)|auto:|out of (?:the )?office|"
    r"vacation|on holiday|automatische antwort|abwesenheit|abwesend|r[ée]ponse automatique|"
    r"absence du bureau|respuesta autom[aá]tica|risposta automatica|autosvar|automatisch antwoord)"
)
_DAEMON = re2.compile(
    r"(?i)mailer-?daemon|postmaster|mail ?delivery|delivery ?(?:sub)?system|mail ?system|mdaemon|"
    r"system administrator|microsoft ?exchange"
)
_AUTO_HEADERS = ("X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Mail-Autoreply", "Vacation")
_KINDS: dict[str, ReportKind] = {
    "failed": "failed",
    "delayed": "delayed",
    "delivered": "delivered",
    "relayed": "delivered",
    "expanded": "delivered",
}


def read(raw: bytes) -> Report:
    """What a returned mail says. `BadReturn` when it is made to hurt, `NoReport` when it says nothing."""
    head = b"".join(_checked(raw).splitlines(keepends=True)[:LINES_MAX])
    message = message_from_bytes(head)
    try:
        verdicts = (
            _delivery_status(message)
            or _feedback(message)
            or _answered_by_machine(message)
            or _unsubscribed(message)
            or _older_form(message, head)
        )
    except (UnicodeError, LookupError) as error:
        raise BadReturn(f"its text cannot be decoded: {type(error).__name__}") from error
    if not verdicts:
        raise NoReport(
            "the mail is no delivery report, complaint, automatic reply or unsubscription: answer it "
            f"yourself; its subject is {_subject(message)[:100]!r}"
        )
    return Report(tuple(verdicts), _references(raw))


def _checked(raw: bytes) -> bytes:
    end = _END_OF_HEAD.search(raw)
    if (end.start() if end else len(raw)) > HEAD_BYTES_MAX:
        raise BadReturn(f"its headers are longer than {HEAD_BYTES_MAX} bytes: not a mail to read")
    nested = sum(1 for _ in _NESTED.finditer(raw))
    if nested > NESTED_PARTS_MAX:
        raise BadReturn(f"it has {nested} parts within parts, more than {NESTED_PARTS_MAX}")
    return raw


def _children(message: Message) -> list[Message]:
    """The parts of the report itself, also where a list or gateway has wrapped it once."""
    parts = _parts(message)
    if message.get_content_type() != "multipart/report":
        for part in parts:
            if part.get_content_type() == "multipart/report":
                return _parts(part)
    return parts


def _parts(message: Message) -> list[Message]:
    payload = message.get_payload()
    if message.get_content_maintype() != "multipart" or not isinstance(payload, list):
        return []
    return [part for part in payload if isinstance(part, Message)]


def _delivery_status(message: Message) -> list[Verdict]:
    found: list[Verdict] = []
    children = _children(message)
    for part in children:
        if part.get_content_type() in {"message/delivery-status", "message/global-delivery-status"}:
            found += [
                verdict for block in _blocks(part) if (verdict := _verdict(block)) is not None
            ]
    if found and not any(verdict.text for verdict in found):
        said = " ".join(_text(part) for part in children[:1])
        found = [verdict._replace(text=cleaned(said)) for verdict in found]
    return found


def _blocks(part: Message) -> list[Message]:
    """The groups of fields of a machine-readable part, also where it is encoded."""
    payload = part.get_payload()
    blocks = payload if isinstance(payload, list) else []
    if _header(part, "Content-Transfer-Encoding").strip().lower() in {"base64", "quoted-printable"}:
        carrier = Message()
        carrier["Content-Transfer-Encoding"] = _header(part, "Content-Transfer-Encoding")
        inner = "\n\n".join(str(one.get_payload()) for one in blocks if isinstance(one, Message))
        carrier.set_payload(inner)
        plain = carrier.get_payload(decode=True)
        text = plain if isinstance(plain, bytes) else b""
        lines = text.replace(b"\r\n", b"\n").split(b"\n\n")
        return [message_from_bytes(block.strip(b"\n")) for block in lines]
    return [block for block in blocks if isinstance(block, Message)]


def _verdict(block: Message) -> Verdict | None:
    kind = _KINDS.get(_header(block, "Action").strip().lower().split(" ")[0])
    names = ("Final-Recipient", "Original-Recipient", "X-Actual-Recipient")
    addresses = tuple(
        dict.fromkeys(found for name in names if (found := _address(_header(block, name))))
    )
    if kind is None or not addresses:
        return None
    said = cleaned(_header(block, "Diagnostic-Code").partition(";")[2])
    code, in_text = _codes(said)
    status = _ENHANCED.search(_header(block, "Status"))
    enhanced = status.group(1) if status else ""
    if in_text and (not enhanced or enhanced.endswith(".0.0")):
        enhanced = in_text
    return Verdict(kind, addresses, code, enhanced, said)


def _feedback(message: Message) -> list[Verdict]:
    for part in _children(message):
        if part.get_content_type() != "message/feedback-report":
            continue
        fields = _fields(part)
        kind = _header(fields, "Feedback-Type").strip().lower()
        addresses = tuple(
            dict.fromkeys(
                found
                for one in fields.get_all("Original-Rcpt-To", [])
                if (found := _address(str(one)))
            )
        )
        text = (
            f"feedback {kind or 'without a type'} by {_header(fields, 'User-Agent') or 'unknown'}"
        )
        known: ReportKind = "notSpam" if kind == "not-spam" else "complaint"
        return [Verdict(known, addresses, text=cleaned(text))]
    return []


def _fields(part: Message) -> Message:
    payload = part.get_payload()
    if isinstance(payload, list) and payload and isinstance(payload[0], Message):
        return payload[0]
    plain = part.get_payload(decode=True)
    return message_from_bytes(plain.lstrip(b"\r\n") if isinstance(plain, bytes) else b"")


def _answered_by_machine(message: Message) -> list[Verdict]:
    if _DAEMON.search(_header(message, "From")) or not _is_auto_reply(message):
        return []
    return [Verdict("autoReply", text=cleaned(_subject(message)))]


def _unsubscribed(message: Message) -> list[Verdict]:
    """A mail of a person, or of a program on a person's word, to the address of the message."""
    if _DAEMON.search(_header(message, "From")):
        return []
    asked = _subject(message).strip().lower() == UNSUBSCRIBE_SUBJECT
    return [Verdict("unsubscribe")] if asked else []


def _is_auto_reply(message: Message) -> bool:
    submitted = _header(message, "Auto-Submitted").strip().lower()
    if submitted.startswith("auto-replied"):
        return True
    if submitted.startswith("auto-generated") and message.get("X-Auto-Response-Suppress"):
        return True
    if any(message.get(name) is not None for name in _AUTO_HEADERS):
        return True
    if _header(message, "Precedence").strip().lower() in {"auto_reply", "auto-reply"}:
        return True
    return bool(_AUTO_SUBJECT.search(_subject(message)))


def _older_form(message: Message, raw: bytes) -> list[Verdict]:
    """Reports that are written for people only, by what servers are known to write.

    Only a server's word counts: a person may quote such a report.
    """
    if not (_DAEMON.search(_header(message, "From")) or message.get("X-Failed-Recipients")):
        return []
    short = b"\n".join(line[:LINE_CHARS_MAX] for line in raw[: 2 * TEXT_BYTES_MAX].splitlines())
    try:
        passing, final = all_failures(message_from_bytes(short))
    except (ValueError, TypeError, AttributeError, LookupError, AssertionError) as error:
        raise BadReturn(f"its text cannot be read: {type(error).__name__}") from error
    texts = [_text(part) for part in [message, *_parts(message)][:4]]
    said = next((text for text in texts if text.strip()), "")
    found = [
        _older(kind, name, said)
        for kind, names in (("failed", final), ("delayed", passing))
        for name in sorted(names)
    ]
    return [verdict for verdict in found if verdict is not None]


def _older(kind: str, name: bytes, said: str) -> Verdict | None:
    address = _address(name.decode("utf-8", "replace"))
    if not address:
        return None
    reason = _reason(said, address)
    code, enhanced = _codes(reason)
    return Verdict(_KINDS[kind], (address,), code, enhanced, cleaned(reason))


def _reason(said: str, address: str) -> str:
    """The lines that say why: those from the address on, or the first with a reply code."""
    lines = [line.strip() for line in said.splitlines()]
    at = next((n for n, line in enumerate(lines) if address in line.lower()), None)
    if at is not None:
        until = next((n for n in range(at + 1, len(lines)) if not lines[n]), len(lines))
        return " ".join(lines[at : min(until, at + 8)])
    coded = next((line for line in lines if _SMTP_CODE.search(line)), "")
    return coded or " ".join(lines[:8])


def _codes(text: str) -> tuple[int, str]:
    """Reply code and enhanced status in a text; 0 and "" where it has none."""
    coded = _SMTP_CODE.search(text)
    status = _ENHANCED.search(text)
    enhanced = (coded and coded.group(2)) or (status and status.group(1)) or ""
    return int(coded.group(1)) if coded else 0, str(enhanced)


def _references(raw: bytes) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for match in _REFERENCE.finditer(raw):
        found[(match.group(1) or match.group(2)).decode("ascii")] = None
        if len(found) >= REFERENCES_MAX:
            break
    return tuple(found)


def _text(part: Message) -> str:
    if part.get_content_maintype() != "text" and part.get_content_maintype() != "message":
        return ""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    text = payload[:TEXT_BYTES_MAX].decode("utf-8", "replace")
    if part.get_content_subtype() == "html":
        return str(re2.sub(r"<[^>]*>", " ", text))
    return text


def _address(value: str) -> str:
    """The address of a field such as ``rfc822; <Ann@example.org>``, lower case."""
    found = _ADDRESS.search(value.partition(";")[2] or value)
    return found.group(0).strip(".'").lower() if found else ""


def _header(message: Message, name: str) -> str:
    return str(message.get(name, ""))[: LINE_CHARS_MAX * 4]


def _subject(message: Message) -> str:
    subject = _header(message, "Subject")
    try:
        return str(make_header(decode_header(subject)))
    except (HeaderParseError, LookupError, ValueError):
        return subject
