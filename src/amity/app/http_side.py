"""What does the HTTP process consist of, and how is it joined?

Doors, control plane, clock, health; a link to the worker. Everything that changes data goes to the
log; only the worker writes the state.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from fastapi import APIRouter, FastAPI

from amity.access.routes import audit_router, ims_router, sandbox_router
from amity.app import clock_routes, health, problems
from amity.app.access_side import Access
from amity.app.assembly import Platform, assemble
from amity.app.audit_middleware import AuditMiddleware
from amity.app.bodies import Application, BodyGuard
from amity.app.campaign_assembly import Campaign, assemble_campaign
from amity.app.campaign_core import CampaignOptions, open_campaign
from amity.app.campaign_doctor import CampaignDoctor
from amity.app.campaign_http import WakesCampaign, campaign_routers, listeners
from amity.app.core import HTTP_WRITER, Core, open_core
from amity.app.doctor import Doctor
from amity.app.doctor import router as doctor_router
from amity.app.doors import Doors, Told
from amity.app.exchange_plan import router as plan_router
from amity.app.folder import DataFolder, write_private
from amity.app.front import Front
from amity.app.segmentation_jobs import segmentation_routes
from amity.app.worker_link import WorkerLink
from amity.flow.appender import GroupAppender
from amity.flow.failures import Failures
from amity.kernel.clock import SystemClock
from amity.kernel.limits import DISK_FREE_BYTES_MIN, LAG_RECORDS_MAX
from amity.platform.activation.adhoc import AdhocRuns
from amity.platform.activation.routes import router as activation_router
from amity.platform.catalog.flow_routes import router as flow_router
from amity.platform.catalog.routes import router as catalog_router
from amity.platform.governance.routes import router as governance_router
from amity.platform.identity.routes import router as identity_router
from amity.platform.identity.service import Graphs
from amity.platform.ingestion.batch_files import BatchFiles
from amity.platform.ingestion.batches import BatchImport
from amity.platform.ingestion.campaign_routes import router as setup_router
from amity.platform.ingestion.datastream_routes import router as datastream_router
from amity.platform.ingestion.door import Door, Pressure
from amity.platform.ingestion.edge_door import EdgeDoor, Units
from amity.platform.ingestion.edge_identity import EdgeIdentities
from amity.platform.ingestion.export_routes import Exports
from amity.platform.ingestion.export_routes import router as export_router
from amity.platform.ingestion.failed_routes import router as failed_router
from amity.platform.ingestion.reception import Reception
from amity.platform.ingestion.replays import Replays
from amity.platform.ingestion.routes import router as import_router
from amity.platform.profile.lookup import Lookup
from amity.platform.profile.routes import router as profile_router
from amity.platform.schema.routes import router as schema_router
from amity.storage.ports import Entry
from amity.transports.outbound import Outbound

TICK_S_MAX = 600.0
"""How long an advance of the clock may take before the caller is told to ask again. Ours."""

PRESSURE_LOOK_S = 0.5

CAMPAIGN_TOPICS = "campaign."
"""How the topics begin that the campaign's worker reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """The links to both workers. What concerns the campaign has topics of its own."""

    platform: WorkerLink
    campaign: WorkerLink

    @classmethod
    def of(cls, arguments: Sequence[str], campaign: Sequence[str], system: SystemClock) -> Self:
        """Not yet started."""
        platform = WorkerLink("platform", arguments, system)
        return cls(
            platform=platform,
            campaign=WorkerLink("campaign", [*arguments, *campaign], system, platform.wake),
        )

    def wake(self, entries: Sequence[Entry]) -> None:
        """Tell whom new entries of the log concern."""
        ours = sum(entry.topic.startswith(CAMPAIGN_TOPICS) for entry in entries)
        if ours:
            self.campaign.wake()
        if ours < len(entries):
            self.platform.wake()

    def wait_for_tick(self, offset: int) -> None:
        """Wait until both have done the tick: the platform's comes first."""
        for link in (self.platform, self.campaign):
            link.wake()
            link.wait_for("tick_done", offset, TICK_S_MAX)

    def start(self) -> None:
        self.platform.start()
        self.campaign.start()

    def stop(self) -> None:
        self.campaign.stop()
        self.platform.stop()


