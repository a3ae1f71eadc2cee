"""Does a template say the same, whether it is put together or filled in by Liquid?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amity.campaign.delivery.errors import NotRendered
from amity.campaign.delivery.rewriting import rewritten
from amity.campaign.delivery.templates import OUTPUT_BYTES_MAX, Template

WORDS = st.text(st.characters(exclude_categories=("Cs", "Co")), max_size=12)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1_000, 1_000),
    st.floats(allow_nan=False),
    WORDS,
    st.lists(WORDS, max_size=3),
    st.dictionaries(st.sampled_from(["size", "first", "b"]), WORDS, max_size=2),
)
NAMES = ("recipient.a", "recipient.b", "recipient.a.b", "recipient.size", "recipient.first", "targetData.a", "recipient", "recipient.a.size", "unsubscribeUrl", "nobody.a", "partial", "recipient['a']", "recipient[0]", "recipient[recipient.b]")  # fmt: skip
SAID = st.one_of(
    WORDS.map(lambda text: text.replace("{", "(")),
    st.sampled_from(
        [
            *("{{ " + name + " }}" for name in NAMES),
            *("{{ " + name + " | upcase }}" for name in NAMES),
            "{{ recipient.a | default: 'you' }}",
            "{{ recipient.b | default: recipient.a | escape }}",
            "{{- recipient.a -}}",
            "{{ recipient.a | divided_by: recipient.b }}",
            "{{ 'constant' }}",
            "{% if recipient.a %}yes{% endif %}",
            "{% assign x = recipient.a %}{{ x }}",
            "{% raw %}{{ recipient.a }}{% endraw %}",
            '<a href="https://shop.example/{{ recipient.a }}">x</a>',
        ]
    ),
)


def _outcome(make: Any, values: dict[str, Any]) -> tuple[str, str]:
    try:
        return "said", make(values)
    except NotRendered as error:
        return "not", error.message


@pytest.mark.thorough
@settings(max_examples=300, deadline=None)
@given(
    st.lists(SAID, max_size=8).map("".join),
    st.dictionaries(st.sampled_from(["a", "b", "size"]), VALUES, max_size=3),
    st.booleans(),
)
@example("{{ recipient.a }}{{ recipient.a }}", {"a": "<&>"}, True)
@example("{{ recipient.a.b }}", {"a": {"b": None}}, True)
def test_put_together_as_liquid_says(source: str, recipient: dict[str, Any], html: bool) -> None:
    """The short way and Liquid say the same of everybody, errors included."""
    part = rewritten(source, "").html if html else rewritten("", source).text
    values = {
        "recipient": recipient,
        "targetData": {"a": "x & y"},
        "unsubscribeUrl": "https://t.example/u/1",
        "amityLink": {"u1": "https://t.example/o/1.gif", "u4": "https://t.example/r/4"},
    }
    template = Template("part", part, html=html)
    assert _outcome(template.made, values) == _outcome(template.by_liquid, values)


def test_longest_output() -> None:
    """A part that names and fixed text make too long is refused as Liquid refuses it."""
    template = Template("text", "{{ recipient.a }}" * 3, html=False)
    third = OUTPUT_BYTES_MAX // 3
    assert len(template.made({"recipient": {"a": "x" * third}})) == third * 3
    with pytest.raises(NotRendered, match="limit"):
        template.made({"recipient": {"a": "x" * (third + 1)}})
