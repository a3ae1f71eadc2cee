"""How deep is a JSON value?

Deep nesting costs whoever walks it by recursion; it is refused before anyone does.
"""

from __future__ import annotations

from typing import Any

NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
"""What to leave out of a text to see how it nests: measured at half of counting what opens."""


def deeper_than(levels: int, value: Any, raw: bytes | None = None) -> bool:
    """Whether objects and arrays lie in one another more than `levels` deep.

    Args:
        levels: How deep is still good; a flat object or array is 1 deep, a scalar 0.
        value: What was parsed.
        raw: The text it was parsed from, if at hand: what has few brackets need not be walked.

    >>> deeper_than(2, {"a": [1, 2]}), deeper_than(1, {"a": [1, 2]}), deeper_than(0, 5)
    (False, True, False)
    """
    if raw is not None and len(raw.translate(None, NO_BRACKETS)) <= 2 * levels:
        return False
    level = _containers([value])
    for _ in range(levels):
        if not level:
            return False
        level = _containers(
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        )
    return bool(level)


def _containers(values: Any) -> list[Any]:
    return [value for value in values if isinstance(value, (dict, list))]
