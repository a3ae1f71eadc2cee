"""How does an audience file come into a store, and how is it read there without being fooled?

Parts are written to a spool folder of this machine, then published one by one, the manifest last. A
reader begins with the manifest and believes a part only after counting it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from amity.exchange.errors import BadColumns, ManifestDiffers
from amity.exchange.formats import AudienceFile
from amity.exchange.guardrails import ROWS_PER_FILE_MAX
from amity.exchange.manifest import (
    ExportResult,
    Manifest,
    ManifestFormat,
    Window,
    decode,
    encode,
    manifest_name,
)
from amity.exchange.names import NameFacts, file_name
from amity.exchange.parts import check_totals, part_rows
from amity.exchange.publishing import Parts
from amity.kernel.clock import to_iso
from amity.tabular.read import Row
from amity.tabular.write import CsvWriter, JsonLinesWriter, ParquetWriter, TableWriter
from amity.transports.ports import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class AudienceExport:
    """What a file set is about. The same export gives the same names and bytes."""

    names: NameFacts
    destination_id: str
    run_id: str
    columns: tuple[str, ...]
    """Mapped fields, dotted, in the order of the columns."""

    merge_policy: str
    schema_version: str = "1"
    mode: Literal["full", "incremental"] = "full"
    since_revision: int = 0
    until_revision: int = 0
    template: str = ""
    folder: str = ""


class AudienceFileWriter:
    """Writes one file set; nothing of it is visible before `publish`.

    Args:
        store: Where it is published.
        spool: A folder of this machine for unfinished parts.
        file: The format.
        export: What it is about.
        rows_max: Rows of one part.
    """

    def __init__(
        self,
        *,
        store: Store,
        spool: Path,
        file: AudienceFile,
        export: AudienceExport,
        rows_max: int = ROWS_PER_FILE_MAX,
    ) -> None:
        self._store = store
        self._file = file
        self._export = export
        self._header = file.header(export.columns)
        self._schema = pa.schema([(name, pa.string()) for name in self._header])
        self._name(1)  # a template that gives no name is refused before anything is written
        self._parts = Parts(spool, prefix="export-", begin=self._begin, rows_max=rows_max)

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Add rows, a new part where one is full."""
        if batch.num_columns != len(self._header):
            raise BadColumns(f"{batch.num_columns} columns, but {len(self._header)} are mapped")
        columns = [column.cast(pa.string()) for column in batch.columns]
        self._parts.write(pa.Table.from_arrays(columns, schema=self._schema))

    def publish(self) -> Manifest:
        """Publish the parts, then the manifest."""
        results = self._parts.publish(
            self._store,
            self._export.folder,
            name=self._name,
            content_type=self._file.content_type,
        )
        manifest = self._manifest(results)
        self._store.put(manifest_path(manifest), encode(manifest), content_type="application/json")
        self._parts.clear()
        return manifest

    def discard(self) -> None:
        """Forget what was written; nothing of it was visible."""
        self._parts.discard()

    def _begin(self, path: Path) -> TableWriter:
        if self._file.kind == "csv":
            return CsvWriter(
                path, self._header, dialect=self._file.dialect, packed=self._file.packed
            )
        if self._file.kind == "json_lines":
            return JsonLinesWriter(path, packed=self._file.packed)
        return ParquetWriter(path, self._schema)

    def _name(self, part: int) -> str:
        export = self._export
        return file_name(export.template, export.names, extension=self._file.suffix, part=part)

    def _manifest(self, results: tuple[ExportResult, ...]) -> Manifest:
        export = self._export
        return Manifest(
            flow_run_id=export.run_id,
            scheduled_time=to_iso(export.names.at_ms).replace(".000Z", "Z"),
            export_results=results,
            rows=sum(result.rows for result in results),
            columns=tuple(self._header),
            format=ManifestFormat.of(self._file),
            audience_id=export.names.segment_id,
            audience_name=export.names.segment_name,
            destination_id=export.destination_id,
            merge_policy=export.merge_policy,
            schema_version=export.schema_version,
            window=Window(
                mode=export.mode,
                since_revision=export.since_revision,
                until_revision=export.until_revision,
            ),
        )


def manifest_path(manifest: Manifest) -> str:
    """Where a manifest lies: beside its files."""
    name = manifest_name(manifest.destination_id, manifest.flow_run_id)
    folder = manifest.export_results[0].sink_path.strip("/") if manifest.export_results else ""
    return f"{folder}/{name}".lstrip("/")


def manifests(store: Store, folder: str = "") -> Iterator[Manifest]:
    """The file sets that are published in a folder, in order of manifest name."""
    prefix = f"{folder}/" if folder else ""
    for stat in store.list(f"{prefix}manifest-"):
        if stat.path.endswith(".json"):
            yield decode(store.get(stat.path), name=stat.path)


def audience_rows(store: Store, manifest: Manifest, spool: Path) -> Iterator[Row]:
    """The rows of a file set; each part is checked before its first row is given.

    Reading changes nothing in the store. A part that differs from the manifest raises
    `ManifestDiffers`: it lies, was changed, or is being replaced by a newer export.
    """
    check_totals(manifest.export_results, manifest.rows)
    file = manifest.format.file()
    for result in manifest.export_results:
        yield from part_rows(store, result, spool, form=file.input_format, packed=file.packed)


def check_manifest(store: Store, manifest: Manifest, spool: Path) -> None:
    """Read everything once and raise `ManifestDiffers` at the first thing that is not so."""
    for row in audience_rows(store, manifest, spool):
        if row.error is not None:
            raise ManifestDiffers(f"line {row.line} cannot be read: {row.error}", line=row.line)
        named = set(row.value or {}) - set(manifest.columns)
        if named and manifest.format.kind != "json_lines":
            raise ManifestDiffers(f"there is a column {min(named)!r} the manifest does not name")
