"""How does a test get a real Azure Blob service?

Azurite, as ``scripts/azurite`` installs it, on a free loopback port with a folder of its own. Where
it cannot be installed, `installed()` says so and the caller takes a local folder.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from amity.kernel.clock import RealSystemClock
from amity.kernel.errors import Unavailable
from amity.testing.server import free_port

MAIN = Path(".amity/servers/azurite/node_modules/azurite/dist/src/blob/main.js")
READY_S_MAX = 30.0

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's published account: every Azurite has it."""


def installed() -> bool:
    """Whether Azurite can be started here."""
    return MAIN.exists() and shutil.which("node") is not None


class Azurite:
    """One Azurite process, as a context manager.

    Args:
        folder: Where it keeps its blobs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._system = RealSystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._port}/{ACCOUNT}"

    @property
    def connection_string(self) -> str:
        """What a client is configured with."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={self.endpoint};"
        )

    def __enter__(self) -> Self:
        command = ["node", str(MAIN), "--blobHost", "127.0.0.1", "--blobPort", str(self._port)]
        command += ["-l", str(self._folder), "--skipApiVersionCheck", "--disableTelemetry"]
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = self._system.monotonic_s() + READY_S_MAX
        while not self._answers():
            if self._process.poll() is not None or self._system.monotonic_s() > until:
                self.__exit__(None, None, None)
                raise Unavailable("Azurite did not start: run scripts/azurite and try again")
            self._system.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def _answers(self) -> bool:
        try:
            httpx.get(f"http://127.0.0.1:{self._port}/", timeout=2)
        except httpx.TransportError:
            return False
        return True
