"""Which hundred audiences?

40 of attributes, 30 that count in a moving window, 15 that sum in one, 10 of a sequence, 5 of other
audiences; as in the comparison the engines were chosen by.
"""

from __future__ import annotations

from typing import NamedTuple

from shop import CATEGORIES, CITIES, PURCHASE, TIERS, TYPES, VIEW

from amity.kernel.clock import DAY_MS

OWN = "_bench"


class Count(NamedTuple):
    """At least `least` events of one type and category within `days`."""

    type: str
    category: str
    days: int
    least: int


class Sum(NamedTuple):
    """Purchases of a category ("" = any) within `days` come to more than `over`."""

    category: str
    days: int
    over: int


LIVING = [(CITIES[n], TIERS[n % 4]) for n in range(20)]
SCORES = [n * 50 for n in range(20)]
COUNTS = [
    Count(kind, category, (7, 14, 30)[(k + c) % 3], 2 + c % 3)
    for k, kind in enumerate(TYPES)
    for c, category in enumerate(CATEGORIES)
]
SUMS = [
    *(Sum(category, 30, 60 + 10 * c) for c, category in enumerate(CATEGORIES)),
    *(Sum("", days, 20 * days) for days in (3, 7, 14, 21, 30)),
]
SEQUENCES = CATEGORIES
SEQUENCE_DAYS = 14
NESTED = [("count-00", "score-03"), ("count-11", "score-05"), ("count-22", "sum-01"),
          ("sequence-00", "score-02"), ("living-00", "sum-10")]  # fmt: skip


def rules() -> dict[str, str]:
    """Name → PQL; those that name others by ``inSegment("name")`` come last."""
    found: dict[str, str] = {}
    for n, (city, tier) in enumerate(LIVING):
        found[f"living-{n:02}"] = f'homeAddress.city = "{city}" and {OWN}.tier = "{tier}"'
    for n, score in enumerate(SCORES):
        found[f"score-{n:02}"] = f"{OWN}.score >= {score}"
    for n, count in enumerate(COUNTS):
        chosen = _events(count.type, count.category, count.days)
        found[f"count-{n:02}"] = f"xEvent[{chosen}].count() >= {count.least}"
    for n, total in enumerate(SUMS):
        chosen = _events(PURCHASE, total.category, total.days)
        found[f"sum-{n:02}"] = f"xEvent[{chosen}].sum(commerce.order.priceTotal) > {total.over}"
    for n, category in enumerate(SEQUENCES):
        found[f"sequence-{n:02}"] = _sequence(category)
    for n, (one, two) in enumerate(NESTED):
        found[f"nested-{n:02}"] = f'inSegment("{one}") and inSegment("{two}")'
    return found


def window_ms(days: int) -> int:
    """Days as milliseconds."""
    return days * DAY_MS


def _events(kind: str, category: str, days: int) -> str:
    within = f"timestamp occurs <= {days} days before now"
    of = f' and {OWN}.category = "{category}"' if category else ""
    return f'eventType = "{kind}"{of} and {within}'


def _sequence(category: str) -> str:
    def one(name: str, kind: str) -> str:
        return (
            f'{name}.eventType = "{kind}" and {name}.{OWN}.category = "{category}" '
            f"and {name}.timestamp occurs <= {SEQUENCE_DAYS} days before now"
        )

    return (
        f"exists V from xEvent where ({one('V', VIEW)}), P from xEvent where "
        f"({one('P', PURCHASE)} and P.timestamp occurs <= 24 hours after V.timestamp)"
    )
