"""What does the HTTP process serve of the campaign side, and what listens beside HTTP?"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping

from fastapi import APIRouter

from amity.access.principal import Permission
from amity.app.access_side import Access
from amity.app.bodies import Application, Message, Receive, Send
from amity.app.campaign_assembly import Campaign
from amity.app.doors import Listener
from amity.campaign.delivery.routes import router as delivery_router
from amity.campaign.exports.routes import router as export_router
from amity.campaign.imports.routes import router as import_router
from amity.campaign.imports.sftp_server import SftpAudit, SftpServer
from amity.campaign.recipients.routes import router as recipient_router
from amity.campaign.tracking.bounce_door import BounceDoor
from amity.campaign.tracking.link_door import Append, LinkDoor
from amity.campaign.tracking.link_routes import router as link_router
from amity.campaign.tracking.messages import Messages
from amity.campaign.tracking.reports import TrackingReports
from amity.campaign.tracking.routes import router as tracking_router
from amity.campaign.workflow.routes import router as workflow_router
from amity.flow.failures import Failures
from amity.kernel.limits import DISK_FREE_BYTES_MIN

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class WakesCampaign:
    """Tells the campaign's worker of each request that may have given it work.

    Args:
        application: Answers requests.
        wake: Wakes the worker.
    """

    def __init__(self, application: Application, wake: Callable[[], None]) -> None:
        self._application = application
        self._wake = wake

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await self._application(scope, receive, send)
        path, method = scope.get("path", ""), scope.get("method", "GET")
        if method not in _READS and path.startswith("/campaign/"):
            self._wake()


def campaign_routers(campaign: Campaign, append: Append) -> list[APIRouter]:
    """The routers of all stages; `append` returns once entries are durable in the log."""
    ports = campaign.ports
    core = ports.core
    door = LinkDoor(
        signer=campaign.signer,
        messages=Messages(ports.tables, campaign.schemas, campaign.mirror),
        pages=campaign.mirror,
        append=append,
        clock=core.clock,
        ids=core.ids,
    )
    reports = TrackingReports(
        tables=ports.tables,
        schemas=campaign.schemas,
        qualifier=campaign.qualifier,
        failures=Failures(core.state),
        scope=ports.scope,
        clock=core.clock,
    )

    def only(permission: Permission, routes: APIRouter) -> APIRouter:
        """Nobody but callers of the one organisational unit."""
        guarded = APIRouter(dependencies=[campaign.units.only(permission)])
        guarded.include_router(routes)
        return guarded

    return [
        recipient_router(
            tables=ports.tables,
            schemas=campaign.schemas,
            recipients=campaign.recipients,
            quarantine=campaign.quarantine,
            org_units=campaign.units,
            clock=core.clock,
        ),
        import_router(
            accounts=campaign.accounts,
            sftp_accounts=campaign.sftp_accounts,
            org_units=campaign.units,
        ),
        delivery_router(
            deliveries=campaign.deliveries, results=campaign.results, org_units=campaign.units
        ),
        only("view-workflows", workflow_router(campaign.workflows)),
        only("view-deliveries", tracking_router(reports)),
        only("export-logs", export_router(campaign.exports, core.ids)),
        link_router(door),
    ]


def listeners(
    campaign: Campaign, access: Access, append: Append
) -> Mapping[str, tuple[Listener, int]]:
    """The doors that this installation opens, and the ports they are to have."""
    ports = campaign.ports
    core, options = ports.core, ports.options
    found: dict[str, tuple[Listener, int]] = {}
    if options.sftp_port is not None:
        server = SftpServer(
            root=core.folder.sftp,
            host_key=core.folder.keys / "sftp_host_key",
            accounts=campaign.sftp_accounts,
            tell=SftpAudit(audit=access.audit, ids=core.ids, clock=core.system, scope=ports.scope),
            clock=core.system,
            ids=core.ids,
        )
        found["sftp"] = (server, options.sftp_port)
    if options.bounce_port is not None:
        door = BounceDoor(
            append=append,
            signer=campaign.signer,
            clock=core.clock,
            domain=options.bounce_domain,
            full=lambda: shutil.disk_usage(core.folder.root).free < DISK_FREE_BYTES_MIN,
        )
        found["bounce"] = (door, options.bounce_port)
    return found
