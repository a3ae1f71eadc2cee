"""How are the credentials of a platform call checked?

Behaviour: platform-collect.md §1 (headers, gateway errors): bearer token, API key, organisation and
sandbox headers; a missing sandbox header means `prod`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from fastapi import Request

from amity.access.clients import ALL_PERMISSIONS, ApiClient, Clients
from amity.access.principal import Permission, Principal
from amity.access.tokens import InvalidToken, Tokens
from amity.kernel.errors import Forbidden, Invalid, NotFound
from amity.kernel.scope import Scope

DEFAULT_SANDBOX = "prod"


class MissingToken(Forbidden):
    """Oauth token is missing."""

    code = "403010"


class MissingApiKey(Forbidden):
    """Api Key is required."""

    code = "403000"


class InvalidApiKey(Forbidden):
    """Api Key is invalid."""

    code = "403003"


class MissingHeader(Invalid):
    """Missing header."""

    code = "400003"


class WrongOrganisation(Forbidden):
    """Profile is not valid."""

    code = "403025"


class MissingPermission(Forbidden):
    """The API client lacks a permission."""


class BearerGate:
    """Lets API clients in by token, and the owner of the data folder by the local token.

    Args:
        tokens: Checks access tokens.
        clients: Knows permissions.
        sandboxes: Whether a scope exists.
        local: Organisation id and the token only the folder's owner can read.
    """

    def __init__(
        self,
        *,
        tokens: Tokens,
        clients: Clients,
        sandboxes: Callable[[Scope], bool],
        local: tuple[str, str],
    ) -> None:
        self._tokens = tokens
        self._clients = clients
        self._sandboxes = sandboxes
        self._local_org, self._local_token = local

    def authorize(self, request: Request, permission: Permission) -> Principal:
        principal = self._principal(request)
        request.state.principal = principal
        if permission not in principal.permissions:
            raise MissingPermission(
                f"this call needs the permission {permission}; API client {principal.id} has "
                f"not got it",
                permission=permission,
            )
        return principal

    def _principal(self, request: Request) -> Principal:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise MissingToken
        sandbox = request.headers.get("x-sandbox-name") or DEFAULT_SANDBOX
        if hmac.compare_digest(token.strip().encode(), self._local_token.encode()):
            scope = self._scope(self._local_org, sandbox)
            return Principal(id="local", kind="local", scope=scope, permissions=ALL_PERMISSIONS)
        client = self._client(token.strip(), request.headers.get("x-api-key", ""))
        org = request.headers.get("x-gw-ims-org-id", "")
        if not org:
            raise MissingHeader("Missing header: x-gw-ims-org-id")
        if org != client.org:
            raise WrongOrganisation
        return Principal(
            id=client.id,
            kind="api_client",
            scope=self._scope(org, sandbox),
            permissions=frozenset(client.permissions),
        )

    def _client(self, token: str, api_key: str) -> ApiClient:
        claims = self._tokens.check(token)
        if not api_key:
            raise MissingApiKey
        client = self._clients.find(str(claims.get("client_id", "")))
        if client is None:
            raise InvalidToken
        if api_key != client.id:
            raise InvalidApiKey
        return client

    def _scope(self, org: str, sandbox: str) -> Scope:
        scope = Scope(org, sandbox)
        if not self._sandboxes(scope):
            raise NotFound(f"there is no sandbox {sandbox!r}; without the header it is prod")
        return scope
