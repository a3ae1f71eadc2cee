"""Can this content be sent, before anybody gets it?

Behaviour: campaign.md §1.7 (analysis), §1.8 (built-in control rules).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from amity.campaign.delivery.content import Compiled
from amity.campaign.delivery.errors import BadContent, BadHeader
from amity.campaign.delivery.message import mailbox
from amity.campaign.delivery.model import Check
from amity.campaign.delivery.persons import DELIVERY_NAMES, Persons
from amity.campaign.delivery.rewriting import UNSUBSCRIBE_VARIABLE
from amity.campaign.delivery.templates import NAMESPACES

SUBJECT_CHARS_ADVISED = 50
"""Behaviour: campaign.md §3."""


def examined(
    compiled: Compiled,
    delivery: Mapping[str, Any],
    *,
    persons: Persons,
    columns: Sequence[str],
    now_ms: int,
) -> tuple[Check, ...]:
    """The warnings; `BadContent` names all errors at once."""
    found = [
        *_addresses(compiled),
        *_parts(compiled, marketing=not delivery["transactional"]),
        *(Check(level="error", rule="urls", text=text) for text in compiled.problems),
        *_variables(compiled, persons, columns),
        *_validity(delivery, now_ms),
    ]
    errors = [one for one in found if one.level == "error"]
    if errors:
        raise BadContent(
            "; ".join(f"{one.rule}: {one.text}" for one in errors),
            checks=[{"rule": one.rule, "text": one.text} for one in errors],
        )
    return tuple(found)


def _error(rule: str, text: str) -> Check:
    return Check(level="error", rule=rule, text=text)


def _addresses(compiled: Compiled) -> Iterator[Check]:
    content = compiled.content
    if not content.from_address:
        yield _error("sender", "fromAddress is empty: say whom the message is from")
    names = (("sender", content.from_name, content.from_address), ("replyTo", "", content.reply_to))
    for rule, name, address in names:
        try:
            if address:
                mailbox(name, address)
        except BadHeader as error:
            yield _error(rule, error.message)


def _parts(compiled: Compiled, *, marketing: bool) -> Iterator[Check]:
    content = compiled.content
    if not content.subject.strip():
        yield _error("subject", "the subject is empty")
    elif len(content.subject) > SUBJECT_CHARS_ADVISED:
        text = f"longer than {SUBJECT_CHARS_ADVISED} characters: many programs cut it"
        yield Check(level="warning", rule="subject", text=text)
    if not (content.html.strip() or content.text.strip()):
        yield _error("content", "there is neither HTML nor text")
    for part, template in (("html", content.html), ("text", content.text)):
        if marketing and template.strip() and UNSUBSCRIBE_VARIABLE not in template:
            link = "{{ " + UNSUBSCRIBE_VARIABLE + " }}"
            yield _error("unsubscription", f"{part} has no unsubscription link: put {link} there")


def _variables(compiled: Compiled, persons: Persons, columns: Sequence[str]) -> Iterator[Check]:
    known = {
        "recipient": (set(persons.attributes), "error"),
        "delivery": (set(DELIVERY_NAMES), "error"),
        "targetData": (set(columns), "warning"),
    }
    for variable in sorted(compiled.variables()):
        space, _, name = variable.partition(".")
        if space not in NAMESPACES:
            there = ", ".join(sorted(NAMESPACES))
            yield _error("personalisation", f"{variable!r} is unknown; there are: {there}")
        elif space in known and name:
            names, level = known[space]
            if name.split(".")[0] not in names:
                there = ", ".join(sorted(names)[:40]) or "none"
                text = f"{space} has no {name!r}; there are: {there}"
                yield Check(level=level, rule="personalisation", text=text)


def _validity(delivery: Mapping[str, Any], now_ms: int) -> Iterator[Check]:
    contact = delivery["contactDate"] or now_ms
    if delivery["validUntil"] and delivery["validUntil"] <= max(contact, now_ms):
        yield _error("validity", "validUntil lies before the contact date: nothing would be sent")
