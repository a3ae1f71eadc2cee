"""How does a command talk to the server that runs on a data folder?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from amity.app.folder import DataFolder, ServerDown
from amity.kernel.errors import AmityError


class ServerRefused(AmityError):
    """The server refused the command."""


class LocalClient:
    """Calls the running server as the folder's owner, with the token only the owner can read."""

    def __init__(self, data: Path) -> None:
        folder = DataFolder(data)
        self._base = folder.endpoint()
        organisation = folder.organisation()
        self._headers = {
            "Authorization": f"Bearer {folder.local_token.read_text().strip()}",
            "x-api-key": "local",
            "x-gw-ims-org-id": organisation["org_id"],
        }

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON answer; raises `ServerRefused` with the server's own sentence."""
        try:
            with httpx.Client(base_url=self._base, timeout=120, verify=False) as client:  # noqa: S501 - loopback, own certificate
                reply = client.request(method, path, headers=self._headers, **options)
        except httpx.TransportError as error:
            raise ServerDown(f"the server at {self._base} does not answer: {error}") from error
        if reply.is_error:
            raise ServerRefused(_sentence(reply), status_code=reply.status_code)
        return reply.json() if reply.content else None

    def download(self, path: str) -> bytes:
        """The raw bytes of an answer."""
        with httpx.Client(base_url=self._base, timeout=120, verify=False) as client:  # noqa: S501 - loopback, own certificate
            reply = client.get(path, headers=self._headers)
        if reply.is_error:
            raise ServerRefused(_sentence(reply), status_code=reply.status_code)
        return reply.content


def _sentence(reply: httpx.Response) -> str:
    try:
        body = json.loads(reply.content)
    except ValueError:
        return f"HTTP {reply.status_code}"
    return str(body.get("detail") or body.get("message") or body)
