"""The 26 worked examples of the linking rules hold by real ingestion, each in a sandbox of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from waiting import eventually
from worked_graphs import Case, cases

from amity.app.demo.client import Platform
from amity.kernel.clock import RealSystemClock, from_iso, to_iso
from amity.platform.identity.model import Identity
from amity.platform.identity.simulate import parse_events
from amity.testing.server import RunningServer

START = "2026-01-01T00:00:00Z"
START_MS = from_iso(START)
EVENT_CLASS = "https://ns.adobe.com/xdm/context/experienceevent"
IDENTITY_MAP = "https://ns.adobe.com/xdm/context/identitymap"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all sandboxes."""
    with RunningServer(tmp_path_factory.mktemp("amity") / "data", clock=START) as running:
        yield running


def real(identity: Identity) -> Identity:
    """The example's value as the door takes one: an ECID has 38 digits."""
    if identity.ns != "ECID":
        return identity
    digits = int(hashlib.sha256(identity.id.encode()).hexdigest(), 16)
    return Identity(identity.ns, str(digits)[:38])


def opened(server: RunningServer, case: Case, number: int) -> Platform:
    """A new sandbox with the case's namespaces and rules."""
    sandbox = f"row{number}"
    with server.client() as http:
        path = "/data/foundation/sandbox-management/sandboxes"
        http.post(path, json={"name": sandbox, "type": "development"}).raise_for_status()
    platform = Platform(server.url, {**server.credentials, "sandbox": sandbox}, RealSystemClock())
    known = {one["code"] for one in platform.get("/data/core/idnamespace/identities")}
    wanted = {one.ns for event in parse_events(case.events) for one in event}
    for code in sorted(wanted - known):
        platform.namespace(code, "CROSS_DEVICE", code)
    platform.linking_rules(case.settings["namespaces"])
    return platform


def ingest(platform: Platform, case: Case) -> None:
    """Send the events of the case, a minute apart, in the order in which they stand."""
    schema = platform.schema("Seen", [EVENT_CLASS, IDENTITY_MAP])
    platform.enable_for_profile(schema)
    dataset = platform.dataset("Seen", schema)
    inlet = platform.inlet("Seen")
    reference = {"id": schema, "contentType": "application/vnd.adobe.xed-full+json;version=1"}
    header = {"schemaRef": reference, "imsOrgId": platform.org, "datasetId": dataset}
    messages = []
    for at, event in enumerate(parse_events(case.events)):
        entity = {
            "_id": f"e{at:03d}",
            "timestamp": to_iso(START_MS - 86_400_000 + at * 60_000),
            "eventType": "web.webpagedetails.pageViews",
            "identityMap": {one.ns: [{"id": real(one).id}] for one in event},
        }
        body = {"xdmMeta": {"schemaRef": reference}, "xdmEntity": entity}
        messages.append({"header": header, "body": body})
    accepted, reasons = platform.send(inlet, messages)
    assert accepted == len(messages), reasons


def graphs(platform: Platform, case: Case) -> list[list[Identity]]:
    """The graphs of more than one identity that the platform holds, sorted."""
    found = set()
    for one in {real(each) for event in parse_events(case.events) for each in event}:
        path = "/data/core/identity/cluster/members"
        answer = platform.get(path, namespace=one.ns, id=one.id)
        members = answer["clusters"][0]["members"] if answer["clusters"] else []
        flat = [each.get("compositeXid", each) for each in members]
        found.add(tuple(sorted(Identity(each["ns"], each["id"]) for each in flat)))
    return sorted([list(graph) for graph in found if len(graph) > 1])


@pytest.mark.parametrize("number", range(len(cases())))
def test_worked_graph_by_ingestion(server: RunningServer, number: int) -> None:
    """The events of the row, sent to an inlet, give the graphs of the row."""
    case = cases()[number]
    wanted = sorted(sorted(real(one) for one in graph) for graph in case.graphs)
    platform = opened(server, case, number)
    try:
        ingest(platform, case)
        seen = eventually(lambda: graphs(platform, case), lambda found: found == wanted)
    finally:
        platform.close()

    assert seen == wanted


def test_no_row_is_left_out() -> None:
    """The table has all rows of the facts page; some of them in several steps."""
    assert {int(case.name.split()[0]) for case in cases()} >= set(range(1, 26))
