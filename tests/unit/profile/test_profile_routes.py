"""Entities and merge policies over HTTP, in the documented shapes."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from river import SCOPE, River, Stamped, customer, visit
from routed import Client

from amity.access.principal import Permission, Principal
from amity.kernel.errors import AmityError
from amity.kernel.scope import Scope
from amity.platform.identity.model import Identity
from amity.platform.identity.namespaces import Namespaces
from amity.platform.profile.lookup import Lookup
from amity.platform.profile.model import ERASURES_TOPIC
from amity.platform.profile.routes import router
from amity.storage.ports import Entry, LogRecord

ANN, PHONE = Identity("CRM", "ann"), Identity("Web", "phone")
ENTITIES = "/data/core/ups/access/entities"
POLICIES = "/data/core/ups/config/mergePolicies"
EVENTS = {
    "schema.name": "_xdm.context.experienceevent",
    "relatedSchema.name": "_xdm.context.profile",
}


class OpenGate:
    """Lets everyone in."""

    def authorize(self, request: Request, permission: Permission) -> Principal:
        return Principal(id="c", kind="api_client", scope=SCOPE, permissions=frozenset())


@pytest.fixture
def river() -> River:
    """One person with two identities, a record and five events; a product."""
    river = River()
    river.run([customer(1, "ann", name="Ann", address={"city": "Bonn", "zip": "1"})])
    river.run([visit(2, 1_000, PHONE, ANN, page="p2", level=2)])
    river.run([visit(n, n * 1_000, PHONE, page=f"p{n}", level=n) for n in (3, 4, 5, 6)])
    river.run([Stamped("goods", 100, 9, {"key": "sku1", "name": "Milk"})])
    return river


@pytest.fixture
def appended() -> list[Entry]:
    """What the routes have put on the log."""
    return []


@pytest.fixture
def client(river: River, appended: list[Entry]) -> Client:
    """The routes over the river's state."""

    async def append(entries: list[Entry]) -> None:
        appended.extend(entries)

    app = FastAPI()
    app.state.gate = OpenGate()
    lookup = Lookup(
        state=river.state,
        profiles=river.profiles,
        policies=river.policies,
        codes=Namespaces(documents=river.documents),
    )
    app.include_router(
        router(lookup=lookup, policies=river.policies, append=append, clock=river.clock)
    )

    @app.exception_handler(AmityError)
    async def problem(_: Request, error: AmityError) -> JSONResponse:
        return JSONResponse({"detail": error.message}, error.status)

    return Client(app)


@pytest.mark.parametrize("identity", [ANN, PHONE])
def test_a_profile_is_found_by_each_of_its_identities(client: Client, identity: Identity) -> None:
    """By value and namespace, and by xid; the answer is keyed by the xid asked for."""
    by_value = client.get(ENTITIES, params={"entityId": identity.id, "entityIdNS": identity.ns})
    by_xid = client.get(ENTITIES, params={"entityId": identity.xid})
    (shown,) = by_value.json().values()

    assert by_value.json() == by_xid.json()
    assert list(by_value.json()) == [identity.xid]
    assert shown["entity"]["name"] == "Ann"
    assert shown["sources"] == ["people"]
    assert shown["identityGraph"] == [ANN.xid, PHONE.xid]
    assert shown["entity"]["identityMap"] == {"CRM": [{"id": "ann"}], "Web": [{"id": "phone"}]}


def test_fields_narrow_the_entity(client: Client) -> None:
    """Only the paths named are shown."""
    answer = client.get(
        ENTITIES, params={"entityId": "ann", "entityIdNS": "CRM", "fields": "address.city,name"}
    )

    assert answer.json()[ANN.xid]["entity"] == {"address": {"city": "Bonn"}, "name": "Ann"}


def test_nobody_is_404(client: Client) -> None:
    """An unknown value and an unknown xid are answered 404; no id at all 400."""
    assert client.get(ENTITIES, params={"entityId": "x", "entityIdNS": "CRM"}).status_code == 404
    assert client.get(ENTITIES, params={"entityId": "x"}).status_code == 404
    assert client.get(ENTITIES).status_code == 400


def events(client: Client, **params: Any) -> dict[str, Any]:
    answer = client.get(
        ENTITIES, params={**EVENTS, "relatedEntityId": "ann", "relatedEntityIdNS": "CRM", **params}
    )
    assert answer.status_code == 200
    return dict(answer.json())


def ids(found: dict[str, Any]) -> list[str]:
    return [child["entityId"] for child in found["children"]]


