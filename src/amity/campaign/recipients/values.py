"""What becomes of a value on its way into a column, and on its way out?

In: refused with the reason or put into its one form (small letters in an address, a number for a
name). Text on one line holds no line break and no control character: it may come to stand in the
header of a message. Out: names for numbers, RFC 3339 for times. Behaviour: campaign.md §1.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Any

import re2

from amity.campaign.recipients import schema_rules
from amity.campaign.recipients.addresses import normalised
from amity.campaign.recipients.enumerations import name_of, value_of
from amity.campaign.recipients.errors import BadValue
from amity.campaign.recipients.model import Attribute, Enumeration, Schema
from amity.kernel.clock import from_iso, to_iso
from amity.kernel.errors import Invalid

MEMO_CHARS_MAX = 1_000_000
"""Characters in a ``memo``. Ours."""

_CONTROL = re2.compile(r"[\x00-\x1f\x7f-\x{9f}\x{2028}\x{2029}]")
_CONTROL_BUT_LAYOUT = re2.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_EMAIL = re2.compile(
    r"^[^@\s<>,;:\"()\[\]\\]{1,64}@[^@\s<>,;:\"()\[\]\\.]+(\.[^@\s<>,;:\"()\[\]\\.]+)*\z"
)
_PHONE_DIGITS = (3, 17)
_NUMBER = re2.compile(r"^-?[0-9]{1,18}\z")
_DATE = re2.compile(r"^\d{4}-\d{2}-\d{2}\z")


def text_fault(text: str, *, lines: bool = False) -> str:
    r"""Why a text cannot be kept; "" when it can. `lines`: line breaks and tabs are allowed.

    >>> text_fault("Ann\r\nBcc: all@example.com")
    'it holds a control character (U+000D); a name is one line of text'
    >>> text_fault("Ann")
    ''
    """
    if text.isprintable():
        return ""
    found = (_CONTROL_BUT_LAYOUT if lines else _CONTROL).search(text) if _encodable(text) else None
    if found is not None:
        point = ord(found.group(0))
        return f"it holds a control character (U+{point:04X}); a name is one line of text"
    return "" if _encodable(text) else "it holds half a character, which cannot be written as UTF-8"


def stored(schema: Schema, attribute: Attribute, value: Any) -> Any:
    """What is written to the column; None for nothing.

    Raises `BadValue`, which names the attribute and the reason.
    """
    if value is None or value == "":
        return _nothing(schema, attribute)
    try:
        if attribute.enum:
            return _enumerated(enumeration(schema, attribute.enum), value)
        return _typed(attribute, value)
    except Invalid as error:
        raise _bad(schema, attribute, error.message) from error
    except BadValue as error:
        raise _bad(schema, attribute, error.message) from error


def from_text(attribute: Attribute, text: str) -> Any:
    """A value as a query string writes it, for `stored`: numbers and booleans are texts there."""
    if attribute.enum and not _NUMBER.match(text):
        return text
    if attribute.type == "boolean":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if attribute.type in {"string", "memo", "date"} or not _NUMBER.match(text):
        return text
    return float(text) if attribute.type == "double" else int(text)


def shown(schema: Schema, attribute: Attribute, value: Any) -> Any:
    """How an answer tells of a column's value."""
    if value is None:
        return None
    if attribute.enum:
        return name_of(enumeration(schema, attribute.enum), value)
    if attribute.type == "boolean":
        return bool(value)
    if attribute.type == "datetime":
        return to_iso(value) if value else None
    return value


def row_shown(schema: Schema, row: Mapping[Any, Any]) -> dict[str, Any]:
    """A record as answers tell of it: attributes by name, links as ``<link>-id``."""
    body: dict[str, Any] = {"id": row["id"]} if schema.autopk else {}
    body |= {one.name: shown(schema, one, row[one.name]) for one in schema.attributes}
    return body | {f"{one.name}-id": row[f"{one.name}_id"] for one in schema.links}


