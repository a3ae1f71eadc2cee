"""What becomes of a column of a population on its way into a table made from a schema?

The same rules as for the API (`recipients.values`): refused with the reason, or put into its one form.
Values that come again are looked up, not worked out again.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from amity.campaign.recipients.errors import BadValue
from amity.campaign.recipients.model import Attribute, Schema
from amity.campaign.recipients.values import from_text, stored

KNOWN_MAX = 50_000
"""Values of one column kept in mind. Ours."""

_TEXTS = frozenset({"string", "memo"})


class Refused(str):
    """Stands for a value that cannot be kept; its text is the reason."""

    __slots__ = ()


class Incoming(dict[Any, Any]):
    """Value as it comes → as it is kept, or `Refused`; for one attribute."""

    def __init__(self, schema: Schema, attribute: Attribute) -> None:
        super().__init__()
        self._schema = schema
        self._attribute = attribute
        text = attribute.type == "string" and not attribute.enum
        self._plain = text and attribute.policy == "none"
        self._address = text and attribute.policy == "email"
        self.refused = False
        """Whether any value so far cannot be kept."""

    def __missing__(self, value: Any) -> Any:
        made = self._made(value)
        self[value] = made
        return made

    def kept(self, values: Sequence[Any]) -> list[Any]:
        """A part of the column."""
        if len(self) > KNOWN_MAX:
            self.clear()
        return [self[value] for value in values]

    def _made(self, value: Any) -> Any:
        attribute = self._attribute
        if isinstance(value, str):
            value = value.strip()
            if self._plain and 0 < len(value) <= attribute.length and value.isprintable():
                return value
            if self._address and _is_usual(value) and len(value) <= attribute.length:
                return value.lower()
            value = from_text(attribute, value)
        elif attribute.type in _TEXTS and value is not None and not attribute.enum:
            value = str(value)
        try:
            return stored(self._schema, attribute, value)
        except BadValue as error:
            self.refused = True
            return Refused(error.message)


_USUAL = frozenset(string.ascii_letters + string.digits + ".-_+@")
_LOCAL_CHARS_MAX = 64


def _is_usual(address: str) -> bool:
    """Whether an address is of the kind nearly all are, which needs no closer look.

    >>> _is_usual("Ann.Lee+shop@example.com"), _is_usual("ann@localhost..com")
    (True, False)
    """
    local, _, domain = address.partition("@")
    return (
        _USUAL.issuperset(address)
        and 0 < len(local) <= _LOCAL_CHARS_MAX
        and "@" not in domain
        and all(domain.split("."))
    )
