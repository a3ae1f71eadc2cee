"""How is a list of resources filtered, ordered and paged?

Paging is by key: `start` is a value of the first ordering key, and what follows lies strictly
after it. `limit` is a hint and counts only with `orderby`; resources that share the key stay on one
page, so none is lost between two. Behaviour: platform-collect.md §1 (registry paging).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from amity.platform.schema.errors import ResourceInvalid

LIMIT_MAX = 500
PAGE_MAX = 300
"""Behaviour: platform-collect.md §1 (lists cap at 300)."""

DEFAULT_ORDER = "updated"
_Compare = Callable[[Any, Any], Any]
_OPERATORS: tuple[tuple[str, _Compare], ...] = (
    ("==", operator.eq),
    ("!=", operator.ne),
    ("<=", operator.le),
    (">=", operator.ge),
    ("<", operator.lt),
    (">", operator.gt),
)
_STAMPS = {
    "updated": ("meta:registryMetadata", "repo:lastModifiedDate"),
    "created": ("meta:registryMetadata", "repo:createdDate"),
}


class ListQuery(NamedTuple):
    """A list request's query string."""

    properties: tuple[str, ...] = ()
    orderby: str = ""
    start: str = ""
    limit: int | None = None


class Page(NamedTuple):
    """One page of a list."""

    items: list[dict[str, Any]]
    orderby: str
    next: str | None


def page_of(items: Iterable[dict[str, Any]], query: ListQuery) -> Page:
    """The page a query asks for.

    >>> page_of([{"title": "b"}, {"title": "a"}], ListQuery(orderby="title", limit=1)).next
    'a'
    """
    keys = [key.strip() for key in (query.orderby or DEFAULT_ORDER).split(",") if key.strip()]
    found = [item for item in items if all(_meets(item, each) for each in query.properties)]
    for key in reversed(keys):
        name, falling = _direction(key)
        found.sort(key=lambda item, name=name: _sortable(_value(item, name)), reverse=falling)  # type: ignore[misc]
    name, falling = _direction(keys[0])
    if query.start:
        found = [item for item in found if _is_after(_value(item, name), query.start, falling)]
    page = _cut(found, name, _size(query))
    more = len(page) < len(found)
    return Page(page, ",".join(keys), str(_value(page[-1], name)) if more and page else None)


def _size(query: ListQuery) -> int:
    if query.limit is None:
        return PAGE_MAX
    if not 0 <= query.limit <= LIMIT_MAX:
        raise ResourceInvalid(f"limit {query.limit} is not between 0 and {LIMIT_MAX}")
    return min(query.limit, PAGE_MAX) if query.orderby else PAGE_MAX


def _cut(found: Sequence[dict[str, Any]], name: str, size: int) -> list[dict[str, Any]]:
    page = list(found[:size])
    if not page:
        return page
    for before, item in pairwise(found[size - 1 :]):
        if _sortable(_value(before, name)) != _sortable(_value(item, name)):
            break
        page.append(item)
    return page


def _direction(key: str) -> tuple[str, bool]:
    return key.lstrip("+-"), key.startswith("-")


def _value(item: dict[str, Any], name: str) -> Any:
    found: Any = item
    for part in _STAMPS.get(name, (name,)):
        found = found.get(part, "") if isinstance(found, dict) else ""
    return found


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, (int, float)):
        return (0, float(value), "")
    return (1, 0.0, str(value))


def _is_after(value: Any, start: str, falling: bool) -> bool:  # noqa: FBT001 - a direction
    place: Any = start
    if isinstance(value, (int, float)):
        place = _number(start)
    here, there = _sortable(value), _sortable(place)
    return here < there if falling else here > there


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ResourceInvalid(f"start {text!r} is no value of the ordering key") from error


def _meets(item: dict[str, Any], condition: str) -> bool:
    for sign, compare in _OPERATORS:
        name, found, wanted = condition.partition(sign)
        if found:
            return _compares(_value(item, name.strip()), sign, compare, wanted.strip())
    return bool(_value(item, condition.strip()) != "")


def _compares(value: Any, sign: str, compare: _Compare, wanted: str) -> bool:
    if isinstance(value, list):
        held = any(str(each) == wanted for each in value)
        return (sign == "==" and held) or (sign == "!=" and not held)
    if isinstance(value, bool):
        return bool(compare(str(value).lower(), wanted.lower()))
    if isinstance(value, (int, float)):
        return bool(compare(float(value), _number(wanted)))
    return bool(compare(str(value), wanted))
