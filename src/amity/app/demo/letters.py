"""How do people answer a mail? As they do: by following the links that stand in it.

A letter is read from the raw message in the sink; opens, clicks and one-click unsubscriptions are
real HTTP requests to its links, complaints (ARF) and late bounces (DSN) real mails to the bounce door.
"""

from __future__ import annotations

import smtplib
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser

import httpx
import re2

from amity.kernel.errors import AmityError, Corrupt
from amity.testing.smtp_sink import Mail

_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"
_PROVIDER = "mailbox.example.test"
_BOUNDARY = "=_part of a report"
_WEB = re2.compile(r"<(https?://[^>]+)>")


class Unanswered(AmityError):
    """A letter's link or the bounce door did not answer as it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message that somebody has got.

    Attributes:
        to: The address.
        sender: Envelope sender: where bounces go.
        subject: As it is read.
        pixel: Address of the open pixel.
        links: Tracked addresses, in order.
        one_click: Address of the ``List-Unsubscribe`` header.
        raw: The message itself.
    """

    to: str
    sender: str
    subject: str
    pixel: str
    links: tuple[str, ...]
    one_click: str
    raw: bytes


def read_letter(mail: Mail) -> Letter:
    """Read a message as a mail program does."""
    message = mail.message
    page = message.get_body(("html",))
    if page is None:
        raise Corrupt(f"the mail to {mail.recipients} has no HTML part")
    seen = _Seen()
    seen.feed(page.get_content())
    header = _WEB.search(str(message["List-Unsubscribe"] or ""))
    return Letter(
        to=mail.recipients[0],
        sender=mail.sender,
        subject=str(message["Subject"]),
        pixel=next((src for src in seen.images if "/o/" in src), ""),
        links=tuple(href for href in seen.links if "/r/" in href),
        one_click=header.group(1) if header else "",
        raw=mail.raw,
    )


class Reader:
    """Somebody with a browser and a mailbox at a provider.

    Args:
        door: ``HOST:PORT`` of the bounce door.
    """

    def __init__(self, door: str) -> None:
        self._http = httpx.Client(timeout=60, headers={"User-Agent": _BROWSER})
        self._door = door

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def open(self, letter: Letter) -> None:
        """Load the pictures."""
        self._expect("GET", letter.pixel, 200)

    def click(self, letter: Letter) -> str:
        """Follow the first tracked link; where it leads."""
        if not letter.links:
            raise Unanswered(f"the mail to {letter.to} holds no tracked link")
        return self._expect("GET", letter.links[0], 302).headers["Location"]

    def unsubscribe(self, letter: Letter) -> None:
        """What a mail program does with the one-click header (RFC 8058): one POST."""
        self._expect("POST", letter.one_click, 200, {"List-Unsubscribe": "One-Click"})

    def complain(self, letter: Letter) -> None:
        """What a provider does when somebody presses "spam" (RFC 5965)."""
        self._hand_over(letter, f"<fbl@{_PROVIDER}>", complaint(letter))

    def bounce(self, letter: Letter) -> None:
        """What a provider does that took a message and cannot keep it (RFC 3464)."""
        self._hand_over(letter, "<>", late_bounce(letter))

    def _expect(
        self, method: str, url: str, status: int, form: Mapping[str, str] | None = None
    ) -> httpx.Response:
        reply = self._http.request(method, url, data=form)
        if reply.status_code != status:
            raise Unanswered(f"{method} {url} answered {reply.status_code}, not {status}")
        return reply

    def _hand_over(self, letter: Letter, sender: str, mail: bytes) -> None:
        host, _, port = self._door.rpartition(":")
        try:
            with smtplib.SMTP(host, int(port), timeout=60) as client:
                client.sendmail(sender, [letter.sender], mail)
        except (OSError, smtplib.SMTPException) as error:
            raise Unanswered(
                f"the bounce door refuses a mail to {letter.sender}: {error}"
            ) from None


def complaint(letter: Letter) -> bytes:
    """A feedback report about a letter."""
    fields = (
        "Feedback-Type: abuse\r\nUser-Agent: mailbox-feedback/1.0\r\nVersion: 1\r\n"
        f"Original-Mail-From: <{letter.sender}>\r\nOriginal-Rcpt-To: <{letter.to}>\r\n"
    )
    said = "This is a report about a message that somebody called unwanted."
    return _report(letter, "feedback-report", fields, said)


def late_bounce(letter: Letter) -> bytes:
    """A delivery status notification about a letter that had been taken."""
    fields = (
        f"Reporting-MTA: dns; mx.{_PROVIDER}\r\n\r\n"
        f"Final-Recipient: rfc822; {letter.to}\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        f"Diagnostic-Code: smtp; 550 5.1.1 <{letter.to}>: user unknown\r\n"
    )
    said = f"Your message to {letter.to} could not be delivered: user unknown."
    return _report(letter, "delivery-status", fields, said)


def _report(letter: Letter, kind: str, fields: str, said: str) -> bytes:
    """A multipart/report of three parts: for people, for machines, the message it is about."""
    parts = (
        ("text/plain", said),
        (f"message/{kind}", fields),
        ("text/rfc822-headers", _head(letter)),
    )
    body = "".join(
        f"--{_BOUNDARY}\r\nContent-Type: {named}\r\n\r\n{content}\r\n" for named, content in parts
    )
    head = (
        f"From: Mail system <mailer-daemon@{_PROVIDER}>\r\nTo: {letter.sender}\r\n"
        "Subject: Report about your message\r\nAuto-Submitted: auto-generated\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/report; "
        f'report-type={kind}; boundary="{_BOUNDARY}"\r\n\r\n'
    )
    return f"{head}{body}--{_BOUNDARY}--\r\n".encode()


def _head(letter: Letter) -> str:
    return letter.raw.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")


class _Seen(HTMLParser):
    """The addresses in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a":
            self.links.append(found.get("href") or "")
        if tag == "img":
            self.images.append(found.get("src") or "")
