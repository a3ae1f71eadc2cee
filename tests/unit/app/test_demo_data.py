"""The demo's derivation and its independent answers, on a small shop made for the test."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from amity.app.demo.checks import Checks
from amity.app.demo.dataset import RawFiles
from amity.app.demo.derive import COOKIE, LOYALTY, Shop
from amity.app.demo.person import choose
from amity.app.demo.raw import STREAM_START_MS, RawData
from amity.app.demo.visits import VISITS_END_MS, Visit
from amity.kernel.clock import DAY_MS, from_iso
from amity.kernel.limits import EVENT_BYTES_MAX
from amity.platform.identity.graph import Graph, sighting
from amity.platform.identity.model import Identity
from amity.platform.identity.rules import Rules

NOW_MS = from_iso("2018-01-01T06:00:00Z")
HOUSEHOLDS = 40
BASKETS = 900


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> RawFiles:
    """A shop of the same form as the data set, much smaller."""
    folder = tmp_path_factory.mktemp("shop")
    rng = random.Random(7)
    start = datetime(2017, 8, 1, 9, tzinfo=UTC)
    rows = []
    for basket in range(BASKETS):
        household = rng.randrange(1, HOUSEHOLDS + 1)
        at = (start + timedelta(seconds=rng.randrange(152 * 86_400))).replace(tzinfo=None)
        skus = rng.sample(range(100, 160), rng.randrange(1, 6))
        rows += [(household, 9, 1_000 + basket, sku, 1, 1.25, at) for sku in skus]
    names = ["household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value"]
    columns = zip(*rows, strict=True)
    transactions = pa.table(list(map(pa.array, columns)), [*names, "transaction_timestamp"])
    pq.write_table(transactions, folder / "transactions.parquet")
    products = {
        "product_id": list(range(100, 155)),
        "manufacturer_id": [1] * 55,
        "department": ["GROCERY"] * 55,
        "brand": ["National"] * 55,
        "product_category": [None, *["BREAD"] * 54],
        "product_type": ["RYE"] * 55,
        "package_size": ["1 LB"] * 55,
    }
    pq.write_table(pa.table(products), folder / "products.parquet")
    answers = {
        "household_id": [1, 2, 3],
        "age": ["65+", "19-24", "35-44"],
        "income": ["250K+", "Under 15K", "100-124K"],
        "home_ownership": ["Homeowner", None, "Renter"],
        "marital_status": [None, None, "Married"],
        "household_size": ["1", "2", "3"],
        "household_comp": ["1 Adult No Kids"] * 3,
        "kids_count": ["0", "0", "1"],
    }
    pq.write_table(pa.table(answers), folder / "demographics.parquet")
    return RawFiles(folder=folder)


@pytest.fixture(scope="module")
def shop(files: RawFiles) -> Shop:
    """All households of it."""
    return Shop(RawData(files), "acme")


@pytest.fixture(scope="module")
def checks(shop: Shop) -> Checks:
    """The independent answers."""
    return Checks(shop.raw, shop.visits)


def test_every_line_is_in_one_event(shop: Shop) -> None:
    """History and stream hold each basket once and each purchase line once."""
    counts = shop.raw.counts()
    history = list(shop.history())
    streamed = [event for _, event in shop.timed_purchases(NOW_MS)]

    assert (counts.history_baskets, counts.stream_baskets) == (len(history), len(streamed))
    assert counts.baskets == len({event["_id"] for event in [*history, *streamed]})
    assert counts.lines == sum(len(event["productListItems"]) for event in [*history, *streamed])
    assert counts.skus_without_product == 5
    assert all(event["timestamp"] < "2017-10-30" for event in history)
    assert max(len(orjson.dumps(event)) for event in history) < EVENT_BYTES_MAX


def test_customers_carry_what_is_known(shop: Shop) -> None:
    """Each household is a customer; demographics stand only where they were given; no nulls."""
    customers = {record["_acme"]["loyaltyId"]: record for record in shop.customers()}

    assert len(customers) == shop.raw.counts().households
    assert customers["1"]["_acme"]["demographics"]["income"] == "250K+"
    assert "homeOwnership" not in customers["2"]["_acme"]["demographics"]
    assert "demographics" not in customers["9"]["_acme"]
    assert customers["9"]["personalEmail"]["address"] == "h9@example.test"
    assert b"null" not in b"".join(map(orjson.dumps, [*customers.values(), *shop.products()]))


def test_visits_are_the_same_each_time(shop: Shop, files: RawFiles) -> None:
    """Nothing of the derivation is random, and every visit has its own id and place in time."""
    again = Shop(RawData(files), "acme").visits

    assert shop.visits == again
    assert shop.visits == sorted(shop.visits)
    assert len(shop.visits) == len({visit.id for visit in shop.visits})
    assert all(STREAM_START_MS <= visit.at_ms < VISITS_END_MS for visit in shop.visits)


def test_visitors_are_anonymous_before_they_sign_in(shop: Shop) -> None:
    """On each device, a household's first visit is anonymous; only signed-in events name it."""
    first: dict[tuple[str, int], Visit] = {}
    for visit in shop.visits:
        first.setdefault((visit.device, visit.household), visit)
    events = [event["identityMap"] for _, event in shop.web_events(NOW_MS)]

    assert not any(visit.signed_in for visit in first.values())
    assert all(COOKIE in identities for identities in events)
    assert sum(visit.signed_in for visit in shop.visits) == sum(LOYALTY in one for one in events)


