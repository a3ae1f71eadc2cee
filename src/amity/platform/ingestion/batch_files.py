"""Where do the files of a batch lie, and how do they get there whole?

    <scope>/<batch>/files/<path as sent>      what was put, each file whole
    <scope>/<batch>/parts/<digest of path>/   parts of a large file until it is complete
    <scope>/<batch>/drafts/                   what is being received
    <scope>/<batch>/meta/, failed/, work/     diagnostics, refused rows, the loader's own

A path that a sender gives never leaves its batch's folder: each of its parts is checked, not
repaired.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

import orjson

from amity.kernel.errors import Conflict
from amity.kernel.ids import digest
from amity.kernel.limits import BATCH_FILE_BYTES_MAX
from amity.kernel.machine import telling
from amity.kernel.scope import Scope
from amity.platform.ingestion.errors import BadFilePath, FileTooLarge, UnknownFile, UploadIncomplete

FILES_MAX = 1_500
"""Files in one batch. Behaviour: platform-collect.md §10."""

PART_BYTES_MAX = 512_000_000
"""One part of a large file. Behaviour: platform-collect.md §5."""

LARGE_BYTES_MAX = 100 * 1024**3
"""One batch. Behaviour: platform-collect.md §10."""

_NAME_BYTES_MAX = 200
_PATH_CHARS_MAX = 1_024
_COPY_BYTES = 1_048_576


class FileInfo(NamedTuple):
    """A file of a batch: its path as sent, and how long it is."""

    name: str
    length: int


class PathTaken(Conflict):
    """A file of the batch stands where this one needs a folder, or the reverse."""


class BatchFiles:
    """The files of all batches, below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def of(self, scope: Scope, batch: str) -> BatchFolder:
        """The files of one batch; `batch` is an id of ours."""
        return BatchFolder(self._root / digest(scope.org, scope.sandbox, length=16) / batch)


class BatchFolder:
    """The files of one batch."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def listed(self, part: str = "files") -> list[FileInfo]:
        """The files of a part of the batch (`files`, `meta/row_errors`, …), in order of name."""
        root = self.root / part
        found = (path for path in root.rglob("*") if path.is_file())
        infos = (FileInfo(path.relative_to(root).as_posix(), path.stat().st_size) for path in found)
        return sorted(infos)

    def path(self, name: str, part: str = "files") -> Path:
        """Where a file of a part lies; it must exist."""
        path = (self.root / part).joinpath(*checked_parts(name))
        if not path.is_file():
            raise UnknownFile(f"batch {self.root.name} has no file {name!r} among its {part}")
        return path

    def draft(self, name: str, draft_id: str) -> Draft:
        """Begin to receive a small file."""
        target = self.root.joinpath("files", *checked_parts(name))
        if not target.is_file() and len(self.listed()) >= FILES_MAX:
            raise FileTooLarge(f"a batch has at most {FILES_MAX} files: begin another batch")
        return Draft(self.root / "drafts" / draft_id, target, BATCH_FILE_BYTES_MAX)

    def begin_large(self, name: str) -> None:
        """Begin a large file; what was received of an earlier try is forgotten."""
        folder = self._parts(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "name").write_text("/".join(checked_parts(name)), "utf-8")

    def part(self, name: str, span: tuple[int, int], draft_id: str) -> Draft:
        """Begin to receive the bytes `span` (first, last) of a large file."""
        first, last = span
        if not 0 <= first <= last < LARGE_BYTES_MAX:
            raise UploadIncomplete(
                f"bytes {first}-{last} is no range within {LARGE_BYTES_MAX} bytes"
            )
        if last - first + 1 > PART_BYTES_MAX:
            raise FileTooLarge(f"a part has at most {PART_BYTES_MAX} bytes; this has more")
        folder = self._begun(name)
        target = folder / f"{first}-{last}"
        drafts = self.root / "drafts"
        return Draft(drafts / draft_id, target, last - first + 1, exact=True)

    def received(self, name: str) -> list[tuple[int, int]]:
        """The ranges received of a large file, in order."""
        folder = self._begun(name)
        spans = (path.name.split("-") for path in folder.iterdir() if path.name != "name")
        return sorted((int(first), int(last)) for first, last in spans)

    def complete_large(self, name: str, draft_id: str) -> None:
        """Put the parts of a large file together; overlap and gap are found here."""
        spans = self.received(name)
        _check_spans(name, spans)
        folder = self._parts(name)
        target = self.root.joinpath("files", *checked_parts(name))
        drafts = self.root / "drafts"
        with Draft(drafts / draft_id, target, LARGE_BYTES_MAX) as draft:
            for first, last in spans:
                with (folder / f"{first}-{last}").open("rb") as part:
                    while chunk := part.read(_COPY_BYTES):
                        draft.write(chunk)
            draft.commit()
        shutil.rmtree(folder)

    def unfinished(self) -> list[str]:
        """Large files that were begun and not completed."""
        parts = self.root / "parts"
        return sorted(path.read_text("utf-8") for path in parts.glob("*/name"))

    def remove(self) -> None:
        """Forget a batch's files."""
        shutil.rmtree(self.root, ignore_errors=True)

    def _parts(self, name: str) -> Path:
        path = "/".join(checked_parts(name))
        return self.root / "parts" / digest(path)

    def _begun(self, name: str) -> Path:
        folder = self._parts(name)
        if not folder.is_dir():
            raise UnknownFile(
                f"the upload of {name!r} was not begun: POST it with ?action=INITIALIZE first"
            )
        return folder


