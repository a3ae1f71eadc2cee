"""How does the demo talk to the campaign side? Over HTTP and SFTP alone, by the documented calls."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from amity.app.demo.client import Platform, Refused
from amity.kernel.clock import SystemClock
from amity.kernel.errors import AmityError

CAMPAIGN = "/campaign"
PAGE = 1_000
WAIT_S_MAX = 300.0


class WorkflowFailed(AmityError):
    """A workflow of the demo did not come to its end."""


class CampaignSide:
    """A thin client of the campaign side of one server.

    Args:
        platform: The client whose connection and credentials it uses.
        system: For waiting, never for business time.
    """

    def __init__(self, platform: Platform, system: SystemClock) -> None:
        self._platform = platform
        self._system = system

    def post(self, path: str, body: Any, **params: Any) -> Any:
        """POST below ``/campaign``."""
        return self._platform.post(f"{CAMPAIGN}/{path}", body, params=params or None)

    def put(self, path: str, body: Any) -> Any:
        """PUT below ``/campaign``."""
        return self._platform.call("PUT", f"{CAMPAIGN}/{path}", body=body)

    def get(self, path: str, **params: Any) -> Any:
        """GET below ``/campaign``."""
        return self._platform.get(f"{CAMPAIGN}/{path}", **params)

    def every(self, path: str, name: str, **params: Any) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page."""
        after: Any = 0
        while after is not None:
            page = self.get(path, limit=PAGE, after=after, **params)
            yield from page[name]
            after = page.get("after")

    # -- workflows --------------------------------------------------------------------------

    def workflow(self, graph: Mapping[str, Any]) -> int:
        """Create a workflow; its id."""
        return int(self.post("workflows", dict(graph))["id"])

    def from_template(self, template: str, config: Mapping[str, Any]) -> int:
        """Create a workflow from a template; its id."""
        return int(self.post(f"workflows/templates/{template}", dict(config))["id"])

    def command(self, workflow: int, method: str) -> None:
        """Ask a workflow to start, pause, stop and so on."""
        self.post(f"workflows/{workflow}/commands", {"method": method})

    def run(self, workflow: int) -> dict[str, Any]:
        """Start a workflow and wait until it has finished; the workflow."""
        self.command(workflow, "start")
        return self.finished(workflow)

    def finished(self, workflow: int) -> dict[str, Any]:
        """Wait until a workflow has finished; raises `WorkflowFailed` with its journal if it fails."""
        until = self._system.monotonic_s() + WAIT_S_MAX
        while True:
            seen: dict[str, Any] = self.get(f"workflows/{workflow}")
            if seen["failed"] or self._system.monotonic_s() > until:
                raise WorkflowFailed(f"workflow {seen['name']}: {self._said(workflow)}")
            if seen["stateLabel"] == "finished":
                return seen
            self._system.sleep(0.05)

    def transitions(self, workflow: int) -> Iterator[dict[str, Any]]:
        """The transitions of a workflow with what went along them, the newest first."""
        before = 0
        while True:
            path = f"workflows/{workflow}/transitions"
            page = self.get(path, limit=PAGE, before=before)["transitions"]
            yield from page
            if len(page) < PAGE:
                return
            before = page[-1]["id"]

    def _said(self, workflow: int) -> str:
        lines = self.get(f"workflows/{workflow}/journal", limit=PAGE)["journal"]
        return "; ".join(str(line["text"]) for line in lines if line["level"] != "info")[-2000:]

    # -- exports ----------------------------------------------------------------------------

    def export_refusal(self, kind: str) -> dict[str, Any] | None:
        """Start an export of a log; what it is refused with, None when it is let through."""
        try:
            self.post(f"exports/{kind}", {})
        except Refused as error:
            if error.data.get("status") in {409, 429}:
                found: dict[str, Any] = error.data["body"]
                return found
            raise
        return None

    # -- files ------------------------------------------------------------------------------

    def sftp_account(self, name: str, password: str) -> None:
        """Open an account on the campaign's own SFTP server."""
        self.put(f"sftpAccounts/{name}", {"name": name, "password": password})


@dataclass(frozen=True, slots=True, kw_only=True)
class SftpDoor:
    """Where files are put, and as whom.

    Attributes:
        address: ``HOST:PORT``.
        host_key: The server's own key, in whose file its public half is found: it is pinned.
        account: Name of the account.
        password: Its password.
    """

    address: str
    host_key: Path
    account: str
    password: str

    def put(self, files: Mapping[str, bytes]) -> None:
        """Upload files by SFTP: name → content."""
        asyncio.run(self._put(files))

    async def _put(self, files: Mapping[str, bytes]) -> None:
        host, _, port = self.address.rpartition(":")
        der = base64.b64decode(self.host_key.read_text())
        key = asyncssh.import_private_key(der).convert_to_public()
        async with (
            asyncssh.connect(
                host,
                int(port),
                username=self.account,
                password=self.password,
                known_hosts=([key], [], []),
            ) as connection,
            connection.start_sftp_client() as client,
        ):
            for name, content in files.items():
                async with client.open(name, "wb") as file:
                    await file.write(content)
