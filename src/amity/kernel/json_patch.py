"""How is a JSON document changed by a patch? As RFC 6902 says."""

from __future__ import annotations

from typing import Any

import jsonpatch
import jsonpointer
import orjson

from amity.kernel.errors import Invalid
from amity.kernel.limits import BODY_BYTES_MAX

OPERATIONS_MAX = 1_000
"""Operations in one patch. Ours."""


class PatchRefused(Invalid):
    """The JSON Patch cannot be applied."""


def apply_patch(document: Any, operations: Any) -> Any:
    """A changed copy of `document`; the document itself is left as it was.

    Raises:
        PatchRefused: Naming the operation that cannot be applied, and why.

    >>> apply_patch({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}])
    {'a': [1, 2]}
    >>> apply_patch({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}])
    {'b': 1}
    """
    if not isinstance(operations, list) or not operations:
        raise PatchRefused('send a list of operations: [{"op": "add", "path": "/x", "value": 1}]')
    if len(operations) > OPERATIONS_MAX:
        raise PatchRefused(f"a patch has at most {OPERATIONS_MAX} operations")
    changed = document
    for number, operation in enumerate(operations):
        try:
            changed = jsonpatch.apply_patch(changed, [operation], in_place=False)
            _check_growth(changed, operation)
        except (
            jsonpatch.JsonPatchException,
            jsonpointer.JsonPointerException,
            TypeError,
            KeyError,
            AttributeError,
            RecursionError,
        ) as error:
            raise PatchRefused(
                f"operation {number} {operation!r} cannot be applied: {error}", operation=number
            ) from error
    return changed


def _check_growth(changed: Any, operation: Any) -> None:
    """A copy of the whole into itself doubles it: thirty of them would fill the memory."""
    if operation["op"] == "copy" and len(orjson.dumps(changed)) > BODY_BYTES_MAX:
        raise PatchRefused(f"the document would grow beyond {BODY_BYTES_MAX} bytes")


def pointer_parts(pointer: Any) -> list[str]:
    """The parts of a JSON pointer.

    >>> pointer_parts("/a~1b/0")
    ['a/b', '0']
    """
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise PatchRefused(f"{pointer!r} is no JSON pointer; write /a/b")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
