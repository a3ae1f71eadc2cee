"""How is a file of rows written down?"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from amity.kernel.errors import Invalid

_NO_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf-7"})
"""Codecs that are no character set of files; some take time that grows with the square of a line."""

Kind = Literal["json_lines", "json_array", "parquet", "csv"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvDialect:
    r"""How cells become a line. Behaviour: platform-activation.md §4.6.

    `escape` stands before a quote, or an escape, inside a quoted cell; the quote itself as escape
    doubles it. An empty `quote` means that no cell is quoted: then the escape stands before a
    delimiter, and a line break becomes a space.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = "\\"
    null: str = "null"
    empty: str = ""
    quote_all: bool = False
    header: bool = True
    line_end: str = "\n"

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in "\r\n\"'\\":
            raise Invalid(f"{self.delimiter!r} separates no cells: take one of , TAB | ; :")
        if self.quote not in {'"', ""}:
            raise Invalid(f'{self.quote!r} quotes no cells: take " or nothing')
        if self.escape not in {"\\", "'", '"'} or (self.escape == '"' and not self.quote):
            raise Invalid(f"{self.escape!r} escapes nothing: take \\ or '")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFormat:
    """The format of a file that is read.

    `dialect.null` is the text that stands for no value, besides an empty cell.
    """

    kind: Kind
    dialect: CsvDialect = CsvDialect(escape='"', null="")
    charset: str = "utf-8"

    @classmethod
    def parse(cls, declared: Mapping[str, Any]) -> InputFormat:
        """The format a batch declares as `inputFormat`. Behaviour: platform-collect.md §5.

        >>> InputFormat.parse({"format": "json", "isMultiLineJson": True}).kind
        'json_array'
        """
        match declared.get("format", "json"):
            case "json":
                return cls(kind="json_array" if declared.get("isMultiLineJson") else "json_lines")
            case "parquet":
                return cls(kind="parquet")
            case "csv":
                return cls._csv(declared)
            case other:
                raise Invalid(
                    f"inputFormat.format {other!r} is not known: take json, parquet or csv",
                    path="/inputFormat/format",
                )

    @classmethod
    def _csv(cls, declared: Mapping[str, Any]) -> InputFormat:
        dialect = CsvDialect(
            delimiter=str(declared.get("delimiter", ",")),
            quote=str(declared.get("quote", '"')),
            escape=str(declared.get("escape", '"')),
            null=str(declared.get("nullMarker", "")),
        )
        charset = str(declared.get("charset", "utf-8")).lower()
        try:
            usable = codecs.lookup(charset).name not in _NO_CHARSETS
            "".encode(charset)
        except (LookupError, ValueError):
            usable = False
        if not usable:
            raise Invalid(f"charset {charset[:40]!r} is not known", path="/inputFormat/charset")
        return cls(kind="csv", dialect=dialect, charset=charset)


JSON_LINES = InputFormat(kind="json_lines")
JSON_ARRAY = InputFormat(kind="json_array")
PARQUET = InputFormat(kind="parquet")
CSV = InputFormat(kind="csv")
