"""How are files kept in a container of Azure Blob Storage?"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import obstore
from obstore import exceptions as refused
from obstore.store import AzureStore

from amity.kernel.registry import Spec
from amity.transports.errors import BadAddress, NoSuchFile, StoreRefused, StoreUnavailable
from amity.transports.outbound import Outbound
from amity.transports.ports import Stat, Store, checked

_READ_BYTES = 1 << 20
_DEVELOPMENT = "UseDevelopmentStorage"


class AzureBlobConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A container, by the connection string of its account (account key or SAS)."""

    connection_string: str
    container: str
    prefix: str = ""
    """A folder in the container that all paths begin with."""


class AzureBlobStore:
    """The `Store` port over a container.

    Args:
        config: Which one.
        outbound: Judges the account's address.
    """

    def __init__(self, config: AzureBlobConfig, *, outbound: Outbound) -> None:
        account = _account(config.connection_string)
        loopback = outbound.check(account["endpoint"])
        self._prefix = f"{checked(config.prefix.strip('/'))}/" if config.prefix.strip("/") else ""
        self._container = config.container
        try:
            self._store = AzureStore(
                config.container,
                config=cast("Any", account),
                client_options={"allow_http": loopback, "timeout": "60s", "connect_timeout": "10s"},
                retry_config={"max_retries": 3},
            )
        except refused.BaseError as no:
            raise BadAddress(
                f"the container {config.container!r} cannot be addressed: {no}"
            ) from None

    def put(self, path: str, data: bytes | Path, *, content_type: str = "") -> None:
        """Upload; a large file in blocks that are committed together."""
        full = self._at(path)
        attributes: Any = {"Content-Type": content_type} if content_type else None
        # Opened before the block: in it only the service can fail.
        source = data.open("rb") if isinstance(data, Path) else nullcontext(data)
        with source as content, self._errors(path):
            obstore.put(self._store, full, content, attributes=attributes)

    def get(self, path: str) -> bytes:
        """The whole file."""
        full = self._at(path)
        with self._errors(path):
            return bytes(obstore.get(self._store, full).bytes())

    def open(self, path: str) -> IO[bytes]:
        """A seekable stream."""
        full = self._at(path)
        with self._errors(path):
            reader = obstore.open_reader(self._store, full)
        raw = _Stream(reader, lambda: self._errors(path))
        return cast("IO[bytes]", io.BufferedReader(raw, _READ_BYTES))

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """The files whose path begins with `prefix`, in order of path."""
        # The service lists by whole names of folders; the rest of the prefix is matched here.
        folder = f"{self._prefix}{prefix}".rpartition("/")[0]
        with self._errors(prefix):
            found = [
                self._stat(meta)
                for page in obstore.list(self._store, folder or None)
                for meta in page
            ]
        return iter(sorted(stat for stat in found if stat.path.startswith(prefix)))

    def head(self, path: str) -> Stat | None:
        """The file's size and age."""
        full = self._at(path)
        try:
            with self._errors(path):
                return self._stat(obstore.head(self._store, full))
        except NoSuchFile:
            return None

    def delete(self, path: str) -> None:
        """Remove the file, if there is one."""
        full = self._at(path)
        try:
            with self._errors(path):
                obstore.delete(self._store, full)
        except NoSuchFile:
            return

    def _at(self, path: str) -> str:
        return checked(self._prefix + path)

    def _stat(self, meta: Any) -> Stat:
        path = str(meta["path"]).removeprefix(self._prefix)
        return Stat(path, meta["size"], int(meta["last_modified"].timestamp() * 1000))

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except (refused.NotFoundError, FileNotFoundError):
            raise NoSuchFile(f"there is no file {path} in container {self._container}") from None
        except (refused.PermissionDeniedError, refused.UnauthenticatedError):
            raise StoreRefused(
                f"container {self._container} refuses these credentials for {path}: "
                "check the connection string"
            ) from None
        except (refused.BaseError, OSError) as no:
            reason = str(no).splitlines()[0][:300]
            raise StoreUnavailable(f"container {self._container}, {path}: {reason}") from None


class _Stream(io.RawIOBase):
    """A blob as Python reads files, each part fetched when it is asked for."""

    def __init__(self, reader: Any, errors: Callable[[], AbstractContextManager[None]]) -> None:
        self._reader = reader
        self._errors = errors

    def readable(self) -> bool:
        """It is read only."""
        return True

    def seekable(self) -> bool:
        """Parts may be read in any order."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        """Where it stands."""
        return int(self._reader.tell())

    def readinto(self, buffer: Any) -> int:
        """Fetch the next part."""
        with self._errors():
            part = bytes(self._reader.read(len(buffer)))
        buffer[: len(part)] = part
        return len(part)


def _account(connection_string: str) -> dict[str, str]:
    """Name, key and address of the account a connection string names."""
    fields = dict(_fields(connection_string))
    name, key = fields.get("AccountName", ""), fields.get("AccountKey", "")
    signature = fields.get("SharedAccessSignature", "").lstrip("?")
    if _DEVELOPMENT in fields or not (name or fields.get("BlobEndpoint")) or not (key or signature):
        raise BadAddress(
            "a connection string names AccountName and AccountKey "
            "(or BlobEndpoint and SharedAccessSignature)"
        )
    protocol = fields.get("DefaultEndpointsProtocol", "https")
    suffix = fields.get("EndpointSuffix", "core.windows.net")
    endpoint = fields.get("BlobEndpoint", f"{protocol}://{name}.blob.{suffix}").rstrip("/")
    account = {"account_name": name or _first_label(endpoint), "endpoint": endpoint}
    return account | ({"account_key": key} if key else {"sas_key": signature})


def _first_label(endpoint: str) -> str:
    return endpoint.partition("://")[2].partition(".")[0]


def _fields(connection_string: str) -> Iterator[tuple[str, str]]:
    for field in connection_string.strip().split(";"):
        if field.strip():
            name, equals, value = field.strip().partition("=")
            if not equals:
                raise BadAddress("a connection string is made of Name=value, separated by ;")
            yield name, value


def _make(config: AzureBlobConfig, *, outbound: Outbound | None = None) -> Store:
    return AzureBlobStore(config, outbound=outbound or Outbound())


SPEC: Spec[Store] = Spec(
    name="azure_blob",
    summary="A container of Azure Blob Storage.",
    config=AzureBlobConfig,
    make=_make,
)
