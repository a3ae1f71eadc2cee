"""What does a record of this schema look like?"""

from __future__ import annotations

from typing import Any

from amity.kernel.clock import to_iso
from amity.platform.schema.compose import Node

_FORMATS = {
    "date": "2018-11-12",
    "uri": "https://example.com/sample",
    "email": "sample@example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def sample_of(node: Node, at_ms: int) -> Any:
    """A value that a composed field allows, the first suggestion where there are some.

    >>> sample_of({"type": "object", "properties": {"a": {"type": "boolean"}}}, 0)
    {'a': True}
    """
    if "default" in node:
        return node["default"]
    for key in ("enum", "meta:enum"):
        if node.get(key):
            return next(iter(node[key]))
    kind = node.get("type")
    if kind == "object":
        return _object(node, at_ms)
    if kind == "array":
        return [sample_of(node.get("items", {"type": "string"}), at_ms)]
    if kind in ("integer", "number"):
        return _number(node, kind)
    return kind != "string" or _text(node, at_ms)


def _object(node: Node, at_ms: int) -> dict[str, Any]:
    if "properties" in node:
        return {name: sample_of(child, at_ms) for name, child in node["properties"].items()}
    if isinstance(node.get("additionalProperties"), dict):
        return {"key": sample_of(node["additionalProperties"], at_ms)}
    return {}


def _number(node: Node, kind: str) -> float | int:
    low, high = node.get("minimum"), node.get("maximum")
    value = max(low, min(1, high if high is not None else 1)) if low is not None else 1
    return int(value) if kind == "integer" else float(value)


def _text(node: Node, at_ms: int) -> str:
    if node.get("format") == "date-time":
        return to_iso(at_ms)
    text = _FORMATS.get(node.get("format", ""), _PATTERNS.get(node.get("pattern", ""), "sample"))
    return text[: node["maxLength"]] if "maxLength" in node else text


_PATTERNS = {
    "^[A-Z]{2}$": "US",
    "^[A-Z]{3}$": "USD",
    "^(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$": "11-12",
    "^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$": "en-US",
}
"""Samples of the patterns of the standard library."""
