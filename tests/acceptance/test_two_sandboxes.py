"""The same ids in two sandboxes are two worlds that never touch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from audience_flows import daily, local, local_file_sets, open_flow, to_next_export
from small_shop import COOKIE, LOYALTY, SmallShop, open_shop

from amity.app.demo.client import Refused
from amity.kernel.clock import DAY_MS, HOUR_MS, from_iso, to_iso
from amity.testing.server import RunningServer

START = "2017-10-30T00:00:00Z"
START_MS = from_iso(START)
CONTROL_PLANE = (
    "/data/foundation/schemaregistry/tenant/schemas",
    "/data/foundation/catalog/dataSets",
    "/data/foundation/catalog/batches",
    "/data/foundation/flowservice/flows",
    "/data/foundation/flowservice/connections",
    "/data/foundation/flowservice/runs",
    "/data/core/ups/segment/definitions",
    "/data/core/ups/config/mergePolicies",
    "/data/core/idnamespace/identities",
    "/data/core/identity/settings",
    "/data/foundation/dulepolicy/policies/custom",
    "/data/core/ingestion/failed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """Two shops on one server in which everybody has the same ids."""

    server: RunningServer
    prod: SmallShop
    dev: SmallShop


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Household 1 is rich in prod and poor in dev; device d is 1's there and 2's here."""
    data = tmp_path_factory.mktemp("amity") / "data"
    with RunningServer(data, clock=START) as server:
        prod, dev = open_shop(server), open_shop(server, "dev")
        prod.load([prod.customer("1", "250K+"), prod.customer("2", "Under 15K")])
        dev.load([dev.customer("1", "Under 15K"), dev.customer("2", "250K+")])
        at_ms = START_MS - DAY_MS
        for shop, owner, bought in ((prod, "1", 6), (dev, "2", 5)):
            views = [
                shop.event("e-seen", at_ms, "commerce.productViews", device="d"),
                shop.event("e-in", at_ms + 1_000, "web.login", device="d", loyalty=owner),
            ]
            purchases = [
                shop.event(f"e-{n}", at_ms + n * HOUR_MS, "commerce.purchases", loyalty="1")
                for n in range(bought)
            ]
            assert shop.stream(views + purchases) == (len(views) + bought, [])
        prod.platform.advance(to_iso(START_MS + HOUR_MS))
        yield Both(server=server, prod=prod, dev=dev)
        prod.platform.close()
        dev.platform.close()


def graph(shop: SmallShop, namespace: str, value: str) -> set[str]:
    """The identities of whoever has this one."""
    return set(shop.platform.profiles(namespace, [value])[value]["identityGraph"])


def test_same_event_ids_are_kept_in_both(both: Both) -> None:
    """An event id is taken only where it was sent."""
    found = [shop.platform.doctor()["profiles"]["events"] for shop in (both.prod, both.dev)]

    assert found == [8, 7]
    assert len(both.prod.platform.events(LOYALTY, "1")) == 8
    assert len(both.dev.platform.events(LOYALTY, "1")) == 5


def test_graphs_and_attributes_are_their_own(both: Both) -> None:
    """The device belongs to whoever signed in on it there; incomes are those told there."""
    for shop, owner, other, income in (
        (both.prod, "1", "2", "250K+"),
        (both.dev, "2", "1", "Under 15K"),
    ):
        assert graph(shop, COOKIE, "d") == graph(shop, LOYALTY, owner)
        assert graph(shop, COOKIE, "d") != graph(shop, LOYALTY, other)
        entity = shop.platform.profiles(LOYALTY, ["1"])["1"]["entity"]
        assert entity[f"_{shop.platform.tenant}"]["demographics"]["income"] == income


def test_memberships_are_their_own(both: Both) -> None:
    """Each audience counts what was told in its sandbox."""
    assert both.prod.membership("1", "high_income") == "realized"
    assert both.prod.membership("2", "high_income") == ""
    assert both.dev.membership("1", "high_income") == ""
    assert both.dev.membership("2", "high_income") == "realized"
    assert both.prod.membership("1", "frequent") == "realized"
    assert both.dev.membership("1", "frequent") == ""


def test_nothing_of_one_is_found_in_the_other(both: Both) -> None:
    """No id that prod made stands in any list of dev, nor can it be read there."""
    prod, dev = both.prod, both.dev
    ids = {prod.made.customers, prod.made.customer_schema, *prod.audiences.values()}
    shown = {path: str(dev.platform.get(path)) for path in CONTROL_PLANE}
    for id in ids:
        assert not [path for path, text in shown.items() if id in text]
    for path in (
        f"/data/foundation/catalog/dataSets/{prod.made.customers}",
        f"/data/core/ups/segment/definitions/{prod.audiences['frequent']}",
    ):
        with pytest.raises(Refused) as caught:
            dev.platform.get(path)
        assert caught.value.data["status"] == 404


def test_an_inlet_leads_into_its_own_sandbox(both: Both) -> None:
    """Through dev's inlet nothing reaches a dataset of prod."""
    event = both.prod.event("e-x", START_MS - DAY_MS, "commerce.purchases", loyalty="2")
    crossing = SmallShop(
        platform=both.prod.platform,
        made=both.prod.made,
        audiences=both.prod.audiences,
        inlet=both.dev.inlet,
    )
    accepted, refused = crossing.stream([event])

    assert accepted == 0
    assert both.prod.made.purchases in refused[0]


def test_files_hold_their_own_people(both: Both, tmp_path: Path) -> None:
    """Flows of the same name write what their sandbox knows."""
    standing: dict[str, Any] = {}
    for name, shop in (("prod", both.prod), ("dev", both.dev)):
        flow = open_flow(shop.platform, "Campaign", local(name))
        daily(shop.platform, flow, shop.audiences["high_income"])
    to_next_export(both.prod.platform)
    for name in ("prod", "dev"):
        (full,) = local_file_sets(both.server.data / "exports", name, tmp_path)
        standing[name] = full.standing()

    assert standing == {"prod": {"1": "active"}, "dev": {"2": "active"}}


def test_unlinking_rules_are_their_own(both: Both) -> None:
    """Changing the linking rules of one leaves those of the other."""
    rules = both.prod.platform.get("/data/core/identity/settings")
    changed = [
        {"code": LOYALTY, "unique": False, "priority": 1},
        {"code": COOKIE, "unique": False, "priority": 2},
    ]
    both.dev.platform.linking_rules(changed)

    assert both.prod.platform.get("/data/core/identity/settings") == rules
    assert both.dev.platform.get("/data/core/identity/settings") != rules
