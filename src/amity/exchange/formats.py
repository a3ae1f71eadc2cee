"""What does a file of the exchange look like? One frozen description a version.

Whoever changes what a version writes makes a new version: files outlive programs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from amity.exchange.errors import BadColumns
from amity.tabular.formats import CsvDialect, InputFormat

FileKind = Literal["csv", "json_lines", "parquet"]

_CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json_lines": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}

_DEFAULTS = CsvDialect()


@dataclass(frozen=True, slots=True, kw_only=True)
class AudienceFile:
    """A file of the members of one audience, from the platform to the campaign side.

    Attributes:
        preset: Who can read it.
        version: Of this description.
        kind: CSV, JSON lines or Parquet.
        extension: Of the file name, before packing.
        dialect: How cells become a line, for CSV.
        packed: Whether the text is packed with gzip.
        realized: The word for a member in a status column.
        exited: The word for one who has left.
    """

    preset: str
    version: int = 1
    kind: FileKind = "csv"
    extension: str = ".csv"
    dialect: CsvDialect = _DEFAULTS
    packed: bool = False
    realized: str = "active"
    exited: str = "exited"

    @property
    def suffix(self) -> str:
        """How its file names end."""
        return self.extension + (".gz" if self.packed else "")

    @property
    def content_type(self) -> str:
        """For stores that keep one."""
        return "application/gzip" if self.packed else _CONTENT_TYPES[self.kind]

    @property
    def input_format(self) -> InputFormat:
        """How it is read back."""
        return InputFormat(kind=self.kind, dialect=self.dialect)

    def header(self, columns: Sequence[str]) -> list[str]:
        """The names in the file of mapped fields: dots become underscores.

        >>> CAMPAIGN_V7.header(["person.name.firstName"])
        ['person_name_firstName']
        """
        names = [column.replace(".", "_") for column in columns]
        if not names:
            raise BadColumns("a file has at least one column: map a field")
        for at, name in enumerate(names):
            if not name or name in names[:at]:
                raise BadColumns(f"two mapped fields are called {name!r} in the file, or none")
        return names


_DOUBLED = CsvDialect(delimiter=",", escape='"', null="", empty="")

CAMPAIGN_V7 = AudienceFile(
    preset="campaign_v7",
    extension=".txt",
    dialect=CsvDialect(delimiter="\t", escape='"', null="", empty=""),
    exited="expired",
)
"""Tab-separated text. Behaviour: campaign.md §9 (files, active and expired)."""

CAMPAIGN_V7_CSV = AudienceFile(preset="campaign_v7", dialect=_DOUBLED, exited="expired")
"""The same people read CSV too."""

CAMPAIGN_STANDARD = AudienceFile(preset="campaign_standard", dialect=_DOUBLED, exited="expired")
"""CSV. Behaviour: platform-activation.md §8."""

CLOUD_STORAGE = AudienceFile(preset="cloud_storage")
"""CSV with the documented defaults. Behaviour: platform-activation.md §4.6."""

AUDIENCE_FILES: Mapping[str, AudienceFile] = {
    "campaign_standard": CAMPAIGN_STANDARD,
    "campaign_v7": CAMPAIGN_V7,
    "campaign_v7_csv": CAMPAIGN_V7_CSV,
    "cloud_storage": CLOUD_STORAGE,
}
"""By the name a destination is configured with."""
