"""What can a client of the own SFTP server do with files, and what is kept from it?

It sees the folder of its account as `/` and nothing else: no link is followed or made. What it
uploads has no name until it was closed whole; a connection that breaks leaves nothing behind.
Owners, modes and times that a client sets are ignored: a file is as old as its upload.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import shutil
import stat as modes
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import asyncssh

from amity.kernel.ids import IdSource
from amity.kernel.limits import DISK_FREE_BYTES_MIN
from amity.transports.errors import BadPath
from amity.transports.ports import UNFINISHED, checked

_WRITES = asyncssh.FXF_WRITE | asyncssh.FXF_APPEND | asyncssh.FXF_CREAT | asyncssh.FXF_TRUNC

FileAction = Literal["upload", "delete", "rename", "mkdir", "rmdir", "refused"]
Tell = Callable[[FileAction, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SftpLimits:
    """What one client, and all of them, may use. Ours."""

    connections: int = 100
    sessions_per_account: int = 8
    files_open: int = 32
    file_bytes: int = 8 * 1024**3
    account_bytes: int = 64 * 1024**3
    account_files: int = 20_000


@dataclass(slots=True, kw_only=True)
class _Open:
    """A file a client has open; `draft` and `target` when it writes one."""

    file: IO[bytes]
    path: str
    target: Path | None = None
    draft: Path | None = None
    append: bool = False
    spoilt: str = ""
    room: int = 0
    """Bytes the file may have."""


class AccountFiles(asyncssh.SFTPServer):
    """One session's view of one account's folder.

    Args:
        channel: The session's.
        home: The account's folder.
        drafts: A folder on the same file system, for uploads that are not whole.
        limits: What may be used.
        ids: Names drafts.
        may: Whether the account may still be used.
        tell: Is told what was done, and with which path.
    """

    def __init__(
        self,
        channel: asyncssh.SSHServerChannel[bytes],
        *,
        home: Path,
        drafts: Path,
        limits: SftpLimits,
        ids: IdSource,
        may: Callable[[], bool],
        tell: Tell,
    ) -> None:
        super().__init__(channel)
        self._home = home
        self._drafts = drafts
        self._limits = limits
        self._ids = ids
        self._may = may
        self._tell = tell
        self._open: list[_Open] = []
        self.gone = False
        """Whether the client is: then what it has not closed is dropped."""

    # --- one file ---------------------------------------------------------------------------

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """Open for reading, or begin an upload."""
        del attrs
        full, shown = self._full(path), self._shown(path)
        if len(self._open) >= self._limits.files_open:
            raise asyncssh.SFTPFailure(f"at most {self._limits.files_open} files are open at once")
        if pflags & _WRITES:
            opened = await asyncio.to_thread(self._begin, full, shown, pflags)
        else:
            opened = _Open(file=_opened(full), path=shown)
        if self.gone:
            # While it was opened the session ended, and closed what it knew of.
            _drop(opened)
            raise asyncssh.SFTPConnectionLost("the connection broke")
        self._open.append(opened)
        return opened

    async def close(self, file_obj: object) -> None:
        """Publish an upload, unless something went wrong with it or the client is gone."""
        opened = _own(file_obj)
        self._open.remove(opened)
        await asyncio.to_thread(self._finish, opened)

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """A part of a file; "" at its end."""
        file = _own(file_obj).file
        file.seek(offset)
        return file.read(size)

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """A part of an upload; one that does not fit spoils it."""
        opened = _own(file_obj)
        if opened.draft is None:
            raise asyncssh.SFTPPermissionDenied("the file was opened for reading")
        at = opened.file.seek(0, os.SEEK_END) if opened.append else offset
        self._fits(opened, at + len(data))
        opened.file.seek(at)
        return opened.file.write(data)

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        """Size and age of an open file."""
        return _attrs(os.fstat(_own(file_obj).file.fileno()))

    def fsetstat(self, file_obj: object, attrs: asyncssh.SFTPAttrs) -> None:
        """The size of an upload may be set; all else is ignored."""
        opened = _own(file_obj)
        if attrs.size is not None:
            if opened.draft is None:
                raise asyncssh.SFTPPermissionDenied("the file was opened for reading")
            self._fits(opened, attrs.size)
            opened.file.truncate(attrs.size)

    def fsync(self, file_obj: object) -> None:
        """Nothing to do: closing makes it durable."""
        _own(file_obj)

    # --- names ------------------------------------------------------------------------------

    def realpath(self, path: bytes) -> bytes:
        """The path as it is seen from inside."""
        return self._shown(path).encode()

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Size and age."""
        return _attrs(self._full(path).lstat())

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Size and age: there are no links."""
        return self.stat(path)

    def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Ignored, but for a size: what is published does not change."""
        self._full(path).lstat()
        if attrs.size is not None:
            raise asyncssh.SFTPPermissionDenied("upload the file anew instead of changing its size")

    def lsetstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """As `setstat`: there are no links."""
        self.setstat(path, attrs)

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """Files and folders; nothing else that may lie there is shown."""
        full = self._full(path)
        for name, found in await asyncio.to_thread(_entries, full):
            yield asyncssh.SFTPName(name, attrs=_attrs(found))

    async def remove(self, path: bytes) -> None:
        """Delete a file."""
        full = self._changed(path)
        if full.is_dir():
            raise asyncssh.SFTPFailure("it is a folder")
        await self._do("delete", self._shown(path), full.unlink)

    async def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Make a folder."""
        del attrs
        full = self._changed(path)
        await self._do("mkdir", self._shown(path), lambda: full.mkdir(mode=0o700))

    async def rmdir(self, path: bytes) -> None:
        """Remove an empty folder."""
        await self._do("rmdir", self._shown(path), self._changed(path).rmdir)

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename within the folder; nothing is replaced."""
        if self._changed(newpath).exists():
            raise asyncssh.SFTPFailure("there is already something of that name")
        await self.posix_rename(oldpath, newpath)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename within the folder, over what is there."""
        old, new = self._changed(oldpath), self._changed(newpath)
        shown = f"{self._shown(oldpath)} -> {self._shown(newpath)}"
        await self._do("rename", shown, lambda: old.replace(new))

    # --- what there is not ------------------------------------------------------------------

    def readlink(self, path: bytes) -> bytes:
        """There are no links."""
        raise asyncssh.SFTPOpUnsupported(f"{self._shown(path)}: there are no links here")

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        """There are no links."""
        del oldpath
        raise asyncssh.SFTPOpUnsupported(f"{self._shown(newpath)}: there are no links here")

    def link(self, oldpath: bytes, newpath: bytes) -> None:
        """There are no links."""
        del oldpath
        raise asyncssh.SFTPOpUnsupported(f"{self._shown(newpath)}: there are no links here")

    def statvfs(self, path: bytes) -> asyncssh.SFTPVFSAttrs:
        """The disk is nobody's business."""
        raise asyncssh.SFTPOpUnsupported(f"{self._shown(path)}: the disk is not told of")

    def fstatvfs(self, file_obj: object) -> asyncssh.SFTPVFSAttrs:
        """The disk is nobody's business."""
        raise asyncssh.SFTPOpUnsupported(f"{_own(file_obj).path}: the disk is not told of")

    def exit(self) -> None:
        """The session has ended: what is still open is dropped."""
        self.gone = True
        for opened in self._open:
            _drop(opened)
        self._open = []

    # --- inside -----------------------------------------------------------------------------

    def _shown(self, path: bytes) -> str:
        try:
            return posixpath.normpath("/" + path.decode().lstrip("/"))
        except UnicodeDecodeError:
            raise asyncssh.SFTPNoSuchFile("a name must be UTF-8") from None

    def _full(self, path: bytes) -> Path:
        """Where it lies; refused when a link lies on the way."""
        inner = self._shown(path).strip("/")
        if not inner:
            return self._home
        try:
            parts = checked(inner).split("/")
        except BadPath as wrong:
            raise asyncssh.SFTPPermissionDenied(str(wrong)) from None
        full = self._home
        for part in parts:
            full /= part
            if full.is_symlink():
                raise asyncssh.SFTPPermissionDenied("links are not followed here")
        return full

    def _changed(self, path: bytes) -> Path:
        full = self._full(path)
        if full == self._home:
            raise asyncssh.SFTPPermissionDenied("that is the account's own folder")
        if not self._may():
            raise asyncssh.SFTPPermissionDenied("the account is no longer active")
        return full

    async def _do(self, action: FileAction, shown: str, work: Callable[[], object]) -> None:
        await asyncio.to_thread(work)
        await asyncio.to_thread(self._tell, action, shown)

    def _begin(self, full: Path, shown: str, pflags: int) -> _Open:
        if full == self._home or full.is_dir():
            raise asyncssh.SFTPFailure("it is a folder")
        there = full.exists()
        if there and pflags & asyncssh.FXF_EXCL:
            raise asyncssh.SFTPFailure("there is already a file of that name")
        if not full.parent.is_dir() or not (there or pflags & asyncssh.FXF_CREAT):
            raise asyncssh.SFTPNoSuchFile("there is no such file or folder")
        room = self._room(full, shown)
        draft = self._drafts / f".{self._ids.hex(32)}{UNFINISHED}"
        handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        file = os.fdopen(handle, "w+b", buffering=0)
        if there and not pflags & asyncssh.FXF_TRUNC:
            with _opened(full) as before:
                shutil.copyfileobj(before, file, 1 << 20)
        append = bool(pflags & asyncssh.FXF_APPEND)
        return _Open(file=file, path=shown, target=full, draft=draft, append=append, room=room)

    def _room(self, full: Path, shown: str) -> int:
        """Bytes the file may have; refused when there is none."""
        if not self._may():
            raise asyncssh.SFTPPermissionDenied("the account is no longer active")
        sizes = {path: found.st_size for path, found in _files(self._home)}
        sizes.pop(full, None)
        left = self._limits.account_bytes - sum(sizes.values())
        if len(sizes) >= self._limits.account_files or left <= 0:
            self._tell("refused", f"{shown}: the account is full")
            raise asyncssh.SFTPFailure("the account is full: delete what is no longer needed")
        if shutil.disk_usage(self._home).free < DISK_FREE_BYTES_MIN:
            raise asyncssh.SFTPFailure("the disk is full: try again later")
        return min(left, self._limits.file_bytes)

    def _fits(self, opened: _Open, size: int) -> None:
        if size > opened.room:
            opened.spoilt = f"more than {opened.room} bytes"
            raise asyncssh.SFTPFailure(f"the file has at most {opened.room} bytes")

    def _finish(self, opened: _Open) -> None:
        if opened.target is None:
            opened.file.close()
            return
        if self.gone or opened.spoilt:
            _drop(opened)
            self._tell("refused", f"{opened.path}: {opened.spoilt or 'the connection broke'}")
            raise asyncssh.SFTPFailure(f"the upload was dropped: {opened.spoilt or 'broken off'}")
        _publish(opened)
        self._tell("upload", opened.path)


