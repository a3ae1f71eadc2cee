"""When are two addresses the same?

Logs, recipients and the quarantine compare addresses in one form, however they were typed.
"""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

Channel = Literal["email", "sms", "phone", "paper", "mobile", "other"]
"""As ``messageType`` calls them."""

_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def normalised(address: str, channel: Channel = "email") -> str:
    """The key of an address: quarantine does not depend on how it was typed.

    Only letters a to z are made small, as SQL does in `key`.

    >>> normalised(" Ann@Example.COM ")
    'ann@example.com'
    >>> normalised("0043 (1) 234-56", "sms")
    '+43123456'
    """
    stripped = address.strip()
    if channel == "email":
        return stripped.translate(_LOWER)
    if channel in {"sms", "phone"}:
        digits = "".join(one for one in stripped if "0" <= one <= "9")
        if stripped.startswith("+"):
            return "+" + digits
        return "+" + digits[2:] if digits.startswith("00") else digits
    return stripped


def key(address: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """The same of a column of e-mail addresses, to join ``nms:address`` in SQL."""
    return sa.func.lower(sa.func.trim(address))
