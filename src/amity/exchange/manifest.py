"""What does a manifest promise about the files it names?

It is published last: whoever finds it finds its files whole. The documented fields come first, then
ours. Behaviour: platform-activation.md §4.6.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import orjson

from amity.exchange.errors import NoManifest
from amity.exchange.formats import AudienceFile, FileKind
from amity.tabular.formats import CsvDialect

MANIFEST_BYTES_MAX = 4 * 1024 * 1024
"""A larger file is no manifest. Ours."""


class ExportResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One file. `size` is as stored; `bytes` and `sha256` are of the plain text."""

    sink_path: str
    name: str
    size: int
    rows: int
    bytes: int
    sha256: str

    @property
    def path(self) -> str:
        """Where it lies in the store."""
        return f"{self.sink_path.strip('/')}/{self.name}".lstrip("/")


class ManifestFormat(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How the files are to be read."""

    preset: str
    version: int
    kind: FileKind
    extension: str
    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    null_value: str = ""
    empty_value: str = ""
    compression: Literal["NONE", "GZIP"] = "NONE"
    encoding: Literal["UTF-8"] = "UTF-8"
    realized_status: str = "active"
    exited_status: str = "exited"

    @classmethod
    def of(cls, file: AudienceFile) -> ManifestFormat:
        """As a manifest writes it."""
        dialect = file.dialect
        return cls(
            preset=file.preset,
            version=file.version,
            kind=file.kind,
            extension=file.extension,
            delimiter=dialect.delimiter,
            quote=dialect.quote,
            escape=dialect.escape,
            null_value=dialect.null,
            empty_value=dialect.empty,
            compression="GZIP" if file.packed else "NONE",
            realized_status=file.realized,
            exited_status=file.exited,
        )

    def file(self) -> AudienceFile:
        """As the reader needs it."""
        dialect = CsvDialect(
            delimiter=self.delimiter,
            quote=self.quote,
            escape=self.escape,
            null=self.null_value,
            empty=self.empty_value,
        )
        return AudienceFile(
            preset=self.preset,
            version=self.version,
            kind=self.kind,
            extension=self.extension,
            dialect=dialect,
            packed=self.compression == "GZIP",
            realized=self.realized_status,
            exited=self.exited_status,
        )


class Window(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which changes of the audience are in the files: after `since`, up to `until`."""

    mode: Literal["full", "incremental"]
    since_revision: int
    until_revision: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A published file set."""

    flow_run_id: str
    scheduled_time: str
    export_results: tuple[ExportResult, ...]
    manifest_version: int = 1
    rows: int
    columns: tuple[str, ...]
    format: ManifestFormat
    audience_id: str
    audience_name: str
    destination_id: str
    merge_policy: str
    schema_version: str
    window: Window


def manifest_name(destination_id: str, run_id: str) -> str:
    """The documented name.

    >>> manifest_name("d1", "r1")
    'manifest-d1-r1.json'
    """
    return f"manifest-{destination_id}-{run_id}.json"


def encode(manifest: Manifest) -> bytes:
    """The manifest as its file."""
    return orjson.dumps(msgspec.to_builtins(manifest), option=orjson.OPT_INDENT_2) + b"\n"


def decode(content: bytes, *, name: str) -> Manifest:
    """The manifest a file holds; `NoManifest` when it holds none."""
    if len(content) > MANIFEST_BYTES_MAX:
        raise NoManifest(f"{name} has {len(content)} bytes: no manifest is that large")
    try:
        found = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, msgspec.ValidationError) as wrong:
        raise NoManifest(f"{name} is no manifest: {wrong}") from None
    if found.manifest_version != 1:
        raise NoManifest(
            f"{name} is a manifest of version {found.manifest_version}; this program reads 1"
        )
    return found
