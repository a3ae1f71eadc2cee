"""Which templates would take hours to read?

Readers of Liquid and of HTML look, at each beginning that has no end, through all that follows. What
is not ended is refused before they see it.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final

import re2

from amity.campaign.delivery.errors import BadContent

SPACES_MAX: Final = 200
"""Blanks in a row within a tag. Ours."""

LEFT_CHARS_MAX: Final = 4_096
"""So much HTML may follow a tag or comment that is not closed. Ours."""

_LIQUID = re2.compile(r"(?s)\{\{.*?\}\}|\{%.*?%\}")
_SPACES = re2.compile(r"\s{" + str(SPACES_MAX + 1) + "}")
_VERBATIM = re2.compile(r"\{%-?\s*(end)?(raw|doc)\b")


def check_liquid(part: str, source: str) -> None:
    """Refuse Liquid that is not ended; `part` is named in the error."""
    left = _LIQUID.sub("", source)
    for opened in ("{{", "{%"):
        if opened in left:
            raise BadContent(f"{part}: a {opened} is never closed", part=part)
    if _SPACES.search(source) and any(
        _SPACES.search(found.group(0)) for found in _LIQUID.finditer(source)
    ):
        raise BadContent(f"{part}: more than {SPACES_MAX} blanks in a row in a tag", part=part)
    last = {found.group(2): not found.group(1) for found in _VERBATIM.finditer(source)}
    for name, is_open in last.items():
        if is_open:
            raise BadContent(f"{part}: {{% {name} %}} is never closed", part=part)


def read_html(reader: HTMLParser, html: str) -> None:
    """Let a reader read HTML, and refuse what is not ended."""
    reader.feed(html)
    if len(reader.rawdata) > LEFT_CHARS_MAX and "<" in reader.rawdata:
        begin = reader.rawdata[reader.rawdata.index("<") :][:40]
        raise BadContent(f"html: what begins with {begin!r} is never closed", part="html")
    reader.close()
