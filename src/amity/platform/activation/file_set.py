"""How does a destination of files write what it is given?

The one thing that all destinations of files share, whatever store the files go to: a job becomes an
export of the exchange, and its file set is published there. With `destinations/` the only part of
activation that knows the exchange.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import pyarrow as pa

from amity.exchange.audience_file import AudienceExport, AudienceFileWriter, manifest_path
from amity.exchange.formats import CLOUD_STORAGE, AudienceFile
from amity.exchange.guardrails import ROWS_PER_FILE_MAX
from amity.exchange.names import NameFacts
from amity.platform.activation.destination import FileSet, Job, Published, Words
from amity.tabular.formats import CsvDialect
from amity.transports.ports import Store


class CsvOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a CSV file is written. Behaviour: platform-activation.md §4.6."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = "\\"
    null_value: str = "null"
    empty_value: str = ""


class FileOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the cards of cloud storage let one choose.

    The manifest is written whatever `includeFileManifest` says: a reader knows by it that files are
    whole.
    """

    file_type: Literal["CSV", "JSON", "PARQUET"] = "CSV"
    csv_options: CsvOptions = CsvOptions()
    compression: Literal["NONE", "GZIP"] = "NONE"
    include_file_manifest: bool = True
    format: str = ""

    def file(self) -> AudienceFile:
        """The format that was chosen."""
        packed = self.compression == "GZIP"
        if self.file_type == "PARQUET":
            return AudienceFile(preset=CLOUD_STORAGE.preset, kind="parquet", extension=".parquet")
        if self.file_type == "JSON":
            return AudienceFile(
                preset=CLOUD_STORAGE.preset, kind="json_lines", extension=".json", packed=packed
            )
        options = self.csv_options
        dialect = CsvDialect(
            delimiter=options.delimiter,
            quote=options.quote,
            escape=options.escape,
            null=options.null_value,
            empty=options.empty_value,
        )
        return AudienceFile(preset=CLOUD_STORAGE.preset, dialect=dialect, packed=packed)


class FileDestination:
    """The `Destination` of everything that keeps files.

    Args:
        store: Where they go.
        folder: In the store, "" for its root.
        file: The format.
        work: A folder of this machine for unfinished parts.
        rows_max: Rows of one part.
    """

    def __init__(
        self,
        *,
        store: Store,
        folder: str,
        file: AudienceFile,
        work: Path,
        rows_max: int = ROWS_PER_FILE_MAX,
    ) -> None:
        self.words = Words(file.realized, file.exited)
        self._store = store
        self._folder = folder.strip("/")
        self._file = file
        self._work = work
        self._rows_max = rows_max

    def open(self, job: Job) -> FileSet:
        """Begin a file set."""
        writer = AudienceFileWriter(
            store=self._store,
            spool=self._work,
            file=self._file,
            export=_export(job, self._folder),
            rows_max=self._rows_max,
        )
        return _Files(writer)


class _Files:
    """A file set of the exchange as activation sees it."""

    def __init__(self, writer: AudienceFileWriter) -> None:
        self._writer = writer

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write(batch)

    def publish(self) -> Published:
        manifest = self._writer.publish()
        return Published(
            files=tuple(result.path for result in manifest.export_results),
            manifest=manifest_path(manifest),
            rows=manifest.rows,
            bytes=sum(result.size for result in manifest.export_results),
        )

    def discard(self) -> None:
        self._writer.discard()


def _export(job: Job, folder: str) -> AudienceExport:
    return AudienceExport(
        names=NameFacts(
            destination=job.destination,
            segment_id=job.audience,
            segment_name=job.audience_name,
            instance_id=job.flow,
            instance_name=job.flow_name,
            organization=job.org,
            sandbox=job.sandbox,
            merge_policy_id=job.merge_policy,
            merge_policy_name=job.merge_policy_name,
            at_ms=job.scheduled_ms,
        ),
        destination_id=job.flow,
        run_id=job.run,
        columns=job.columns,
        merge_policy=job.merge_policy,
        mode=job.mode,
        since_revision=job.since_revision,
        until_revision=job.until_revision,
        template=job.filename,
        folder=folder,
    )
