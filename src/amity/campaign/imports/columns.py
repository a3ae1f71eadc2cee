"""How does a cell of a file become a value of a column, and what if it does not?

Behaviour: campaign.md §1.3 (per column: type, length, case, white space, NULLs, error processing,
default, mapping of values). A text is one line: a line break in a name may come to stand in the
header of a message, so it is an error like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Literal

import msgspec
import re2

from amity.campaign.imports.errors import BadColumn
from amity.campaign.recipients.values import text_fault
from amity.kernel.clock import from_iso
from amity.kernel.errors import Invalid

ValueType = Literal["long", "double", "string", "date", "datetime", "boolean"]
Value = str | int | float | None

_NAME = re2.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")
_TAKEN = frozenset({"n", "id", "rowid", "oid", "_rowid_"})
"""A work table has columns of these names already."""

_LONG_DIGITS_MAX = 18
_DOUBLE = re2.compile(r"^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?$")
_YES, _NO = frozenset({"1", "true", "yes", "y", "t"}), frozenset({"0", "false", "no", "n", "f"})
_DATE_PARTS = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_DATE_PART = re2.compile(r"yyyy|MM|dd|HH|mm|ss")
_UNSAFE_IN_NAME = re2.compile(r"[^A-Za-z0-9_]+")


class FileColumn(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """A column that is taken from a file."""

    name: str
    source: str = ""
    """What the file calls it; "" for the same name."""

    type: ValueType = "string"
    length: int = 255
    nulls: Literal["allowed", "required"] = "allowed"
    on_error: Literal["reject", "ignore", "default"] = "reject"
    """`ignore` leaves the value empty and the row goes on, with a warning."""

    default: str | int | float | bool | None = None
    """Where the cell is empty, and with `onError` "default" where it is wrong."""

    case: Literal["none", "lower", "upper", "first"] = "none"
    trim: bool = True
    format: str = ""
    """Of dates and times: ``dd.MM.yyyy HH:mm:ss``; "" for ISO 8601."""

    decimal: Literal[".", ","] = "."
    mapping: dict[str, str] = {}
    """Word in the file → value."""

    unmapped: Literal["keep", "reject", "default"] = "keep"
    """What becomes of a word that `mapping` does not name."""

    @property
    def header(self) -> str:
        """Its name in the file."""
        return self.source or self.name


class WrongCell(Exception):
    """A cell that does not fit its column; the text is the reason."""


class Reader:
    """Makes the value of one column from a cell's text.

    Args:
        column: Which one.
    """

    def __init__(self, column: FileColumn) -> None:
        check_name(column.name)
        self.column = column
        convert = _converter(column)
        self._default = _default(column, convert)
        self.value = self._reading(convert)
        """The value of a cell; raises `WrongCell`, whose text is the reason."""

    def _reading(self, convert: Callable[[str], Value]) -> Callable[[str | None], Value]:
        """One closure a column: it is called for every cell of the file."""
        blanks = " \t\u00a0" if self.column.trim else ""
        nothing, mapped = self._nothing, self._mapped
        plain = not self.column.mapping and self.column.case == "none"

        def read(cell: str | None) -> Value:
            text = cell.strip(blanks) if cell and blanks else cell
            if text and not plain:
                text = mapped(text)
            return convert(text) if text else nothing()

        return read

    def instead(self) -> Value:
        """What stands for a wrong cell where that is no reason to refuse the row."""
        return self._default if self.column.on_error == "default" else None

    def _nothing(self) -> Value:
        if self._default is None and self.column.nulls == "required":
            raise WrongCell("empty, but a value is required")
        return self._default

    def _mapped(self, text: str) -> str | None:
        column = self.column
        if column.mapping:
            if text in column.mapping:
                text = column.mapping[text]
            elif column.unmapped == "default":
                return None
            elif column.unmapped == "reject":
                known = ", ".join(sorted(column.mapping)[:10])
                raise WrongCell(f"{text[:40]!r} is none of {known}")
        return _CASES[column.case](text)


def check_name(name: str) -> None:
    """Refuse a name that a work table's column cannot have."""
    if not _NAME.match(name) or name.lower() in _TAKEN:
        raise BadColumn(
            f"{name[:80]!r} is no name of a column: letters, digits and _, not beginning with a digit, "
            "at most 63, and not n or id, which every work table has"
        )


