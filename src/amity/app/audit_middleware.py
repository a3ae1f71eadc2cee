"""Where does every change get into the audit log? Here, for all routes, whatever their outcome."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amity.access.audit import ACTIONS, Action, AuditEvent, AuditLog, Status, asset_of
from amity.access.principal import Principal
from amity.kernel.clock import SystemClock
from amity.kernel.ids import IdSource


class AuditMiddleware:
    """Records changing requests of the control plane, before the answer goes out."""

    def __init__(
        self, app: ASGIApp, *, audit: AuditLog, ids: IdSource, system: SystemClock, org: str
    ) -> None:
        self._app = app
        self._audit = audit
        self._ids = ids
        self._system = system
        self._org = org

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        action = ACTIONS.get(scope.get("method", ""))
        if scope["type"] != "http" or action is None:
            await self._app(scope, receive, send)
            return
        request_id, noted = self._ids.hex(32), False

        async def note(code: int) -> None:
            nonlocal noted
            noted = True
            await run_in_threadpool(
                self._audit.record, self._event(scope, action, code, request_id)
            )

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Before the answer: who has it finds the entry.
                await note(message["status"])
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            if not noted:
                await note(500)

    def _event(self, scope: Scope, action: Action, code: int, request_id: str) -> AuditEvent:
        principal: Principal | None = scope.get("state", {}).get("principal")
        asset_type, asset_id = asset_of(scope["path"])
        return AuditEvent(
            id=self._ids.uuid(),
            org=principal.scope.org if principal else self._org,
            sandbox=principal.scope.sandbox if principal else "prod",
            actor=principal.id if principal else "unknown",
            action=action,
            asset_type=asset_type,
            asset_id=asset_id,
            status=_status(code),
            failure_code=str(code) if code >= 400 else "",
            request_id=request_id,
            at_ms=self._system.now_ms(),
        )


def _status(code: int) -> Status:
    if code in {401, 403}:
        return "Deny"
    return "Failure" if code >= 400 else "Success"
