"""How is a file of the exchange called?

A template holds macros between percent signs. Behaviour: platform-activation.md §4.5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from amity.exchange.errors import BadFileName
from amity.exchange.guardrails import FILE_NAME_BYTES_MAX

DEFAULT_TEMPLATE = "%DESTINATION_NAME%_segment%SEGMENT_ID%_%DATETIME(yyyyMMddHHmmss)%"

_MACRO = re.compile(r"%(?P<name>[A-Z_]+)(?:\((?P<argument>[^()%]*)\))?%")
_PATTERN = re.compile(
    r"'(?P<quoted>[^']*)'|(?P<open>'.*)|(?P<letters>([A-Za-z])\4*)|(?P<other>[^A-Za-z'])"
)
_DATE_PARTS = {
    "yyyy": "%Y", "YYYY": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "DD": "%d",
    "HH": "%H", "hh": "%H", "mm": "%M", "ss": "%S",
}  # fmt: skip
"""Letters of a pattern. `hh` is of 24 hours, as the documented default name has it."""

_UNSAFE = re.compile(r"[^\w.@+=~ -]")


@dataclass(frozen=True, slots=True, kw_only=True)
class NameFacts:
    """What the macros stand for."""

    destination: str
    segment_id: str
    segment_name: str = ""
    instance_id: str = ""
    instance_name: str = ""
    organization: str = ""
    sandbox: str = ""
    merge_policy_id: str = ""
    merge_policy_name: str = ""
    custom_text: str = ""
    at_ms: int = 0


_MACROS: Mapping[str, Callable[[NameFacts], str]] = {
    "DESTINATION": lambda facts: facts.destination,
    "DESTINATION_NAME": lambda facts: facts.destination,
    "SEGMENT_ID": lambda facts: facts.segment_id,
    "SEGMENT_NAME": lambda facts: facts.segment_name,
    "DESTINATION_INSTANCE_ID": lambda facts: facts.instance_id,
    "DESTINATION_INSTANCE_NAME": lambda facts: facts.instance_name,
    "ORGANIZATION_NAME": lambda facts: facts.organization,
    "SANDBOX_NAME": lambda facts: facts.sandbox,
    "MERGE_POLICY_ID": lambda facts: facts.merge_policy_id,
    "MERGE_POLICY_NAME": lambda facts: facts.merge_policy_name,
    "CUSTOM_TEXT": lambda facts: facts.custom_text,
    "TIMESTAMP": lambda facts: f"{facts.at_ms // 1000:010d}",
}


def check_template(template: str) -> None:
    """Refuse a template whose macros are unknown, contradict each other or lack the mandatory two.

    >>> check_template("%DESTINATION_NAME%_%SEGMENT_ID%")
    """
    _check_macros(template)
    _expanded(template, NameFacts(destination="d", segment_id="s"))


def file_name(template: str, facts: NameFacts, *, extension: str, part: int = 1) -> str:
    """The name of a part of a file set; the second part is ``name_2``.

    >>> facts = NameFacts(destination="Shop", segment_id="a1", at_ms=1509321600000)
    >>> file_name("", facts, extension=".csv")
    'Shop_segmenta1_20171030000000.csv'
    >>> file_name("%DESTINATION%-%SEGMENT_ID%", facts, extension=".csv", part=2)
    'Shop-a1_2.csv'
    """
    wanted = template or DEFAULT_TEMPLATE
    _check_macros(wanted)
    stem = _expanded(wanted, facts).removesuffix(extension)
    name = f"{stem}{extension}" if part == 1 else f"{stem}_{part}{extension}"
    if len(name.encode()) > FILE_NAME_BYTES_MAX:
        raise BadFileName(
            f"{name[:60]!r}… has {len(name.encode())} bytes; a file name has at most "
            f"{FILE_NAME_BYTES_MAX}: shorten the template",
            name=name,
        )
    return name


def _check_macros(template: str) -> None:
    used = [match["name"] for match in _MACRO.finditer(template)]
    rest = _MACRO.sub("", template)
    if "%" in rest:
        raise BadFileName(f"{template!r}: a % stands around a macro only")
    if _UNSAFE.search(rest):
        raise BadFileName(f"{template!r} holds a character that no file name should have")
    unknown = [name for name in used if name not in _MACROS and name != "DATETIME"]
    if unknown:
        known = ", ".join(sorted((*_MACROS, "DATETIME(…)")))
        raise BadFileName(f"%{unknown[0]}% is no macro; known: {known}")
    if not {"DESTINATION", "DESTINATION_NAME"} & set(used) or "SEGMENT_ID" not in used:
        raise BadFileName(
            f"{template!r}: the destination's name and the audience's id cannot be left out"
        )
    if "DATETIME" in used and "TIMESTAMP" in used:
        raise BadFileName(f"{template!r}: take DATETIME or TIMESTAMP, not both")


def _expanded(template: str, facts: NameFacts) -> str:
    def value(match: re.Match[str]) -> str:
        if match["name"] == "DATETIME":
            return _date(match["argument"] or "yyyyMMddHHmmss", facts.at_ms)
        return _UNSAFE.sub("_", _MACROS[match["name"]](facts))

    return _MACRO.sub(value, template)


def _date(pattern: str, at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    made = []
    for match in _PATTERN.finditer(pattern):
        letters = match["letters"]
        if match["open"]:
            raise BadFileName(f"DATETIME({pattern}): a quote is not closed")
        if letters is None:
            made.append(_UNSAFE.sub("_", match["quoted"] or match["other"] or ""))
        elif letters == "SSS":
            made.append(f"{at_ms % 1000:03d}")
        elif letters in _DATE_PARTS:
            made.append(at.strftime(_DATE_PARTS[letters]))
        else:
            raise BadFileName(f"DATETIME({pattern}): {letters!r} is no part of a date")
    return "".join(made)