def test_events_of_all_identities_by_time(client: Client) -> None:
    """Oldest first by default; newest first on demand; the shape is the documented one."""
    found = events(client)

    assert ids(found) == ["e2", "e3", "e4", "e5", "e6"]
    assert ids(events(client, orderby="-timestamp")) == ["e6", "e5", "e4", "e3", "e2"]
    assert found["children"][0]["timestamp"] == 1_000
    assert found["children"][0]["relatedEntityId"] == ANN.xid
    assert found["_links"] == {"next": {"href": ""}}
    assert found["_page"] == {"orderby": "+timestamp", "start": "", "count": 5, "next": ""}


def test_start_is_included_end_is_not(client: Client) -> None:
    """The time range is half open."""
    assert ids(events(client, startTime=3_000, endTime=5_000)) == ["e3", "e4"]


@pytest.mark.parametrize("order", ["+timestamp", "-timestamp"])
def test_pages_join_without_gap_or_repetition(client: Client, order: str) -> None:
    """Following the next links gives every event once."""
    found = events(client, limit=2, orderby=order)
    seen = ids(found)
    while href := found["_links"]["next"]["href"]:
        query = parse_qs(urlparse(href).query)
        found = events(client, limit=2, orderby=order, offsets=query["offsets"][0])
        seen += ids(found)

    assert sorted(seen) == ["e2", "e3", "e4", "e5", "e6"]
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["level>4"], ["e5", "e6"]),
        (["level>=4", "level!=6"], ["e4", "e5"]),
        (["page=p3"], ["e3"]),
        (["nothing=1"], []),
    ],
)
def test_property_filters(client: Client, filters: list[str], expected: list[str]) -> None:
    """Up to three comparisons narrow the events."""
    assert ids(events(client, property=filters)) == expected


def test_too_many_or_odd_filters_are_refused(client: Client) -> None:
    """A fourth filter, a filter that compares nothing and a foreign cursor are answered 400."""
    base = {**EVENTS, "relatedEntityId": "ann", "relatedEntityIdNS": "CRM"}

    for odd in ({"property": ["a=1"] * 4}, {"property": "a"}, {"start": "x"}, {"orderby": "n"}):
        assert client.get(ENTITIES, params={**base, **odd}).status_code == 400


def test_a_thing_is_looked_up(client: Client) -> None:
    """Another schema's entity is found by its key."""
    params = {"schema.name": "goods", "entityId": "sku1", "entityIdNS": "SKU"}
    (shown,) = client.get(ENTITIES, params=params).json().values()

    assert shown["entity"] == {"key": "sku1", "name": "Milk"}


def test_many_at_once(client: Client) -> None:
    """A list is answered keyed by xid; nobody has an empty entry; a part failure makes it 207."""
    asked = [
        {"entityId": "ann", "entityIdNS": {"code": "CRM"}},
        {"entityId": "zoe", "entityIdNS": {"code": "CRM"}},
    ]
    schema = {"name": "_xdm.context.profile"}
    fine = client.post(ENTITIES, json={"schema": schema, "identities": asked, "fields": ["name"]})
    part = client.post(ENTITIES, json={"schema": schema, "identities": [*asked, {"entityId": "x"}]})
    nobody = fine.json()[Identity("CRM", "zoe").xid]

    assert (fine.status_code, part.status_code) == (200, 207)
    assert fine.json()[ANN.xid]["entity"] == {"name": "Ann"}
    assert nobody == {"sources": [""], "entity": {}, "lastModifiedAt": "1970-01-01T00:00:00Z"}
    assert part.json()["x"]["statusCode"] == 404


def test_events_of_many_carry_the_next_request(client: Client) -> None:
    """The next payload is the body of the next POST."""
    body = {
        "schema": {"name": "_xdm.context.experienceevent"},
        "relatedSchema": {"name": "_xdm.context.profile"},
        "identities": [{"relatedEntityId": "ann", "relatedEntityIdNS": {"code": "CRM"}}],
        "limit": 3,
    }
    first = client.post(ENTITIES, json=body).json()[ANN.xid]
    second = client.post(ENTITIES, json=first["_links"]["next"]["payload"]).json()[ANN.xid]

    assert ids(first) + ids(second) == ["e2", "e3", "e4", "e5", "e6"]
    assert second["_links"]["next"]["payload"] == {}