def enumeration(schema: Schema, name: str) -> Enumeration:
    """An enumeration of a compiled schema."""
    return next(one for one in schema.enumerations if one.name == name)


def _bad(schema: Schema, attribute: Attribute, why: str) -> BadValue:
    return BadValue(f"{schema.id}, {attribute.name}: {why}", field=attribute.name)


def _nothing(schema: Schema, attribute: Attribute) -> Any:
    if attribute.default is not None:
        return attribute.default
    if attribute.required:
        raise _bad(schema, attribute, "it is required")
    return None


def _enumerated(made: Enumeration, value: Any) -> int | str:
    if isinstance(value, str):
        return value_of(made, value)
    found = [one.value for one in made.values if one.value == value and type(value) is int]
    if not found:
        names = ", ".join(one.name for one in made.values)
        raise BadValue(f"{value!r} is no {made.name}; there are: {names}")
    return found[0]


def _typed(attribute: Attribute, value: Any) -> Any:
    kind = attribute.type
    if kind in {"string", "memo"}:
        return _text(attribute, value)
    if kind == "double":
        return _double(value)
    if kind == "date":
        return _date(value)
    if kind == "datetime" and isinstance(value, str):
        return _whole(kind, from_iso(value))
    if kind == "boolean":
        if value not in (True, False):
            raise BadValue(f"{_short(value)} is no boolean; write true or false")
        return bool(value)
    return _whole(kind, value)


def _text(attribute: Attribute, value: Any) -> str | None:
    if not isinstance(value, str):
        raise BadValue(f"{_short(value)} is no text")
    memo = attribute.type == "memo"
    if fault := text_fault(value, lines=memo):
        raise BadValue(fault)
    text = value if memo else value.strip()
    text = _by_policy(attribute.policy, text) if text else ""
    most = MEMO_CHARS_MAX if memo else attribute.length
    if len(text) > most:
        raise BadValue(f"{len(text)} characters are too many: at most {most}")
    if not text and attribute.required:
        raise BadValue("it is required")
    return text or None


def _by_policy(policy: str, text: str) -> str:
    if policy == "email":
        text = normalised(text)
        if not _EMAIL.match(text):
            raise BadValue(f"{text[:80]!r} is no e-mail address; write name@example.com")
    elif policy == "phone":
        text = normalised(text, "phone")
        if not _PHONE_DIGITS[0] <= len(text) <= _PHONE_DIGITS[1]:
            raise BadValue(f"{text[:40]!r} is no telephone number; write +43 1 23456")
    elif policy == "smartCase":
        text = smart_case(text)
    elif policy == "lowerCase":
        text = text.lower()
    elif policy == "upperCase":
        text = text.upper()
    return text


def smart_case(text: str) -> str:
    """Each word with a capital letter first.

    >>> smart_case("mary-ann  O'NEIL")
    "Mary-Ann O'Neil"
    """
    words, begins = [], True
    for letter in " ".join(text.split()):
        words.append(letter.upper() if begins else letter.lower())
        begins = not letter.isalnum()
    return "".join(words)


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadValue(f"{_short(value)} is no number")
    try:
        number = float(value)
    except OverflowError as error:
        raise BadValue(f"{_short(value)} is too large a number") from error
    if not math.isfinite(number):
        raise BadValue(f"{_short(value)} is no finite number")
    return number


def _date(value: Any) -> str:
    if isinstance(value, str) and _DATE.match(value):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    raise BadValue(f"{_short(value)} is no date; write 1984-02-29")


def _whole(kind: str, value: Any) -> int:
    bounds = schema_rules.number_range(kind)
    if isinstance(value, bool) or not isinstance(value, int) or bounds is None:
        raise BadValue(f"{_short(value)} is no whole number")
    low, high = bounds
    if not low <= value <= high:
        raise BadValue(f"{_short(value)} does not fit into a {kind}: {low} to {high}")
    return value


def _encodable(text: str) -> bool:
    return not any("\ud800" <= one <= "\udfff" for one in text)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
