"""A label and a policy keep an audience from a destination, and let it go when they are gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audience_flows import (
    SELECTORS,
    FileSet,
    daily,
    local,
    local_file_sets,
    open_flow,
    runs_of,
    to_next_export,
)
from small_shop import SmallShop, open_shop

from amity.app.demo.client import Refused
from amity.app.demo.definitions import EXPORT_LABEL, EXPORT_POLICY
from amity.app.demo.destinations import EXPORT_TO_THIRD_PARTY
from amity.testing.server import RunningServer

DESCRIPTORS = "/data/foundation/schemaregistry/tenant/descriptors"
LABELS = "/data/foundation/dataset/datasets"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all; each test has a sandbox of its own."""
    data = tmp_path_factory.mktemp("amity") / "data"
    with RunningServer(data, clock="2017-10-30T00:00:00Z") as running:
        yield running


@pytest.fixture
def shop(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[SmallShop]:
    """A shop in a fresh sandbox with three rich people and a poor one; the policy is enabled."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40]
    opened = open_shop(server, name)
    incomes = {"1": "250K+", "2": "250K+", "3": "100-124K", "4": "Under 15K"}
    opened.load([opened.customer(one, income) for one, income in incomes.items()])
    opened.platform.enable_core_policies([EXPORT_POLICY])
    yield opened
    opened.platform.close()


def put_label(shop: SmallShop) -> str:
    """Label the income field; the id of the descriptor."""
    path = f"/_{shop.platform.tenant}/demographics/income"
    return shop.platform.descriptor(
        "descriptorLabel", shop.made.customer_schema, path, labels=[EXPORT_LABEL]
    )


def take_label(shop: SmallShop, descriptor: str) -> None:
    """Unlabel it."""
    shop.platform.call("DELETE", f"{DESCRIPTORS}/{descriptor}")


def third_party(shop: SmallShop, path: str) -> str:
    """A flow whose destination exports to a third party."""
    place = local(path, "campaign_standard")
    return open_flow(shop.platform, "Partner", place, action=EXPORT_TO_THIRD_PARTY)


def selectors(shop: SmallShop, flow: str) -> list[Any]:
    """What a flow maps."""
    params = shop.platform.item("flows", flow)["transformations"][0]["params"]
    found: list[Any] = params["segmentSelectors"]["selectors"]
    return found


def sets(server: RunningServer, path: str, work: Path) -> list[FileSet]:
    """What lies in the folder of a destination."""
    return local_file_sets(server.data / "exports", path, work)


def active(found: FileSet) -> set[str]:
    """The members a file names."""
    return {who for who, word in found.standing().items() if word == "active"}


def test_refused_with_reason_and_way(
    server: RunningServer, shop: SmallShop, tmp_path: Path
) -> None:
    """The mapping is refused as documented; unlabelled, it goes through and a file is written."""
    descriptor = put_label(shop)
    flow = third_party(shop, "refused")
    with pytest.raises(Refused) as caught:
        daily(shop.platform, flow, shop.audiences["high_income"])
    refused = caught.value.data["body"]
    (violation,) = refused["violations"]
    (policy,) = violation["violatedPolicies"]
    mapped_when_refused = selectors(shop, flow)
    take_label(shop, descriptor)
    daily(shop.platform, flow, shop.audiences["high_income"])
    to_next_export(shop.platform)
    (full,) = sets(server, "refused", tmp_path)

    assert (refused["status"], refused["title"]) == (409, "Violations Error")
    assert violation["enforcementRef"] == f"{EXPORT_TO_THIRD_PARTY}/constraints"
    assert (policy["id"], policy["deny"]) == (EXPORT_POLICY, {"label": EXPORT_LABEL})
    field = f"_{shop.platform.tenant}.demographics.income"
    for part in (field, EXPORT_LABEL, EXPORT_POLICY, "'High income'", "'Partner'", "Remedy:"):
        assert part in refused["detail"]
    (step,) = violation["lineage"]
    assert (step["field"], step["label"], step["datasetId"]) == (
        field,
        EXPORT_LABEL,
        shop.made.customers,
    )
    kinds = [entity["entityId"]["type"] for entity in violation["entities"]]
    assert kinds == ["dataset", "segment", "dataflow"]
    assert mapped_when_refused == []
    assert active(full) == {"1", "2", "3"}


def test_other_audience_and_action_pass(shop: SmallShop) -> None:
    """The label holds back only who reads the field, and only from destinations of that action."""
    put_label(shop)
    partner = third_party(shop, "passes")
    daily(shop.platform, partner, shop.audiences["frequent"])
    own = open_flow(shop.platform, "Campaign", local("own"))
    daily(shop.platform, own, shop.audiences["high_income"])

    assert len(selectors(shop, partner)) == len(selectors(shop, own)) == 1


def test_labelled_later_pauses(server: RunningServer, shop: SmallShop, tmp_path: Path) -> None:
    """A label on a running activation: no file, a run with the reason; without it all is caught up."""
    flow = third_party(shop, "pauses")
    daily(shop.platform, flow, shop.audiences["high_income"])
    to_next_export(shop.platform)
    (before,) = sets(server, "pauses", tmp_path)
    descriptor = put_label(shop)
    shop.load([shop.customer("1", "Under 15K"), shop.customer("4", "250K+")])
    to_next_export(shop.platform)
    held = sets(server, "pauses", tmp_path)
    paused = runs_of(shop.platform, flow)[0]
    told = shop.platform.doctor()["paused_activations"]
    take_label(shop, descriptor)
    untold = shop.platform.doctor()["paused_activations"]
    to_next_export(shop.platform)
    *_, after = sets(server, "pauses", tmp_path)
    summary = paused["metrics"]["statusSummary"]

    assert active(before) == {"1", "2", "3"}
    assert len(held) == 1
    assert (paused["state"], summary["status"]) == ("paused", "failed")
    assert paused["metrics"]["recordSummary"]["outputRecordCount"] == 0
    for text in (summary["errors"][0]["message"], told[0]):
        assert EXPORT_POLICY in text
        assert "demographics.income" in text
    assert untold == []
    assert after.standing() == {"1": "expired", "4": "active"}
    assert len(sets(server, "pauses", tmp_path)) == 2


def test_dataset_label_is_refused(shop: SmallShop) -> None:
    """A dataset label under which a running activation would break a policy is not saved."""
    flow = third_party(shop, "dataset")
    daily(shop.platform, flow, shop.audiences["high_income"])
    with pytest.raises(Refused) as unlabelled:
        put_labels(shop, [EXPORT_LABEL])
    with pytest.raises(Refused) as none_yet:
        labels_of(shop)
    created = put_labels(shop, ["C9"])
    with pytest.raises(Refused) as labelled:
        put_labels(shop, ["C9", EXPORT_LABEL])
    kept = labels_of(shop)
    shop.platform.change_flow(flow, [{"op": "remove", "path": f"{SELECTORS}/0"}])
    assigned = put_labels(shop, [EXPORT_LABEL])

    for refused in (unlabelled.value.data, labelled.value.data):
        assert refused["status"] == 409
        assert refused["body"]["code"] == "PES-409"
        assert refused["body"]["count"] == len(refused["body"]["violations"]) == 1
        assert EXPORT_POLICY in refused["body"]["message"]
    assert none_yet.value.data["status"] == 404
    assert created["code"] == "PES-201"
    assert kept == ["C9"]
    assert (assigned["code"], assigned["labels"]) == ("PES-200", [EXPORT_LABEL])


def labels_of(shop: SmallShop) -> list[str]:
    """The labels of the customers' dataset."""
    answer = shop.platform.get(f"{LABELS}/{shop.made.customers}/labels")
    found: list[str] = answer[f"AEP:dataset:{shop.made.customers}"]["labels"]
    return found


def put_labels(shop: SmallShop, labels: list[str]) -> dict[str, Any]:
    """Replace them, on the etag they have now."""
    path = f"{LABELS}/{shop.made.customers}/labels"
    entity = {"namespace": "AEP", "id": shop.made.customers, "type": "dataset"}
    body = {"entityId": entity, "labels": labels, "parents": []}
    etag = shop.platform._http.head(path).headers.get("etag")
    headers = {"If-Match": etag} if etag else {}
    answer: dict[str, Any] = shop.platform.call("PUT", path, body=body, headers=headers)
    return answer


def test_policy_and_rule_are_refused(shop: SmallShop) -> None:
    """Enabling a policy, or changing a rule, so that a running activation would break it: refused."""
    shop.platform.enable_core_policies([])
    put_label(shop)
    flow = third_party(shop, "policy")
    daily(shop.platform, flow, shop.audiences["high_income"])
    with pytest.raises(Refused) as enabling:
        shop.platform.enable_core_policies([EXPORT_POLICY])
    enabled = shop.platform.get("/data/foundation/dulepolicy/enabledCorePolicies")["policyIds"]
    shop.platform.change_flow(flow, [{"op": "remove", "path": f"{SELECTORS}/0"}])
    shop.platform.enable_core_policies([EXPORT_POLICY])
    daily(shop.platform, flow, shop.audiences["frequent"])
    rule = f'_{shop.platform.tenant}.demographics.income = "250K+"'
    definition = f"/data/core/ups/segment/definitions/{shop.audiences['frequent']}"
    change = {"expression": {"type": "PQL", "format": "pql/text", "value": rule}}
    with pytest.raises(Refused) as changing:
        shop.platform.call("PATCH", definition, body=change)

    assert enabling.value.data["status"] == 409
    assert enabled == []
    assert changing.value.data["status"] == 409
    assert "xEvent" in shop.platform.get(definition)["expression"]["value"]
