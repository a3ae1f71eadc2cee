"""Workflows over HTTP: made, steered, looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from routed import Client

from amity.access.principal import Permission, Principal
from amity.campaign.workflow.routes import router
from amity.kernel.errors import AmityError
from amity.kernel.scope import Scope

BASE = "/campaign/workflows"
GRAPH: dict[str, Any] = {
    "name": "welcome",
    "activities": [
        {"name": "start", "type": "start"},
        {"name": "make", "type": "make", "options": {"count": 5}},
        {"name": "hold", "type": "signal", "position": [3, 4]},
        {"name": "keep", "type": "keep", "options": {"divisor": 2}},
    ],
    "transitions": [
        {"from": "start", "to": "make"},
        {"from": "make", "output": "out", "to": "hold"},
        {"from": "hold", "to": "keep"},
    ],
    "keepResults": True,
}


class Gate:
    """Lets everybody in and remembers what was asked for."""

    asked = ""
    permissions: frozenset[str] = frozenset()

    def authorize(self, request: Request, permission: Permission) -> Principal:
        self.asked = permission
        scope = Scope("SHOP@AmityOrg", "prod")
        return Principal(id="c", kind="api_client", scope=scope, permissions=self.permissions)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def client(desk: Any, gate: Gate) -> Client:
    app = FastAPI()
    app.state.gate = gate
    app.include_router(router(desk.workflows))

    async def answer(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, AmityError)
        return JSONResponse({"detail": error.message}, error.status)

    app.add_exception_handler(AmityError, answer)
    return Client(app)


def test_a_workflow_from_making_to_deleting(client: Client, desk: Any, gate: Gate) -> None:
    """Made, started, told a signal, looked at in every way, deleted."""
    made = client.post(BASE, json=GRAPH)
    assert (made.status_code, gate.asked) == (201, "manage-workflows")
    id = made.json()["id"]
    assert made.json()["graph"]["activities"][2]["position"] == [3.0, 4.0]

    queued = client.post(f"{BASE}/welcome/commands", json={"method": "start"})
    assert (queued.status_code, queued.json()["status"]) == (202, "queued")
    desk.settle()
    told = client.post(f"{BASE}/{id}/signals", json={"activity": "hold", "vars": {"who": "crm"}})
    assert told.status_code == 202
    desk.settle()

    found = client.get(f"{BASE}/{id}").json()
    assert (gate.asked, found["state"], found["failed"]) == ("view-workflows", 20, False)
    newest = client.get(f"{BASE}/{id}/transitions").json()["transitions"][1]
    assert (newest["from"], newest["label"], newest["vars"]["who"]) == ("hold", "5 - Ok", "crm")
    rows = client.get(f"{BASE}/{id}/transitions/{newest['id']}/rows?limit=2&start=3").json()
    assert rows["rows"] == [{"n": 4, "id": 3}, {"n": 5, "id": 4}]

    picture = client.get(f"{BASE}/{id}/picture").json()
    assert [one["last"]["count"] for one in picture["transitions"]] == [None, 5, 5]
    assert {one["task"]["state"] for one in picture["activities"]} == {"done"}
    tasks = client.get(f"{BASE}/{id}/tasks?limit=1").json()["tasks"]
    assert tasks[0]["activity"] == "keep"
    lines = client.get(f"{BASE}/{id}/journal").json()["journal"]
    assert [line["text"] for line in lines] == ["Started", "Finished"]
    assert [one["name"] for one in client.get(f"{BASE}?state=20").json()["workflows"]] == [
        "welcome"
    ]

    assert client.delete(f"{BASE}/{id}").status_code == 204
    assert client.get(f"{BASE}/{id}").status_code == 404
    assert desk.work.names() == []


def test_excluded_rows_are_told_by_reason(client: Client, desk: Any) -> None:
    """The row that an activity leaves out stands with its reason at its task and transition."""
    plain = [one for one in GRAPH["activities"] if one["name"] != "hold"]
    last = {"name": "end", "type": "end"}
    arrows = [("start", "make"), ("make", "keep"), ("keep", "end")]
    client.post(
        BASE,
        json={
            "name": "plain",
            "activities": [*plain, last],
            "transitions": [{"from": one, "to": other} for one, other in arrows],
        },
    )
    client.post(f"{BASE}/plain/commands", json={"method": "start"})
    desk.settle()

    newest = client.get(f"{BASE}/plain/transitions").json()["transitions"][0]
    assert newest["count"] == 3
    assert newest["excluded"] == [{"reason": "not divided", "count": 2}]


def test_what_is_refused(client: Client) -> None:
    """Bad graphs, unknown names and commands out of place are told as what they are."""
    bad = client.post(BASE, json=GRAPH | {"colour": "red"})
    assert (bad.status_code, "colour" in bad.json()["detail"]) == (422, True)
    assert client.post(f"{BASE}/validate", json=GRAPH).status_code == 204
    assert client.post(f"{BASE}/validate", json=GRAPH | {"name": "a b"}).status_code == 422
    assert client.get(f"{BASE}/nobody/journal").status_code == 404

    client.post(BASE, json=GRAPH)
    assert client.post(BASE, json=GRAPH).status_code == 409
    pause = client.post(f"{BASE}/welcome/commands", json={"method": "pause"})
    assert (pause.status_code, "is edited" in pause.json()["detail"]) == (409, True)
    assert client.post(f"{BASE}/welcome/commands", json={"method": "explode"}).status_code == 422
    signal = client.post(f"{BASE}/welcome/signals", json={"activity": "make"})
    assert signal.status_code == 404
    changed = GRAPH | {"label": "Welcome"}
    assert client.put(f"{BASE}/welcome", json=changed).json()["label"] == "Welcome"


def test_another_workflows_rows(client: Client, desk: Any) -> None:
    """Rows are asked for under the workflow they belong to."""
    client.post(BASE, json=GRAPH)
    client.post(BASE, json=GRAPH | {"name": "other"})
    client.post(f"{BASE}/welcome/commands", json={"method": "start"})
    desk.settle()
    newest = client.get(f"{BASE}/welcome/transitions").json()["transitions"][0]["id"]

    assert client.get(f"{BASE}/welcome/transitions/{newest}/rows").status_code == 200
    assert client.get(f"{BASE}/other/transitions/{newest}/rows").status_code == 404


def test_templates_and_types(client: Client) -> None:
    """Templates are listed with what they ask for, and become workflows."""
    types = client.get(f"{BASE}/activityTypes").json()["activityTypes"]
    assert {"scheduler", "wait", "fork", "and_join", "test"} <= {one["type"] for one in types}
    (template,) = client.get(f"{BASE}/templates").json()["templates"]
    assert template["label"] == "Nightly"

    made = client.post(f"{BASE}/templates/nightly", json={"name": "mine", "hour": 3})
    assert made.status_code == 201
    assert made.json()["graph"]["activities"][0]["options"] == {"cron": "0 3 * * *"}
    assert client.post(f"{BASE}/templates/nightly", json={"hour": 3}).status_code == 422
    assert client.post(f"{BASE}/templates/daily", json={}).status_code == 404


def test_who_may_not_send_lets_no_delivery_run(client: Client, desk: Any, gate: Gate) -> None:
    """A workflow with messages in it is started, resumed and restarted by who may start deliveries."""
    known = desk.workflows._activities
    desk.workflows._activities = {**known, "send": replace(known["put"], effect="intent")}
    steps = [{"name": "make", "type": "make"}, {"name": "send", "type": "send"}]
    arrows = [{"from": "make", "to": "send"}]
    graph = {"name": "mail", "activities": steps, "transitions": arrows}
    assert client.post(BASE, json=graph).status_code == 201
    at = f"{BASE}/mail/commands"

    refused = client.post(at, json={"method": "start"})
    assert (refused.status_code, "start-deliveries" in refused.text) == (403, True)

    gate.permissions = frozenset({"start-deliveries"})
    assert client.post(at, json={"method": "start"}).status_code == 202
