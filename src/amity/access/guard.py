"""How does a route say who may call it?

Every FastAPI route declares ``principal: Annotated[Principal, needs("view-schemas")]``, says by
`signed` that its path holds a signature, or is in `PUBLIC_PATHS`; an architecture test holds it. The gate itself is put on `app.state` by `amity.app`.
"""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import Depends, Request

from amity.access.principal import Permission, Principal

PUBLIC_PATHS = frozenset(
    {"/livez", "/readyz", "/healthz", "/metrics", "/openapi.json", "/ims/token/v3"}
)


class Gate(Protocol):
    """Checks the credentials of a request."""

    def authorize(self, request: Request, permission: Permission) -> Principal:
        """The caller; raises `Unauthorized` or `Forbidden` with the documented gateway code."""


class Needs:
    """The dependency that `needs` makes; carries its permission for the architecture test."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    def __call__(self, request: Request) -> Principal:
        gate: Gate = request.app.state.gate
        return gate.authorize(request, self.permission)


def needs(permission: Permission) -> Any:
    """The FastAPI dependency that lets only callers with `permission` in."""
    return Depends(Needs(permission))


class Signed:
    """The dependency that `signed` makes; marks the route for the architecture test."""

    def __call__(self) -> None:
        """Nobody is asked: the route itself opens what its path holds."""


def signed() -> Any:
    """The FastAPI dependency of a route for whoever holds a signed link, such as one in a message.

    The route opens the link before anything else and answers 404 where it is not genuine.
    """
    return Depends(Signed())