def name_for(header: str) -> str:
    """A column's name for what a file calls it.

    >>> name_for("person.name.firstName")
    'person_name_firstName'
    >>> name_for("id")
    'id_'
    """
    made = _UNSAFE_IN_NAME.sub("_", header).strip("_")[:60] or "column"
    made = f"_{made}" if made[0].isdigit() else made
    return f"{made}_" if made.lower() in _TAKEN else made


_CASES: dict[str, Callable[[str], str]] = {
    "none": str,
    "lower": str.lower,
    "upper": str.upper,
    "first": lambda text: text[:1].upper() + text[1:].lower(),
}


def _default(column: FileColumn, convert: Callable[[str], Value]) -> Value:
    given = column.default
    if given is None:
        return None
    text = str(int(given)) if isinstance(given, bool) else str(given)
    try:
        return convert(text)
    except WrongCell as wrong:
        raise BadColumn(f"column {column.name!r}: its default does not fit: {wrong}") from None


def _converter(column: FileColumn) -> Callable[[str], Value]:
    match column.type:
        case "string":
            return _text(column.length)
        case "long":
            return _long
        case "double":
            return _double if column.decimal == "." else _comma_double
        case "boolean":
            return _boolean
        case "date" | "datetime":
            return _time(column)


def _text(length: int) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if len(text) > length:
            raise WrongCell(f"{len(text)} characters, but the column has {length}")
        if not text.isprintable() and (fault := text_fault(text)):
            raise WrongCell(fault)
        return text

    return convert


def _long(text: str) -> int:
    digits = text[1:] if text[0] in "+-" else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _LONG_DIGITS_MAX):
        raise WrongCell(f"{text[:40]!r} is no whole number")
    return int(text)


def _double(text: str) -> float:
    if not _DOUBLE.match(text) or not math.isfinite(made := float(text)):
        raise WrongCell(f"{text[:40]!r} is no number")
    return made


def _comma_double(text: str) -> float:
    return _double(text.replace(".", " ").replace(",", "."))


def _boolean(text: str) -> int:
    word = text.lower()
    if word in _YES:
        return 1
    if word in _NO:
        return 0
    raise WrongCell(f"{text[:40]!r} is neither true nor false")


def _time(column: FileColumn) -> Callable[[str], str | int]:
    if not column.format:
        return _iso_date if column.type == "date" else _iso_datetime
    pattern = _DATE_PART.sub(lambda part: _DATE_PARTS[part.group(0)], column.format)
    if "%" in _DATE_PART.sub("", column.format) or pattern == column.format:
        raise BadColumn(
            f"column {column.name!r}: {column.format[:40]!r} is no format of times; write it with "
            "yyyy MM dd HH mm ss"
        )
    of_day = column.type == "date"

    def convert(text: str) -> str | int:
        try:
            at = datetime.strptime(text, pattern).replace(tzinfo=UTC)
        except ValueError:
            raise WrongCell(f"{text[:40]!r} is not of the form {column.format}") from None
        return at.date().isoformat() if of_day else int(at.timestamp() * 1000)

    return convert


def _iso_date(text: str) -> str:
    try:
        return date.fromisoformat(text[:10] if "T" in text else text).isoformat()
    except ValueError:
        raise WrongCell(f"{text[:40]!r} is no date; write 2017-10-30") from None


def _iso_datetime(text: str) -> int:
    try:
        return from_iso(text)
    except Invalid:
        raise WrongCell(f"{text[:40]!r} is no time; write 2017-10-30T08:00:00Z") from None
