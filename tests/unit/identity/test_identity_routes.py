"""Namespaces, linking rules, simulation and graphs over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from routed import Client
from test_identity_any_order import RULES, SCOPE, World

from amity.access.principal import Permission, Principal
from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.errors import AmityError
from amity.platform.identity.model import Identity
from amity.platform.identity.namespaces import Namespaces
from amity.platform.identity.routes import router
from amity.platform.identity.service import Graphs
from amity.platform.identity.settings import IdentitySettings
from amity.testing.memory import MemoryDocuments


class OpenGate:
    """Lets everyone in."""

    def authorize(self, request: Request, permission: Permission) -> Principal:
        return Principal(id="c", kind="api_client", scope=SCOPE, permissions=frozenset())


@pytest.fixture
def world() -> World:
    """A stage with a few graphs."""
    return World(RULES[1])


@pytest.fixture
def client(world: World) -> Client:
    """The routes over an empty sandbox."""
    documents = MemoryDocuments(VirtualBusinessClock(5))
    namespaces = Namespaces(documents=documents)
    app = FastAPI()
    app.state.gate = OpenGate()
    app.include_router(
        router(
            namespaces=namespaces,
            settings=IdentitySettings(documents=documents, namespaces=namespaces),
            graphs=Graphs(state=world.state, namespaces=namespaces),
        )
    )

    @app.exception_handler(AmityError)
    async def problem(_: Request, error: AmityError) -> JSONResponse:
        return JSONResponse({"code": error.code, "detail": error.message}, error.status)

    return Client(app)


NAMESPACES = "/data/core/idnamespace/identities"
SETTINGS = "/data/core/identity/settings"
SIMULATE = "/data/core/identity/simulate"


def make(client: Client, code: str, kind: str = "CROSS_DEVICE") -> dict[str, Any]:
    answer = client.post(NAMESPACES, json={"name": code, "code": code, "idType": kind})
    assert answer.status_code == 201
    return dict(answer.json())


def test_a_namespace_is_made_listed_and_renamed(client: Client) -> None:
    """A custom namespace stands in the list after the standard ones; its name can change."""
    made = make(client, "Loyalty")
    listed = client.get(NAMESPACES).json()
    renamed = client.put(f"{NAMESPACES}/{made['id']}", json={**made, "name": "Card"}).json()

    assert listed[-1] == made
    assert {"code": "ECID", "id": 4, "custom": False}.items() <= listed[1].items()
    assert (made["custom"], made["status"], made["createTime"]) == (True, "ACTIVE", 5)
    assert renamed["name"] == "Card"
    assert client.get(f"{NAMESPACES}/{made['id']}").json()["name"] == "Card"
    assert client.get("/data/core/idnamespace/orgs/A@AmityOrg/identities").json()[-1] == renamed


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "x", "code": "Email", "idType": "EMAIL"}, 409, "NAMESPACE_CODE_CONFLICT"),
        ({"name": "x", "code": "a b", "idType": "EMAIL"}, 400, None),
        ({"name": "x", "code": "ab", "idType": "NOPE"}, 400, None),
        ({"code": "ab", "idType": "EMAIL"}, 400, None),
    ],
)
def test_a_bad_namespace_is_refused(
    client: Client, body: dict[str, str], status: int, code: str | None
) -> None:
    """Taken codes, odd characters, unknown types and missing names are refused."""
    answer = client.post(NAMESPACES, json=body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_code_and_type_never_change(client: Client) -> None:
    """A PUT with another code or type, or of a standard namespace, is refused."""
    made = make(client, "Loyalty")

    assert client.put(f"{NAMESPACES}/{made['id']}", json={"code": "X"}).status_code == 400
    assert client.put(f"{NAMESPACES}/{made['id']}", json={"idType": "EMAIL"}).status_code == 400
    assert client.put(f"{NAMESPACES}/4", json={"name": "x"}).status_code == 403
    assert client.get(f"{NAMESPACES}/123456").status_code == 404


def test_a_new_sandbox_has_every_person_namespace_unique(client: Client) -> None:
    """Before any PUT: person namespaces are unique, in order of creation, devices after them."""
    make(client, "Loyalty")
    make(client, "Kiosk", "DEVICE")
    make(client, "Item", "NON_PEOPLE")
    entries = client.get(SETTINGS).json()["namespaces"]
    codes = [entry["code"] for entry in entries]
    unique = {entry["code"] for entry in entries if entry["unique"]}

    assert (
        codes.index("Email") < codes.index("Phone") < codes.index("Loyalty") < codes.index("ECID")
    )
    assert {"Email", "Phone", "Loyalty"} <= unique
    assert not unique & {"ECID", "Kiosk", "GAID"}
    assert "Item" not in codes
    assert [entry["priority"] for entry in entries] == list(range(1, len(entries) + 1))


def test_settings_read_back(client: Client) -> None:
    """What is put is what is got, in order of priority."""
    body = {
        "namespaces": [
            {"code": "ECID", "unique": False, "priority": 2},
            {"code": "CRMID", "unique": True, "priority": 1, "type": "CROSS_DEVICE"},
        ]
    }
    answer = client.put(SETTINGS, json=body)

    assert answer.status_code == 200
    assert client.get(SETTINGS).json() == {"namespaces": body["namespaces"][::-1]}


@pytest.mark.parametrize(
    "entries",
    [
        [{"code": c, "unique": True, "priority": n} for n, c in enumerate("ABCD", 1)],
        [{"code": "ECID", "unique": True, "priority": 1}],
        [
            {"code": "ECID", "unique": False, "priority": 1},
            {"code": "CRMID", "unique": True, "priority": 2},
        ],
        [{"code": "A", "priority": 1}, {"code": "A", "priority": 2}],
        [{"code": "A", "priority": 1}, {"code": "B", "priority": 1}],
        [{"code": "A", "priority": 0}],
        [{"unique": True}],
    ],
    ids=[
        "four unique",
        "unique cookie",
        "cookie first",
        "code twice",
        "priority twice",
        "0",
        "none",
    ],
)
def test_bad_settings_are_refused(client: Client, entries: list[dict[str, Any]]) -> None:
    """The documented limits of the rules are refused with the reason."""
    answer = client.put(SETTINGS, json={"namespaces": entries})

    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_three_unique_are_fine(client: Client) -> None:
    """The third unique namespace is taken."""
    entries = [{"code": c, "unique": True, "priority": n} for n, c in enumerate("ABC", 1)]

    assert client.put(SETTINGS, json={"namespaces": entries}).status_code == 200


def test_simulation_stores_nothing_and_answers_graphs(client: Client, world: World) -> None:
    """Events in, graphs out; unknown codes are cross-device; graphs of one are left out."""
    body = {
        "settings": {"namespaces": [{"code": "CRMID", "unique": True, "priority": 1}]},
        "events": "CRMID: Tom, ECID: 111\nCRMID: Summer, ECID: 111\n",
    }
    answer = client.post(SIMULATE, json=body)

    assert answer.json() == {
        "graphs": [[{"ns": "CRMID", "id": "Summer"}, {"ns": "ECID", "id": "111"}]]
    }
    assert world.stored() == 0


def test_simulation_without_settings_takes_those_in_force(client: Client) -> None:
    """Two mail addresses on one device are kept apart by the default rules."""
    answer = client.post(SIMULATE, json={"events": "Email: a@, ECID: 1\nEmail: b@, ECID: 1"})

    assert answer.json()["graphs"] == [[{"ns": "ECID", "id": "1"}, {"ns": "Email", "id": "b@"}]]


def test_malformed_events_name_their_line(client: Client) -> None:
    """A line that is no event is refused with its number."""
    answer = client.post(SIMULATE, json={"events": "Email: a@\nnonsense"})

    assert answer.status_code == 400
    assert "line 2" in answer.json()["detail"]


def test_graph_calls_answer_in_the_form_of_the_request(client: Client, world: World) -> None:
    """Sets, drawn graphs and clusters, by code, by id and by xid."""
    make(client, "CRM")
    make(client, "Web", "COOKIE")
    tom, web = Identity("CRM", "tom"), Identity("Web", "w")
    world.run([(10, "a", (tom, web)), (20, "b", (tom, web))])
    xid = client.get("/data/core/identity/identity?namespace=CRM&id=tom").json()["xid"]
    by_xid = client.post(
        "/data/core/identity/v2/graph", json={"xids": [xid, "nobody"], "projection_type": "set"}
    ).json()
    drawn = client.post(
        "/data/core/identity/v2/graph",
        json={
            "composite_xids": [{"ns": "CRM", "id": "tom"}],
            "projection_type": "graph",
            "require_edge_meta_data": True,
        },
    ).json()
    cluster = client.get("/data/core/identity/cluster/members?nsid=10000000&id=tom").json()

    assert xid == tom.xid
    assert by_xid == {
        "version": "2.0",
        "graphs": [{"xid": xid, "members": [{"xid": tom.xid}, {"xid": web.xid}]}],
        "unprocessed_xids": ["nobody"],
        "algo_type": "STITCH_ALL",
    }
    assert drawn["graphs"][0]["edges"] == [
        {
            "composite_xid_pair": [{"ns": "CRM", "id": "tom"}, {"ns": "Web", "id": "w"}],
            "first_established_ts": 10,
            "last_established_ts": 20,
            "dataset_ids": ["d"],
            "batch_ids": [],
        }
    ]
    assert cluster["clusters"][0]["members"] == [
        {"nsid": 10000000, "id": "tom"},
        {"nsid": 10000001, "id": "w"},
    ]


def test_bad_graph_calls_are_refused(client: Client) -> None:
    """Unknown namespaces, projections and no identity at all are answered 400."""
    graph = "/data/core/identity/v2/graph"

    assert client.get("/data/core/identity/identity?namespace=Nope&id=1").status_code == 400
    assert client.get("/data/core/identity/cluster/members").status_code == 400
    assert client.post(graph, json={"xids": ["a"], "projection_type": "x"}).status_code == 400
    assert client.post(graph, json={"projection_type": "set"}).status_code == 400
    many = {"xids": ["a"] * 1001, "projection_type": "set"}
    assert client.post(graph, json=many).status_code == 400
