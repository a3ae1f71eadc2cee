"""How are files kept on somebody else's SFTP server?

The host's key is pinned: a server that shows another one is refused, and so is one of which no key
is known. Each operation has a connection of its own, so nothing is left open between them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import asyncssh
import msgspec

from amity.kernel.ids import digest
from amity.kernel.registry import Spec
from amity.transports.errors import BadAddress, NoSuchFile, StoreRefused, StoreUnavailable
from amity.transports.outbound import Outbound
from amity.transports.ports import UNFINISHED, Stat, Store, checked, is_unfinished

T = TypeVar("T")

_READ_BYTES = 4 << 20
_DEPTH_MAX = 16
"""Folders below folders that a listing goes down. Ours."""

_CONNECT_S = 10
_LOGIN_S = 20
_KEEPALIVE_S = 15
"""A peer that answers four of these not is gone."""

_ANSWER_S = 300
"""A request that is not answered for so long never is: a server that only keeps the connection alive
must not hold up whoever waits. Ours."""

_MISSING = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory)


class SftpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An account on a server, by password or key.

    `private_key` is an OpenSSH or PEM key without passphrase, or that in base64. `host_key` is what
    the server must show: its SHA256 fingerprint or its public key.
    """

    host: str
    username: str
    port: int = 22
    password: str = ""
    private_key: str = ""
    host_key: str = ""
    folder: str = ""
    """That all paths begin with; from / or from where a login starts."""


