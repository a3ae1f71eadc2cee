"""How streaming connections come to have inlets."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ingestion_shop import SCOPE, Shop

from amity.kernel.errors import AmityError, Invalid, NotFound, NotSupported
from amity.kernel.ids import SeededIds
from amity.kernel.scope import Scope
from amity.platform.catalog.flow_service import FlowService
from amity.platform.ingestion.inlets import (
    MAPPED_FLOW_SPEC,
    PLAIN_FLOW_SPEC,
    STREAMING_SPEC,
    Inlets,
)
from amity.testing.memory import MemoryDocuments


class Plain:
    """Secrets that stay as they are: a streaming connection has none."""

    def encrypt(self, plain: str) -> str:
        return plain

    def decrypt(self, sealed: str) -> str:
        return sealed


class Flows:
    """A flow service whose only kind is streaming."""

    def __init__(self, shop: Shop) -> None:
        documents = MemoryDocuments(shop.clock)
        self.inlets = Inlets(
            documents=documents,
            catalog=shop,
            ids=SeededIds(random.Random(2)),
            public_url="http://amity.test/",
        )
        self.service = FlowService(
            documents=documents,
            ids=shop.ids,
            clock=shop.clock,
            kinds=[self.inlets],
            secrets=Plain(),
        )

    def connect(self, scope: Scope = SCOPE, **params: Any) -> dict[str, Any]:
        """A new streaming connection, as GET shows it."""
        body = {
            "name": "Till",
            "connectionSpec": {"id": STREAMING_SPEC, "version": "1.0"},
            "auth": {"specName": "Streaming Connection", "params": {"name": "Till", **params}},
        }
        made = self.service.create(scope, "connections", body)
        return self.service.get(scope, "connections", made.body["id"]).body

    def flow(self, connection: str, spec: str = PLAIN_FLOW_SPEC, dataset: str = "d-profile") -> str:
        """A flow from a connection to a dataset."""
        source = self.service.create(SCOPE, "sourceConnections", {"baseConnectionId": connection})
        target = self.service.create(
            SCOPE,
            "targetConnections",
            {"connectionSpec": {"id": "lake"}, "params": {"dataSetId": dataset}},
        )
        made = self.service.create(
            SCOPE,
            "flows",
            {
                "name": "f",
                "flowSpec": {"id": spec},
                "sourceConnectionIds": [source.body["id"]],
                "targetConnectionIds": [target.body["id"]],
            },
        )
        return str(made.body["id"])


@pytest.fixture
def flows(shop: Shop) -> Flows:
    """A flow service with inlets."""
    return Flows(shop)


def test_connection_gets_an_inlet(flows: Flows) -> None:
    """auth.params tell id and URL; the door finds whose it is."""
    params = flows.connect()["auth"]["params"]
    inlet = flows.inlets.find(params["inletId"])

    assert len(params["inletId"]) == 64
    assert params["inletUrl"] == f"http://amity.test/collection/{params['inletId']}"
    assert inlet is not None
    assert (inlet.scope, inlet.authenticated, inlet.flows) == (SCOPE, False, {})


def test_inlets_of_two_sandboxes_do_not_touch(flows: Flows) -> None:
    """Each inlet leads into its own sandbox."""
    other = Scope(SCOPE.org, "dev")
    here, there = flows.connect(), flows.connect(other)
    found = [flows.inlets.find(one["auth"]["params"]["inletId"]) for one in (here, there)]

    assert [one.scope for one in found if one] == [SCOPE, other]


def test_authentication_is_read_as_it_stands(flows: Flows) -> None:
    """A changed connection changes its inlet; a deleted one has none."""
    connection = flows.connect(authenticationRequired=True)
    inlet_id = connection["auth"]["params"]["inletId"]
    before = flows.inlets.find(inlet_id)
    flows.service.patch(
        SCOPE,
        "connections",
        connection["id"],
        [{"op": "replace", "path": "/auth/params/authenticationRequired", "value": False}],
        if_match=connection["etag"],
    )
    after = flows.inlets.find(inlet_id)
    flows.service.delete(SCOPE, "connections", connection["id"])

    assert before is not None
    assert before.authenticated
    assert after is not None
    assert not after.authenticated
    assert flows.inlets.find(inlet_id) is None


def test_flow_leads_raw_messages_to_its_dataset(flows: Flows) -> None:
    """The inlet knows the datasets of its flows, while they are enabled."""
    connection = flows.connect(dataType="raw")
    inlet_id = connection["auth"]["params"]["inletId"]
    flow = flows.flow(connection["id"])
    found = flows.inlets.find(inlet_id)
    flows.service.set_state(SCOPE, flow, "disabled")
    disabled = flows.inlets.find(inlet_id)

    assert found is not None
    assert found.flows == {flow: "d-profile"}
    assert disabled is not None
    assert disabled.flows == {}


@pytest.mark.parametrize(
    ("spec", "dataset", "error"),
    [
        (MAPPED_FLOW_SPEC, "d-profile", NotSupported),
        ("other", "d-profile", Invalid),
        (PLAIN_FLOW_SPEC, "nowhere", NotFound),
    ],
)
def test_flows_that_lead_nowhere(
    flows: Flows, spec: str, dataset: str, error: type[AmityError]
) -> None:
    """Mapped flows, foreign specs and unknown datasets are refused when the flow is made."""
    connection = flows.connect()

    with pytest.raises(error):
        flows.flow(connection["id"], spec, dataset)


@pytest.mark.parametrize(
    "auth", [{}, None, {"params": []}, {"params": {"dataType": "csv"}},
             {"params": {"authenticationRequired": "yes"}}],
)  # fmt: skip
def test_connections_of_another_form(flows: Flows, auth: Any) -> None:
    """What is missing or unknown in auth.params is told."""
    with pytest.raises(Invalid):
        flows.service.create(
            SCOPE, "connections", {"connectionSpec": {"id": STREAMING_SPEC}, "auth": auth}
        )


@pytest.mark.parametrize("inlet_id", ["", "x", "0" * 64, "../" * 20, "\x00" * 64])
def test_unknown_inlets(flows: Flows, inlet_id: str) -> None:
    """Guessing finds nothing."""
    flows.connect()

    assert flows.inlets.find(inlet_id) is None


def test_specs_are_listed(flows: Flows) -> None:
    """Connection and flow specs stand under their documented ids."""
    assert STREAMING_SPEC in {one["id"] for one in flows.service.specs("connectionSpec")}
    assert {one["id"] for one in flows.service.specs("flowSpec")} == {
        PLAIN_FLOW_SPEC,
        MAPPED_FLOW_SPEC,
    }
