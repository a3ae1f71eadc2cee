"""May a schema under which data was collected change like this, and do two of them agree?

Additions, other titles and laxer or stricter `required` may; removing, renaming, retyping or
narrowing a field may not. Behaviour: platform-collect.md §2 (evolution).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_FIXED = ("pattern", "format", "const", "multipleOf")


def breaking(old: dict[str, Any], new: dict[str, Any], path: str = "") -> Iterator[str]:
    """What data valid under `old` could break under `new` (both strict), one sentence each.

    >>> list(breaking({"type": "string"}, {"type": "integer"}, "/age"))
    ['/age changes its type from string to integer']
    """
    if old.get("type") != new.get("type"):
        yield f"{path or '/'} changes its type from {old.get('type')} to {new.get('type')}"
        return
    yield from _narrowed(old, new, path)
    before, after = old.get("properties", {}), new.get("properties", {})
    for name, child in before.items():
        if name in after:
            yield from breaking(child, after[name], f"{path}/{name}")
        else:
            yield f"{path}/{name} is removed"
    for key in ("items", "additionalProperties"):
        if isinstance(old.get(key), dict):
            inner = new.get(key)
            if isinstance(inner, dict):
                yield from breaking(old[key], inner, f"{path}/*")
            else:
                yield f"{path} no longer says what its values are"


def _narrowed(old: dict[str, Any], new: dict[str, Any], path: str) -> Iterator[str]:
    for key in _LOWER:
        if key in new and (key not in old or new[key] > old[key]):
            yield f"{path} raises its {key} to {new[key]}"
    for key in _UPPER:
        if key in new and (key not in old or new[key] < old[key]):
            yield f"{path} lowers its {key} to {new[key]}"
    for key in _FIXED:
        if key in new and new[key] != old.get(key):
            yield f"{path} has another {key}"
    if "enum" in new:
        gone = [value for value in old.get("enum", ()) if value not in new["enum"]]
        if "enum" not in old or gone:
            yield f"{path} allows fewer values than before"
    if new.get("uniqueItems") and not old.get("uniqueItems"):
        yield f"{path} now wants its items to be unique"


def conflicts(one: dict[str, Any], other: dict[str, Any], path: str = "") -> Iterator[str]:
    """The fields that two strict schemas both declare and give different types.

    >>> text, number = {"type": "string"}, {"type": "integer"}
    >>> list(conflicts({"properties": {"a": text}}, {"properties": {"a": number}}))
    ['/a is string in one schema and integer in the other']
    """
    if one.get("type") != other.get("type"):
        types = f"{one.get('type')} in one schema and {other.get('type')} in the other"
        yield f"{path or '/'} is {types}"
        return
    mine, theirs = one.get("properties", {}), other.get("properties", {})
    for name in mine.keys() & theirs.keys():
        yield from conflicts(mine[name], theirs[name], f"{path}/{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(one.get(key), dict) and isinstance(other.get(key), dict):
            yield from conflicts(one[key], other[key], f"{path}/*")