class SftpStore:
    """The `Store` port over an account of an SFTP server.

    Args:
        config: Which one.
        outbound: Judges the server's address.
    """

    def __init__(self, config: SftpConfig, *, outbound: Outbound) -> None:
        if not (config.host and config.username and 0 < config.port < 65_536):
            raise BadAddress("an SFTP server is named by host, port and username")
        if bool(config.password) == bool(config.private_key):
            raise BadAddress("one signs in by password or by private key: give one of the two")
        self._config = config
        self._outbound = outbound
        self._key = _private_key(config.private_key) if config.private_key else None
        self._pinned = _fingerprint(config.host_key)
        self._base = _base(config.folder)

    def put(self, path: str, data: bytes | Path, *, content_type: str = "") -> None:  # noqa: ARG002
        """Upload beside it under a hidden name, then rename."""
        full = self._at(path)
        if isinstance(data, Path):
            with data.open("rb") as source:
                self._do(path, lambda sftp: _upload(sftp, full, source))
        else:
            self._do(path, lambda sftp: _upload(sftp, full, data))

    def get(self, path: str) -> bytes:
        """The whole file."""
        with self.open(path) as file:
            return file.read()

    def open(self, path: str) -> IO[bytes]:
        """A seekable stream: a copy in a file of this machine that has no name."""
        full = self._at(path)
        copy = cast("IO[bytes]", tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
        try:
            self._do(path, lambda sftp: _download(sftp, full, copy))
        except BaseException:
            copy.close()
            raise
        copy.seek(0)
        return copy

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """The files whose path begins with `prefix`, in order of path; links are no files."""
        folder = prefix.rpartition("/")[0]
        try:
            found = self._do(prefix, lambda sftp: self._walk(sftp, folder))
        except NoSuchFile:
            return iter(())
        return iter(sorted(stat for stat in found if stat.path.startswith(prefix)))

    def head(self, path: str) -> Stat | None:
        """The file's size and age."""
        full = self._at(path)
        try:
            attrs = self._do(path, lambda sftp: _answered(sftp.stat(full)))
        except NoSuchFile:
            return None
        return _stat(path, attrs) if _is_file(attrs) else None

    def delete(self, path: str) -> None:
        """Remove the file, if there is one."""
        full = self._at(path)
        with suppress(NoSuchFile):
            self._do(path, lambda sftp: _answered(sftp.remove(full)))

    def _at(self, path: str) -> str:
        return self._base + checked(path)

    async def _walk(self, sftp: asyncssh.SFTPClient, folder: str) -> tuple[Stat, ...]:
        found: set[Stat] = set()
        folders = [(folder, 0)]
        while folders:
            at, depth = folders.pop()
            for entry in await _answered(sftp.readdir(f"{self._base}{at}" or ".")):
                name = str(entry.filename)
                path = f"{at}/{name}".lstrip("/")
                if _is_folder(entry.attrs) and name not in {".", ".."} and depth < _DEPTH_MAX:
                    folders.append((path, depth + 1))
                elif _is_file(entry.attrs) and not is_unfinished(name):
                    found.add(_stat(path, entry.attrs))
        return tuple(found)

    def _do(self, path: str, work: Callable[[asyncssh.SFTPClient], Awaitable[T]]) -> T:
        """Sign in, work, sign out; an error says whose it is."""
        self._outbound.check(f"https://{_bracketed(self._config.host)}:{self._config.port}")
        try:
            return _run(self._signed_in(work))
        except _MISSING:
            raise NoSuchFile(f"there is no file {path} at {self._config.host}") from None
        except (asyncssh.PermissionDenied, asyncssh.SFTPPermissionDenied) as no:
            raise StoreRefused(
                f"{self._config.host} refuses {self._config.username} for {path or '/'}: {no}; "
                "check the account, its password or key, and the folder's rights"
            ) from None
        except (asyncssh.Error, OSError) as no:
            reason = str(no).splitlines()[0][:300] if str(no) else type(no).__name__
            raise StoreUnavailable(f"{self._config.host}, {path or '/'}: {reason}") from None

    async def _signed_in(self, work: Callable[[asyncssh.SFTPClient], Awaitable[T]]) -> T:
        async with self._connection() as connection:
            sftp = await _answered(
                connection.start_sftp_client(path_encoding="utf-8", path_errors="surrogateescape")
            )
            return await work(sftp)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        config, seen = self._config, _HostKey(self._pinned)
        try:
            connection = await asyncssh.connect(
                config.host,
                config.port,
                config=None,
                known_hosts=([], [], []),
                client_factory=lambda: seen,
                username=config.username,
                password=config.password or None,
                client_keys=[self._key] if self._key else None,
                agent_path=None,
                gss_host=None,
                connect_timeout=_CONNECT_S,
                login_timeout=_LOGIN_S,
                keepalive_interval=_KEEPALIVE_S,
                keepalive_count_max=4,
            )
        except asyncssh.HostKeyNotVerifiable:
            raise StoreRefused(_refusal(config, seen.shown)) from None
        try:
            yield connection
        finally:
            connection.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(connection.wait_closed(), _CONNECT_S)
            connection.abort()


class _HostKey(asyncssh.SSHClient):
    """Remembers which key the server shows, and takes only the pinned one."""

    def __init__(self, pinned: str) -> None:
        self._pinned = pinned
        self.shown = ""

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Whether it is the one."""
        del host, addr, port
        self.shown = key.get_fingerprint()
        return bool(self._pinned) and self.shown == self._pinned


def _refusal(config: SftpConfig, shown: str) -> str:
    known = f"not {config.host_key[:80]}" if config.host_key else "and none is pinned"
    return (
        f"{config.host}:{config.port} shows the host key {shown or '?'}, {known}: ask whoever keeps "
        "the server whether it is theirs, then write it as the host key"
    )


async def _upload(sftp: asyncssh.SFTPClient, full: str, data: bytes | IO[bytes]) -> None:
    folder, _, name = full.rpartition("/")
    if folder:
        await _answered(sftp.makedirs(folder, exist_ok=True))
    draft = f"{folder}/" * bool(folder) + f".{digest(name)}{UNFINISHED}"
    try:
        file = await _answered(sftp.open(draft, "wb"))
        source = io.BytesIO(data) if isinstance(data, bytes) else data
        while chunk := source.read(_READ_BYTES):
            await _answered(file.write(chunk))
        with suppress(asyncssh.SFTPOpUnsupported):
            await _answered(file.fsync())
        await _answered(file.close())
        await _replace(sftp, draft, full)
    except BaseException:
        with suppress(asyncssh.Error, OSError):
            await _answered(sftp.remove(draft))
        raise


async def _replace(sftp: asyncssh.SFTPClient, draft: str, full: str) -> None:
    """Rename over what is there; a server that cannot do that in one has it removed first."""
    try:
        await _answered(sftp.posix_rename(draft, full))
    except asyncssh.SFTPOpUnsupported:
        with suppress(*_MISSING):
            await _answered(sftp.remove(full))
        await _answered(sftp.rename(draft, full))


async def _download(sftp: asyncssh.SFTPClient, full: str, copy: IO[bytes]) -> None:
    if not _is_file(await _answered(sftp.stat(full))):
        raise asyncssh.SFTPNoSuchFile("it is no file")
    file = await _answered(sftp.open(full, "rb"))
    while chunk := await _answered(file.read(_READ_BYTES)):
        copy.write(cast("bytes", chunk))


async def _answered(asked: Awaitable[T]) -> T:
    """The answer, or that there is none; what stays open ends with the connection."""
    async with asyncio.timeout(_ANSWER_S):
        return await asked


def _private_key(text: str) -> asyncssh.SSHKey:
    try:
        plain = text if "-----BEGIN" in text else base64.b64decode(text, validate=True).decode()
        return asyncssh.import_private_key(plain)
    except (ValueError, binascii.Error, asyncssh.KeyImportError):
        raise BadAddress(
            "the private key cannot be read: give an OpenSSH or PEM key without passphrase, as it is "
            "or in base64"
        ) from None


def _fingerprint(text: str) -> str:
    """The SHA256 fingerprint that a key, or a fingerprint, names."""
    if not text or text.startswith("SHA256:"):
        return text.rstrip("=")
    try:
        return asyncssh.import_public_key(text).get_fingerprint()
    except asyncssh.KeyImportError:
        raise BadAddress(
            f"the host key {text[:40]!r}… cannot be read: write SHA256:… or a public key"
        ) from None


def _base(folder: str) -> str:
    """What stands before each path: "", ``in/`` or ``/in/``."""
    inner = folder.strip("/")
    root = "/" if folder.startswith("/") else ""
    return root + (f"{checked(inner)}/" if inner else "")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_file(attrs: asyncssh.SFTPAttrs) -> bool:
    return attrs.type == asyncssh.FILEXFER_TYPE_REGULAR


def _is_folder(attrs: asyncssh.SFTPAttrs) -> bool:
    return attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY


def _stat(path: str, attrs: asyncssh.SFTPAttrs) -> Stat:
    return Stat(path, attrs.size or 0, (attrs.mtime or 0) * 1000 + (attrs.mtime_ns or 0) // 10**6)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """A loop in a thread of its own, for all stores of this process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="sftp", daemon=True).start()
    return loop


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()


def _make(config: SftpConfig, *, outbound: Outbound | None = None) -> Store:
    return SftpStore(config, outbound=outbound or Outbound())


SPEC: Spec[Store] = Spec(
    name="sftp",
    summary="An account on an SFTP server.",
    config=SftpConfig,
    make=_make,
)
