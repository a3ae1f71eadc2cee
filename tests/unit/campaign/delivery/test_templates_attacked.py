"""No template, however it is written, holds up the process that reads it or the one that sends."""

from __future__ import annotations

import resource
import time
from typing import Any

import pytest

from amity.campaign.delivery.content import Compiled, Content
from amity.campaign.delivery.errors import BadContent, NotRendered

MANY = 100_000
SECONDS = 10.0
VALUES: dict[str, Any] = {"recipient": {"firstName": "Ann"}, "amityLink": {"u1": "o"}}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "html",
    [
        "{{" * MANY,
        "{%" * MANY,
        "{{-" + " " * MANY + "x",
        "{{ a" + " " * MANY + "b }}",
        "{% raw %}" * MANY,
        "{% raw %}{% endraw %}" + "{%- raw -%}" * MANY,
        "{% doc %}" * MANY,
        "<a " * MANY,
        '<a href="' * MANY,
        "<!--" * MANY,
        "<![CDATA[" * MANY,
        "<script>" + "</scrip" * MANY,
    ],
)
def test_what_never_ends_is_refused_at_once(html: str) -> None:
    """The same in hours would be an API that answers nobody."""
    began = time.monotonic()
    with pytest.raises(BadContent):
        Compiled(Content(html=html))
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize(
    "text",
    [
        "{% assign x = 99999999 %}{% for i in (1..40) %}{% assign x = x | times: x %}{% endfor %}",
        '{% assign x = (1..15000000) | join: "" %}',
        "{% assign x = (1..15000000) | sort %}",
        "{% assign s = '" + "ab" * 8_000 + "' %}{% for i in (1..9000) %}"
        "{% assign y = s | split: '' | reverse | join: '' %}{% endfor %}",
        "{{ (1..15000000) | reverse | first }}",
    ],
)
def test_what_never_comes_to_an_end_is_that_persons_error(text: str) -> None:
    """Filters have a budget of time and of memory; whole numbers are of a size."""
    compiled = Compiled(Content(text=text))
    began, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NotRendered):
        compiled.render(VALUES)
    assert time.monotonic() - began < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200_000


def test_what_is_written_carelessly_goes() -> None:
    """A lone < or an unclosed tag at the end is no attack; filters that are usual are cheap."""
    made = Compiled(
        Content(
            subject="{{ recipient.firstName | upcase }}",
            html="<p>{% raw %}{{ x }}{% endraw %} a < b &amp; c <br",
            text="{% for i in (1..500) %}{{ recipient.firstName | upcase | append: '!' }}{% endfor %}",
        )
    ).render(VALUES)
    assert (made.subject, made.text) == ("ANN", "ANN!" * 500)
    assert "{{ x }}" in made.html
