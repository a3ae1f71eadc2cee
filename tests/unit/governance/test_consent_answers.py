"""Consent rules: every row of the documented table."""

from __future__ import annotations

from typing import Any

import pytest

from amity.platform.governance.consent import Answer, answer, answer_for, lets_pass, strictest


def _marketing(any_: str | None, email: str | None) -> dict[str, Any]:
    given = {"any": any_, "email": email}
    return {"marketing": {key: {"val": value} for key, value in given.items() if value}}


@pytest.mark.parametrize(
    ("any_", "email", "expected"),
    [
        ("n", "y", "no"),
        ("n", None, "no"),
        ("y", None, "yes"),
        ("y", "n", "no"),
        ("y", "y", "yes"),
        (None, "y", "yes"),
        (None, "n", "no"),
        (None, None, "unknown"),
        (None, "u", "unknown"),
        ("y", "u", "yes"),
        (None, "p", "no"),
        (None, "dn", "no"),
        (None, "dy", "yes"),
        (None, "LI", "yes"),
        (None, "Y", "yes"),
        ("u", "y", "yes"),
    ],
)
def test_any_and_channel(any_: str | None, email: str | None, expected: Answer) -> None:
    """`any: n` overrides every channel; `any: y` yields to an explicit channel `n`."""
    assert expected == answer(_marketing(any_, email), "marketing.email")


@pytest.mark.parametrize(
    ("channel", "own", "expected"),
    [
        ("n", "y", "no"),
        (None, "n", "no"),
        ("y", "n", "no"),
        (None, "y", "yes"),
        ("y", None, "yes"),
        (None, None, "unknown"),
    ],
)
def test_an_identity_of_its_own(channel: str | None, own: str | None, expected: Answer) -> None:
    """The idSpecific choice is ignored under a channel `n`, honoured when the channel is unset or yes."""
    consents = _marketing(None, channel)
    if own:
        consents["idSpecific"] = {"Email": {"a@b.test": _marketing(None, own)}}

    assert expected == answer_for(consents, "marketing.email", "Email", "a@b.test")


def test_other_identities_do_not_matter() -> None:
    """A choice made for one address says nothing about another."""
    consents = {"idSpecific": {"Email": {"a@b.test": _marketing(None, "n")}}}

    assert answer_for(consents, "marketing.email", "Email", "c@d.test") == "unknown"


@pytest.mark.parametrize("consents", [None, 7, [], {"marketing": "y"}, {"marketing": {"any": "n"}}])
def test_broken_consents_are_unknown(consents: Any) -> None:
    """What is not of the documented form is no answer."""
    assert answer(consents, "marketing.email") == "unknown"


def test_who_passes() -> None:
    """A refusal never passes; the unknown passes unless consent is required."""
    assert [True, False, True] == [
        lets_pass(found, required=False) for found in ("yes", "no", "unknown")
    ]
    assert [True, False, False] == [
        lets_pass(found, required=True) for found in ("yes", "no", "unknown")
    ]
    assert strictest(["yes", "no", "unknown"]) == "no"
