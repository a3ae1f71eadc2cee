"""Recipients over HTTP, for the one organisational unit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from routed import Client

from amity.access.principal import Permission, Principal
from amity.campaign.recipients.errors import BadValue, KeyTaken, OtherOrgUnit
from amity.campaign.recipients.org_units import OrgUnits
from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.routes import router
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.service import Recipients
from amity.exchange.errors import TooManyOrgUnits
from amity.exchange.guardrails import check_org_units
from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.errors import AmityError
from amity.kernel.scope import Scope
from amity.storage.sqlite.tables import SqliteTables

UNIT = Scope("SHOP@AmityOrg", "prod")


@dataclass
class Asking:
    """A gate that lets in whoever asks, as what the test says."""

    scope: Scope = UNIT
    asked: str = ""

    def authorize(self, request: Request, permission: Permission) -> Principal:
        self.asked = permission
        return Principal(id="c", kind="api_client", scope=self.scope, permissions=frozenset())


@pytest.fixture
def gate() -> Asking:
    return Asking()


@pytest.fixture
def units(tables: SqliteTables, clock: VirtualBusinessClock) -> OrgUnits:
    return OrgUnits(tables=tables, scope=UNIT, check=check_org_units, clock=clock)


@pytest.fixture
def client(
    tables: SqliteTables,
    schemas: CampaignSchemas,
    recipients: Recipients,
    quarantine: Quarantine,
    clock: VirtualBusinessClock,
    units: OrgUnits,
    gate: Asking,
) -> Client:
    app = FastAPI()
    app.state.gate = gate
    app.include_router(
        router(
            tables=tables,
            schemas=schemas,
            recipients=recipients,
            quarantine=quarantine,
            org_units=units,
            clock=clock,
        )
    )

    @app.exception_handler(AmityError)
    async def problem(_: Request, error: AmityError) -> JSONResponse:
        return JSONResponse({"detail": error.message, **error.data}, error.status)

    return Client(app)


def test_a_second_unit_by_api(client: Client, units: OrgUnits, gate: Asking) -> None:
    """It is refused with the guardrail's reason, however its name is written; the one there stays."""
    for name in (
        "Second",
        "shop@amityorg",
        "SHOP@AmityOrg/prod",
        " SHOP@AmityOrg.",
        "\uff33HOP@AmityOrg",
    ):
        refused = client.post("/campaign/orgUnits", json={"name": name})
        assert (403, True) == (refused.status_code, "organisational unit" in refused.text)
    assert "manage-recipients" == gate.asked
    again = client.post("/campaign/orgUnits", json={"name": " SHOP@AmityOrg "})
    assert 409 == again.status_code
    for wrong in ({}, {"name": 7}, {"name": ""}, {"name": "a\nb"}, {"name": "x" * 101}):
        assert 422 == client.post("/campaign/orgUnits", json=wrong).status_code

    shown = client.get("/campaign/orgUnits").json()["orgUnits"]
    assert [("SHOP@AmityOrg", "prod")] == [(one["imsOrg"], one["sandboxName"]) for one in shown]


def test_a_second_unit_by_another_guardrail(
    tables: SqliteTables, units: OrgUnits, clock: VirtualBusinessClock
) -> None:
    """Were the exchange to serve more units, this database would still be one unit's."""
    lenient = OrgUnits(tables=tables, scope=UNIT, check=lambda _: None, clock=clock)

    with pytest.raises(OtherOrgUnit):
        lenient.create("Second")
    with pytest.raises(TooManyOrgUnits):
        units.create("Second")
    with pytest.raises(KeyTaken):
        units.create(UNIT.org)
    with pytest.raises(BadValue):
        units.create("a\r\nb")

    assert 1 == len(units.all())


def test_a_second_unit_by_database(
    tmp_path: Path, tables: SqliteTables, units: OrgUnits, clock: VirtualBusinessClock
) -> None:
    """The database of one unit does not open for another, also not in another process."""
    elsewhere = SqliteTables(tmp_path / "campaign.db")
    for other in (Scope("SHOP@AmityOrg", "dev"), Scope("OTHER@AmityOrg", "prod")):
        with pytest.raises(OtherOrgUnit, match="SHOP@AmityOrg/prod"):
            OrgUnits(tables=elsewhere, scope=other, check=check_org_units, clock=clock)
    again = OrgUnits(tables=elsewhere, scope=UNIT, check=check_org_units, clock=clock)

    assert units.all() == again.all()
    elsewhere.close()


