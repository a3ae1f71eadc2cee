"""How are the audience files of the platform read, in which order, and how is one recognised?

A file set is believed only after its manifest was checked. Rows of a segment file never create a
recipient, so a file that is one is known as one even where it came by another way: by its name, by
its columns, or by a manifest beside it that names it.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import re2

from amity.campaign.imports.columns import FileColumn, name_for
from amity.campaign.imports.errors import BadFile
from amity.campaign.imports.files import Batch, RowTaking
from amity.exchange.audience_file import audience_rows
from amity.exchange.errors import ManifestDiffers, NoManifest
from amity.exchange.manifest import MANIFEST_BYTES_MAX, Manifest, decode
from amity.transports.ports import Store

ACTIVE, EXPIRED = "active", "expired"
"""The words of a status column in a work table, whatever the file calls them."""

STATUS_COLUMN = "segmentStatus"
"""What the status is called in a work table."""

_STATUS_HEADERS = ("segmentMembership_status", "segmentMembership.status")
_STATUS_HEADER = re2.compile(r"^(xdm: ?)?segmentMembership[._].*status$")
_SEGMENT_NAME = re2.compile(r"_segment[0-9A-Za-z-]{8,}(_[0-9]{8,17})?(_[0-9]+)?\.[A-Za-z.]+$")
_ACTIVE_WORDS = frozenset({"active", "realized", "existing"})
_EXPIRED_WORDS = frozenset({"expired", "exited"})


class FileSet(NamedTuple):
    """A file set that is to be read."""

    store: Store
    manifest: Manifest

    @property
    def stream(self) -> str:
        """What its revisions count: one audience at one destination."""
        return f"{self.manifest.destination_id}/{self.manifest.audience_id}"


class Choice(NamedTuple):
    """Which file sets are read, in this order, and what is to be said about the others."""

    sets: list[FileSet]
    notes: list[str]
    revisions: dict[str, int]


def read_manifest(content: bytes, name: str) -> Manifest:
    """The manifest of a file set; refused when it is none."""
    return decode(content, name=name)


def manifest_at(store: Store, path: str) -> Manifest:
    """The manifest that lies there; no more of it is read than a manifest may have."""
    with store.open(path) as file:
        return decode(file.read(MANIFEST_BYTES_MAX + 1), name=path)


def is_of(manifest: Manifest, audience: str) -> bool:
    """Whether a manifest is of that audience, by id or name; "" is any."""
    return not audience or audience in {manifest.audience_id, manifest.audience_name}


def sets_in(store: Store, folder: str) -> list[Manifest]:
    """The manifests in a folder that can be read."""
    prefix = f"{folder}/manifest-" if folder else "manifest-"
    found = []
    for file in store.list(prefix):
        if file.path.endswith(".json") and file.size <= MANIFEST_BYTES_MAX:
            with suppress(NoManifest):
                found.append(decode(store.get(file.path), name=file.path))
    return found


def text_sha256(path: Path) -> str:
    """Of the plain text of a file, packed with gzip or not; "" when it cannot be unpacked."""
    digest = hashlib.sha256()
    with path.open("rb") as raw:
        packed = raw.peek(2)[:2] == b"\x1f\x8b"
        try:
            with gzip.GzipFile(fileobj=raw) if packed else raw as text:
                while chunk := text.read(1 << 20):
                    digest.update(chunk)
        except (OSError, EOFError, zlib.error):
            return ""
    return digest.hexdigest()


def is_segment_name(name: str) -> bool:
    """Whether a file is called as segment files are.

    >>> is_segment_name("Shop_segment0f9b5c1e-3a77_20171030080000.csv")
    True
    >>> is_segment_name("recipients.csv")
    False
    """
    return _SEGMENT_NAME.search(name) is not None


def has_segment_columns(header: Collection[str]) -> bool:
    """Whether one of the columns tells of a membership."""
    return any(_STATUS_HEADER.match(name) for name in header)


def chosen(sets: Sequence[FileSet], known: Mapping[str, int]) -> Choice:
    """The sets in the order in which they were exported, without what is older than what is known.

    Raises:
        ManifestDiffers: Changes that nobody read were overwritten by a later file.
    """
    ordered = sorted(sets, key=_order)
    revisions, taken, notes = dict(known), [], []
    for at, one in enumerate(ordered):
        window, before = one.manifest.window, revisions.get(one.stream, -1)
        name = f"run {one.manifest.flow_run_id} of audience {one.manifest.audience_name!r}"
        if window.until_revision < before:
            notes.append(f"{name} is older than what was read before: left out")
            continue
        later = _overwritten(one, ordered[at + 1 :])
        if later:
            if window.mode == "incremental":
                raise ManifestDiffers(
                    f"{name} was overwritten by a later file before it was read, so its changes are "
                    "lost: have the audience exported in full, and give the files a date in the name"
                )
            notes.append(f"{name} was replaced by a later export: left out")
            continue
        if window.mode == "incremental" and 0 <= before < window.since_revision:
            notes.append(
                f"{name} holds changes since revision {window.since_revision}, but the last one read "
                f"is {before}: a file between them is missing; have the audience exported in full"
            )
        revisions[one.stream] = window.until_revision
        taken.append(one)
    return Choice(taken, notes, revisions)


def columns_of(manifest: Manifest) -> tuple[FileColumn, ...]:
    """Every column of a file set as text, without the status."""
    return tuple(
        FileColumn(name=name_for(name), source=name, length=4_000)
        for name in manifest.columns
        if not _STATUS_HEADER.match(name)
    )


def audience_batches(
    one: FileSet, columns: Sequence[FileColumn], *, keys: Sequence[str], spool: Path
) -> Iterator[Batch]:
    """The rows of a file set: the columns, then the status in our words.

    Each part is checked before its first row, and counted: whoever takes rows must forget them when
    this raises.
    """
    manifest = one.manifest
    missing = [column.header for column in columns if column.header not in manifest.columns]
    if missing and manifest.format.kind != "json_lines":
        raise BadFile(
            f"audience {manifest.audience_name!r} has no column {', '.join(map(repr, missing[:5]))}; "
            f"the files have {', '.join(manifest.columns)}"
        )
    status = next((name for name in manifest.columns if _STATUS_HEADER.match(name)), "")
    all_columns = (*columns, _status_column(status, manifest))
    name = manifest.export_results[0].name if manifest.export_results else manifest.flow_run_id
    taking = RowTaking(name, all_columns, keys)
    for row in audience_rows(one.store, manifest, spool):
        value = row.value or {}
        if row.value is None:
            taking.reject(row.line, row.error or "broken", row.raw)
        else:
            cells = [_text(value, column.header) for column in columns]
            word = (_text(value, status) or "") if status else ACTIVE
            taking.take(row.line, row.raw, [*cells, word.lower()], "")
        if taking.full:
            yield taking.handed()
    yield taking.handed()


def _status_column(header: str, manifest: Manifest) -> FileColumn:
    words = dict.fromkeys((*_ACTIVE_WORDS, manifest.format.realized_status.lower()), ACTIVE)
    words |= dict.fromkeys((*_EXPIRED_WORDS, manifest.format.exited_status.lower()), EXPIRED)
    return FileColumn(
        name=STATUS_COLUMN,
        source=header or _STATUS_HEADERS[0],
        nulls="required",
        mapping=words,
        unmapped="reject",
    )


def _text(value: Mapping[str, object], header: str) -> str | None:
    found = value.get(header)
    return None if found is None or isinstance(found, (dict, list)) else str(found)


def _order(one: FileSet) -> tuple[str, int, str, str]:
    manifest = one.manifest
    window = manifest.window
    return one.stream, window.until_revision, manifest.scheduled_time, manifest.flow_run_id


def _overwritten(one: FileSet, later: Sequence[FileSet]) -> bool:
    paths = {result.path for result in one.manifest.export_results}
    return any(result.path in paths for other in later for result in other.manifest.export_results)