def test_a_deletion_goes_through_the_log(
    client: Client, river: River, appended: list[Entry]
) -> None:
    """DELETE answers 202 and appends; once the stage has read it, the person is nobody."""
    river.clock.advance_to(1_000)
    answer = client.delete(
        ENTITIES,
        params={"schema.name": "_xdm.context.profile", "entityId": "phone", "entityIdNS": "Web"},
    )
    (entry,) = appended
    record = LogRecord(entry.topic, 0, 1, entry.key, entry.body, "", 0)
    (erasure,) = river.profile.decode(record)
    river.run([], [erasure])  # type: ignore[list-item]
    after = client.get(ENTITIES, params={"entityId": "ann", "entityIdNS": "CRM"})

    assert (answer.status_code, entry.topic) == (202, ERASURES_TOPIC)
    assert after.status_code == 404
    assert client.delete(ENTITIES, params={**EVENTS, "entityId": "x"}).status_code == 400


def policy(**changes: Any) -> dict[str, Any]:
    return {
        "name": "by dataset",
        "schema": {"name": "_xdm.context.profile"},
        "identityGraph": {"type": "pdg"},
        "attributeMerge": {"type": "dataSetPrecedence", "order": ["crm"]},
        "default": False,
        **changes,
    }


def test_a_sandbox_begins_with_one_default_policy(client: Client) -> None:
    """It is listed, found and stays the same."""
    listed = client.get(POLICIES).json()
    (first,) = listed["children"]

    assert listed["_page"] == {"totalCount": 1, "pageSize": 1}
    assert listed["_links"]["next"]["href"] == ""
    assert first["default"] is True
    assert first["sandbox"] == SCOPE.shown
    assert client.get(f"{POLICIES}/{first['id']}").json() == first
    assert client.get(f"{POLICIES}/nope").status_code == 404


def test_only_prod_is_shown_as_the_default_sandbox() -> None:
    """Objects of another sandbox do not say that they are in production."""
    assert Scope("A@AmityOrg", "prod").shown == {
        "sandboxName": "prod",
        "type": "production",
        "default": True,
    }
    assert Scope("A@AmityOrg", "dev").shown == {
        "sandboxName": "dev",
        "type": "development",
        "default": False,
    }


def test_policies_live(client: Client) -> None:
    """Made, replaced (version rises), patched, listed by filter, taken away."""
    made = client.post(POLICIES, json=policy()).json()
    url = f"{POLICIES}/{made['id']}"
    put = client.put(url, json=policy(name="other")).json()
    patched = client.patch(url, json={"op": "add", "path": "/default", "value": True}).json()
    defaults = client.get(POLICIES, params={"default": "true"}).json()["children"]
    bulk = client.post(f"{POLICIES}/bulk-get", json={"ids": [{"id": made["id"]}, {"id": "no"}]})

    assert (made["version"], put["version"], patched["version"]) == (1, 2, 3)
    assert [one["id"] for one in defaults] == [made["id"]]
    assert bulk.status_code == 207
    assert bulk.json()["results"][made["id"]]["name"] == "other"
    assert client.delete(url).status_code == 200
    assert client.get(url).status_code == 404


def test_a_policy_decides_what_is_seen(client: Client) -> None:
    """A dataset that the policy does not list is not merged; without stitching one is alone."""
    listed = client.post(POLICIES, json=policy()).json()
    alone = client.post(
        POLICIES,
        json=policy(identityGraph={"type": "none"}, attributeMerge={"type": "timestampOrdered"}),
    ).json()
    asked = {"entityId": "phone", "entityIdNS": "Web"}
    by_dataset = client.get(ENTITIES, params={**asked, "mergePolicyId": listed["id"]}).json()
    by_itself = client.get(ENTITIES, params={**asked, "mergePolicyId": alone["id"]}).json()

    assert "name" not in by_dataset[PHONE.xid]["entity"]
    assert by_itself[PHONE.xid]["entity"] == {"identityMap": {"Web": [{"id": "phone"}]}}
    assert by_itself[PHONE.xid]["identityGraph"] == [PHONE.xid]


def test_bad_policies_are_refused(client: Client) -> None:
    """Missing parts, an empty order, a sixth policy, deleting the one active on edge."""
    for change in (
        {"schema": None},
        {"identityGraph": {"type": "x"}},
        {"attributeMerge": {"type": "x"}},
        {"attributeMerge": {"type": "dataSetPrecedence"}},
        {"default": "yes"},
    ):
        assert client.post(POLICIES, json=policy(**change)).status_code == 400
    edge = client.post(POLICIES, json=policy(isActiveOnEdge=True)).json()
    for _ in range(3):
        assert client.post(POLICIES, json=policy()).status_code == 201

    assert client.post(POLICIES, json=policy()).status_code == 400
    assert client.delete(f"{POLICIES}/{edge['id']}").status_code == 409
