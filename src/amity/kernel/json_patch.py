"""How is a JSON document changed by a patch? As RFC 6902 says."""

Own and small: the packages for it either copy the whole document at every operation or compile
user patterns; all we need is this page, with errors that name the operation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from amity.kernel.errors import Invalid

OPERATIONS_MAX = 1_000
"""Operations in one patch. Ours."""


class PatchRefused(Invalid):
    """The JSON Patch cannot be applied."""


def apply_patch(document: Any, operations: Any) -> Any:
    """A changed copy of `document`; the document itself is left as it was.

    >>> apply_patch({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}])
    {'a': [1, 2]}
    >>> apply_patch({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}])
    {'b': 1}
    """
    if not isinstance(operations, list):
        raise PatchRefused("a JSON Patch is a list of operations: [{op, path, value}, …]")
    if len(operations) > OPERATIONS_MAX:
        raise PatchRefused(f"a JSON Patch has at most {OPERATIONS_MAX} operations")
    changed = copy.deepcopy(document)
    for number, operation in enumerate(operations):
        try:
            changed = _applied(changed, operation)
        except PatchRefused as refused:
            place = f"operation {number}"
            raise PatchRefused(f"{place}: {refused.message}", operation=number) from refused
    return changed


def pointer_parts(pointer: Any) -> list[str]:
    """The parts of a JSON pointer.

    >>> pointer_parts("/a~1b/0")
    ['a/b', '0']
    """
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise PatchRefused(f"{pointer!r} is no JSON pointer; write /a/b")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _applied(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or "path" not in operation:
        raise PatchRefused("an operation is an object with op and path")
    verb = _VERBS.get(str(operation.get("op")).lower())
    if verb is None:
        raise PatchRefused(f"op {operation.get('op')!r} is none of {', '.join(sorted(_VERBS))}")
    return verb(document, operation)


def _add(document: Any, operation: dict[str, Any]) -> Any:
    return _put(document, pointer_parts(operation["path"]), _value(operation))


def _remove(document: Any, operation: dict[str, Any]) -> Any:
    return _taken(document, pointer_parts(operation["path"]))[0]


def _replace(document: Any, operation: dict[str, Any]) -> Any:
    parts = pointer_parts(operation["path"])
    if not parts:
        return _value(operation)
    parent = _at(document, parts[:-1])
    _at(parent, parts[-1:])
    if isinstance(parent, list):
        parent[_index(parent, parts[-1])] = _value(operation)
    else:
        parent[parts[-1]] = _value(operation)
    return document


def _move(document: Any, operation: dict[str, Any]) -> Any:
    source, target = pointer_parts(operation.get("from")), pointer_parts(operation["path"])
    if target[: len(source)] == source and target != source:
        raise PatchRefused("a value cannot be moved into itself")
    document, moved = _taken(document, source)
    return _put(document, target, moved)


def _copy(document: Any, operation: dict[str, Any]) -> Any:
    copied = copy.deepcopy(_at(document, pointer_parts(operation.get("from"))))
    return _put(document, pointer_parts(operation["path"]), copied)


def _test(document: Any, operation: dict[str, Any]) -> Any:
    if _at(document, pointer_parts(operation["path"])) != _value(operation):
        raise PatchRefused(f"the value at {operation['path']} is another one")
    return document


_VERBS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchRefused(f"{operation.get('op')} {operation['path']} has no value")
    return copy.deepcopy(operation["value"])


def _put(document: Any, parts: Sequence[str], value: Any) -> Any:
    if not parts:
        return value
    parent = _at(document, parts[:-1])
    last = parts[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(parent, last, spare=1), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise PatchRefused(f"/{'/'.join(parts[:-1])} is neither object nor list")
    return document


def _taken(document: Any, parts: Sequence[str]) -> tuple[Any, Any]:
    if not parts:
        raise PatchRefused("the whole document cannot be removed")
    parent = _at(document, parts[:-1])
    found = _at(parent, parts[-1:])
    if isinstance(parent, list):
        del parent[_index(parent, parts[-1])]
    else:
        del parent[parts[-1]]
    return document, found


def _at(document: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list):
            document = document[_index(document, part)]
        else:
            raise PatchRefused(f"there is no {part!r} on the way /{'/'.join(parts)}")
    return document


def _index(items: list[Any], part: str, spare: int = 0) -> int:
    plain = part.isascii() and part.isdigit() and (part == "0" or part[0] != "0")
    if not plain or len(part) > 9 or int(part) >= len(items) + spare:
        raise PatchRefused(f"{part!r} is no place in a list of {len(items)}")
    return int(part)
