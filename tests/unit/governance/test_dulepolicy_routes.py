"""The policy service over HTTP, in its documented shapes."""

from __future__ import annotations

import asyncio
from functools import partialmethod
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from governed import SCOPE, Shop, activation, shop, source

from amity.access.principal import Permission, Principal
from amity.app.problems import install
from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.ids import RandomIds
from amity.platform.governance.book import PolicyBook
from amity.platform.governance.routes import router
from amity.platform.governance.service import Governance
from amity.testing.memory import MemoryDocuments

BASE = "/data/foundation/dulepolicy"
POLICY = {
    "name": "No C1 by mail",
    "marketingActionRefs": [
        "https://platform.example/data/foundation/dulepolicy/marketingActions/core/emailTargeting"
    ],
    "deny": {"operator": "AND", "operands": [{"label": "C1"}, {"label": "I1"}]},
    "status": "ENABLED",
}


class Everyone:
    """A gate that lets everyone in."""

    def authorize(self, request: Request, permission: Permission) -> Principal:
        del request, permission
        return Principal(id="me", kind="api_client", scope=SCOPE, permissions=frozenset())


class Client:
    """Calls the application without a socket."""

    def __init__(self, app: FastAPI) -> None:
        self._transport = httpx.ASGITransport(app=app)

    def call(self, method: str, url: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=self._transport, base_url="http://127.0.0.1:9"
            ) as client:
                return await client.request(method, url, **more)

        return asyncio.run(ask())

    get = partialmethod(call, "GET")
    put = partialmethod(call, "PUT")
    post = partialmethod(call, "POST")
    patch = partialmethod(call, "PATCH")
    delete = partialmethod(call, "DELETE")


@pytest.fixture
def estate() -> Shop:
    return shop()


@pytest.fixture
def client(estate: Shop) -> Client:
    clock = VirtualBusinessClock(1_000)
    book = PolicyBook(documents=MemoryDocuments(clock), ids=RandomIds(), clock=clock)
    governance = Governance(book=book, estate=estate, activations=estate)
    app = FastAPI()
    app.state.gate = Everyone()
    install(app)
    app.include_router(
        router(
            book=book,
            governance=governance,
            estate=estate,
            clock=clock,
            public_url="http://127.0.0.1:9",
        )
    )
    return Client(app)


def test_labels(client: Client) -> None:
    """Core labels are listed, found by name, filtered; custom ones are defined by PUT."""
    page = client.get(f"{BASE}/labels/core", params={"property": "name==C1"}).json()
    assert (page["_page"], page["children"][0]["friendlyName"]) == (
        {"count": 1},
        "Aggregate export only",
    )
    assert client.get(f"{BASE}/labels/core/c1").status_code == 404
    wrong = client.put(f"{BASE}/labels/custom/L1", json={"name": "L1"})
    assert (wrong.status_code, "category" in wrong.json()["detail"]) == (400, True)
    body = {"name": "L1", "category": "Custom", "friendlyName": "Ours", "description": "d"}
    assert [201, 200] == [
        client.put(f"{BASE}/labels/custom/L1", json=body).status_code for _ in range(2)
    ]
    assert client.get(f"{BASE}/labels/custom/L1").json()["_links"]["self"]["href"] == (
        f"http://127.0.0.1:9{BASE}/labels/custom/L1"
    )


def test_pages(client: Client) -> None:
    """Following `next` shows every label once."""
    seen: list[str] = []
    url = f"{BASE}/labels/core?limit=7"
    while url:
        page = client.get(url).json()
        seen += [label["name"] for label in page["children"]]
        url = page["_links"].get("next", {}).get("href", "")

    assert len(seen) == len(set(seen)) == 19


def test_marketing_actions(client: Client) -> None:
    """Custom actions come and go; one that a policy names stays."""
    body = {"name": "postcards", "description": "by post"}
    put = f"{BASE}/marketingActions/custom/postcards"
    assert client.put(put, json=body | {"name": "x"}).status_code == 400
    assert client.put(put, json=body).status_code == 201
    policy = POLICY | {"marketingActionRefs": ["../marketingActions/custom/postcards"]}
    made = client.post(f"{BASE}/policies/custom", json=policy).json()
    refused = client.delete(put)
    assert (refused.status_code, refused.json()["policies"]) == (400, [made["id"]])
    assert client.delete(f"{BASE}/policies/custom/{made['id']}").status_code == 200
    assert client.delete(put).status_code == 200
    assert client.get(put).status_code == 404


