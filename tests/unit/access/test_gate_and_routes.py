"""The gate answers as documented; tokens, sandboxes and the audit log are served over HTTP."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI

from amity.access.audit import AuditEvent, asset_of
from amity.access.clients import Clients
from amity.access.gate import BearerGate
from amity.access.guard import needs
from amity.access.principal import Principal
from amity.access.routes import audit_router, ims_router, sandbox_router
from amity.access.sandboxes import SANDBOXES_MAX, Sandboxes
from amity.access.tokens import Tokens
from amity.app import problems
from amity.app.access_store import DocumentsAccessStore, TableAuditLog
from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.ids import SeededIds
from amity.storage.sqlite.tables import SqliteTables
from amity.testing.memory import MemoryDocuments

ORG = "O@AmityOrg"


class StandingClock:
    """A system clock a test moves."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.ms / 1_000

    def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1_000)


class Http:
    """Calls an application in this process."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def get(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._call("GET", path, options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._call("POST", path, options))

    async def _call(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(app=self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://house.test") as client:
            return await client.request(method, path, **options)


class House:
    """An application with access only."""

    def __init__(self, folder: Path) -> None:
        self.clock = StandingClock()
        ids = SeededIds(random.Random(5))
        store = DocumentsAccessStore(MemoryDocuments(VirtualBusinessClock(0)))
        clients = Clients(store=store, ids=ids, clock=self.clock)
        tokens = Tokens(key_file=folder / "token.key", clock=self.clock)
        sandboxes = Sandboxes(store=store, ids=ids, clock=self.clock)
        self.audit = TableAuditLog(SqliteTables(folder / "audit.db"))
        self.id, self.secret = clients.create(ORG, "all")
        self.poor_id, self.poor_secret = clients.create(ORG, "few", frozenset({"view-schemas"}))
        app = FastAPI()
        app.state.gate = BearerGate(
            tokens=tokens, clients=clients, sandboxes=sandboxes.exists, local=(ORG, "local-token")
        )
        problems.install(app)
        app.include_router(ims_router(clients, tokens))
        app.include_router(audit_router(self.audit))
        app.include_router(sandbox_router(sandboxes.listed, sandboxes.create))

        @app.get("/who")
        def who(principal: Annotated[Principal, needs("manage-schemas")]) -> dict[str, Any]:
            return {"id": principal.id, "scope": principal.scope.key}

        self.http = Http(app)

    def token(self, id: str = "", secret: str = "") -> str:
        """A fresh token."""
        form = {
            "grant_type": "client_credentials",
            "client_id": id or self.id,
            "client_secret": secret or self.secret,
            "scope": "openid",
        }
        reply = self.http.post("/ims/token/v3", data=form)
        assert reply.json()["expires_in"] == 86_400
        return str(reply.json()["access_token"])

    def headers(self, **more: str) -> dict[str, str]:
        """The platform headers of a good call."""
        return {
            "Authorization": f"Bearer {self.token()}",
            "x-api-key": self.id,
            "x-gw-ims-org-id": ORG,
            **more,
        }


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A fresh house."""
    return House(tmp_path)


def test_good_call_acts_in_its_sandbox(house: House) -> None:
    """Without the header the sandbox is prod; with it, one that exists."""
    made = house.http.post(
        "/data/foundation/sandbox-management/sandboxes",
        json={"name": "dev", "title": "Try things", "type": "development"},
        headers=house.headers(),
    )
    plain = house.http.get("/who", headers=house.headers()).json()
    dev = house.http.get("/who", headers=house.headers(**{"x-sandbox-name": "dev"})).json()

    assert made.status_code == 202
    assert plain["scope"] == f"{ORG}/prod"
    assert dev["scope"] == f"{ORG}/dev"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"Authorization": ""}, 403, "403010"),
        ({"Authorization": "Basic abc"}, 403, "403010"),
        ({"Authorization": "Bearer abc"}, 401, "401013"),
        ({"x-api-key": ""}, 403, "403000"),
        ({"x-api-key": "other"}, 403, "403003"),
        ({"x-gw-ims-org-id": ""}, 400, "400003"),
        ({"x-gw-ims-org-id": "Other@AmityOrg"}, 403, "403025"),
        ({"x-sandbox-name": "none"}, 404, None),
    ],
)
def test_gateway_errors(
    house: House, change: dict[str, str], status: int, code: str | None
) -> None:
    """Each missing or wrong header has its documented error."""
    reply = house.http.get("/who", headers=house.headers(**change))

    assert (reply.status_code, reply.json().get("error_code")) == (status, code)
    assert reply.json()["detail"]


