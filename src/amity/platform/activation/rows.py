"""Which rows does a person give, and why does another give none?

Pure. Every person asked for is counted once: written, or excluded for the first reason that holds.
Behaviour: platform-activation.md §3, §4.6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import orjson

from amity.kernel.clock import to_iso
from amity.platform.activation.destination import Words
from amity.platform.activation.flow_body import Column, DestinationFlow, Path
from amity.platform.activation.model import Qualified
from amity.platform.governance.consent import Answer, answer, answer_for, lets_pass, strictest

Reason = Literal[
    "never_sent",
    "no_profile",
    "merged",
    "consent",
    "mandatory_missing",
    "identity_missing",
    "duplicate",
]
View = Mapping[str, Any]
Cells = tuple[str | None, ...]

CODES: Mapping[Reason, tuple[str, str]] = {
    "never_sent": ("AMITY-ACTIVATION-1", "Left the audience before ever being sent."),
    "no_profile": ("AMITY-ACTIVATION-2", "Nothing is known of the person any more."),
    "merged": ("AMITY-ACTIVATION-6", "The person is in the audience under another profile now."),
    "consent": ("AMITY-ACTIVATION-3", "No consent for what the destination is used for."),
    "mandatory_missing": (
        "ACTIVATION_BATCH-0000-SKIP",
        "Records didn't match attribute filter.",
    ),
    "identity_missing": ("AMITY-ACTIVATION-4", "No identity of the mapped namespace."),
    "duplicate": ("AMITY-ACTIVATION-5", "Another profile has the same key and changed later."),
}
"""Code and text of each reason in a run."""


class Row(msgspec.Struct, frozen=True):
    """One line to be, with what decides between duplicates: the key and when it changed."""

    cells: Cells
    key: tuple[str, ...] | None
    at_ms: int


class Ledger:
    """Counts people in and out; `adds_up` is the promise."""

    def __init__(self) -> None:
        self.qualified = 0
        self.written = 0
        self.rows = 0
        self.excluded: Counter[Reason] = Counter()

    @property
    def adds_up(self) -> bool:
        """Whether everyone asked for was written or excluded for a reason."""
        return self.qualified == self.written + self.excluded.total()

    def body(self) -> dict[str, Any]:
        """The ledger as it stands in the run."""
        return {
            "qualified": self.qualified,
            "written": self.written,
            "rows": self.rows,
            "excluded": dict(sorted((+self.excluded).items())),
        }


class RowMaker:
    """Makes rows of one flow.

    Args:
        flow: Columns, key, mandatory fields.
        purposes: The consents asked for; none asked, none checked.
        words: The destination's words in the status column.
    """

    def __init__(self, flow: DestinationFlow, purposes: Sequence[str], words: Words) -> None:
        self._flow = flow
        self._purposes = purposes
        self._words = words
        self._namespace = flow.key.namespace if flow.key else ""
        self._cells = [self._cell(column) for column in flow.columns]

    def rows(self, person: Qualified, view: View) -> list[Row] | Reason:
        """The rows of one person (one an identity value of the key), or why there are none."""
        if person.active and not self._agrees(view):
            return "consent"
        if any(self._missing(column, view) for column in self._flow.mandatory):
            return "mandatory_missing"
        if not self._namespace:
            return [self._row(person, view, "")]
        values = identity_values(view, self._namespace)
        if not values:
            return "identity_missing"
        agreed = [value for value in values if not person.active or self._agrees_as(view, value)]
        return [self._row(person, view, value) for value in agreed] or "consent"

    def _row(self, person: Qualified, view: View, identity: str) -> Row:
        cells = tuple(cell(person, view, identity) for cell in self._cells)
        return Row(cells, self._key(view), person.at_ms)

    def _key(self, view: View) -> tuple[str, ...] | None:
        """Attribute keys alone: an identity belongs to one profile, so it cannot be met twice."""
        if not self._flow.key or not self._flow.key.paths:
            return None
        parts = [cell_text(value_at(view, path)) for path in self._flow.key.paths]
        return None if all(part is None for part in parts) else tuple(part or "" for part in parts)

    def _agrees(self, view: View) -> bool:
        consents = view.get("consents")
        if not consents or not self._purposes:
            return not self._purposes or not self._flow.consent_required
        return self._passes(answer(consents, purpose) for purpose in self._purposes)

    def _agrees_as(self, view: View, value: str) -> bool:
        consents = view.get("consents")
        if not consents or not self._purposes:
            return True
        return self._passes(
            answer_for(consents, purpose, self._namespace, value) for purpose in self._purposes
        )

    def _passes(self, answers: Iterable[Answer]) -> bool:
        return lets_pass(strictest(answers), required=self._flow.consent_required)

    def _missing(self, column: Column, view: View) -> bool:
        if column.kind == "identity":
            return not identity_values(view, column.namespace)
        return column.kind == "attribute" and cell_text(value_at(view, column.path)) is None

    def _cell(self, column: Column) -> Callable[[Qualified, View, str], str | None]:
        match column.kind:
            case "identity":
                return lambda _person, _view, identity: identity
            case "status":
                words = self._words
                return lambda person, _view, _identity: (
                    words.realized if person.active else words.exited
                )
            case "qualified":
                return lambda person, _view, _identity: to_iso(person.at_ms)
            case "attribute":
                path = column.path
                return lambda _person, view, _identity: cell_text(value_at(view, path))


def value_at(view: Any, path: Path) -> Any:
    """The value at a path, None when there is none; the most asked of all questions here.

    >>> value_at({"emails": [{"address": "a@b.test"}]}, ("emails", 0, "address"))
    'a@b.test'
    """
    node = view
    try:
        for part in path:
            node = node[part]
    except (KeyError, IndexError, TypeError):
        return None
    return node


def identity_values(view: View, namespace: str) -> list[str]:
    """The identities of a namespace in a profile view, in order, each once."""
    listed = value_at(view, ("identityMap", namespace))
    if not isinstance(listed, list):
        return []
    return sorted({str(one["id"]) for one in listed if isinstance(one, Mapping) and one.get("id")})


def cell_text(value: Any) -> str | None:
    """A value as the text of a cell; an object or list as JSON.

    >>> [cell_text(one) for one in (True, 1.5, "x", None, "")]
    ['true', '1.5', 'x', None, None]
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def wins(one: Row, other: Row) -> bool:
    """Whether `one` is the row to keep: changed later, else first in the order of its columns."""
    if one.at_ms != other.at_ms:
        return one.at_ms > other.at_ms
    return _order(one.cells) < _order(other.cells)


def _order(cells: Cells) -> tuple[str, ...]:
    return tuple(cell or "" for cell in cells)