class WakingAppender:
    """Appends to the log and tells the workers."""

    def __init__(self, core: Core, workers: Workers) -> None:
        self._log = core.log
        self._group = GroupAppender(core.log)
        self._workers = workers

    async def append(self, entries: Sequence[Entry]) -> None:
        """For coroutines: commits shared with whoever else waits."""
        await self._group.append(entries)
        self._workers.wake(entries)

    def append_now(self, entries: Sequence[Entry]) -> None:
        """For plain functions: durable on return."""
        self._log.append(entries)
        self._workers.wake(entries)

    @property
    def pending(self) -> int:
        """Entries not yet durable."""
        return self._group.pending

    def close(self) -> None:
        """Append what waits, then end."""
        self._group.close()


class Watermarks:
    """Says when the doors must not take more: the worker too far behind, the disk too full."""

    def __init__(self, core: Core, link: WorkerLink) -> None:
        self._core = core
        self._link = link
        self._next_s = 0.0
        self._pressure: Pressure | None = None

    def __call__(self) -> Pressure | None:
        now_s = self._core.system.monotonic_s()
        if now_s >= self._next_s:
            self._next_s = now_s + PRESSURE_LOOK_S
            self._pressure = self._look()
        return self._pressure

    def _look(self) -> Pressure | None:
        if shutil.disk_usage(self._core.folder.root).free < DISK_FREE_BYTES_MIN:
            return Pressure(
                503, 30, "the disk is nearly full: nothing more is taken until it is not"
            )
        if self._link.status.get("lag", 0) > LAG_RECORDS_MAX:
            return Pressure(429, 2, "records come faster than they are processed: slow down")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSide:
    """The HTTP process's parts; `start` before serving, `stop` after."""

    application: Callable[[Told], Application]
    """The ASGI application, made for one who hears where its doors listen."""

    control: FastAPI
    core: Core
    workers: Workers
    appender: WakingAppender
    announce_flows: Callable[[], None]
    """Tells the worker of every flow again: one may have been saved just before a crash."""

    def start(self) -> None:
        self.announce_flows()
        self.workers.start()

    def stop(self) -> None:
        self.appender.close()
        self.workers.stop()
        self.core.close()


def build_http(
    folder: DataFolder,
    *,
    clock: str,
    public_url: str,
    worker_options: Sequence[str] = (),
    outbound: Outbound | None = None,
    campaign: CampaignOptions | None = None,
) -> HttpSide:
    """Open the folder and join everything that answers HTTP."""
    options = campaign or CampaignOptions(public_url=public_url)
    core = open_core(folder, clock=clock, writer=HTTP_WRITER, outbound=outbound)
    arguments = ["--data", str(folder.root), "--public-url", public_url, "--clock", clock]
    workers = Workers.of([*arguments, *worker_options], options.arguments, core.system)
    appender = WakingAppender(core, workers)
    organisation = folder.organisation()
    platform = assemble(
        core, tenant=organisation["tenant"], public_url=public_url, append=appender.append_now
    )
    access = Access.of(core)
    side = assemble_campaign(open_campaign(core, options))
    metrics = health.Metrics()
    reception = Reception(
        validators=platform.validators, clock=core.clock, ids=core.ids, tenant=platform.tenant
    )
    pressure = Watermarks(core, workers.platform)
    door = Door(
        inlets=platform.inlets,
        write_keys=access.keys,
        reception=reception,
        appender=appender,
        bearer=access.may_ingest,
        pressure=pressure,
    )
    edge = EdgeDoor(
        streams=platform.datastreams,
        reception=reception,
        appender=appender,
        identities=EdgeIdentities(ids=core.ids, key=_edge_key(folder)),
        ids=core.ids,
        bearer=access.may_ingest,
        pressure=pressure,
        units=Units(core.system),
    )
    control = FastAPI(title="Amity", docs_url=None, redoc_url=None)
    problems.install(control)
    control.state.gate = access.gate(organisation["org_id"], _local_token(folder))
    replays = Replays(
        failures=Failures(core.state),
        reception=reception,
        inlets=platform.inlets,
        write_keys=access.keys,
        append=appender.append,
    )
    for each in (
        *access_routers(access, public_url),
        *platform_routers(core, platform, appender, public_url),
        failed_router(Failures(core.state), replays),
        *campaign_routers(side, appender.append),
        plan_router(platform.registry, platform.namespaces, side.schemas, side.units.check),
        *server_routers(core, platform, workers, side),
        _health(workers, appender, metrics),
    ):
        control.include_router(each)
    audited = AuditMiddleware(
        BodyGuard(control),
        audit=access.audit,
        ids=core.ids,
        system=core.system,
        org=organisation["org_id"],
    )

    def announce_flows() -> None:
        for scope in access.scopes(organisation["org_id"]):
            platform.destinations.announce_all(scope)
            platform.sources.announce_all(scope)

    def application(told: Told) -> Application:
        doors = Doors(options.host, listeners(side, access, appender.append), told)
        woken = WakesCampaign(audited, workers.campaign.wake)
        return Front(door, woken, metrics.count, doors, edge=edge)

    return HttpSide(
        application=application,
        control=control,
        core=core,
        workers=workers,
        appender=appender,
        announce_flows=announce_flows,
    )


