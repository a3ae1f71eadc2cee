"""Ingestion's doors and routes behind the real gate, on a loopback port, with its own small worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aepp
import uvicorn
from fastapi import FastAPI

from amity.access.clients import Clients
from amity.access.gate import BearerGate
from amity.access.routes import ims_router
from amity.access.tokens import InvalidToken, Tokens
from amity.access.write_keys import WriteKeys
from amity.app import problems
from amity.app.access_store import DocumentsAccessStore
from amity.app.front import Front
from amity.flow.appender import GroupAppender
from amity.flow.failures import Failures, FailuresStage
from amity.flow.runner import Runner
from amity.flow.sink import SinkRunner
from amity.kernel.clock import RealBusinessClock, RealSystemClock
from amity.kernel.ids import RandomIds
from amity.kernel.scope import Scope
from amity.platform.catalog.flow_routes import router as flow_router
from amity.platform.catalog.flow_service import FlowService
from amity.platform.catalog.routes import router as catalog_router
from amity.platform.catalog.service import Catalog
from amity.platform.ingestion.batch_files import BatchFiles
from amity.platform.ingestion.batch_loader import BatchLoader
from amity.platform.ingestion.batches import BatchEnds, BatchImport
from amity.platform.ingestion.door import Door
from amity.platform.ingestion.export_routes import Exports
from amity.platform.ingestion.export_routes import router as export_router
from amity.platform.ingestion.failed_routes import router as failed_router
from amity.platform.ingestion.identities import identities_of
from amity.platform.ingestion.inlets import Inlets
from amity.platform.ingestion.lake_sink import LakeSink
from amity.platform.ingestion.reception import Reception
from amity.platform.ingestion.replays import Replays
from amity.platform.ingestion.routes import router as import_router
from amity.platform.ingestion.segment_setup import SegmentDatasets, bootstrap
from amity.platform.ingestion.validation import Validators
from amity.platform.schema.arrow import arrow_schema
from amity.platform.schema.routes import router as schema_router
from amity.platform.schema.service import SchemaRegistry
from amity.storage.delta.lake import DeltaLake
from amity.storage.ports import LakeTable
from amity.storage.sqlite.documents import SqliteDocuments
from amity.storage.sqlite.log import SqliteLog
from amity.storage.sqlite.state import SqliteState
from amity.storage.sqlite.tables import SqliteTables
from amity.testing.server import free_port

ORG = "ORG@AmityOrg"
SCOPE = Scope(ORG, "prod")
TENANT = "shop"


class Plain:
    """Secrets that stay as they are: a streaming connection has none."""

    def encrypt(self, plain: str) -> str:
        return plain

    def decrypt(self, sealed: str) -> str:
        return sealed


class Served(NamedTuple):
    """A running server and what a client needs to know."""

    url: str
    client_id: str
    secret: str
    write_key: str
    datasets: SegmentDatasets
    registry: SchemaRegistry
    catalog: Catalog
    lake: DeltaLake
    hosts: list[Any]

    def configure_aepp(self) -> None:
        """Point the unchanged client here: host and credentials only."""
        aepp.configure(
            org_id=ORG,
            client_id=self.client_id,
            secret=self.secret,
            scopes="openid",
            sandbox="prod",
            environment="support",
            endpoint=self.url,
        )
        aepp.config.config_object["oauthTokenEndpointV2"] = self.url + "/ims/token/v3"
        aepp.config.config_object["token"] = ""
        aepp.config.endpoints["streaming"]["collection"] = self.url

    def work(self) -> None:
        """What a worker does, until nothing moves."""
        while sum(host.run_once(0) for host in self.hosts):
            pass


class Parts:
    """Everything ingestion needs, joined as `amity.app` joins it."""

    def __init__(self, folder: Path, url: str) -> None:
        system = RealSystemClock()
        clock, ids = RealBusinessClock(system), RandomIds()
        self.clock, self.ids, self.url, self.folder = clock, ids, url, folder
        (folder / "log").mkdir()
        self.log = SqliteLog(folder / "log", writer=0)
        self.state = SqliteState(folder / "state.db")
        self.lake = DeltaLake(folder / "lake")
        self.appender = GroupAppender(self.log)
        documents = SqliteDocuments(SqliteTables(folder / "control.db"), clock)
        self.registry = SchemaRegistry(documents=documents, ids=ids, clock=clock, tenant=TENANT)
        self.catalog = Catalog(documents=documents, ids=ids, clock=clock, registry=self.registry)
        store = DocumentsAccessStore(documents)
        self.clients = Clients(store=store, ids=ids, clock=system)
        self.tokens = Tokens(key_file=folder / "token.key", clock=system)
        self.inlets = Inlets(documents=documents, catalog=self.catalog, ids=ids, public_url=url)
        self.flows = FlowService(
            documents=documents, ids=ids, clock=clock, kinds=[self.inlets], secrets=Plain()
        )
        self.validators = Validators(registry=self.registry, catalog=self.catalog, clock=clock)
        self.reception = Reception(validators=self.validators, clock=clock, ids=ids, tenant=TENANT)
        self.write_keys = WriteKeys(store=store, ids=ids)
        self.files = BatchFiles(folder / "batches")
        self.failures = Failures(self.state)

    def bearer(self, token: str, scope: Scope) -> bool:
        """Whether a token is one of the scope's organisation."""
        try:
            return bool(self.tokens.check(token)["org"] == scope.org)
        except InvalidToken:
            return False

    def door(self) -> Door:
        """The streaming doors."""
        return Door(
            inlets=self.inlets,
            write_keys=self.write_keys,
            reception=self.reception,
            appender=self.appender,
            bearer=self.bearer,
            pressure=lambda: None,
        )

    def control(self) -> FastAPI:
        """The control plane."""
        app = FastAPI()
        app.state.gate = BearerGate(
            tokens=self.tokens,
            clients=self.clients,
            sandboxes=lambda scope: scope.sandbox == "prod",
            local=(ORG, self.ids.hex(32)),
        )
        problems.install(app)
        imports = BatchImport(
            catalog=self.catalog,
            files=self.files,
            append=self.appender.append,
            clock=self.clock,
            ids=self.ids,
        )
        replays = Replays(
            failures=self.failures,
            reception=self.reception,
            inlets=self.inlets,
            write_keys=self.write_keys,
            append=self.appender.append,
        )
        exports = Exports(
            catalog=self.catalog, files=self.files, lake=self.lake, public_url=self.url
        )
        for router in (
            ims_router(self.clients, self.tokens),
            schema_router(self.registry),
            catalog_router(self.catalog),
            flow_router(self.flows),
            import_router(imports),
            export_router(exports),
            failed_router(self.failures, replays),
        ):
            app.include_router(router)
        return app

    def hosts(self) -> list[Any]:
        """What a worker runs for ingestion."""
        loader = BatchLoader(
            catalog=self.catalog,
            files=self.files,
            validators=self.validators,
            append=self.log.append,
            take_out=self.take_out,
            columns=arrow_schema,
        )
        sink = LakeSink(
            lake=self.lake,
            state=self.state,
            resolve=self.registry.resolved,
            identities=identities_of,
            batches=BatchEnds(catalog=self.catalog, clock=self.clock),
        )
        return [
            SinkRunner(loader, log=self.log, state=self.state),
            SinkRunner(sink, log=self.log, state=self.state),
            Runner([FailuresStage()], log=self.log, state=self.state, name="failures"),
        ]

    def take_out(self, scope: Scope, dataset: str, batch: str) -> None:
        """Take a batch out of the lake."""
        self.lake.delete(LakeTable(scope, dataset), "_amity_batch", [batch])

    def close(self) -> None:
        """Let go of the files."""
        self.appender.close()
        self.state.close()
        self.log.close()


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """Serve from a folder until the block ends."""
    port = free_port()
    parts = Parts(folder, f"http://127.0.0.1:{port}")
    client_id, secret = parts.clients.create(ORG, "aepp")
    datasets = bootstrap(parts.registry, parts.catalog, SCOPE)
    key = parts.write_keys.create(
        SCOPE, profile_dataset=datasets.profile, event_dataset=datasets.event
    )
    front: Any = Front(parts.door(), parts.control())
    server = uvicorn.Server(uvicorn.Config(front, port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        RealSystemClock().sleep(0.02)
    yield Served(
        url=parts.url,
        client_id=client_id,
        secret=secret,
        write_key=key.id,
        datasets=datasets,
        registry=parts.registry,
        catalog=parts.catalog,
        lake=parts.lake,
        hosts=parts.hosts(),
    )
    server.should_exit = True
    thread.join(10)
    parts.close()
