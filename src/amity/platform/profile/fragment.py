"""What has one dataset said of one identity, whatever order it said it in?

A fragment is a stack of layers, oldest first, one a record. A layer holds the leaves that no newer
record has said again, so the stack is as deep as there are leaves at most, and a record that comes
late falls into its place. Objects and maps merge key by key, arrays are replaced whole; the lists of
`identityMap` count as maps by id. Behaviour: platform-audiences.md §3.2 (our choice where silent).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from amity.flow.step import Position
from amity.kernel.limits import LOG_PARTITIONS

IDENTITY_MAP = "identityMap"


class ReceiptStamp(NamedTuple):
    """When a record was received: business time, then place in the log.

    A virtual clock stands still between advances: within an instant, what its writer appended later
    was received later, whatever partition it fell into.
    """

    received_ms: int
    writer: int
    offset: int
    partition: int
    n: int

    @classmethod
    def of(cls, received_ms: int, position: Position) -> ReceiptStamp:
        """The stamp of the message at a place in the log.

        >>> early = ReceiptStamp.of(1, Position(63, 5, 0))
        >>> early < ReceiptStamp.of(1, Position(2, 6, 0)) < ReceiptStamp.of(1, Position(64, 1, 0))
        True
        """
        partition, offset, n = position
        return cls(received_ms, partition // LOG_PARTITIONS, offset, partition, n)


class Layer(msgspec.Struct, frozen=True, array_like=True):
    """What of one record still stands."""

    stamp: ReceiptStamp
    fields: dict[str, Any]


class Fragment(msgspec.Struct, frozen=True, array_like=True):
    """The records of one identity in one dataset, oldest layer first."""

    layers: tuple[Layer, ...]

    @property
    def stamp(self) -> ReceiptStamp:
        """When it was last updated. The newest record always keeps a layer."""
        return self.layers[-1].stamp

    @property
    def fields(self) -> dict[str, Any]:
        """All its fields."""
        merged: dict[str, Any] = {}
        for layer in self.layers:
            merged = overlay(merged, layer.fields)
        return merged


def upsert(old: Fragment | None, stamp: ReceiptStamp, body: dict[str, Any]) -> Fragment | None:
    """The fragment with a record taken in; None when the record changes nothing.

    >>> one = upsert(None, ReceiptStamp(1, 0, 0, 0, 0), {"a": 1, "b": {"c": 2}})
    >>> upsert(one, ReceiptStamp(2, 0, 0, 0, 0), {"b": {"d": 3}, "a": 4}).fields
    {'b': {'c': 2, 'd': 3}, 'a': 4}
    """
    fields = unfold_map(body)
    if old is None:
        return Fragment((Layer(stamp, fields),))
    if any(layer.stamp == stamp for layer in old.layers):
        return None
    below, above = [], []
    for layer in old.layers:
        if layer.stamp < stamp:
            left = without(layer.fields, fields)
            if left:
                below.append(Layer(layer.stamp, left))
        else:
            fields = without(fields, layer.fields)
            above.append(layer)
    if above and not fields:
        return None
    return Fragment((*below, Layer(stamp, fields), *above))


def overlay(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Both, key by key; where both say something that is no object, `over` wins."""
    if not under:
        return over
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = overlay(below, value)
        else:
            merged[key] = value
    return merged


def without(fields: dict[str, Any], said_again: dict[str, Any]) -> dict[str, Any]:
    """The leaves of `fields` that `said_again` does not hold.

    >>> without({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 5}, "d": 6})
    {'a': {'c': 2}}
    """
    left: dict[str, Any] = {}
    for key, value in fields.items():
        if key not in said_again:
            left[key] = value
            continue
        again = said_again[key]
        if isinstance(value, dict) and isinstance(again, dict):
            rest = without(value, again)
            if rest:
                left[key] = rest
        elif isinstance(value, dict) or isinstance(again, dict):
            left[key] = value
    return left


def unfold_map(body: dict[str, Any]) -> dict[str, Any]:
    """`identityMap` as maps by id, so that it unites like any map."""
    entries = body.get(IDENTITY_MAP)
    if not isinstance(entries, dict):
        return body
    return {
        **body,
        IDENTITY_MAP: {
            ns: {str(item["id"]): item for item in items if isinstance(item, dict) and "id" in item}
            for ns, items in entries.items()
            if isinstance(items, list)
        },
    }


def fold_map(fields: dict[str, Any]) -> dict[str, Any]:
    """`identityMap` as the lists the world knows, sorted by id."""
    entries = fields.get(IDENTITY_MAP)
    if not isinstance(entries, dict):
        return fields
    folded = {ns: [items[id] for id in sorted(items)] for ns, items in sorted(entries.items())}
    return {**fields, IDENTITY_MAP: folded}
