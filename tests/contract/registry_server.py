"""The registry's and the catalog's routes behind the real gate, on a loopback port."""

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
from amity.access.routes import ims_router, sandbox_router
from amity.access.sandboxes import Sandboxes
from amity.access.secrets import SecretBox
from amity.access.tokens import Tokens
from amity.app import problems
from amity.app.access_store import DocumentsAccessStore
from amity.app.front import Front
from amity.kernel.clock import RealBusinessClock, RealSystemClock
from amity.kernel.ids import RandomIds
from amity.platform.catalog.flow_routes import router as flow_router
from amity.platform.catalog.flow_service import FlowService
from amity.platform.catalog.routes import router as catalog_router
from amity.platform.catalog.service import Catalog
from amity.platform.ingestion.inlets import Inlets
from amity.platform.schema.routes import router as schema_router
from amity.platform.schema.service import SchemaRegistry
from amity.storage.sqlite.documents import SqliteDocuments
from amity.storage.sqlite.tables import SqliteTables
from amity.testing.server import free_port

ORG = "ORG@AmityOrg"
TENANT = "shop"


class Served(NamedTuple):
    """A running server and what a client needs to know."""

    url: str
    client_id: str
    secret: str
    catalog: Catalog
    registry: SchemaRegistry
    flows: FlowService

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


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """Serve from a folder until the block ends."""
    system = RealSystemClock()
    clock, ids = RealBusinessClock(system), RandomIds()
    documents = SqliteDocuments(SqliteTables(folder / "control.db"), clock)
    registry = SchemaRegistry(documents=documents, ids=ids, clock=clock, tenant=TENANT)
    catalog = Catalog(documents=documents, ids=ids, clock=clock, registry=registry)
    registry.add_dependents(catalog)
    store = DocumentsAccessStore(documents)
    sandboxes = Sandboxes(store=store, ids=ids, clock=system)
    inlets = Inlets(documents=documents, catalog=catalog, ids=ids, public_url="http://door.test")
    flows = FlowService(
        documents=documents,
        ids=ids,
        clock=clock,
        kinds=[inlets],
        secrets=SecretBox(folder / "secrets.key"),
    )
    clients = Clients(store=store, ids=ids, clock=system)
    tokens = Tokens(key_file=folder / "token.key", clock=system)
    client_id, secret = clients.create(ORG, "aepp")
    app = FastAPI()
    app.state.gate = BearerGate(
        tokens=tokens,
        clients=clients,
        sandboxes=sandboxes.exists,
        local=(ORG, ids.hex(32)),
    )
    problems.install(app)
    for router in (
        ims_router(clients, tokens),
        schema_router(registry),
        catalog_router(catalog),
        flow_router(flows),
        sandbox_router(sandboxes.listed, sandboxes.create),
    ):
        app.include_router(router)
    port = free_port()
    front: Any = Front(app, app)
    config = uvicorn.Config(front, port=port, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        system.sleep(0.02)
    yield Served(f"http://127.0.0.1:{port}", client_id, secret, catalog, registry, flows)
    server.should_exit = True
    thread.join(10)
