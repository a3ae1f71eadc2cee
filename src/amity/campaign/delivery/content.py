"""What does a message say, and how is it made for one person?

Its parts are templates; a variable that does not exist is an error for that recipient, never an empty
place. A subject cannot add a header.
Behaviour: campaign.md §1.7; see docs/adr/0017-delivery.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from amity.campaign.delivery.errors import BadContent, NotRendered
from amity.campaign.delivery.rewriting import TrackedUrl, rewritten
from amity.campaign.delivery.template_limits import check_liquid
from amity.campaign.delivery.templates import Template

TEMPLATE_CHARS_MAX = 1 << 20
"""Longest template of a part. Ours."""

SUBJECT_CHARS_MAX = 512
"""Ours: no mail program shows a third of it."""


class Content(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """The content of a delivery by e-mail; ``subject``, ``html`` and ``text`` are Liquid templates.

    An empty `text` is made of the HTML.
    """

    from_address: str = ""
    from_name: str = ""
    reply_to: str = ""
    subject: str = ""
    html: str = ""
    text: str = ""
    track_clicks: bool = True
    track_opens: bool = True


class Rendered(NamedTuple):
    """The parts of one person's message."""

    subject: str
    html: str
    text: str


class Compiled:
    """A content ready to be made for many people.

    Args:
        content: The content; `BadContent` where a template is none.

    Attributes:
        content: As given.
        urls: The tracked URLs; the same content has the same numbers.
        problems: What is wrong with its links.
    """

    def __init__(self, content: Content) -> None:
        parts = {"subject": content.subject, "html": content.html, "text": content.text}
        for part, template in parts.items():
            if len(template) > TEMPLATE_CHARS_MAX:
                raise BadContent(
                    f"{part} has {len(template)} characters; at most {TEMPLATE_CHARS_MAX} are allowed"
                )
            check_liquid(part, template)
        made = rewritten(
            content.html, content.text, clicks=content.track_clicks, opens=content.track_opens
        )
        self.content = content
        self.urls: tuple[TrackedUrl, ...] = made.urls
        self.problems: tuple[str, ...] = made.problems
        self._subject = Template("subject", " ".join(content.subject.split()), html=False)
        self._html = Template("html", made.html, html=True)
        self._text = Template("text", made.text, html=False)

    @property
    def has_html(self) -> bool:
        """Whether there is an HTML part."""
        return bool(self.content.html.strip())

    def variables(self) -> set[str]:
        """The variables the templates speak of: ``recipient.firstName``."""
        return set().union(*(one.variables() for one in (self._subject, self._html, self._text)))

    def render(self, values: Mapping[str, Any]) -> Rendered:
        """One person's message; `NotRendered` says what the person lacks."""
        return Rendered(
            subject=self.subject(values),
            html=self.html(values),
            text=self._text.made(values),
        )

    def subject(self, values: Mapping[str, Any]) -> str:
        """The subject line; one that would break the line, and so add a header, is refused."""
        subject = self._subject.made(values).strip()
        if not subject.isprintable() and any(ord(one) < 32 or ord(one) == 127 for one in subject):
            raise NotRendered(
                "subject: a value holds a line break or another control character, which could "
                "add a header to the message; clean the recipient's data"
            )
        if len(subject) > SUBJECT_CHARS_MAX:
            raise NotRendered(f"subject: longer than {SUBJECT_CHARS_MAX} characters")
        return subject

    def html(self, values: Mapping[str, Any]) -> str:
        """The HTML part alone, as for the mirror page."""
        if not self.has_html:
            return ""
        return self._html.made(values)


def personalised(source: str, values: Mapping[str, Any]) -> str:
    """A URL of a content with one person's values in it."""
    made = Template("link", source, html=False).made(values)
    return quote("".join(made.split()), safe="%/:=&?~#+!$,;'@()*[]")
