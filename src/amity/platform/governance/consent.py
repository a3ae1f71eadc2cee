"""May this person be reached for this purpose?

Reads the `consents` field of a profile view. Three answers: yes, no and unknown; what is unknown is
not consent, and it is no refusal either: who exports decides which of the two it asks for.
Behaviour: platform-activation.md §3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

Answer = Literal["yes", "no", "unknown"]

_ANSWERS: Mapping[str, Answer] = {
    "y": "yes", "dy": "yes", "LI": "yes", "CT": "yes", "CP": "yes", "VI": "yes", "PI": "yes",
    "n": "no", "dn": "no", "p": "no", "u": "unknown",
}  # fmt: skip
"""`p` waits for a second opt-in: until it comes the answer is no."""

_CHANNELS_WITH_IDS = frozenset({"email", "push", "sms", "whatsApp"})


def answer(consents: Any, purpose: str) -> Answer:
    """The answer for a purpose such as ``marketing.email``, ``marketing.any`` or ``share``.

    >>> answer({"marketing": {"any": {"val": "n"}, "email": {"val": "y"}}}, "marketing.email")
    'no'
    >>> answer({"marketing": {"any": {"val": "y"}, "email": {"val": "n"}}}, "marketing.email")
    'no'
    >>> answer({}, "marketing.email")
    'unknown'
    """
    own = _at(consents, purpose)
    family, _, channel = purpose.partition(".")
    if family != "marketing" or channel == "any":
        return own
    whole = _at(consents, "marketing.any")
    if whole == "no" or own == "no":
        return "no"
    return "yes" if "yes" in (whole, own) else "unknown"


def answer_for(consents: Any, purpose: str, namespace: str, value: str) -> Answer:
    """The answer for one identity: its own choice narrows or fills the person's.

    >>> answer_for(
    ...     {"idSpecific": {"Email": {"a@b": {"marketing": {"email": {"val": "n"}}}}}},
    ...     "marketing.email",
    ...     "Email",
    ...     "a@b",
    ... )
    'no'
    """
    person = answer(consents, purpose)
    family, _, channel = purpose.partition(".")
    if person == "no" or family != "marketing" or channel not in _CHANNELS_WITH_IDS:
        return person
    specific = _child(_child(_child(consents, "idSpecific"), namespace), value)
    own = answer(specific, purpose)
    return person if own == "unknown" else own


def lets_pass(found: Answer, *, required: bool) -> bool:
    """Whether a person with this answer goes out; `required` also holds back the unknown."""
    return found == "yes" or (found == "unknown" and not required)


def strictest(answers: Iterable[Answer]) -> Answer:
    """Several purposes at once: one no is no, one unknown is unknown.

    >>> strictest(["yes", "unknown"])
    'unknown'
    """
    found = set(answers)
    if "no" in found:
        return "no"
    return "unknown" if "unknown" in found else "yes"


def _at(consents: Any, purpose: str) -> Answer:
    node = consents
    for part in purpose.split("."):
        node = _child(node, part)
    value = _child(node, "val")
    if not isinstance(value, str):
        return "unknown"
    return _ANSWERS.get(value) or _ANSWERS.get(value.lower(), "unknown")


def _child(node: Any, name: str) -> Any:
    return node.get(name) if isinstance(node, Mapping) else None