def _own(file_obj: object) -> _Open:
    if not isinstance(file_obj, _Open):
        raise asyncssh.SFTPFailure("no open file")
    return file_obj


def _opened(full: Path) -> IO[bytes]:
    handle = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not modes.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise asyncssh.SFTPFailure("it is no file")
    return os.fdopen(handle, "rb")


def _publish(opened: _Open) -> None:
    if opened.target is None or opened.draft is None:
        return
    os.fsync(opened.file.fileno())
    opened.file.close()
    opened.draft.replace(opened.target)
    folder = os.open(opened.target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _drop(opened: _Open) -> None:
    opened.file.close()
    if opened.draft is not None:
        opened.draft.unlink(missing_ok=True)


def _entries(folder: Path) -> list[tuple[bytes, os.stat_result]]:
    found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in os.scandir(folder)]
    return [(os.fsencode(name), one) for name, one in sorted(found) if _plain(one)]


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            full = Path(root, name)
            found.append((full, full.lstat()))
    return found


def _plain(found: os.stat_result) -> bool:
    return modes.S_ISREG(found.st_mode) or modes.S_ISDIR(found.st_mode)


def _attrs(found: os.stat_result) -> asyncssh.SFTPAttrs:
    """Of the host no more than size and age is told."""
    folder = modes.S_ISDIR(found.st_mode)
    if not _plain(found):
        raise asyncssh.SFTPPermissionDenied("it is no file")
    return asyncssh.SFTPAttrs(
        size=found.st_size,
        uid=0,
        gid=0,
        permissions=(modes.S_IFDIR | 0o700) if folder else (modes.S_IFREG | 0o600),
        atime=int(found.st_mtime),
        mtime=int(found.st_mtime),
    )
