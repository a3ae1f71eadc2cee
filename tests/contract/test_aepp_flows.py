"""The unchanged Python client `aepp` makes flows and finds sandboxes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aepp import catalog, flowservice, sandboxes, schema
from registry_server import ORG, Served, serve

from amity.kernel.scope import Scope

SCOPE = Scope(ORG, "prod")
STREAMING = "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the module."""
    with serve(tmp_path_factory.mktemp("flows")) as running:
        running.configure_aepp()
        yield running


@pytest.fixture(scope="module")
def flows(served: Served) -> flowservice.FlowService:
    """The client's flow module."""
    return flowservice.FlowService()


@pytest.fixture(scope="module")
def made(flows: flowservice.FlowService) -> dict[str, Any]:
    """A streaming flow into a dataset, made by one call of the client."""
    one = schema.Schema().createProfileSchema(
        name="Customers",
        fieldGroupIds=["https://ns.adobe.com/xdm/context/profile-personal-details"],
    )
    (reference,) = catalog.Catalog().createDataSet(name="Customers", schemaId=one["$id"])
    reply: dict[str, Any] = flows.createFlowStreaming(
        datasetId=reference.removeprefix("@/dataSets/")
    )
    return reply


def test_streaming_flow_is_made(flows: flowservice.FlowService, made: dict[str, Any]) -> None:
    """Connection, source, target and flow are made and read back."""
    flow = flows.getFlow(made["flow"]["id"])
    source = flows.getSourceConnection(flow["sourceConnectionIds"][0])
    connection = flows.getConnection(source["baseConnectionId"])

    assert flow["state"] == "enabled"
    assert connection["auth"]["params"]["inletUrl"].startswith("http://door.test/collection/")
    assert flows.connectionTest(connection["id"])["state"] == "success"
    assert flow["inheritedAttributes"]["properties"] == {
        "isSourceFlow": True,
        "isDestinationFlow": False,
    }


def test_lists_and_filters(flows: flowservice.FlowService, made: dict[str, Any]) -> None:
    """Flows are listed as those of sources; specs are found by id and by name."""
    id = made["flow"]["id"]

    assert [one["id"] for one in flows.getFlows(onlySources=True)] == [id]
    assert flows.getFlows(onlyDestinations=True) == []
    assert flows.getFlows(prop=f"id=={id}")[0]["id"] == id
    assert STREAMING in {spec["id"] for spec in flows.getConnectionSpecs()}
    assert flows.getConnectionSpec(STREAMING)["items"][0]["id"] == STREAMING
    assert flows.getFlowSpec(flows.getFlowSpecs()[0]["id"])
    assert len(flows.getTargetConnections()) == 1


def test_changes(flows: flowservice.FlowService, made: dict[str, Any]) -> None:
    """A flow changes under its etag only, and is switched off and on."""
    id = made["flow"]["id"]
    rename = [{"op": "replace", "path": "/name", "value": "Renamed"}]
    stale = flows.updateFlow(id, etag='"old"', updateObj=rename)
    unquoted = flows.updateFlow(id, etag=flows.getFlow(id)["etag"].strip('"'), updateObj=rename)
    fresh = flows.updateFlow(id, etag=flows.getFlow(id)["etag"], updateObj=rename)
    flows.postFlowAction(id, "disable")

    assert (stale["status"], unquoted["status"]) == (412, 412)
    assert fresh["etag"] == flows.getFlow(id)["etag"] or fresh["id"] == id
    assert (flows.getFlow(id)["name"], flows.getFlow(id)["state"]) == ("Renamed", "disabled")
    assert flows.postFlowAction(id, "enable")["id"] == id


def test_runs_page_by_token(
    flows: flowservice.FlowService, served: Served, made: dict[str, Any]
) -> None:
    """All runs of a flow are had page after page, each once."""
    id = made["flow"]["id"]
    for number in range(23):
        served.flows.put_run(SCOPE, {"id": f"run-{number:02d}", "flowId": id})
    served.flows.put_run(SCOPE, {"id": "run-other", "flowId": "other"})
    found = [run["id"] for run in flows.getRuns(limit=5, prop=f"flowId=={id}")]

    assert sorted(found) == [f"run-{number:02d}" for number in range(23)]
    (one,) = flows.getRun("run-07")
    assert one["flowId"] == id


def test_connections_page_by_link(flows: flowservice.FlowService, made: dict[str, Any]) -> None:
    """The client follows the link of a page to the next one."""
    for number in range(4):
        flows.createConnectionStreaming(
            name=f"Till {number}", sourceId=f"till-{number}", paramName="till"
        )
    found = [one["id"] for one in flows.getConnections(limit=2)]

    assert len(found) == len(set(found)) == 5


def test_parts_in_use_stay(flows: flowservice.FlowService, made: dict[str, Any]) -> None:
    """What a flow is made of is deleted only after the flow."""
    target = made["target_connection_id"]["id"]
    refused = flows.deleteTargetConnection(target)
    flows.deleteFlow(made["flow"]["id"])

    assert refused["status"] == 409
    assert flows.deleteTargetConnection(target) == 204


def test_sandboxes(served: Served) -> None:
    """Sandboxes are listed, created and looked up; schemas of one are not those of another."""
    module = sandboxes.Sandboxes()
    made = module.createSandbox(name="dev", title="Try things")

    assert [one["name"] for one in module.getSandboxes()] == ["prod", "dev"]
    assert module.getSandboxTypes() == ["production", "development"]
    assert module.getSandbox("dev")["id"] == made["id"]
    assert schema.Schema(sandbox="dev").getSchemas()["results"] == []
