"""Who changed what, and was it allowed?

One event for every changing request of the control plane, written in one place (the middleware of
`amity.app`), whatever its outcome. Behaviour: platform-activation.md §7 (audit).
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from amity.kernel.scope import Scope

EVENTS_PAGE_MAX = 1_000
"""Behaviour: platform-activation.md §7 (limit max 1000)."""

Action = Literal["create", "update", "delete", "execute"]
Status = Literal["Success", "Failure", "Deny"]

ACTIONS: dict[str, Action] = {
    "POST": "create",
    "PUT": "update",
    "PATCH": "update",
    "DELETE": "delete",
}


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One change, or the refusal of one."""

    id: str
    org: str
    sandbox: str
    actor: str
    action: Action
    asset_type: str
    asset_id: str
    status: Status
    failure_code: str
    request_id: str
    at_ms: int


class AuditLog(Protocol):
    """Keeps audit events; never changes one."""

    def record(self, event: AuditEvent) -> None: ...

    def find(
        self,
        scope: Scope,
        *,
        limit: int,
        start: int,
        filters: dict[str, tuple[str, ...]],
        from_ms: int = 0,
        to_ms: int | None = None,
    ) -> list[AuditEvent]:
        """Newest first; `filters` by action, status, actor, asset_type, asset_id; `to_ms` excluded."""


def asset_of(path: str) -> tuple[str, str]:
    """The kind and id of the thing a path names.

    >>> asset_of("/data/foundation/catalog/dataSets/5c8")
    ('dataSets', '5c8')
    >>> asset_of("/data/core/ups/segment/definitions")
    ('definitions', '')
    """
    parts = [part for part in path.split("/") if part]
    if len(parts) < 2:
        return (parts[0] if parts else "", "")
    last, before = parts[-1], parts[-2]
    return (before, last) if any(letter.isdigit() for letter in last) else (last, "")
