"""Where do files lie between their transfer and their loading?

A transfer copies what it takes into a folder of its own, and writes down what it took before it
deletes anything at the source: run again after a crash, it finds the same files. The newest folders
of a workflow are kept, so that what was loaded can be looked at.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import re2

from amity.campaign.imports.audience import is_segment_name, sets_in, text_sha256
from amity.campaign.imports.errors import BadFile, NoSuchCopy, StillGrowing
from amity.exchange.manifest import ExportResult
from amity.kernel.ids import digest
from amity.transports.errors import BadPath, NoSuchFile
from amity.transports.local import LocalStore
from amity.transports.ports import Stat, Store, checked

KEPT_PER_WORKFLOW = 20
"""Transfers of one workflow whose files are kept. Ours."""

FILE_BYTES_MAX = 16 * 1024**3
"""Ours: a larger file is split by who writes it."""

_TASK = re2.compile(r"^(wkf[0-9]+)_([0-9]+)_[a-z]+$")
_TAKEN, _LOOK, _SET = "taken.json", "look.json", "set"
_SEGMENTS = "segments"
_COPY_BYTES = 1 << 20


class Copy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A file that was transferred, as event variables carry it."""

    name: str
    """What it was called, without its folder."""

    path: str
    """Where the copy lies."""

    source: str
    size: int
    modified: int
    segment: bool = False
    """Whether it is known to be a segment file."""

    manifest: str = ""
    """Of a file set: where its manifest lies among the copies."""


