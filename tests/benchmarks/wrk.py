"""How many requests a second does a server on one core answer?"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import httpx

from amity.testing.server import free_port

SECONDS = 4


class Serving:
    """A server process on core 0, its port as last argument; wrk drives it from core 1."""

    def __init__(self, command: Sequence[str], path: str, folder: Path) -> None:
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        self._url = f"{self.base}{path}"
        cores = ["taskset", "-c", "0"] if (os.cpu_count() or 1) > 1 else []
        self._log = (folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            [*cores, *command, str(port)], stdout=self._log, stderr=self._log
        )

    def __enter__(self) -> Self:
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            try:
                httpx.get(self._url, timeout=2)
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return self
        raise RuntimeError("the server to measure did not start")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


def rate(
    url: str, body: bytes, headers: dict[str, str], *, connections: int, folder: Path
) -> float:
    """Requests a second over a few seconds, every answer a 2xx."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RuntimeError("wrk is missing: apt-get install wrk")
    (folder / "body").write_bytes(body)
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    script = folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        f'wrk.body = io.open("{folder / "body"}", "rb"):read("*a")\n' + "\n".join(lines) + "\n"
    )
    cores = ["taskset", "-c", "1"] if (os.cpu_count() or 1) > 1 else []
    command = [*cores, wrk, "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", str(script), url]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in out:
        raise RuntimeError(f"the server refused what it should take:\n{out}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", out)
    if found is None:
        raise RuntimeError(f"wrk said nothing usable:\n{out}")
    return float(found.group(1))
