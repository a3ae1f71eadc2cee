"""Why is this person in this audience, or not?

Takes the rule apart along `and`, `or` and `not`, evaluates every part by the meaning of the language
and says what each was and until when it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from amity.expression.evaluators.rows import evaluate
from amity.expression.syntax.pql_text import text_of
from amity.expression.times import NEVER
from amity.expression.tree import (
    Call,
    Lambda,
    Node,
    Param,
    is_events,
    path_of,
    walk,
)
from amity.expression.values import truth
from amity.kernel.clock import to_iso
from amity.platform.segmentation.step import KeptEvent, ProfileState

Json = dict[str, Any]
SAMPLE_EVENTS = 5
_PARTS = frozenset({"and", "or", "not"})


class Explainer:
    """Explains rules for one profile at one instant."""

    def __init__(
        self,
        *,
        view: Mapping[str, Any],
        events: Iterable[KeptEvent],
        standing: ProfileState | None,
        now_ms: int,
    ) -> None:
        self._view = view
        self._events = [{**event.body, "_id": event.id} for event in events]
        self._standing = standing
        self._now_ms = now_ms
        standings = standing.standings if standing else {}
        self._inside = {id for id, one in standings.items() if one.inside}

    def explain(self, audience: str, rule: Node) -> Json:
        """The whole answer for one audience."""
        standing = self._standing.standings.get(audience) if self._standing else None
        body: Json = {
            "audienceId": audience,
            "evaluatedAt": to_iso(self._now_ms),
            "member": bool(standing and standing.inside),
            "rule": self.part(rule),
        }
        if standing is not None and standing.changes_ms < NEVER:
            body["changesAt"] = to_iso(standing.changes_ms)
        return body

    def part(self, node: Node) -> Json:
        """One part of a rule: what it says, whether it holds, and why."""
        answer = evaluate(node, self._view, self._events, self._now_ms, audiences=self._inside)
        body: Json = {"expression": text_of(node), "holds": truth(answer.value)}
        if answer.changes_at is not None:
            body["changesAt"] = to_iso(answer.changes_at)
        if isinstance(node, Call) and node.name in _PARTS:
            body["operator"] = node.name
            body["parts"] = [self.part(arg) for arg in node.args]
            return body
        values = self._values(node)
        if values:
            body["values"] = values
        return body

    def _values(self, node: Node) -> Json:
        """What the part read: attributes by path, counts and samples of the events it found."""
        found: Json = {}
        for part in walk(node):
            root, path = path_of(part)
            if root == Param(1) and path and not is_events(part) and path[0] != "xEvent":
                found[".".join(path)] = self._value(part)
        if isinstance(node, Call):
            for arg in node.args:
                if _closed(arg) and isinstance(arg, Call):
                    found[text_of(arg)] = _short(self._value(arg))
            if node.name == "exists" and isinstance(node.args[1], Lambda):
                matches = Call("filter", node.args)
                found["matching"] = _short(self._value(matches))
        return found

    def _value(self, node: Node) -> Any:
        found = evaluate(node, self._view, self._events, self._now_ms, audiences=self._inside)
        return found.value


def _closed(node: Node) -> bool:
    return isinstance(node, Call) and any(is_events(part) for part in walk(node))


def _short(value: Any) -> Any:
    """Events by id and time, and no more of them than a reader takes in."""
    if not isinstance(value, list):
        return value
    shown = [_event(item) for item in value[-SAMPLE_EVENTS:]]
    return {"count": len(value), "newest": shown}


def _event(item: Any) -> Any:
    if isinstance(item, dict) and "timestamp" in item:
        return {
            "_id": item.get("_id"),
            "eventType": item.get("eventType"),
            "timestamp": to_iso(int(item["timestamp"])),
        }
    return item
