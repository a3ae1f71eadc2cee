"""How does a test, the demo or the bench run a real server?

`RunningServer` starts ``amity serve`` as a process of its own on a free loopback port, waits until
it is ready, and can stop it, kill it without warning, and start it again on the same folder.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from amity.kernel.clock import RealSystemClock
from amity.kernel.errors import Unavailable

READY_S_MAX = 60.0


def free_port() -> int:
    """A loopback port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def create_organisation(data: Path, org: str = "Test shop") -> dict[str, str]:
    """Run ``amity init`` and give back what it prints."""
    command = [sys.executable, "-m", "amity.app.cli", "init", "--data", str(data)]
    done = subprocess.run(  # noqa: S603 - our own command
        [*command, "--org", org, "--admin", "admin@example.test"],
        check=True,
        capture_output=True,
        text=True,
    )
    credentials: dict[str, str] = json.loads(done.stdout)
    return credentials


class RunningServer:
    """One ``amity serve`` process on one data folder.

    Args:
        data: The data folder; an organisation is created in it when there is none.
        clock: Start of the virtual business clock, "" for real time.
        arguments: More arguments for ``amity serve``.
        tls: Certificate and key, for https; the certificate is the only one that clients trust.
    """

    def __init__(
        self,
        data: Path,
        clock: str = "",
        arguments: Sequence[str] = (),
        *,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._verify = ssl.create_default_context(cafile=str(tls[0])) if tls else True
        self._clock = clock
        self._arguments = list(arguments)
        if tls:
            self._arguments += ["--tls-cert", str(tls[0]), "--tls-key", str(tls[1])]
        self._system = RealSystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        kept = data / "test-credentials.json"
        if kept.exists():
            self.credentials: dict[str, str] = json.loads(kept.read_text())
        else:
            self.credentials = create_organisation(data)
            kept.write_text(json.dumps(self.credentials))

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        command = [sys.executable, "-m", "amity.app.cli", "serve", "--data", str(self.data)]
        command += ["--port", str(self.port), *self._arguments]
        if self._clock:
            command += ["--clock", self._clock]
        with (self.data / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
        self._wait_ready()

    def stop(self) -> int:
        """Ask it to end (SIGTERM) and wait; answers the exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(60)
        self._process = None
        return status

    def kill(self) -> None:
        """Kill the whole process group without warning."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def token(self) -> str:
        """A fresh access token of the organisation's API client."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.credentials["client_id"],
            "client_secret": self.credentials["client_secret"],
            "scope": "openid",
        }
        reply = httpx.post(f"{self.url}/ims/token/v3", data=form, timeout=30, verify=self._verify)
        reply.raise_for_status()
        return str(reply.json()["access_token"])

    def client(self, sandbox: str = "prod") -> httpx.Client:
        """An HTTP client that carries the platform headers."""
        headers = {
            "Authorization": f"Bearer {self.token()}",
            "x-api-key": self.credentials["client_id"],
            "x-gw-ims-org-id": self.credentials["org_id"],
            "x-sandbox-name": sandbox,
        }
        return httpx.Client(base_url=self.url, headers=headers, timeout=120, verify=self._verify)

    def _wait_ready(self) -> None:
        until = self._system.monotonic_s() + READY_S_MAX
        while self._system.monotonic_s() < until:
            if self._process is not None and self._process.poll() is not None:
                break
            if self._healthy():
                return
            self._system.sleep(0.05)
        self.kill()  # nobody else would end it
        log = (self.data / "server.log").read_text(errors="replace")[-3000:]
        raise Unavailable(f"the server did not become ready:\n{log}")

    def _healthy(self) -> bool:
        try:
            reply: Any = httpx.get(f"{self.url}/healthz", timeout=5, verify=self._verify)
        except httpx.TransportError:
            return False
        return bool(reply.status_code == 200)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill() if kind else self.stop()
