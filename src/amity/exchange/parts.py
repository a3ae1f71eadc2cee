"""Is a published part what its manifest says?

What the readers of audience files and of log files share: a part is fetched to this machine, its size
and checksum are compared before its first row is given, its rows are counted to the end.
"""

from __future__ import annotations

import gzip
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from amity.exchange.errors import ManifestDiffers
from amity.exchange.manifest import ExportResult
from amity.tabular.errors import EmptyFile, Unreadable
from amity.tabular.formats import InputFormat
from amity.tabular.read import Row, rows
from amity.transports.errors import NoSuchFile
from amity.transports.ports import Store

_COPY_BYTES = 1 << 20


def check_totals(results: Sequence[ExportResult], total: int) -> None:
    """Refuse a manifest that contradicts itself."""
    names = [result.path for result in results]
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise ManifestDiffers(f"the manifest names {twice} twice")
    said = sum(result.rows for result in results)
    if said != total:
        raise ManifestDiffers(f"the files have {said} rows by the manifest, not {total}")


def part_rows(
    store: Store, result: ExportResult, spool: Path, *, form: InputFormat, packed: bool
) -> Iterator[Row]:
    """The rows of one part; `ManifestDiffers` at the first thing that is not as promised."""
    spool.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="import-", dir=spool) as folder:
        part = Path(folder) / "part"
        _fetch(store, result, part)
        _check_text(result, part, packed=packed)
        yield from _counted(result, part, form)


def _fetch(store: Store, result: ExportResult, part: Path) -> None:
    try:
        with store.open(result.path) as source, part.open("wb") as target:
            # What is larger than promised is not copied whole.
            while target.tell() <= result.size and (chunk := source.read(_COPY_BYTES)):
                target.write(chunk)
    except NoSuchFile:
        raise ManifestDiffers(f"{result.path} is in the manifest and not in the store") from None
    _compare(result, "bytes stored", result.size, part.stat().st_size)


def _check_text(result: ExportResult, part: Path, *, packed: bool) -> None:
    digest, size = hashlib.sha256(), 0
    try:
        with gzip.open(part) if packed else part.open("rb") as text:
            while chunk := text.read(_COPY_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if size > result.bytes:
                    break
    except (OSError, EOFError) as wrong:
        raise ManifestDiffers(f"{result.path} cannot be unpacked: {wrong}") from None
    _compare(result, "bytes", result.bytes, size)
    _compare(result, "as sha256", result.sha256, digest.hexdigest())


def _counted(result: ExportResult, part: Path, form: InputFormat) -> Iterator[Row]:
    count = 0
    try:
        for row in rows(part, form):
            count += 1
            yield row
    except EmptyFile:
        pass  # a file set of nobody: the header alone
    except Unreadable as wrong:
        raise ManifestDiffers(f"{result.path} cannot be read: {wrong}") from None
    _compare(result, "rows", result.rows, count)


def _compare(result: ExportResult, what: str, said: int | str, found: int | str) -> None:
    if said != found:
        raise ManifestDiffers(
            f"{result.path} has {found} {what}; its manifest says {said}",
            path=result.path,
            said=said,
            found=found,
        )