def test_token_ends_after_a_day(house: House) -> None:
    """A token lives 24 hours: one second before it is good, one after it is not."""
    headers = house.headers()
    house.clock.sleep(86_399)
    assert house.http.get("/who", headers=headers).status_code == 200
    house.clock.sleep(2)

    assert house.http.get("/who", headers=headers).json()["error_code"] == "401013"


def test_permission_is_asked_for(house: House) -> None:
    """A client without the route's permission is told which one it lacks."""
    token = house.token(house.poor_id, house.poor_secret)
    headers = house.headers() | {"Authorization": f"Bearer {token}", "x-api-key": house.poor_id}
    reply = house.http.get("/who", headers=headers)

    assert (reply.status_code, reply.json()["permission"]) == (403, "manage-schemas")


def test_wrong_secret_and_grant(house: House) -> None:
    """A wrong secret and an unknown client look alike; other grants are not served."""
    form = {"client_id": house.id, "client_secret": "no", "grant_type": "client_credentials"}
    wrong = house.http.post("/ims/token/v3", data=form)
    unknown = house.http.post("/ims/token/v3", data={**form, "client_id": "nobody"})
    grant = house.http.post("/ims/token/v3", data={**form, "grant_type": "password"})

    assert (wrong.status_code, wrong.json()) == (unknown.status_code, unknown.json())
    assert wrong.json()["error"] == "invalid_client"
    assert grant.json()["error"] == "unsupported_grant_type"


def test_local_token_is_the_owner(house: House) -> None:
    """Who can read the data folder needs no client."""
    reply = house.http.get("/who", headers={"Authorization": "Bearer local-token"})

    assert reply.json()["id"] == "local"


def test_sandboxes(house: House) -> None:
    """`prod` is always listed; a taken or bad name is refused; one is found by name."""
    path = "/data/foundation/sandbox-management/sandboxes"
    headers = house.headers()
    first = house.http.get(path, headers=headers).json()["sandboxes"]
    taken = house.http.post(path, json={"name": "prod", "title": "x"}, headers=headers)
    bad = house.http.post(path, json={"name": "Not OK/", "title": "x"}, headers=headers)

    assert [one["name"] for one in first] == ["prod"]
    assert (taken.status_code, bad.status_code) == (409, 400)
    assert house.http.get(f"{path}/prod", headers=headers).json()["isDefault"] is True
    assert house.http.get(f"{path}/none", headers=headers).status_code == 404
    for number in range(SANDBOXES_MAX - 1):
        made = house.http.post(path, json={"name": f"s{number}"}, headers=headers)
        assert made.status_code == 202
    assert house.http.post(path, json={"name": "more"}, headers=headers).status_code == 409


def test_audit_log_is_searched(house: House) -> None:
    """Events come newest first, by action and time, page after page, of one's own sandbox."""
    for number, action in enumerate(("create", "update", "delete")):
        for sandbox in ("prod", "dev"):
            house.audit.record(
                AuditEvent(
                    id=f"{sandbox}{number}",
                    org=ORG,
                    sandbox=sandbox,
                    actor="me",
                    action=action,  # type: ignore[arg-type]
                    asset_type="dataSets",
                    asset_id="d",
                    status="Success",
                    failure_code="",
                    request_id="r",
                    at_ms=number * 1_000,
                )
            )

    def found(*conditions: str, **query: Any) -> list[str]:
        reply = house.http.get(
            "/data/foundation/audit/events",
            params={"property": conditions, **query},
            headers=house.headers(),
        )
        assert reply.status_code == 200, reply.text
        return [event["id"] for event in reply.json()["_embedded"]["events"]]

    assert found() == ["prod2", "prod1", "prod0"]
    assert found("action==create,update") == ["prod1", "prod0"]
    assert found("timestamp>1970-01-01T00:00:00Z") == ["prod2", "prod1"]
    assert found("timestamp>=1970-01-01T00:00:01Z", "timestamp<1970-01-01T00:00:02Z") == ["prod1"]
    assert found("timestamp<=1970-01-01T00:00:01Z") == ["prod1", "prod0"]
    assert found(limit=1, start=1) == ["prod1"]
    for bad in ("timestamp~now", "colour==red", "timestamp>soon"):
        reply = house.http.get(
            "/data/foundation/audit/events", params={"property": bad}, headers=house.headers()
        )
        assert reply.status_code == 400


def test_asset_of_a_path() -> None:
    """The last two parts of a path name kind and id."""
    assert asset_of("/data/foundation/catalog/dataSets/5c8") == ("dataSets", "5c8")
    assert asset_of("/data/foundation/catalog/dataSets") == ("dataSets", "")