def test_a_second_unit_by_caller(client: Client, gate: Asking) -> None:
    """Whoever acts for another organisation or sandbox gets nothing and changes nothing."""
    made = client.post("/campaign/recipients", json={"email": "a@b.c"})
    assert 201 == made.status_code
    for other in (Scope("SHOP@AmityOrg", "dev"), Scope("OTHER@AmityOrg", "prod")):
        gate.scope = other
        for method, path in (
            ("GET", "/campaign/recipients"),
            ("GET", "/campaign/recipients/1000"),
            ("POST", "/campaign/recipients"),
            ("DELETE", "/campaign/recipients/1000"),
            ("GET", "/campaign/schemas"),
            ("GET", "/campaign/orgUnits"),
            ("GET", "/campaign/quarantine"),
        ):
            answer = client.request(method, path, json={"email": "x@y.z"})
            assert (403, True) == (answer.status_code, "serves SHOP@AmityOrg/prod" in answer.text)
    gate.scope = UNIT

    assert 1 == client.get("/campaign/recipients").json()["total"]


def test_recipients(client: Client) -> None:
    """Create, find, change, opt out, tell the history, delete."""
    made = client.post("/campaign/recipients", json={"externalId": "C1", "email": "A@b.c"}).json()
    path = f"/campaign/recipients/{made['id']}"

    assert "a@b.c" == client.get(path).json()["email"]
    found = client.get("/campaign/recipients", params={"email": "A@B.C", "limit": 1}).json()
    assert ([made], 1, None) == (found["recipients"], found["total"], found["after"])
    assert "Graz" == client.patch(path, json={"city": "Graz"}).json()["city"]
    out = client.post(f"{path}/optOut", json={"channel": "email", "origin": "phone call"}).json()
    assert (True, False) == (out["blackListEmail"], out["blackList"])
    told = client.get(f"{path}/history").json()
    assert [("email", True, "phone call")] == [
        (one["channel"], one["optedOut"], one["origin"]) for one in told["optOuts"]
    ]
    assert 422 == client.post(f"{path}/optOut", json={"channel": "fax"}).status_code
    assert 409 == client.post("/campaign/recipients", json={"externalId": "C1"}).status_code
    assert (204, 404) == (client.delete(path).status_code, client.get(path).status_code)
    assert 404 == client.post(f"{path}/optOut", json={"channel": "all"}).status_code


def test_numbers_that_are_no_ids(client: Client) -> None:
    """Whatever stands in a path, a query or a body, it is refused and nothing breaks."""
    for wrong in ("-1", "x", "1e3", str(2**63), str(10**40)):
        for path in (
            f"recipients/{wrong}",
            f"recipients?after={wrong}",
            f"schemas/cus:a/records/{wrong}",
        ):
            assert 422 == client.get(f"/campaign/{path}").status_code
    client.post("/campaign/lists", json={"name": "vip"})
    for wrong_ids in ([-1], [2**63], ["1000"], [1.5], 7, [10**40], [1] * 10_001):
        body = {"recipients": wrong_ids}
        assert 422 == client.post("/campaign/lists/vip/members", json=body).status_code
    params = {"gender": "9" * 40}
    assert 422 == client.get("/campaign/recipients", params=params).status_code


def test_numbers_that_fit_into_no_column(client: Client) -> None:
    """A link's id and a time are bounded where they come in: what is kept can be told again."""
    shop = {
        "namespace": "cus",
        "name": "shop",
        "attributes": [{"name": "opened", "type": "datetime"}],
        "links": [{"name": "owner", "target": "nms:recipient"}],
    }
    client.post("/campaign/schemas", json=shop)
    path = "/campaign/schemas/cus:shop/records"
    id = client.post(path, json={"opened": "2017-10-30T08:00:00Z"}).json()["id"]
    for wrong in (2**63, 2**64 - 1, 10**40):
        assert 422 == client.get(path, params={"owner-id": str(wrong)}).status_code
        assert 422 == client.post(path, json={"owner-id": wrong}).status_code
    for never in (10**17, -(10**17), "0001-01-01T00:00:00Z"):
        assert 422 == client.post(path, json={"opened": never}).status_code
        assert 422 == client.patch(f"{path}/{id}", json={"opened": never}).status_code
    assert 1 == client.get(path).json()["total"]