class Draft:
    """A file being received: bounded, synced, and visible only once it is whole.

    Args:
        path: Where it is received.
        target: Where it lies in the end.
        bytes_max: How long it may be.
        exact: It must be exactly that long.
    """

    def __init__(self, path: Path, target: Path, bytes_max: int, *, exact: bool = False) -> None:
        self._path = path
        self._target = target
        self._bytes_max = bytes_max
        self._exact = exact
        self._taken = 0
        with telling():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def write(self, chunk: bytes) -> None:
        """Take a chunk."""
        self._taken += len(chunk)
        if self._taken > self._bytes_max:
            if self._exact:
                raise UploadIncomplete(
                    f"the part is longer than the {self._bytes_max} bytes its Content-Range says"
                )
            raise FileTooLarge(
                f"a file put in one request has at most {self._bytes_max} bytes: upload it as a "
                "large file in parts (?action=INITIALIZE)"
            )
        with telling():
            self._file.write(chunk)

    def commit(self) -> bool:
        """Make the file durable and visible; True when there was none of its name."""
        if self._exact and self._taken != self._bytes_max:
            raise UploadIncomplete(
                f"the part has {self._taken} bytes; its Content-Range says {self._bytes_max}"
            )
        with telling():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            created = self._show()
            sync_folder(self._target.parent)
        return created

    def _show(self) -> bool:
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            created = not self._target.exists()
            self._path.replace(self._target)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise PathTaken(
                f"{self._target.name!r}: a file of the batch has this path as its folder, or the "
                "reverse; take another path"
            ) from error
        return created

    def discard(self) -> None:
        """Forget what was received, unless committed."""
        with suppress(OSError):  # what still waits to be written need not be
            self._file.close()
        self._path.unlink(missing_ok=True)


def checked_parts(name: str) -> tuple[str, ...]:
    """The parts of a sender's path; raises `BadFilePath` for what could lead elsewhere.

    >>> checked_parts("2017/10/part-1.json")
    ('2017', '10', 'part-1.json')
    """
    if not name or len(name) > _PATH_CHARS_MAX:
        raise BadFilePath(f"a file path has 1 to {_PATH_CHARS_MAX} characters")
    parts = tuple(name.split("/"))
    for part in parts:
        if part in {"", ".", ".."} or "\\" in part or not part.isprintable():
            raise BadFilePath(
                f"{name[:100]!r} is no path within a batch: no empty part, no `.` or `..`, no "
                "backslash, no control character"
            )
        if len(part.encode("utf-8", "replace")) > _NAME_BYTES_MAX:
            raise BadFilePath(f"a name in a file path has at most {_NAME_BYTES_MAX} bytes")
    return parts


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, durable on return."""
    draft = path.with_name(f".{path.name}.new")
    with draft.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def read_json(path: Path) -> dict[str, object] | None:
    """The JSON object a file holds; None when there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    loaded: dict[str, object] = orjson.loads(content)
    return loaded


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_spans(name: str, spans: list[tuple[int, int]]) -> None:
    expected = 0
    for first, last in spans:
        if first != expected:
            what = "overlap" if first < expected else "leave a gap"
            raise UploadIncomplete(
                f"the parts of {name!r} {what}: byte {expected} should come next, the part received "
                f"is {first}-{last}; send the missing or corrected part and complete again",
                expected=expected,
                received=[f"{one}-{two}" for one, two in spans[:100]],
            )
        expected = last + 1
    if not spans:
        raise UploadIncomplete(f"nothing of {name!r} was received: PATCH its parts first")


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file of ours, without their ends."""
    with path.open("rb") as text:
        for line in text:
            yield line.rstrip(b"\n")
