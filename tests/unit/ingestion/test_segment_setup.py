"""The datasets a write key feeds, and that what SDKs send fits into them."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
import pytest
from ingestion_shop import SCOPE, Shop

from amity.platform.catalog.service import Catalog
from amity.platform.ingestion.reception import Reception
from amity.platform.ingestion.segment_setup import SegmentDatasets, bootstrap
from amity.platform.ingestion.validation import Validators
from amity.platform.schema.service import SchemaRegistry
from amity.testing.memory import MemoryDocuments


class Key(NamedTuple):
    """A write key."""

    id: str
    scope: Any
    profile_dataset: str
    event_dataset: str


class Made(NamedTuple):
    """Registry and catalog after bootstrap."""

    registry: SchemaRegistry
    catalog: Catalog
    datasets: SegmentDatasets
    reception: Reception
    key: Key


@pytest.fixture
def made(shop: Shop) -> Made:
    """A sandbox with the write key's datasets."""
    documents = MemoryDocuments(shop.clock)
    registry = SchemaRegistry(documents=documents, ids=shop.ids, clock=shop.clock, tenant="shop")
    catalog = Catalog(documents=documents, ids=shop.ids, clock=shop.clock, registry=registry)
    datasets = bootstrap(registry, catalog, SCOPE)
    validators = Validators(registry=registry, catalog=catalog, clock=shop.clock)
    reception = Reception(validators=validators, clock=shop.clock, ids=shop.ids, tenant="shop")
    return Made(registry, catalog, datasets, reception, Key("WK", SCOPE, *datasets))


def test_bootstrap_is_idempotent(made: Made) -> None:
    """Again, it makes nothing new."""
    again = bootstrap(made.registry, made.catalog, SCOPE)

    assert again == made.datasets
    assert len(made.catalog.datasets(SCOPE)) == 2
    assert all(one.profile_enabled and one.identity_enabled for one in made.catalog.datasets(SCOPE))


CALLS: list[dict[str, Any]] = [
    {
        "integrations": {},
        "anonymousId": None,
        "timestamp": "2026-11-23T22:02:55.162+00:00",
        "context": {"library": {"name": "analytics-python", "version": "2.4.0"}},
        "type": "identify",
        "userId": "u1",
        "traits": {
            "email": "a@example.test",
            "plan": "pro",
            "firstName": "Ann",
            "lastName": "Lee",
            "phone": "+1 555 0100",
            "birthday": "1980-02-03",
            "gender": "female",
            "age": 33,
            "address": {
                "street": "1 Road",
                "city": "X",
                "state": "CA",
                "postalCode": "1",
                "country": "US",
            },
        },
        "messageId": "7642351d",
    },
    {
        "type": "track",
        "userId": "u1",
        "event": "Order Completed",
        "messageId": "m2",
        "properties": {
            "order_id": "O1",
            "revenue": 12.5,
            "tax": 1,
            "discount": "0.5",
            "currency": "USD",
            "cart_id": "K1",
            "products": [
                {"product_id": "P1", "sku": "P1", "name": "Tea", "quantity": 2, "price": 6.25}
            ],
        },
    },
    *(
        {"type": "track", "anonymousId": "a", "event": event, "messageId": event,
         "properties": {"product_id": "P1", "price": "3.5"}}
        for event in ("Product Viewed", "Product Added", "Product Removed", "Checkout Started",
                      "Cart Viewed", "Product List Viewed", "Product Added to Wishlist", "Trial")
    ),
    {
        "type": "page",
        "anonymousId": "a",
        "name": "Home",
        "category": "Shop",
        "messageId": "m3",
        "properties": {"url": "https://shop.test/", "title": "T", "referrer": "https://x.test/"},
        "context": {"userAgent": "UA", "campaign": {"name": "Spring"}, "page": {"path": "/"}},
    },
    {"type": "screen", "anonymousId": "a", "name": "Start", "messageId": "m4"},
    {"type": "group", "userId": "u1", "groupId": "g", "traits": {"name": "G"}},
    {"type": "alias", "userId": "u1", "previousId": "a"},
]  # fmt: skip


def test_what_sdks_send_is_accepted(made: Made) -> None:
    """Every mapped field has its place in the two schemas."""
    parsed = orjson.loads(orjson.dumps(CALLS))
    verdicts = made.reception.segment(made.key, parsed, made.reception.receipt().at_ms)

    assert [verdict.violations for verdict in verdicts if not verdict.accepted] == []


def test_bad_address_is_refused(made: Made) -> None:
    """An e-mail address that is none is told at its field."""
    call = {"type": "identify", "userId": "u", "traits": {"email": "no address"}}
    (verdict,) = made.reception.segment(made.key, [call], 0)

    assert verdict.violations[0].path == "/personalEmail/address"
