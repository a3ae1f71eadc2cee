"""What would a programmer write for the hundred audiences, and nothing else?

One function an event type, over plain lists; it relies on events coming in order of time, which the
product does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from audiences import (
    COUNTS,
    LIVING,
    NESTED,
    OWN,
    SCORES,
    SEQUENCE_DAYS,
    SEQUENCES,
    SUMS,
    window_ms,
)
from shop import ADD, PURCHASE, VIEW

from amity.kernel.clock import DAY_MS

Body = Mapping[str, Any]

_COUNTS = {
    (one.type, one.category): (f"count-{n:02}", window_ms(one.days), one.least)
    for n, one in enumerate(COUNTS)
}
_SUMS = {
    one.category: (f"sum-{n:02}", window_ms(one.days), one.over)
    for n, one in enumerate(SUMS)
    if one.category
}
_TOTALS = [
    (f"sum-{n:02}", window_ms(one.days), one.over) for n, one in enumerate(SUMS) if not one.category
]
_SEQUENCES = {category: f"sequence-{n:02}" for n, category in enumerate(SEQUENCES)}
_SEQUENCE_MS = window_ms(SEQUENCE_DAYS)
_LONGEST_MS = max(window for _, window, _ in _TOTALS)
_ASKED: dict[str, list[tuple[str, str, str]]] = {}
for _n, (_one, _two) in enumerate(NESTED):
    for _asked in (_one, _two):
        _ASKED.setdefault(_asked, []).append((f"nested-{_n:02}", _one, _two))


class Person:
    """What is kept of one person."""

    __slots__ = ("bought", "inside", "seen", "spent")

    def __init__(self, attributes: Body) -> None:
        self.inside: set[str] = set()
        self.seen: dict[tuple[str, str], deque[int]] = {}
        self.spent: dict[str, deque[tuple[int, float]]] = {}
        self.bought: deque[tuple[int, float]] = deque()
        own = attributes[OWN]
        for n, (city, tier) in enumerate(LIVING):
            stand(
                self,
                f"living-{n:02}",
                attributes["homeAddress"]["city"] == city and own["tier"] == tier,
            )
        for n, score in enumerate(SCORES):
            stand(self, f"score-{n:02}", own["score"] >= score)


def stand(person: Person, audience: str, holds: bool) -> None:
    """Note where somebody stands, and look again at the audiences that ask for it."""
    if holds == (audience in person.inside):
        return
    if holds:
        person.inside.add(audience)
    else:
        person.inside.discard(audience)
    for name, one, two in _ASKED.get(audience, ()):
        stand(person, name, one in person.inside and two in person.inside)


def viewed(person: Person, body: Body, at_ms: int) -> None:
    """A product view."""
    category = body[OWN]["category"]
    _counted(person, (VIEW, category), at_ms)
    _sequence(person, category, at_ms)


def added(person: Person, body: Body, at_ms: int) -> None:
    """Something was put into the cart."""
    _counted(person, (ADD, body[OWN]["category"]), at_ms)


def bought(person: Person, body: Body, at_ms: int) -> None:
    """A purchase."""
    category, price = body[OWN]["category"], body["commerce"]["order"]["priceTotal"]
    _counted(person, (PURCHASE, category), at_ms)
    name, window, over = _SUMS[category]
    spent = person.spent.setdefault(category, deque())
    spent.append((at_ms, price))
    while spent[0][0] <= at_ms - window:
        spent.popleft()
    stand(person, name, sum(price for _, price in spent) > over)
    everything = person.bought
    everything.append((at_ms, price))
    while everything[0][0] <= at_ms - _LONGEST_MS:
        everything.popleft()
    for name, window, over in _TOTALS:
        since = at_ms - window
        stand(person, name, sum(price for at, price in everything if at > since) > over)
    _sequence(person, category, at_ms)


HANDLERS: dict[str, Callable[[Person, Body, int], None]] = {
    VIEW: viewed,
    ADD: added,
    PURCHASE: bought,
}


def _counted(person: Person, of: tuple[str, str], at_ms: int) -> None:
    name, window, least = _COUNTS[of]
    seen = person.seen.get(of)
    if seen is None:
        seen = person.seen[of] = deque()
    seen.append(at_ms)
    since = at_ms - max(window, _SEQUENCE_MS)
    while seen[0] <= since:
        seen.popleft()
    since = at_ms - window
    stand(person, name, sum(at > since for at in seen) >= least)


def _sequence(person: Person, category: str, at_ms: int) -> None:
    since = at_ms - _SEQUENCE_MS
    views = [at for at in person.seen.get((VIEW, category), ()) if at > since]
    buys = [at for at in person.seen.get((PURCHASE, category), ()) if at > since]
    holds = any(view <= buy <= view + DAY_MS for view in views for buy in buys)
    stand(person, _SEQUENCES[category], holds)
