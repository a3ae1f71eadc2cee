"""How does the demo talk to the campaign side? Over HTTP and SFTP alone, by the documented calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
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
            if seen["state"] == "finished":
                return seen
            self._system.sleep(0.05)

    def transitions(self, workflow: int) -> list[dict[str, Any]]:
        """The transitions of a workflow with what went along them."""
        found: list[dict[str, Any]] = self.get(f"workflows/{workflow}/transitions")["transitions"]
        return found

    def _said(self, workflow: int) -> str:
        lines = self.get(f"workflows/{workflow}/journal")["lines"]
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
        self.post("sftpAccounts", {"name": name, "password": password})


def put_files(door: str, account: str, password: str, files: Mapping[str, bytes]) -> None:
    """Upload files by SFTP, each under its name.

    Args:
        door: ``HOST:PORT``.
        account: Name of the SFTP account.
        password: Its password.
        files: Path → content.
    """

    async def put() -> None:
        host, _, port = door.rpartition(":")
        async with (
            # The server is this program's own, on this machine, and its key is minutes old.
            asyncssh.connect(
                host, int(port), username=account, password=password, known_hosts=None
            ) as connection,
            connection.start_sftp_client() as client,
        ):
            for path, content in files.items():
                folder = path.rpartition("/")[0]
                if folder:
                    await client.makedirs(folder, exist_ok=True)
                async with client.open(path, "wb") as file:
                    await file.write(content)

    asyncio.run(put())
