"""Which links does a content have, and what stands in their place in a message?

Works on templates: what Liquid says is set aside first, so that HTML is read as HTML and put back
unchanged around it. Each distinct URL gets a number within its delivery. Behaviour: campaign.md §1.10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from html import unescape
from html.parser import HTMLParser
from typing import Final, NamedTuple

import re2

from amity.campaign.delivery.template_limits import read_html

URL_OPEN: Final = 1
"""The open pixel. Behaviour: campaign.md §1.10."""

URL_OPT_OUT: Final = 2
"""The unsubscription page. Ours."""

URL_MIRROR: Final = 3
"""The mirror page. Ours."""

URL_FIRST_CLICK: Final = 4

TYPE_CLICK, TYPE_OPEN, TYPE_OPT_OUT, TYPE_MIRROR = 1, 2, 3, 6
"""Documented types of a tracked URL."""

MIRROR_VARIABLE: Final = "mirrorPageUrl"
UNSUBSCRIBE_VARIABLE: Final = "unsubscribeUrl"
LINK_VARIABLE: Final = "amityLink"
"""Holds a message's own links by number: ``u4``."""

_OPEN, _CLOSE, _LINK = "\ue000", "\ue001", "\ue002"
_LIQUID = re2.compile(r"(?s)\{\{.*?\}\}|\{%.*?%\}")
_SET_ASIDE = re2.compile(_OPEN + r"(\d+)" + _CLOSE)
_HREF = re2.compile(r"""(?i)[\s"']href\s*=\s*("[^"]*"|'[^']*'|[^\s>"']+)""")
_STATIC_HOST = re2.compile(r"(?i)^https?://[a-z0-9.-]+(:\d{1,5})?([/?#].*)?$")
_URL_IN_TEXT = re2.compile(r"(?i)https?://[^\s<>\"']+")
_AFTER_URL = ".,;:!?)]}"
_PIXEL = '<img src="{}" width="1" height="1" alt="" style="display:block;border:0">'
_BODY_END = re2.compile(r"(?i)</body\s*>")
_BLOCKS = frozenset(
    {"p", "div", "br", "li", "tr", "table", "ul", "ol", "blockquote", "hr", "pre"}
    | {"h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "header", "footer"}
)
_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol"})
_UNSEEN = frozenset({"head", "style", "script", "title", "template"})


class TrackedUrl(NamedTuple):
    """A URL of a content; `source` is as the content has it and may hold Liquid."""

    number: int
    type: int
    source: str
    label: str = ""
    category: str = ""


class Rewritten(NamedTuple):
    """Templates whose links lead through this installation, and what is wrong with them."""

    html: str
    text: str
    urls: tuple[TrackedUrl, ...]
    problems: tuple[str, ...]


def rewritten(html: str, text: str, *, clicks: bool = True, opens: bool = True) -> Rewritten:
    """Number the URLs and put a message's own links in their place; make the text part if it is missing.

    >>> made = rewritten('<a href="https://shop.example/?a={{ x }}">Shop</a>', "")
    >>> made.urls[-1].source
    'https://shop.example/?a={{ x }}'
    >>> with_links(made.text, {"u4": "https://t.example/r/1"})
    'Shop (https://t.example/r/1)'
    """
    aside = _Aside()
    links = _Links(aside, track=clicks)
    masked = links.in_html(aside.mask(html))
    plain = links.in_text(aside.mask(text)) if text.strip() else _as_text(masked)
    if html.strip() and opens:
        masked = _with_pixel(masked, _token(URL_OPEN))
    return Rewritten(
        html=aside.unmask(masked),
        text=aside.unmask(plain),
        urls=(
            TrackedUrl(URL_OPEN, TYPE_OPEN, "", "Open"),
            TrackedUrl(URL_OPT_OUT, TYPE_OPT_OUT, "", "Unsubscription"),
            TrackedUrl(URL_MIRROR, TYPE_MIRROR, "", "Mirror page"),
            *links.found.values(),
        ),
        problems=tuple(links.problems),
    )


def pieces(template: str) -> Iterator[tuple[str, str]]:
    """A template cut at its own links: (text, ``""``) or (what stands there without links, a link's name)."""
    first, *rest = template.split(_LINK)
    yield first, ""
    for piece in rest:
        name, closed, after = piece.partition(_CLOSE)
        if closed:
            yield "", name
        yield (after if closed else piece), ""


def with_links(made: str, links: Mapping[str, str]) -> str:
    """A message's own links where the content has its URLs; no template makes them, they are too many."""
    return "".join(links.get(link, "") if link else text for text, link in pieces(made))


def _token(number: int) -> str:
    return f"{_LINK}u{number}{_CLOSE}"


class _Aside:
    """Keeps what Liquid says while a template is read as HTML."""

    def __init__(self) -> None:
        self._kept: list[str] = []

    def mask(self, template: str) -> str:
        clean = template.replace(_OPEN, "").replace(_CLOSE, "").replace(_LINK, "")
        return str(_LIQUID.sub(lambda found: self._keep(found.group(0)), clean))

    def unmask(self, masked: str) -> str:
        return str(_SET_ASIDE.sub(lambda found: self._kept[int(found.group(1))], masked))

    def _keep(self, said: str) -> str:
        self._kept.append(said)
        return f"{_OPEN}{len(self._kept) - 1}{_CLOSE}"


class _Links:
    """The URLs of a content, each once."""

    def __init__(self, aside: _Aside, *, track: bool) -> None:
        self.found: dict[str, TrackedUrl] = {}
        self.problems: list[str] = []
        self._aside = aside
        self._track = track

    def in_html(self, masked: str) -> str:
        reader = _Anchors(self._replacement)
        reader.read(masked)
        return reader.result(masked)

    def in_text(self, masked: str) -> str:
        def put(found: re2._Match[str]) -> str:
            whole = str(found.group(0))
            url = whole.rstrip(_AFTER_URL)
            return (self._replacement(url, {}) or url) + str(whole[len(url) :])

        return str(_URL_IN_TEXT.sub(put, masked))

    def _replacement(self, masked: str, attributes: dict[str, str]) -> str | None:
        """What stands in a message for a URL; None to leave it."""
        source = self._aside.unmask(masked).strip()
        if not source:
            self.problems.append("a link has no URL: fill its href or remove it")
            return None
        if not masked.strip().lower().startswith(("http:", "https:")):
            if not _untracked(source):
                self.problems.append(
                    f"the link {source[:200]!r} is neither http nor https: write the whole URL"
                )
            return None
        if not _STATIC_HOST.match(masked.strip()):
            self.problems.append(
                f"the link {source[:200]!r} has no host, or one that depends on the recipient: "
                "personalise only what follows it"
            )
            return None
        if not self._track or attributes.get("data-tracking") == "off":
            return None
        url = self.found.get(source)
        if url is None:
            number = URL_FIRST_CLICK + len(self.found)
            label = attributes.get("data-label") or source[:255]
            category = attributes.get("data-category", "")[:100]
            url = TrackedUrl(number, TYPE_CLICK, source, label[:255], category)
            self.found[source] = url
        return _token(url.number)


def _untracked(source: str) -> bool:
    """Links that do not lead to the web, or that a variable makes as a whole."""
    return source.lower().startswith(("mailto:", "tel:", "sms:", "#", "{{"))


class _Anchors(HTMLParser):
    """Finds where the values of href stand."""

    def __init__(self, replace: Callable[[str, dict[str, str]], str | None]) -> None:
        super().__init__(convert_charrefs=True)
        self._replace = replace
        self._starts: list[int] = []
        self._changes: list[tuple[int, int, str]] = []

    def read(self, masked: str) -> None:
        at = 0
        self._starts = [0]
        while (at := masked.find("\n", at) + 1) > 0:
            self._starts.append(at)
        read_html(self, masked)

    def result(self, masked: str) -> str:
        parts, at = [], 0
        for start, end, put in self._changes:
            parts += [masked[at:start], put]
            at = end
        return "".join([*parts, masked[at:]])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"a", "area"}:
            return
        attributes = {name: value or "" for name, value in attrs}
        raw = self.get_starttag_text() or ""
        found = _HREF.search(raw)
        if "href" not in attributes or found is None:
            return
        quoted = found.group(1)
        put = self._replace(unescape(quoted.strip("\"'")), attributes)
        if put is not None:
            line, column = self.getpos()
            start = self._starts[line - 1] + column + found.start(1)
            self._changes.append((start, start + len(quoted), f'"{put}"'))

    handle_startendtag = handle_starttag


def _with_pixel(masked: str, token: str) -> str:
    pixel = _PIXEL.format(token)
    ends = list(_BODY_END.finditer(masked))
    if not ends:
        return masked + pixel
    at = ends[-1].start()
    return masked[:at] + pixel + masked[at:]


def _as_text(masked: str) -> str:
    reader = _Words()
    read_html(reader, masked)
    lines = [" ".join(line.split()) for line in "".join(reader.parts).splitlines()]
    kept = [line for n, line in enumerate(lines) if line or (n and lines[n - 1])]
    return "\n".join(kept).strip()


class _Words(HTMLParser):
    """What a reader without HTML sees."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen = 0
        self._href: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag in _BLOCKS:
            self.parts.append("\n- " if tag == "li" else "\n")
        elif tag == "a":
            self._href.append(given.get("href") or "")
        elif tag == "img" and given.get("alt"):
            self.parts.append(given["alt"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(self._unseen - 1, 0)
        elif tag in _BLOCKS:
            self.parts.append("\n\n" if tag in _PARAGRAPHS else "\n")
        elif tag == "a" and self._href:
            href = self._href.pop()
            if href and not href.startswith("#"):
                self.parts.append(f" ({href})")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(" ".join(data.split("\n")) if data.strip() else " ")