def test_lists_and_services(client: Client) -> None:
    """Named in the path; who is on them is told page by page."""
    ids = [
        client.post("/campaign/recipients", json={"email": f"{n}@x.y"}).json()["id"]
        for n in range(3)
    ]
    vip = client.post("/campaign/lists", json={"name": "vip"}).json()
    assert {"id": 1000, "name": "vip", "label": None, "count": 0} == vip
    members = "/campaign/lists/vip/members"
    assert {"added": 3} == client.post(members, json={"recipients": [*ids, 5]}).json()
    first = client.get(members, params={"limit": 2}).json()
    rest = client.get(members, params={"limit": 2, "after": first["after"]}).json()
    assert ids == [one["id"] for one in first["recipients"] + rest["recipients"]]
    assert {"removed": 1} == client.delete(f"{members}/{ids[0]}").json()
    assert 2 == client.get("/campaign/lists/vip").json()["count"]
    assert ["vip"] == [one["name"] for one in client.get("/campaign/lists").json()["lists"]]
    assert [204, 404] == [client.delete("/campaign/lists/vip").status_code for _ in range(2)]

    body = {"name": "news", "messageType": "email", "validityDays": 30}
    assert 201 == client.post("/campaign/services", json=body).status_code
    changed = client.patch("/campaign/services/news", json={"label": "News"}).json()
    assert ("News", 30, "email") == tuple(
        changed[name] for name in ("label", "validityDays", "messageType")
    )
    subscriptions = "/campaign/services/news/subscriptions"
    assert {"subscribed": 2} == client.post(subscriptions, json={"recipients": ids[:2]}).json()
    assert {"unsubscribed": 1} == client.delete(f"{subscriptions}/{ids[0]}").json()
    assert [1] == [one["count"] for one in client.get("/campaign/services").json()["services"]]
    assert 404 == client.post("/campaign/services/none/subscriptions", json={
        "recipients": ids}).status_code  # fmt: skip


STORE: dict[str, Any] = {
    "namespace": "cus",
    "name": "store",
    "kind": "lookup",
    "attributes": [{"name": "code", "length": 10, "required": True}],
    "keys": [{"name": "code", "fields": ["code"], "allowEmpty": False}],
}


def test_schemas(client: Client) -> None:
    """Saved by POST or PUT, told of with SQL names; records of own tables are kept over HTTP."""
    assert 201 == client.post("/campaign/schemas", json=STORE).status_code
    extension = {
        "namespace": "cus",
        "name": "recipient",
        "extends": "nms:recipient",
        "links": [{"name": "store", "target": "cus:store"}],
    }
    shown = client.put("/campaign/schemas/cus:recipient", json=extension).json()
    assert ("nms:recipient", "NmsRecipient", "iStoreId", "iRecipientId", ["cus:recipient"]) == (
        shown["id"],
        shown["sqlTable"],
        shown["sqlColumns"]["store-id"],
        shown["sqlColumns"]["id"],
        shown["extensions"],
    )
    assert "cus:store" in [one["id"] for one in client.get("/campaign/schemas").json()["schemas"]]
    source = client.get("/campaign/schemas/cus:recipient").json()["source"]
    assert ("nms:recipient", []) == (source["extends"], source["attributes"])

    records = "/campaign/schemas/cus:store/records"
    made = client.post(records, json={"code": "W1"}).json()
    assert {"id": 1000, "code": "W1"} == made
    assert 409 == client.post(records, json={"code": "W1"}).status_code
    assert 422 == client.post(records, json={}).status_code
    assert "W2" == client.patch(f"{records}/1000", json={"code": "W2"}).json()["code"]
    assert 422 == client.patch(f"{records}/1000", json={"code": None}).status_code
    assert {"records": [{"id": 1000, "code": "W2"}], "total": 1, "after": None} == client.get(
        records, params={"code": "W2"}
    ).json()
    linked = client.post("/campaign/recipients", json={"store-id": 1000}).json()
    assert 1000 == linked["store-id"]
    assert 1 == client.get("/campaign/recipients", params={"store-id": 1000}).json()["total"]
    for wrong in (7, "1000", True, -1, 1.5):
        body = {"store-id": wrong}
        assert 422 == client.post("/campaign/recipients", json=body).status_code
    assert 204 == client.delete(f"{records}/1000").status_code
    assert None is client.get(f"/campaign/recipients/{linked['id']}").json()["store-id"]


