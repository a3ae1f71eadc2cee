"""How does one run against a real blob service without an account?

Azurite, the emulator of Azure Blob Storage, from its npm package, on a free loopback port.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from threading import Event

from amity.kernel.clock import RealSystemClock
from amity.kernel.errors import Unavailable

AZURITE_VERSION = "3.35.0"
BUILT = Path(".amity/servers/azurite")
"""Where `scripts/azurite` installs it from a hashed lock file, below the folder of the project."""

_START_S = 30.0
_STOP_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Azurite:
    """A running emulator."""

    endpoint: str
    account: str
    key: str

    @property
    def connection_string(self) -> str:
        """What a destination is configured with."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};"
            f"BlobEndpoint={self.endpoint};"
        )


def azurite_available() -> bool:
    """Whether it can be run, or installed, on this machine."""
    return shutil.which("node") is not None and (
        shutil.which("npm") is not None or any(_main(at).exists() for at in (BUILT, cache_folder()))
    )


def cache_folder() -> Path:
    """Where the package is kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "amity" / f"azurite-{AZURITE_VERSION}"


def install_azurite(folder: Path | None = None) -> Path:
    """Install the pinned version once, unless it is there; answers the file that node runs."""
    if folder is None and (BUILT / ".built-from").exists():
        return _main(BUILT.resolve())
    place = folder or cache_folder()
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "installed").exists():
            _npm_install(place)
            (place / "installed").touch()
    return _main(place)


@contextmanager
def start_azurite(folder: Path, *, package: Path | None = None) -> Iterator[Azurite]:
    """Run it with its data in `folder` until the block ends.

    Args:
        folder: Its data and log.
        package: Where it is installed; when not given the project's own, else the cache.
    """
    main = install_azurite(package)
    folder.mkdir(parents=True, exist_ok=True)
    account, key = "amitytest", base64.b64encode(secrets.token_bytes(48)).decode()
    port = _free_port()
    command = [
        shutil.which("node") or "node", str(main), "--blobHost", "127.0.0.1", "--blobPort", str(port),
        "--location", str(folder), "--silent", "--skipApiVersionCheck", "--disableTelemetry",
    ]  # fmt: skip
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"{account}:{key}"}
    with (folder / "azurite.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - a fixed command
            command, stdout=log, stderr=log, env=environment, cwd=folder
        )
        try:
            _await_port(process, port, folder / "azurite.log")
            yield Azurite(endpoint=f"http://127.0.0.1:{port}/{account}", account=account, key=key)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _npm_install(place: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("Azurite needs node and npm: install them, or use a local folder")
    (place / "package.json").write_text(json.dumps({"private": True, "name": "azurite-of-amity"}))
    done = subprocess.run(  # noqa: S603 - a fixed command
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error",
         f"azurite@{AZURITE_VERSION}"],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Unavailable(f"npm cannot install Azurite: {done.stderr.strip()[-500:]}")


def _main(place: Path) -> Path:
    return place / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    clock, pause = RealSystemClock(), Event()
    end = clock.monotonic_s() + _START_S
    while clock.monotonic_s() < end:
        if process.poll() is not None:
            raise Unavailable(f"Azurite ended at its start: {log.read_text()[-500:]}")
        connection = HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except OSError:
            pause.wait(0.05)
        else:
            return
        finally:
            connection.close()
    raise Unavailable(f"Azurite did not answer within {_START_S:.0f} s: {log.read_text()[-500:]}")
