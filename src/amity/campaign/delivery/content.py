"""What does a message say, and how is it made for one person?

Templates in Liquid, with limits: no tag opens a file, no filter tells the machine's time, no loop runs
for ever. A variable that does not exist is an error for that recipient, never an empty place.
Behaviour: campaign.md §1.7; see docs/adr/0017-delivery.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import quote

import liquid
import msgspec
from liquid.exceptions import FilterArgumentError, LiquidError
from liquid.undefined import StrictDefaultUndefined

from amity.campaign.delivery.errors import BadContent, NotRendered
from amity.campaign.delivery.rewriting import (
    LINK_VARIABLE,
    MIRROR_VARIABLE,
    UNSUBSCRIBE_VARIABLE,
    TrackedUrl,
    rewritten,
    with_links,
)

TEMPLATE_CHARS_MAX = 1 << 20
"""Longest template of a part. Ours."""

LOOPS_MAX = 10_000
"""Rounds of all loops of one message. Ours."""

OUTPUT_BYTES_MAX = 2 << 20
"""Longest part of a message. Ours."""

FILTER_WORK_MAX = 16 << 20
"""What one filter may grow a value to, at worst. Ours."""

SUBJECT_CHARS_MAX = 512
"""Ours: no mail program shows a third of it."""

NAMESPACES: Final = frozenset(
    {
        "recipient",
        "targetData",
        "delivery",
        MIRROR_VARIABLE,
        UNSUBSCRIBE_VARIABLE,
    }
)
"""What a template may speak of."""


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
        for part, template in (("html", content.html), ("text", content.text)):
            if len(template) > TEMPLATE_CHARS_MAX:
                raise BadContent(
                    f"{part} has {len(template)} characters; at most {TEMPLATE_CHARS_MAX} are allowed"
                )
        made = rewritten(
            content.html, content.text, clicks=content.track_clicks, opens=content.track_opens
        )
        self.content = content
        self.urls: tuple[TrackedUrl, ...] = made.urls
        self.problems: tuple[str, ...] = made.problems
        self._subject = _template(_TEXT, "subject", " ".join(content.subject.split()))
        self._html = _template(_HTML, "html", made.html)
        self._text = _template(_TEXT, "text", made.text)

    @property
    def has_html(self) -> bool:
        """Whether there is an HTML part."""
        return bool(self.content.html.strip())

    def variables(self) -> set[str]:
        """The variables the templates speak of: ``recipient.firstName``."""
        found: set[str] = set()
        for template in (self._subject, self._html, self._text):
            for name, places in template.analyze(include_partials=False).globals.items():
                found |= {".".join(map(str, one.segments)) for one in places} or {name}
        return found

    def render(self, values: Mapping[str, Any]) -> Rendered:
        """One person's message; `NotRendered` says what the person lacks."""
        return Rendered(
            subject=self.subject(values),
            html=self.html(values),
            text=with_links(_made(self._text, values), values[LINK_VARIABLE]),
        )

    def subject(self, values: Mapping[str, Any]) -> str:
        """The subject line; one that would break the line, and so add a header, is refused."""
        subject = _made(self._subject, values).strip()
        if any(ord(one) < 32 or ord(one) == 127 for one in subject):
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
        return with_links(_made(self._html, values), values[LINK_VARIABLE])


def personalised(source: str, values: Mapping[str, Any]) -> str:
    """A URL of a content with one person's values in it."""
    made = _made(_template(_TEXT, "link", source), values)
    return quote("".join(made.split()), safe="%/:=&?~#+!$,;'@()*[]")


class _Environment(liquid.Environment):
    loop_iteration_limit: ClassVar[int | None] = LOOPS_MAX
    output_stream_limit: ClassVar[int | None] = OUTPUT_BYTES_MAX
    local_namespace_limit: ClassVar[int | None] = OUTPUT_BYTES_MAX
    context_depth_limit: ClassVar[int] = 20


def _environment(*, autoescape: bool) -> liquid.Environment:
    made = _Environment(autoescape=autoescape, undefined=StrictDefaultUndefined)
    for tag in ("include", "render"):
        del made.tags[tag]
    for name, work in list(made.filters.items()):
        made.filters[name] = _bounded(name, work)
    return made


def _bounded(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, unless it could grow a value beyond all bounds or would ask for the time."""

    @functools.wraps(work)
    def bounded(value: Any, *args: Any, **named: Any) -> Any:
        longest = max([_size(arg) for arg in args], default=1)
        if _size(value) * max(longest, 1) > FILTER_WORK_MAX:
            raise FilterArgumentError(f"{name}: the result could become too large", token=None)
        if name == "date" and issubclass(type(value), str) and value in {"now", "today"}:
            raise FilterArgumentError(
                "date: 'now' differs each time a message is made; write delivery.contactDate",
                token=None,
            )
        return work(value, *args, **named)

    return bounded


def _size(value: Any) -> int:
    # By its type: what is undefined answers every question, also that for its class, by an error.
    return len(value) if issubclass(type(value), str | list | tuple | range | dict) else 1


_HTML = _environment(autoescape=True)
_TEXT = _environment(autoescape=False)


def _template(environment: liquid.Environment, part: str, source: str) -> liquid.BoundTemplate:
    try:
        return environment.from_string(source, name=part)
    except LiquidError as error:
        raise BadContent(f"{part}: {_told(error)}", part=part) from error


def _made(template: liquid.BoundTemplate, values: Mapping[str, Any]) -> str:
    try:
        return template.render(values)
    except LiquidError as error:
        raise NotRendered(f"{template.name}: {_told(error)}") from error
    except (ArithmeticError, RecursionError, TypeError, ValueError, MemoryError) as error:
        # A value of a kind that a filter does not expect is this recipient's trouble alone.
        raise NotRendered(f"{template.name}: {type(error).__name__}: {error}") from error


def _told(error: LiquidError) -> str:
    text = str(error).strip().splitlines()
    position = error.context()
    where = f" (line {position[0]})" if position is not None else ""
    return (text[0] if text else type(error).__name__)[:400] + where
