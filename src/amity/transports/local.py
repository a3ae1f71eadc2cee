"""How does a folder of this machine keep files for others?"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from amity.kernel.ids import digest
from amity.kernel.registry import Spec
from amity.transports.errors import BadPath, NoSuchFile
from amity.transports.outbound import Outbound
from amity.transports.ports import UNFINISHED, Stat, Store, checked, is_unfinished


class LocalConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A folder; it is made when it is missing."""

    folder: str


class LocalStore:
    """The `Store` port over a folder; no path leads out of it, by links neither."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder.resolve()

    def put(self, path: str, data: bytes | Path, *, content_type: str = "") -> None:  # noqa: ARG002
        """Write beside it under a hidden name, sync, then rename.

        The hidden name is the file's own: who is killed leaves a draft that the next try takes up.
        """
        target = self._at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._inside(target.parent, path)
        draft = target.with_name(f".{digest(target.name)}{UNFINISHED}")
        with _alone(draft) as file:
            try:
                if isinstance(data, Path):
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, file, 1 << 20)
                else:
                    file.write(data)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
                draft.replace(target)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
        _sync_folder(target.parent)

    def get(self, path: str) -> bytes:
        """The whole file."""
        with self.open(path) as file:
            return file.read()

    def open(self, path: str) -> IO[bytes]:
        """A seekable stream."""
        try:
            return self._at(path).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NoSuchFile(f"there is no file {path} in {self._folder.name}") from None

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """The files whose path begins with `prefix`, in order of path."""
        found = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                full = Path(folder) / name
                path = full.relative_to(self._folder).as_posix()
                if path.startswith(prefix) and not is_unfinished(name) and full.is_file():
                    found.append((path, full))
        return (_stat(path, full) for path, full in sorted(found))

    def head(self, path: str) -> Stat | None:
        """The file's size and age."""
        full = self._at(path)
        return _stat(path, full) if full.is_file() else None

    def delete(self, path: str) -> None:
        """Remove the file, if there is one."""
        full = self._at(path)
        if full.is_file():
            full.unlink()
            _sync_folder(full.parent)

    def _at(self, path: str) -> Path:
        full = self._folder / checked(path)
        self._inside(full, path)
        if is_unfinished(full.name):
            raise BadPath(f"{path!r}: names that end in {UNFINISHED} are taken by unfinished files")
        return full

    def _inside(self, full: Path, path: str) -> None:
        if not full.resolve().is_relative_to(self._folder):
            raise BadPath(f"{path!r} leads out of the folder by a link")


@contextmanager
def _alone(draft: Path) -> Iterator[IO[bytes]]:
    """An empty file that nobody else writes to: a second writer of the same file waits."""
    while True:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _still_there(file, draft):
                file.truncate()
                yield file
                return


def _still_there(file: IO[bytes], draft: Path) -> bool:
    """Whether the draft is this file yet, and was not finished by somebody while we waited."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), draft.lstat())
    except FileNotFoundError:
        return False


def _stat(path: str, full: Path) -> Stat:
    found = full.stat()
    return Stat(path, found.st_size, found.st_mtime_ns // 1_000_000)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make(config: LocalConfig, *, outbound: Outbound | None = None) -> Store:  # noqa: ARG001 - all take it
    return LocalStore(Path(config.folder))


SPEC: Spec[Store] = Spec(
    name="local",
    summary="A folder of this machine, or one mounted on it.",
    config=LocalConfig,
    make=_make,
)