@pytest.mark.parametrize(
    "body",
    [
        {"namespace": "cus"},
        {"namespace": "cus", "name": "a", "colour": "red"},
        {"namespace": "cus", "name": "a", "attributes": [{"name": "b", "type": "varchar"}]},
        {"namespace": "cus", "name": "a", "attributes": [{"name": "b", "nullable": True}]},
        {"namespace": "nms", "name": "a"},
    ],
)
def test_schemas_refused(client: Client, body: dict[str, Any]) -> None:
    """A field that is not known is a mistake, not ignored; the answer names what is wrong."""
    refused = client.post("/campaign/schemas", json=body)

    assert (422, True) == (refused.status_code, len(refused.json()["detail"]) > 20)


def test_built_in_tables_have_their_own_routes(client: Client) -> None:
    """Logs and recipients are not written past their rules as if they were a look-up table."""
    for id in ("nms:recipient", "nms:broadLogRcp", "nms:address", "nms:rcpGrpRel"):
        for method, path in (("GET", ""), ("POST", ""), ("PATCH", "/1000"), ("DELETE", "/1000")):
            answer = client.request(method, f"/campaign/schemas/{id}/records{path}", json={})
            assert 422 == answer.status_code
    body = STORE | {"name": "recipient"}
    assert 422 == client.put("/campaign/schemas/cus:other", json=body).status_code


def test_quarantine(
    client: Client, tables: SqliteTables, quarantine: Quarantine, clock: VirtualBusinessClock
) -> None:
    """Listed by status and domain, one address however it is typed; released, denied, undone."""
    with tables.begin() as connection:
        for address in ("a@x.y", "b@x.y", "c@z.y"):
            quarantine.record(
                connection,
                address=address,
                failure_type=2,
                failure_reason=1,
                now_ms=clock.now_ms(),
            )
    params = {"status": "quarantine", "domain": "x.y", "channel": "email"}
    listed = client.get("/campaign/quarantine", params=params).json()
    assert ["a@x.y", "b@x.y"] == [one["address"] for one in listed["addresses"]]
    assert 422 == client.get("/campaign/quarantine", params={"status": "x"}).status_code
    assert "userUnknown" == client.get("/campaign/quarantine/email/A@X.y").json()["failureReason"]
    assert 404 == client.get("/campaign/quarantine/email/no/where@x.y").status_code
    assert 422 == client.get("/campaign/quarantine/fax/1").status_code
    released = client.post("/campaign/quarantine/release", json={"address": "A@x.y"}).json()
    assert "valid" == released["status"]
    outage = {"since": "2017-10-29T00:00:00Z", "until": "2017-10-31T00:00:00Z", "domain": "X.Y"}
    assert {"released": 1} == client.post("/campaign/quarantine/undoOutage", json=outage).json()
    backwards = outage | {"until": "2017-10-01"}
    assert 422 == client.post("/campaign/quarantine/undoOutage", json=backwards).status_code
    assert (
        400
        == client.post(
            "/campaign/quarantine/undoOutage", json=outage | {"since": "soon"}
        ).status_code
    )
    denied = client.post("/campaign/quarantine/denylist", json={"address": "C@z.y", "text": "no"})
    assert "denylisted" == denied.json()["status"]
    for address in ("", " ", "a\r\n@b.c", "x" * 255):
        body = {"address": address}
        assert 422 == client.post("/campaign/quarantine/denylist", json=body).status_code
    with tables.connect() as connection:
        address_table = CampaignSchemas(tables, clock).table("nms:address")
        count = sa.select(sa.func.count()).select_from(address_table)
        assert 3 == connection.execute(count).scalar()
