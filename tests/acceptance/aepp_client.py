"""How is the unchanged `aepp` pointed at a local server? Only host and credentials differ."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import aepp
import requests
from requests.adapters import HTTPAdapter

from amity.testing.server import RunningServer


class Rewriting(HTTPAdapter):
    """Sends what a module addresses to a fixed https host to the local server instead."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self._base = base

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        parts = urlsplit(request.url or "")
        request.url = f"{self._base}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        return super().send(request, **options)


def configure(server: RunningServer) -> None:
    """Configure aepp as its own documentation says, with our host."""
    aepp.configure(
        org_id=server.credentials["org_id"],
        client_id=server.credentials["client_id"],
        secret=server.credentials["client_secret"],
        scopes="openid",
        sandbox="prod",
        environment="support",
        endpoint=server.url,
    )
    aepp.config.config_object["oauthTokenEndpointV2"] = server.url + "/ims/token/v3"
    aepp.config.endpoints["streaming"]["collection"] = server.url


def local(module: Any, server: RunningServer) -> Any:
    """Route a module that names a fixed host to the server."""
    module.connector.session.mount("https://", Rewriting(server.url))
    return module