def test_policies(client: Client) -> None:
    """A policy is created, patched, filtered; a wrong one says what is wrong."""
    made = client.post(f"{BASE}/policies/custom", json=POLICY)
    id = made.json()["id"]
    assert made.status_code == 201
    assert made.json()["createdClient"] == "me"
    patched = client.patch(
        f"{BASE}/policies/custom/{id}",
        json=[{"op": "replace", "path": "/status", "value": "DISABLED"}],
    )
    assert patched.json()["status"] == "DISABLED"
    for query, count in (("duleLabels=I1", 1), ("duleLabels=C9", 0), ("marketingAction=x", 0)):
        assert client.get(f"{BASE}/policies/custom?{query}").json()["_page"]["count"] == count
    both = POLICY | {"deny": {"label": "C1", "operator": "AND", "operands": [{"label": "C1"}]}}
    unknown = POLICY | {"marketingActionRefs": ["core/magic"]}
    for wrong in (both, unknown, {"name": "x"}):
        answer = client.post(f"{BASE}/policies/custom", json=wrong)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "POLICY-400")


def test_constraints(client: Client, estate: Shop) -> None:
    """Labels or datasets against a marketing action; drafts only when asked for."""
    client.put(f"{BASE}/enabledCorePolicies", json={"policyIds": ["corepolicy_0001"]})
    url = f"{BASE}/marketingActions/core/emailTargeting/constraints"
    assert client.get(url, params={"duleLabels": "C4"}).json()["violatedPolicies"] == []
    drafts = client.get(url, params={"duleLabels": "C4", "includeDraft": "true"}).json()
    assert [policy["id"] for policy in drafts["violatedPolicies"]] == ["corepolicy_0003"]

    estate.all_sources["customers"] = source("customers", "C3", {"income": "C2", "age": "C4"})
    entity = {
        "entityType": "dataSet",
        "entityId": "customers",
        "entityMeta": {"fields": ["/properties/income"]},
    }
    found = client.post(
        f"{BASE}/marketingActions/core/exportToThirdParty/constraints", json=[entity]
    ).json()
    assert found["duleLabels"] == ["C2", "C3"]
    assert found["violatedPolicies"][0]["id"] == "corepolicy_0001"
    assert found["discoveredLabels"][0]["dataSetLabels"]["fields"] == [
        {"path": "/properties/income", "labels": ["C2"]}
    ]


def test_bulk_evaluation(client: Client) -> None:
    """Each job answers in its place; a job with both forms is a 400 of its own."""
    reference = f"{BASE}/marketingActions/core/exportToThirdParty/constraints"
    jobs: list[dict[str, Any]] = [
        {"evalRef": reference, "labels": ["C2"]},
        {"evalRef": reference, "labels": ["C2"], "entityList": []},
        {"evalRef": reference, "entityList": [{"entityType": "dataSet", "entityId": "gone"}]},
    ]

    answers = client.post(f"{BASE}/bulk-eval", json=jobs).json()

    assert [200, 400, 404] == [answer["status"] for answer in answers]
    assert answers[0]["body"]["violatedPolicies"] == []


def test_enabled_core_policies(client: Client, estate: Shop) -> None:
    """Switched as a list; unknown ids are a 400, a violated activation a 409 that changes nothing."""
    url = f"{BASE}/enabledCorePolicies"
    assert client.get(url).json()["policyIds"] == []
    assert client.put(url, json=["corepolicy_0001"]).json()["policyIds"] == ["corepolicy_0001"]
    assert client.put(url, json={"policyIds": ["corepolicy_9999"]}).status_code == 400
    estate.all_sources["customers"] = source("customers", "C4")
    estate.activations = [activation()]

    refused = client.put(url, json={"policyIds": ["corepolicy_0003"]})

    assert (refused.status_code, refused.json()["title"]) == (409, "Violations Error")
    assert refused.json()["violations"][0]["violatedPolicies"][0]["id"] == "corepolicy_0003"
    assert client.get(url).json()["policyIds"] == ["corepolicy_0001"]
