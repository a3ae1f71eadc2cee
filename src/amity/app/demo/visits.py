"""Which web visits does the demo add, since the data set has none?

They are derived from the ids alone, by hash, never by chance: the same households give the same
visits on every machine. A household has one to three devices; every eighth also uses its
neighbour's first device. On a device, the first visits are anonymous, then the household signs in
there, then about half of the visits are signed in. Some devices never sign in.

Whose an anonymous visit is, in words: a device belongs to whoever signed in on it last. The
identity graph must come to the same by its own documented way (loyalty ids are unique; the newest
link of a device wins), and `checks` computes it with one line of SQL.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal, NamedTuple

from amity.app.demo.raw import STREAM_START_MS, Basket
from amity.kernel.clock import HOUR_MS, SECOND_MS, from_iso
from amity.kernel.errors import Corrupt
from amity.kernel.ids import digest

VISITS_MAX = 100_000
"""Behaviour: the issue asks for at most so many visits."""

VISITS_END_MS = from_iso("2018-01-01T05:00:00Z")

_BROWSED_MAX = 30
_VIEWED_PERCENT = 35
_VIEW_LEAD_S_MAX = 36 * 3600
# Half a second off every purchase: no tie at the edge of a 24-hour window.
_OFFSET_MS = 500

PageKind = Literal["product", "page", "sign-in"]


class Visit(NamedTuple):
    """One page seen on one device. `household` is who sits there; `signed_in` whether we know."""

    at_ms: int
    id: str
    household: int
    device: str
    kind: PageKind
    sku: int
    signed_in: bool


def number(*parts: str | int) -> int:
    """A large number that the parts decide.

    >>> number("a", 1) == number("a", 1) != number("a", 2)
    True
    """
    return int(digest(*map(str, parts), length=15), 16)


def devices(household: int, households: list[int]) -> list[str]:
    """The device ids a household uses, its own first."""
    own = [device(household, n) for n in range(1 + number("devices", household) % 3)]
    if number("shares", household) % 8 == 0 and len(households) > 1:
        neighbour = households[(households.index(household) + 1) % len(households)]
        own.append(device(neighbour, 0))
    return own


def device(household: int, n: int) -> str:
    """The n-th device of a household; the cookie value the shop's pages would have set."""
    return digest("device", str(household), str(n), length=24)


def all_visits(
    households: list[int], baskets: Iterable[Basket], product_ids: list[int]
) -> list[Visit]:
    """Every visit of every household, in order of time and id."""
    visits = [
        visit
        for household, seen in _pages(households, baskets, product_ids).items()
        for visit in _on_devices(household, seen, devices(household, households))
    ]
    if len(visits) > VISITS_MAX:
        raise Corrupt(f"{len(visits)} web visits were derived; at most {VISITS_MAX} may be")
    return sorted(visits)


class _Page(NamedTuple):
    at_ms: int
    id: str
    kind: PageKind
    sku: int


def _pages(
    households: list[int], baskets: Iterable[Basket], product_ids: list[int]
) -> dict[int, list[_Page]]:
    pages: dict[int, list[_Page]] = defaultdict(list)
    for household in households:
        pages[household] += _browsed(household, product_ids)
    for basket in baskets:
        page = _viewed_before(basket)
        if page is not None:
            pages[basket.household].append(page)
    return pages


def _browsed(household: int, product_ids: list[int]) -> list[_Page]:
    """Pages looked at with nothing bought of it."""
    span_s = (VISITS_END_MS - STREAM_START_MS - HOUR_MS) // SECOND_MS
    pages = []
    for n in range(number("visits", household) % (_BROWSED_MAX + 1)):
        dice = number("visit", household, n)
        at_ms = STREAM_START_MS + dice % span_s * SECOND_MS + _OFFSET_MS
        is_product = number("kind", household, n) % 10 < 7
        sku = product_ids[number("sku", household, n) % len(product_ids)] if is_product else 0
        kind: PageKind = "product" if is_product else "page"
        pages.append(_Page(at_ms, f"visit-{household}-{n}", kind, sku))
    return pages


def _viewed_before(basket: Basket) -> _Page | None:
    """About a third of the baskets had one of their products looked at up to 36 hours before."""
    if number("viewed", basket.id) % 100 >= _VIEWED_PERCENT:
        return None
    lead_ms = (1 + number("lead", basket.id) % _VIEW_LEAD_S_MAX) * SECOND_MS
    at_ms = basket.at_ms - lead_ms + _OFFSET_MS
    if at_ms < STREAM_START_MS:
        return None
    sku = basket.skus[number("which", basket.id) % len(basket.skus)]
    return _Page(at_ms, f"view-{basket.id}", "product", sku)


def _on_devices(household: int, pages: list[_Page], used: list[str]) -> list[Visit]:
    by_device: dict[str, list[_Page]] = defaultdict(list)
    for page in sorted(pages):
        by_device[used[number("on", page.id) % len(used)]].append(page)
    return [
        visit for name, seen in by_device.items() for visit in _signing_in(household, name, seen)
    ]


def _signing_in(household: int, name: str, pages: list[_Page]) -> list[Visit]:
    """The visits of one household on one device, with its first sign-in among them."""
    never = number("never", household, name) % 5 == 0
    first = number("first", household, name) % min(4, len(pages))
    visits = []
    for n, page in enumerate(pages):
        signed_in = not never and n > first and number("signed in", page.id) % 2 == 0
        visits.append(Visit(page.at_ms, page.id, household, name, page.kind, page.sku, signed_in))
        if n == first and not never:
            at_ms = page.at_ms + SECOND_MS
            sign_in_id = f"sign-in-{household}-{name[:8]}"
            visits.append(Visit(at_ms, sign_in_id, household, name, "sign-in", 0, signed_in=True))
    return visits
