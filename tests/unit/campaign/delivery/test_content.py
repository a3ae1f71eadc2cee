"""Does a template say what it should to each, and do nothing else?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.campaign.delivery.content import Compiled, Content, personalised
from amity.campaign.delivery.errors import BadContent, NotRendered
from amity.campaign.delivery.rewriting import URL_FIRST_CLICK, rewritten, with_links
from amity.campaign.delivery.templates import OUTPUT_BYTES_MAX

VALUES: dict[str, Any] = {
    "recipient": {"firstName": "Ann <b>", "lastName": None, "age": 41},
    "targetData": {"code": "A&B 1", "items": ["x", "y"]},
    "delivery": {"id": 1000, "contactDate": "2017-10-30T08:00:00.000Z"},
    "mirrorPageUrl": "https://t.example/m/1",
    "unsubscribeUrl": "https://t.example/u/1",
    "amityLink": {"u1": "https://t.example/o/1.gif", "u4": "https://t.example/r/4", "u5": "https://t.example/r/5"},
}  # fmt: skip


def _made(**parts: str) -> Any:
    return Compiled(Content(from_address="a@b.example", **parts)).render(VALUES)


def test_escaping() -> None:
    """HTML is escaped, text and subject are not."""
    made = _made(
        subject="{{ recipient.firstName }}",
        html="<i>{{ recipient.firstName }}</i>",
        text="{{ recipient.firstName }}",
    )
    assert (made.subject, made.text) == ("Ann <b>", "Ann <b>")
    assert "<i>Ann &lt;b&gt;</i>" in made.html


def test_empty_is_not_undefined() -> None:
    """An attribute without a value is empty; a name that does not exist is an error with its name."""
    assert _made(subject="[{{ recipient.lastName }}]").subject == "[]"
    with pytest.raises(NotRendered, match="nickName"):
        _made(subject="{{ recipient.nickName }}")
    assert _made(subject="{{ recipient.nickName | default: 'you' }}").subject == "you"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% if %}", "subject"),
        ("{{ recipient.firstName", "subject"),
        ("{% include 'x' %}", "include"),
        ("{% render 'x' %}", "render"),
        ("{{ 'x' | no_such_filter }}", "no_such_filter"),
    ],
)
def test_no_template(template: str, why: str) -> None:
    """What is no template, or would open a file, is refused before anybody gets it."""
    with pytest.raises((BadContent, NotRendered), match=why):
        _made(subject=template)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in (1..100000) %}x{% endfor %}",
        "{% for a in (1..9000) %}{% for b in (1..9000) %}x{% endfor %}{% endfor %}",
        "{% assign a = 'aaaaaaaaaaaaaaaa' %}{% for i in (1..60) %}{% assign a = a | append: a %}{% endfor %}{{ a }}",
        "{% assign a = 'aaaaaaaa' %}" + "{% assign a = a | replace: 'a', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' %}" * 9 + "{{ a }}",
        "{{ (1..1000000000) | join: 'x' }}",
        "{{ 'now' | date: '%Y' }}",
        "{{ 1 | divided_by: 0 }}",
    ],
)  # fmt: skip
def test_bounds(template: str) -> None:
    """No template takes the machine, or asks it for the time: the recipient fails, with the reason."""
    with pytest.raises(NotRendered):
        _made(subject="s", text=template)
    assert OUTPUT_BYTES_MAX < 1 << 24


def test_no_python_behind_values() -> None:
    """A template sees values and nothing of what they are made of."""
    for name in ("__class__", "__init__", "keys", "items"):
        with pytest.raises(NotRendered):
            _made(subject="{{ recipient." + name + ".x }}")


def test_links() -> None:
    """Each distinct URL gets a number; both parts lead there; special links stay."""
    html = (
        '<a href="https://shop.example/a?x={{ targetData.code | url_encode }}&amp;y=1">one</a>'
        "<A HREF='https://shop.example/b'>two</A><a href=\"https://shop.example/b\">again</a>"
        '<a href="{{ unsubscribeUrl }}">u</a><a href="mailto:x@y.example">m</a><a href="#top">t</a>'
        '<a data-tracking="off" href="https://shop.example/c">c</a>'
    )
    compiled = Compiled(Content(html=html, subject="s"))
    clicks = [(url.number, url.source) for url in compiled.urls if url.number >= URL_FIRST_CLICK]
    assert clicks == [
        (4, "https://shop.example/a?x={{ targetData.code | url_encode }}&y=1"),
        (5, "https://shop.example/b"),
    ]
    made = compiled.render(VALUES)
    assert made.html.count("https://t.example/r/5") == 2
    assert "shop.example/b" not in made.html
    assert 'href="https://shop.example/c"' in made.html
    assert 'href="https://t.example/u/1"' in made.html
    assert "one (https://t.example/r/4)" in made.text
    assert made.html.count("https://t.example/o/1.gif") == 1
    assert compiled.problems == ()


def test_url_of_a_person() -> None:
    """A URL is filled in for a person and stays one URL."""
    made = personalised(
        "https://shop.example/?x={{ targetData.code }}&n={{ recipient.age }}", VALUES
    )
    assert made == "https://shop.example/?x=A&B1&n=41"
    encoded = personalised("https://shop.example/?x={{ targetData.code | url_encode }}", VALUES)
    assert encoded == "https://shop.example/?x=A%26B+1"


@pytest.mark.parametrize(
    "href",
    ["https://{{ targetData.host }}/", "https://shop{{ recipient.age }}.example/", "javascript:alert(1)", "/relative", "", "https://"],
)  # fmt: skip
def test_links_that_are_none(href: str) -> None:
    """A link without a fixed host, or that is no link at all, is a problem the analysis names."""
    assert len(rewritten(f'<a href="{href}">x</a>', "").problems) == 1


def test_tracking_off() -> None:
    """A content that tracks nothing has its own links and no pixel."""
    made = rewritten('<a href="https://shop.example/">x</a>', "", clicks=False, opens=False)
    assert made.html == '<a href="https://shop.example/">x</a>'
    assert made.text == "x (https://shop.example/)"


def test_text_with_urls() -> None:
    """URLs in a text part are tracked, without the punctuation after them."""
    made = rewritten("", "See https://shop.example/a. And (https://shop.example/b)!")
    assert with_links(made.text, {"u4": "A", "u5": "B"}) == "See A. And (B)!"


@settings(max_examples=150)
@given(st.text("<>a/\"'={}% \n!-;&#", max_size=80))
def test_any_html(html: str) -> None:
    """Whatever stands in HTML, all but links and the pixel stays as it was."""
    made = rewritten(html, "", opens=False)
    assert made.html == html or len(made.urls) > 3 or made.problems


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r"), max_size=60))
def test_values_never_become_templates(value: str) -> None:
    """A recipient's data are data: Liquid in them is not read."""
    compiled = Compiled(Content(text="[{{ recipient.firstName }}]", subject="s"))
    made = compiled.render(
        {"recipient": {"firstName": value + "{{ 1 | plus: 1 }}"}, "amityLink": {}}
    )
    assert made.text == f"[{value}{{{{ 1 | plus: 1 }}}}]"
