"""Which number stands for a name, and which name for a number?

Columns hold the numbers of the followed system; code, HTTP and files speak of names.
"""

from __future__ import annotations

from functools import lru_cache

from amity.campaign.recipients.errors import BadValue
from amity.campaign.recipients.model import Enumeration


def value_of(enumeration: Enumeration, name: str) -> int | str:
    """The value that stands for `name`; refused with the names there are.

    >>> from amity.campaign.recipients.builtin import FAILURE_REASON
    >>> value_of(FAILURE_REASON, "userUnknown")
    1
    """
    values = _values(enumeration)
    if name not in values:
        raise BadValue(f"{name[:80]!r} is no {enumeration.name}; there are: {', '.join(values)}")
    return values[name]


def number_of(enumeration: Enumeration, name: str) -> int:
    """`value_of` an enumeration of numbers."""
    return int(value_of(enumeration, name))


def name_of(enumeration: Enumeration, value: int | str | None) -> str:
    """The name of a stored value; the value as text where it has none, "" for nothing.

    >>> from amity.campaign.recipients.builtin import LOG_STATUS
    >>> name_of(LOG_STATUS, 6)
    'pending'
    """
    if value is None:
        return ""
    return _names(enumeration).get(value, str(value))


@lru_cache(maxsize=256)
def _values(enumeration: Enumeration) -> dict[str, int | str]:
    return {one.name: one.value for one in enumeration.values}


@lru_cache(maxsize=256)
def _names(enumeration: Enumeration) -> dict[int | str, str]:
    return {one.value: one.name for one in enumeration.values}