def test_some_devices_have_two_people(shop: Shop) -> None:
    """The derivation holds what the demo wants to show: a device two households sign in on."""
    signed_in: dict[str, set[int]] = {}
    for visit in shop.visits:
        if visit.signed_in:
            signed_in.setdefault(visit.device, set()).add(visit.household)

    assert any(len(households) > 1 for households in signed_in.values())
    assert {visit.device for visit in shop.visits} - signed_in.keys()


def naive_owners(shop: Shop) -> dict[str, int]:
    """Device → who signed in on it last."""
    owners = {}
    for visit in sorted(shop.visits):
        if visit.signed_in:
            owners[visit.device] = visit.household
    return owners


def bought(shop: Shop) -> list[tuple[int, int]]:
    """(household, time) of every basket."""
    return [(basket.household, basket.at_ms) for basket in shop.raw.baskets(0, NOW_MS)]


def test_owner_is_the_last_who_signed_in(shop: Shop, checks: Checks) -> None:
    """The query for owners agrees with a plain loop."""
    expected = {device: str(household) for device, household in naive_owners(shop).items()}

    assert expected == checks.owners(NOW_MS)


def test_the_identity_graph_gives_the_same_owners(shop: Shop, checks: Checks) -> None:
    """The documented graph algorithm, with unique loyalty ids, agrees with the query."""
    rules = Rules(
        types={LOYALTY: "CROSS_DEVICE", COOKIE: "COOKIE"},
        priorities={LOYALTY: 1, COOKIE: 2},
        unique=frozenset({LOYALTY}),
    )
    graph = Graph(rules)
    graph.fold(
        sighting(
            visit.at_ms,
            visit.id,
            [Identity(LOYALTY, str(visit.household)), Identity(COOKIE, visit.device)],
        )
        for visit in shop.visits
        if visit.signed_in
    )
    owners = checks.owners(NOW_MS)

    assert owners == {
        device: one.id
        for device in owners
        for one in graph.component(Identity(COOKIE, device))
        if one.ns == LOYALTY
    }


def test_audiences_agree_with_plain_loops(shop: Shop, checks: Checks) -> None:
    """Each query gives what a loop over the rows gives."""
    baskets = bought(shop)
    recent = [who for who, at_ms in baskets if NOW_MS - 28 * DAY_MS < at_ms <= NOW_MS]
    owners = naive_owners(shop)
    views = [
        (visit.household if visit.signed_in else owners.get(visit.device), visit.at_ms)
        for visit in shop.visits
        if visit.kind == "product" and NOW_MS - 14 * DAY_MS < visit.at_ms <= NOW_MS
    ]
    both = {
        str(who)
        for who, seen in views
        for other, at_ms in baskets
        if who == other and seen <= at_ms <= seen + DAY_MS and NOW_MS - 14 * DAY_MS < at_ms
    }

    assert {"1", "3"} == checks.high_income()
    assert {str(who) for who in recent if recent.count(who) >= 6} == checks.frequent(NOW_MS)
    assert both
    assert both == checks.viewed_then_bought(NOW_MS)


def test_small_form_is_a_part(files: RawFiles) -> None:
    """The first households by id, with the products they bought and nothing else."""
    raw = RawData(files, 5)
    skus = {sku for basket in raw.baskets(0, NOW_MS) for sku in basket.skus}

    assert [1, 2, 3, 4, 5] == raw.households
    assert {sku for sku in skus if sku < 155} == set(raw.product_ids())


def test_a_person_with_a_story_is_found(shop: Shop, checks: Checks) -> None:
    """The chosen one began anonymous on a device of its own, signed in, and is a member."""
    person = choose(shop.visits, checks, NOW_MS)

    assert person is not None
    assert not person.first_click.signed_in
    assert person.sign_in.at_ms > person.first_click.at_ms
    assert person.loyalty in checks.viewed_then_bought(NOW_MS)
