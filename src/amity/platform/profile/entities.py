"""What does the entities API show, and what may one ask of it?

Pure parts: which fields, which events, in what shape. Behaviour: platform-audiences.md §3.1.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import ge, gt, le, lt
from typing import Any, NamedTuple

import orjson
import re2

from amity.kernel.clock import to_iso
from amity.platform.profile.errors import InvalidEntityRequest
from amity.platform.profile.service import Profile
from amity.platform.profile.store import StoredEvent

EVENTS_MAX = 1_000
PROPERTIES_MAX = 3
_PROPERTY = re2.compile(r"^([^=!<>]+)(!=|<=|>=|=|<|>)(.*)$")
_COMPARE = {"<": lt, "<=": le, ">": gt, ">=": ge}

Cursor = tuple[int, str, str]
"""Where a page of events ends: time, event id, dataset."""


class Asked(NamedTuple):
    """Which events, in what order, how many."""

    xid: str
    limit: int = EVENTS_MAX
    reverse: bool = False
    fields: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    after: Cursor | None = None


class Page(NamedTuple):
    """Events found, and where the next page begins; None at the end."""

    events: list[StoredEvent]
    next: Cursor | None


def shown_profile(xid: str, profile: Profile, fields: tuple[str, ...]) -> dict[str, Any]:
    """A profile as the API shows it."""
    return {
        "requestedIdentity": {},
        "mergePolicy": {"id": profile.policy.id},
        "entityId": xid,
        "sources": list(profile.datasets),
        "tags": [],
        "identityGraph": [identity.xid for identity in profile.members],
        "entity": only(profile.entity, fields),
        "lastModifiedAt": to_iso(profile.modified_ms),
    }


def shown_nobody() -> dict[str, Any]:
    """What a list of answers holds for an identity of which nothing is known."""
    return {"sources": [""], "entity": {}, "lastModifiedAt": "1970-01-01T00:00:00Z"}


def shown_events(asked: Asked, page: Page) -> list[dict[str, Any]]:
    """Events as the API shows them."""
    return [
        {
            "relatedEntityId": asked.xid,
            "entityId": event.id,
            "timestamp": event.timestamp_ms,
            "entity": only(event.body, asked.fields),
            "lastModifiedAt": to_iso(event.received_ms),
        }
        for event in page.events
    ]


def page_of(events: Iterator[StoredEvent], asked: Asked) -> Page:
    """The events asked for; one more is looked at, to know whether there is a next page."""
    filters = [_property(text) for text in asked.properties]
    found = list(
        islice(
            (
                event
                for event in events
                if _is_after(event, asked) and all(_holds(event.body, one) for one in filters)
            ),
            asked.limit + 1,
        )
    )
    events_shown = found[: asked.limit]
    more = len(found) > asked.limit
    return Page(events_shown, events_shown[-1][:3] if more and events_shown else None)


def write_cursor(cursor: Cursor | None) -> str:
    """A cursor as text; "" at the end."""
    return "" if cursor is None else base64.urlsafe_b64encode(orjson.dumps(cursor)).decode()


def read_cursor(text: str) -> Cursor | None:
    """A cursor from text.

    >>> read_cursor(write_cursor((5, "a", "d")))
    (5, 'a', 'd')
    """
    if not text:
        return None
    try:
        at_ms, event, dataset = orjson.loads(base64.urlsafe_b64decode(text))
        return int(at_ms), str(event), str(dataset)
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidEntityRequest(
            "start is no cursor of ours: take it from the next link of the page before"
        ) from error


def only(entity: dict[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """The fields named by dotted paths; all of them when none is named.

    >>> only({"a": {"b": 1, "c": 2}, "d": 3}, ["a.b"])
    {'a': {'b': 1}}
    """
    paths = [field.split(".") for field in fields if field]
    if not paths:
        return entity
    chosen: dict[str, Any] = {}
    for path in paths:
        _copy(entity, chosen, path)
    return chosen


def _copy(source: dict[str, Any], target: dict[str, Any], path: list[str]) -> None:
    head, *rest = path
    if head not in source:
        return
    value = source[head]
    if not rest:
        target[head] = value
    elif isinstance(value, dict):
        inner = target.setdefault(head, {})
        if isinstance(inner, dict):
            _copy(value, inner, rest)
        if inner == {}:
            del target[head]


def _is_after(event: StoredEvent, asked: Asked) -> bool:
    if asked.after is None:
        return True
    return event[:3] < asked.after if asked.reverse else event[:3] > asked.after


def _property(text: str) -> tuple[list[str], str, str]:
    found = _PROPERTY.match(text)
    if found is None:
        raise InvalidEntityRequest(
            f"property {text!r} is no comparison: write path, one of = != < <= > >=, value"
        )
    path, compare, value = found.groups()
    return path.strip().split("."), compare, value.strip().strip("\"'")


def _holds(body: dict[str, Any], filter: tuple[list[str], str, str]) -> bool:
    path, compare, text = filter
    value: Any = body
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if compare in {"=", "!="}:
        return _equal(value, text) == (compare == "=")
    if value is None:
        return False
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return bool(_COMPARE[compare](value, float(text)))
    except ValueError:
        return False
    return bool(_COMPARE[compare](str(value), text))


def _equal(value: Any, text: str) -> bool:
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    if isinstance(value, int | float):
        try:
            return float(value) == float(text)
        except ValueError:
            return False
    return bool(value == text)