class Copies:
    """The copies of transferred files.

    Args:
        folder: Where they lie, a folder a task.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def taken(self, task: str) -> list[Copy] | None:
        """What a task took, if it got so far."""
        path = self._folder / task / _TAKEN
        return msgspec.json.decode(path.read_bytes(), type=list[Copy]) if path.exists() else None

    def note(self, task: str, copies: list[Copy]) -> None:
        """Write down what a task took; from now on it took this and nothing else."""
        self._write(task, _TAKEN, msgspec.json.encode(copies))

    def steady(self, task: str, files: Iterable[Stat]) -> bool:
        """Whether the files are as they were when this task looked last; it looks now."""
        now = {file.path: (file.size, file.modified_ms) for file in files}
        path = self._folder / task / _LOOK
        before = msgspec.json.decode(path.read_bytes()) if path.exists() else None
        self._write(task, _LOOK, msgspec.json.encode(now))
        return before == {name: list(look) for name, look in now.items()}

    def fetch(self, task: str, store: Store, file: Stat) -> Copy:
        """Copy a file; refused while it changes."""
        name = posixpath.basename(file.path)
        copy = self._copy(store, file, f"{task}/{digest(file.path, length=8)}/{name}")
        segment = is_segment_name(name) or any(
            self._is_part(result, copy)
            for manifest in sets_in(store, posixpath.dirname(file.path))
            for result in manifest.export_results
        )
        copy = msgspec.structs.replace(copy, segment=segment)
        self.mark(copy)
        return copy

    def fetch_set(self, task: str, store: Store, manifest: Stat, parts: Iterable[str]) -> Copy:
        """Copy a manifest and the files it names, in the same order of folders."""
        inner = f"{task}/{_SET}"
        for part in parts:
            stat = store.head(part)
            if stat is None:
                raise BadFile(f"{manifest.path} names {part}, which is not there")
            taken = self._copy(store, stat, f"{inner}/{part}")
            self.mark(msgspec.structs.replace(taken, segment=True))
        copy = self._copy(store, manifest, f"{inner}/{manifest.path}")
        return msgspec.structs.replace(copy, segment=True, manifest=manifest.path)

    def mark(self, copy: Copy) -> None:
        """Remember the bytes of a segment file: they are its rows under whatever name they come back."""
        if copy.segment:
            folder = self._folder / _SEGMENTS
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _fingerprint(self.open(copy))).touch()

    def is_segment(self, copy: Copy) -> bool:
        """Whether a copy holds rows of a segment file, whatever the variables of an event say."""
        path = self.open(copy)
        alike = (self._folder / _SEGMENTS).glob(f"{path.stat().st_size}-*")
        known = {file.name for file in alike}
        return copy.segment or (bool(known) and _fingerprint(path) in known)

    def set_store(self, copy: Copy) -> Store:
        """The store of the file set that a manifest's copy lies in."""
        folder = copy.path.removesuffix(f"/{copy.manifest}")
        return LocalStore(self._folder / checked(folder))

    def open(self, copy: Copy) -> Path:
        """Where a copy lies on this machine; no path leads out."""
        full = self._folder / checked(copy.path)
        if not full.resolve().is_relative_to(self._folder.resolve()):
            raise BadPath(f"{copy.path!r} leads out of the folder of copies")
        if not full.is_file():
            raise NoSuchCopy(
                f"the copy of {copy.name} is no longer kept: transfer it again", path=copy.path
            )
        return full

    def draft(self, task: str, name: str) -> tuple[Path, str]:
        """Where a task may write a file of its own: the place, and its path among the copies."""
        inner = checked(f"{task}/{name}")
        full = self._folder / inner
        full.parent.mkdir(parents=True, exist_ok=True)
        return full, inner

    def sweep(self, task: str) -> None:
        """Forget the oldest folders of a task's workflow."""
        found = _TASK.match(task)
        if found is None or not self._folder.is_dir():
            return
        folders = sorted(self._tasks_of(found.group(1)), reverse=True)
        for _, name in folders[KEPT_PER_WORKFLOW:]:
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def _is_part(self, result: ExportResult, copy: Copy) -> bool:
        """Whether a manifest names the file, or one with the same text."""
        if result.path == copy.source:
            return True
        return result.size == copy.size and result.sha256 == text_sha256(self.open(copy))

    def _tasks_of(self, workflow: str) -> Iterator[tuple[int, str]]:
        for entry in self._folder.iterdir():
            found = _TASK.match(entry.name)
            if found is not None and found.group(1) == workflow:
                yield int(found.group(2)), entry.name

    def _copy(self, store: Store, file: Stat, inner: str) -> Copy:
        if file.size > FILE_BYTES_MAX:
            raise BadFile(f"{file.path} has {file.size} bytes; {FILE_BYTES_MAX} are allowed")
        target = self._folder / checked(inner)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with store.open(file.path) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, _COPY_BYTES)
                copy.flush()
                os.fsync(copy.fileno())
        except NoSuchFile:
            raise StillGrowing(f"{file.path} went away while it was transferred") from None
        after, size = store.head(file.path), target.stat().st_size
        if after is None or (after.size, after.modified_ms) != (file.size, file.modified_ms):
            raise StillGrowing(f"{file.path} changed while it was transferred")
        if size != file.size:
            raise StillGrowing(f"{file.path} gave {size} of its {file.size} bytes")
        return Copy(
            name=posixpath.basename(file.path),
            path=inner,
            source=file.path,
            size=size,
            modified=file.modified_ms,
        )

    def _write(self, task: str, name: str, content: bytes) -> None:
        full, _ = self.draft(task, name)
        draft = full.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(full)


def _fingerprint(path: Path) -> str:
    """Size and digest: only files of a size that is known are read."""
    with path.open("rb") as file:
        return f"{path.stat().st_size}-{hashlib.file_digest(file, 'sha256').hexdigest()}"


def copies_in(variables: Mapping[str, Any]) -> list[Copy]:
    """The files that event variables name; refused when they are of another form."""
    try:
        return msgspec.convert(variables.get("files") or [], list[Copy])
    except msgspec.ValidationError as wrong:
        raise BadFile(
            f"the event variable `files` does not name transferred files: {wrong}"
        ) from None


def matching(pattern: str, path: str) -> bool:
    """Whether a path is meant by a pattern; wildcards do not cross folders.

    >>> matching("in/*.csv", "in/a.csv"), matching("in/*.csv", "in/old/a.csv")
    (True, False)
    """
    made = re2.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return re2.fullmatch(made, path) is not None


def fixed_part(pattern: str) -> str:
    """What all paths begin with that a pattern means.

    >>> fixed_part("in/2017-*.csv")
    'in/2017-'
    """
    ends = [at for at in (pattern.find("*"), pattern.find("?")) if at >= 0]
    return pattern[: min(ends)] if ends else pattern