def access_routers(access: Access, public_url: str) -> list[APIRouter]:
    """The routers of access."""
    return [
        ims_router(access.clients, access.tokens),
        audit_router(access.audit, public_url),
        sandbox_router(access.sandboxes.listed, access.sandboxes.create),
    ]


def server_routers(
    core: Core, platform: Platform, workers: Workers, side: Campaign
) -> list[APIRouter]:
    """The routers of the server itself: its clock and its doctor."""
    clock = clock_routes.ClockAdvance(core.clock, core.log, wait=workers.wait_for_tick)
    return [
        clock_routes.router(clock),
        doctor_router(
            Doctor(core, platform, workers.platform, CampaignDoctor(side, workers.campaign))
        ),
    ]


def platform_routers(
    core: Core,
    platform: Platform,
    appender: WakingAppender,
    public_url: str,
) -> list[APIRouter]:
    """The routers of all stages."""
    files = BatchFiles(core.folder.batches)
    batches = BatchImport(
        catalog=platform.catalog,
        files=files,
        append=appender.append,
        clock=core.clock,
        ids=core.ids,
    )
    adhoc = AdhocRuns(
        activations=platform.activations,
        runs=platform.flows,
        governance=platform.governance,
        ids=core.ids,
        clock=core.clock,
        append=appender.append_now,
    )
    lookup = Lookup(
        state=core.state,
        profiles=platform.profiles,
        policies=platform.policies,
        codes=platform.namespaces,
    )
    return [
        schema_router(platform.registry),
        catalog_router(platform.catalog),
        flow_router(platform.flows),
        setup_router(platform.setup, platform.flows),
        datastream_router(platform.datastreams),
        import_router(batches),
        export_router(
            Exports(catalog=platform.catalog, files=files, lake=core.lake, public_url=public_url)
        ),
        identity_router(
            namespaces=platform.namespaces,
            settings=platform.settings,
            graphs=Graphs(state=core.state, namespaces=platform.namespaces),
        ),
        profile_router(
            lookup=lookup, policies=platform.policies, append=appender.append, clock=core.clock
        ),
        segmentation_routes(core, platform, appender.append_now),
        governance_router(
            book=platform.book,
            governance=platform.governance,
            estate=platform.estate,
            clock=core.clock,
            public_url=public_url,
        ),
        activation_router(adhoc, public_url),
    ]


def _health(workers: Workers, appender: WakingAppender, metrics: health.Metrics) -> APIRouter:
    link = workers.platform

    def refresh() -> None:
        metrics.lag.set(link.status.get("lag", 0))
        metrics.worker_restarts.set(max(link.restarts, 0) + max(workers.campaign.restarts, 0))
        metrics.pending.set(appender.pending)

    roles: dict[str, Any] = {
        "http": lambda: True,
        "worker": lambda: link.ready,
        "campaign": lambda: workers.campaign.ready,
    }
    return health.router(roles, metrics, refresh)


def _local_token(folder: DataFolder) -> str:
    token = secrets.token_hex(32)
    write_private(folder.local_token, token)
    return token


def _edge_key(folder: DataFolder) -> bytes:
    """The installation's secret for identity cookies; made at the first start, in a 0600 file."""
    path = folder.keys / "edge.key"
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    return bytes.fromhex(path.read_text())
