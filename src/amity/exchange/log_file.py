"""How do the campaign side's logs come to the platform, and how are they read there?

Four kinds of file, one frozen description a version: comma-separated, UTF-8, doubled quotes, an
empty cell for no value. Times are RFC 3339, truth is ``true`` or ``false``, what an enumeration holds
goes by its name. A leading apostrophe is no part of a text: it stands before what a spreadsheet would
run, and before a text that begins with one. The manifest is published last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import msgspec
import orjson
import pyarrow as pa

from amity.exchange.errors import BadColumns, ManifestDiffers, NoManifest
from amity.exchange.guardrails import ROWS_PER_FILE_MAX
from amity.exchange.manifest import MANIFEST_BYTES_MAX, ExportResult
from amity.exchange.parts import check_totals, part_rows
from amity.exchange.publishing import Parts
from amity.kernel.clock import to_iso
from amity.tabular.formats import CsvDialect, InputFormat
from amity.tabular.read import Row
from amity.tabular.write import CsvWriter
from amity.transports.ports import Store

LogKind = Literal["broadLog", "trackingLog", "nonDeliverable", "preferences"]
LOG_KINDS: tuple[LogKind, ...] = get_args(LogKind)

MANIFEST_PREFIX = "logs-"
_GUARD = "'"
_DIALECT = CsvDialect(delimiter=",", escape='"', null="", empty="")
_CONTENT_TYPE = "text/csv; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """A version of one kind of log file."""

    kind: LogKind
    version: int
    columns: tuple[str, ...]

    @property
    def input_format(self) -> InputFormat:
        """How it is read back."""
        return InputFormat(kind="csv", dialect=_DIALECT)


_WHOSE = ("recipientId", "externalId", "email")
_OF_DELIVERY = ("deliveryId", "deliveryName", "deliveryLabel", "campaignName", "serviceId")

LOG_FILES: Mapping[LogKind, LogFile] = {
    "broadLog": LogFile(
        kind="broadLog",
        version=1,
        columns=(
            "id", *_OF_DELIVERY, *_WHOSE, "address", "channel", "status", "failureType",
            "failureReason", "failureText", "segmentCode", "seed", "proof", "control", "eventDate",
            "lastModified",
        ),
    ),
    "trackingLog": LogFile(
        kind="trackingLog",
        version=1,
        columns=(
            "id", "hit", "broadLogId", *_OF_DELIVERY, *_WHOSE, "channel", "type", "url",
            "urlCategory", "machine", "userAgent", "logDate",
        ),
    ),
    "nonDeliverable": LogFile(
        kind="nonDeliverable",
        version=1,
        columns=(
            "id", "address", "channel", "status", "failureReason", "failureText", "errorCount",
            "firstError", "lastError", "deliveryId", "domain", "lastModified",
        ),
    ),
    "preferences": LogFile(
        kind="preferences",
        version=1,
        columns=(
            *_WHOSE, "blackList", "blackListEmail", "blackListMobile", "blackListPhone",
            "blackListPostalMail", "blackListPushnotification", "emailFormat", "language",
            "timeZone", "subscriptions", "lastModified",
        ),
    ),
}  # fmt: skip
"""The versions that are written now. Behaviour: campaign.md §2 (files, columns to ship)."""


class LogWindow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Rows changed at or after `since`, up to and with `until`. Windows overlap."""

    since: str
    until: str


class LogManifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A published log export."""

    manifest_version: int = 1
    export_id: str
    kind: LogKind
    version: int
    """Of the file's description."""

    exported_at: str
    window: LogWindow
    rows: int
    columns: tuple[str, ...]
    export_results: tuple[ExportResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogExportFacts:
    """What an export is about: the same facts give the same names."""

    id: str
    kind: LogKind
    at_ms: int
    since_ms: int
    until_ms: int
    folder: str = ""

    @property
    def stem(self) -> str:
        """Kind and time, for names.

        >>> LogExportFacts(id="e1", kind="broadLog", at_ms=0, since_ms=0, until_ms=0).stem
        'broadLog_19700101000000'
        """
        digits = "".join(letter for letter in to_iso(self.at_ms)[:19] if letter.isdigit())
        return f"{self.kind}_{digits}"

    @property
    def manifest_path(self) -> str:
        """Where its manifest lies: beside the files."""
        return f"{self.folder}/{MANIFEST_PREFIX}{self.stem}_{self.id[:8]}.json".lstrip("/")


class LogFileWriter:
    """Writes one export; nothing of it is visible before `publish`.

    Args:
        store: Where it is published.
        spool: A folder of this machine for unfinished parts.
        facts: What it is about.
        rows_max: Rows of one part.
    """

    def __init__(
        self,
        *,
        store: Store,
        spool: Path,
        facts: LogExportFacts,
        rows_max: int = ROWS_PER_FILE_MAX,
    ) -> None:
        self._store = store
        self._facts = facts
        self._file = LOG_FILES[facts.kind]
        self._schema = pa.schema([(name, pa.string()) for name in self._file.columns])
        self._parts = Parts(spool, prefix="logs-", begin=self._begin, rows_max=rows_max)

    @property
    def visible(self) -> bool:
        """Whether anything of it is in the store: also without its manifest somebody may have read it."""
        return self._parts.visible

    def write(self, rows: Sequence[Sequence[str | None]]) -> None:
        """Add rows: a text or None for each column."""
        wide = next((row for row in rows if len(row) != len(self._file.columns)), None)
        if wide is not None:
            raise BadColumns(
                f"a row of {self._file.kind} has {len(self._file.columns)} cells, not {len(wide)}"
            )
        cells = [[_guarded(row[at]) for row in rows] for at in range(len(self._file.columns))]
        columns = [pa.array(one, pa.string()) for one in cells]
        self._parts.write(pa.Table.from_arrays(columns, schema=self._schema))

    def publish(self) -> LogManifest:
        """Publish the parts, then the manifest."""
        facts = self._facts
        manifest = self._manifest(
            self._parts.publish(
                self._store, facts.folder, name=self._name, content_type=_CONTENT_TYPE
            )
        )
        content = orjson.dumps(msgspec.to_builtins(manifest), option=orjson.OPT_INDENT_2) + b"\n"
        self._store.put(facts.manifest_path, content, content_type="application/json")
        self._parts.clear()
        return manifest

    def discard(self) -> None:
        """Forget what was written; nothing of it was visible."""
        self._parts.discard()

    def _name(self, part: int) -> str:
        return f"{self._facts.stem}{'' if part == 1 else f'_{part}'}.csv"

    def _begin(self, path: Path) -> CsvWriter:
        return CsvWriter(path, list(self._file.columns), dialect=_DIALECT)

    def _manifest(self, results: tuple[ExportResult, ...]) -> LogManifest:
        facts = self._facts
        return LogManifest(
            export_id=facts.id,
            kind=facts.kind,
            version=self._file.version,
            exported_at=to_iso(facts.at_ms),
            window=LogWindow(since=to_iso(facts.since_ms), until=to_iso(facts.until_ms)),
            rows=sum(result.rows for result in results),
            columns=self._file.columns,
            export_results=results,
        )


class Published(NamedTuple):
    """A manifest that lies in a store. `digest` changes with its content."""

    path: str
    digest: str
    content: bytes

    def manifest(self) -> LogManifest:
        """What it says; `NoManifest` when it says nothing that this program reads."""
        if not self.content:
            raise NoManifest(
                f"{self.path} is empty or has more than {MANIFEST_BYTES_MAX} bytes: no manifest is "
                "that large"
            )
        try:
            found = msgspec.json.decode(self.content, type=LogManifest)
        except (msgspec.DecodeError, msgspec.ValidationError) as wrong:
            raise NoManifest(f"{self.path} is no manifest of a log export: {wrong}") from None
        file = LOG_FILES[found.kind]
        if (found.manifest_version, found.version) != (1, file.version):
            raise NoManifest(
                f"{self.path} is a manifest of version {found.manifest_version} for {found.kind} "
                f"files of version {found.version}; this program reads 1 and {file.version}"
            )
        if found.columns != file.columns:
            raise NoManifest(f"{self.path} does not name the columns of a {found.kind} file")
        return found


def published(store: Store, folder: str, kind: LogKind) -> Iterator[Published]:
    """The exports of a kind that are published in a folder, oldest first."""
    prefix = f"{folder}/" if folder else ""
    for stat in store.list(f"{prefix}{MANIFEST_PREFIX}{kind}_"):
        if stat.path.endswith(".json"):
            # One that is too large to be a manifest is not read; `manifest` says so.
            content = store.get(stat.path) if stat.size <= MANIFEST_BYTES_MAX else b""
            yield Published(stat.path, hashlib.sha256(content).hexdigest(), content)


def log_rows(store: Store, manifest: LogManifest, spool: Path) -> Iterator[Row]:
    """The rows of an export; each part is checked before its first row is given.

    Cells are texts without their guard; an empty cell is left out. Raises `ManifestDiffers`.
    """
    check_totals(manifest.export_results, manifest.rows)
    form = LOG_FILES[manifest.kind].input_format
    for result in manifest.export_results:
        for row in part_rows(store, result, spool, form=form, packed=False):
            _check_columns(row, manifest)
            yield row if row.value is None else row._replace(value=_bare(row.value))


def check_export(store: Store, manifest: LogManifest, spool: Path) -> None:
    """Read everything once and raise `ManifestDiffers` at the first thing that is not so."""
    for _ in log_rows(store, manifest, spool):
        pass


def _check_columns(row: Row, manifest: LogManifest) -> None:
    named = set(row.value or {}) - set(manifest.columns)
    if named:
        raise ManifestDiffers(f"there is a column {min(named)!r} the manifest does not name")


def _guarded(text: str | None) -> str | None:
    return _GUARD + text if text is not None and text.startswith(_GUARD) else text


def _bare(cells: Mapping[str, str]) -> dict[str, str]:
    return {name: text.removeprefix(_GUARD) for name, text in cells.items() if text}
