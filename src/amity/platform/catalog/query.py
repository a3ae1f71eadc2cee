"""How is a list of catalog objects filtered, ordered and paged?

Paging is by zero-based offset; answers are objects keyed by id. Behaviour: platform-collect.md §1
(catalog paging).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import re2

from amity.platform.catalog.errors import QueryInvalid

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
"""Behaviour: platform-collect.md §1 (limit 1..100, default 20)."""

CONTROL = frozenset({"limit", "start", "orderBy", "properties", "requestDataSource"})
"""Query parameters that filter nothing."""

_OPERATORS: tuple[tuple[str, Callable[[Any, Any], Any]], ...] = (
    ("==", operator.eq),
    ("!=", operator.ne),
    ("<=", operator.le),
    (">=", operator.ge),
    ("<", operator.lt),
    (">", operator.gt),
)
Items = dict[str, dict[str, Any]]
_Keeps = Callable[[dict[str, Any]], bool]


def page_of(items: Items, query: Sequence[tuple[str, str]]) -> Items:
    """The objects a query string asks for, keyed by id.

    >>> page_of({"1": {"name": "a"}, "2": {"name": "b"}}, [("name", "b")])
    {'2': {'name': 'b'}}
    """
    found = list(items.items())
    for name, value in query:
        keeps = _filter(name, value)
        if keeps is not None:
            found = [(id, body) for id, body in found if keeps(body)]
    given = dict(query)
    for key in reversed(_keys(given.get("orderBy", ""))):
        name, falling = _direction(key)
        found.sort(key=lambda one, name=name: _sortable(one[1].get(name)), reverse=falling)  # type: ignore[misc]
    start = _whole(given.get("start", "0"), "start", 0, None)
    limit = _whole(given.get("limit", str(LIMIT_DEFAULT)), "limit", 1, LIMIT_MAX)
    page = dict(found[start : start + limit])
    names = _keys(given.get("properties", ""))
    return {id: projected(body, names) for id, body in page.items()}


def projected(body: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The top-level properties asked for; all of them when none is named."""
    wanted = list(names)
    return {key: body[key] for key in wanted if key in body} if wanted else dict(body)


def property_names(query: Sequence[tuple[str, str]]) -> list[str]:
    """The names in `properties`."""
    return _keys(dict(query).get("properties", ""))


def _filter(name: str, value: str) -> _Keeps | None:
    special = _SPECIAL.get(name)
    if special is not None:
        return special(value)
    return None if name in CONTROL else _simple(name, value)


def _created_after(value: str) -> _Keeps:
    at = _whole(value, "createdAfter", 0, None)
    return lambda body: body.get("created", 0) > at


def _created_before(value: str) -> _Keeps:
    at = _whole(value, "createdBefore", 0, None)
    return lambda body: body.get("created", 0) < at


def _of_batch(value: str) -> _Keeps:
    return lambda body: value in (body.get("id"), body.get("lastBatchId"))


def _of_dataset(value: str) -> _Keeps:
    return lambda body: any(
        one.get("type") == "dataSet" and one.get("id") == value
        for one in body.get("relatedObjects", ())
    )


def _simple(name: str, value: str) -> _Keeps:
    refused = value.startswith("!")
    wanted = value.removeprefix("!").split(",")

    def keeps(body: dict[str, Any]) -> bool:
        texts = [_text(each) for each in _at(body, name)]
        return any(_like(text, one) for text in texts for one in wanted) != refused

    return keeps


def _condition(value: str) -> _Keeps:
    if value.startswith("!"):
        return lambda body: not _at(body, value[1:])
    for sign, compare in _OPERATORS:
        name, found, wanted = value.partition(sign)
        if found:
            return _compared(name.strip(), sign, compare, wanted.strip())
    name, found, pattern = value.partition("~")
    if found:
        return _matched(name, pattern)
    return lambda body: bool(_at(body, value))


def _compared(name: str, sign: str, compare: Callable[[Any, Any], Any], wanted: str) -> _Keeps:
    def keeps(body: dict[str, Any]) -> bool:
        values = _at(body, name)
        if sign == "!=":
            return all(_text(each) != wanted for each in values)
        return any(bool(compare(*_alike(each, wanted))) for each in values)

    return keeps


def _matched(name: str, pattern: str) -> _Keeps:
    try:
        compiled = re2.compile(pattern)
    except re2.error as error:
        raise QueryInvalid(f"property={name}~{pattern}: no RE2 expression") from error
    return lambda body: any(compiled.search(_text(each)) for each in _at(body, name))


def _tagged(value: str) -> _Keeps:
    wanted = [one.rpartition(":")[::2] for one in value.split(",")]

    def keeps(body: dict[str, Any]) -> bool:
        tags = body.get("tags", {})
        return all(
            any(_like(_text(each), pattern) for each in tags.get(name, ()))
            for name, pattern in wanted
        )

    return keeps


def _at(body: Any, path: str) -> list[Any]:
    """The values at a dotted path; a list stands for its items, and its index picks one."""
    found = [body]
    for part in path.split("."):
        found = [each for one in found for each in _step(one, part)]
    return [each for one in found for each in (one if isinstance(one, list) else [one])]


def _step(value: Any, part: str) -> list[Any]:
    if isinstance(value, dict):
        return [value[part]] if part in value else []
    if isinstance(value, list):
        if part.isdigit():
            return value[int(part) : int(part) + 1]
        return [each[part] for each in value if isinstance(each, dict) and part in each]
    return []


def _like(text: str, pattern: str) -> bool:
    """Whether a text fits a pattern with `*` for anything and `**` for a star.

    >>> _like("Shop customers", "Shop*"), _like("a*b", "a**b"), _like("axb", "a**b")
    (True, True, False)
    """
    parts = [
        ".*".join(re2.escape(part) for part in piece.split("*")) for piece in pattern.split("**")
    ]
    return re2.fullmatch(r"\*".join(parts), text) is not None


def _alike(value: Any, wanted: str) -> tuple[Any, Any]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value), float(wanted)
        except ValueError as error:
            raise QueryInvalid(f"{wanted!r} is compared with a number: write a number") from error
    return _text(value), wanted


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, (int, float)):
        return (0, float(value), "")
    return (1, 0.0, str(value or ""))


def _direction(key: str) -> tuple[str, bool]:
    first, colon, second = key.partition(":")
    if colon and first in ("asc", "desc"):
        return second, first == "desc"
    return (first, second == "desc") if colon else (key.lstrip("+-"), key.startswith("-"))


def _keys(text: str) -> list[str]:
    return [key.strip() for key in text.split(",") if key.strip()]


def _whole(text: str, name: str, least: int, most: int | None) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise QueryInvalid(f"{name} {text!r} is no whole number")
    value = int(text)
    if value < least or (most is not None and value > most):
        raise QueryInvalid(f"{name} {value} is not between {least} and {most}")
    return value


_SPECIAL: Mapping[str, Callable[[str], _Keeps]] = {
    "property": _condition,
    "tags": _tagged,
    "createdAfter": _created_after,
    "createdBefore": _created_before,
    "batch": _of_batch,
    "dataSet": _of_dataset,
    "dataSetId": _of_dataset,
}
"""Query parameters that filter by more than one plain field."""
