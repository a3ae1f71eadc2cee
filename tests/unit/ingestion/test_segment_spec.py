"""What calls of the Segment specification become."""

from __future__ import annotations

import json
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingestion_shop import NOW, Shop

from amity.kernel.clock import from_iso
from amity.platform.ingestion.segment_spec import CALLS, BadCall, mapped

RECEIVED = from_iso(NOW)


def body(call: dict[str, Any], sent_at: object = None) -> dict[str, Any]:
    """The record of a call received at NOW."""
    return mapped(call, tenant="shop", received_ms=RECEIVED, sent_at=sent_at).body


def test_identify_fills_the_profile() -> None:
    """Known traits have their XDM field, others are texts of the tenant; e-mail is an identity."""
    found = mapped(
        {
            "type": "identify",
            "userId": "u1",
            "anonymousId": "a1",
            "traits": {
                "email": "u1@example.test",
                "firstName": "Uma",
                "last_name": "Ray",
                "phone": "+1 555",
                "gender": "Female",
                "birthday": "1980-02-03T10:00:00Z",
                "address": {"street": "1 Road", "city": "X", "postalCode": 12345, "floor": 3},
                "plan": "pro",
                "seats": 4,
                "beta": True,
                "tags": ["x"],
                "nothing": None,
                "blank": "",
            },
        },
        tenant="shop",
        received_ms=RECEIVED,
    )

    assert found.to == "profile"
    assert found.body == {
        "identityMap": {
            "userId": [{"id": "u1", "primary": True}],
            "anonymousId": [{"id": "a1", "primary": False}],
            "Email": [{"id": "u1@example.test"}],
        },
        "personalEmail": {"address": "u1@example.test"},
        "person": {
            "name": {"firstName": "Uma", "lastName": "Ray"},
            "gender": "female",
            "birthDate": "1980-02-03",
        },
        "mobilePhone": {"number": "+1 555"},
        "homeAddress": {"street1": "1 Road", "city": "X", "postalCode": "12345"},
        "_shop": {
            "traits": {
                "address": '{"floor":3}',
                "plan": "pro",
                "seats": "4",
                "beta": "true",
                "tags": '["x"]',
            }
        },
    }


def test_traits_in_the_context_count() -> None:
    """Some SDKs put the traits of identify there."""
    call = {"type": "identify", "userId": "u", "context": {"traits": {"email": "e@example.test"}}}

    assert body(call)["personalEmail"] == {"address": "e@example.test"}


def test_order_completed_is_a_purchase() -> None:
    """Order, products and the measure have their XDM fields."""
    found = body(
        {
            "type": "track",
            "event": "Order Completed",
            "anonymousId": "a1",
            "messageId": "m1",
            "properties": {
                "order_id": "O1",
                "revenue": 12.5,
                "currency": "usd",
                "coupon": "C",
                "products": [{"product_id": "P1", "quantity": 2, "price": 6.25, "name": "Tea"}],
            },
        }
    )

    assert found == {
        "_id": "m1",
        "timestamp": "2017-10-30T12:00:00.000Z",
        "identityMap": {"anonymousId": [{"id": "a1", "primary": True}]},
        "eventType": "commerce.purchases",
        "commerce": {
            "purchases": {"value": 1},
            "order": {"purchaseID": "O1", "priceTotal": 12.5, "currencyCode": "USD"},
        },
        "productListItems": [
            {"SKU": "P1", "name": "Tea", "quantity": 2, "priceTotal": 12.5, "currencyCode": "USD"}
        ],
        "_shop": {
            "eventName": "Order Completed",
            "properties": {"order_id": "O1", "revenue": "12.5", "currency": "usd", "coupon": "C"},
        },
    }


@pytest.mark.parametrize(
    ("call", "event_type"),
    [
        ({"type": "track", "event": "Product Viewed"}, "commerce.productViews"),
        ({"type": "track", "event": "product added"}, "commerce.productListAdds"),
        ({"type": "track", "event": "Checkout Started"}, "commerce.checkouts"),
        ({"type": "track", "event": "Application Opened"}, "application.launch"),
        ({"type": "track", "event": "Trial Started"}, "Trial Started"),
        ({"type": "page", "name": "Home"}, "web.webpagedetails.pageViews"),
        ({"type": "screen", "name": "Home"}, "application.screenViews"),
    ],
)
def test_event_types(call: dict[str, Any], event_type: str) -> None:
    """Named events have their documented type; any other name is its own type."""
    assert body({**call, "userId": "u"})["eventType"] == event_type


def test_page_tells_what_was_seen() -> None:
    """URL, name and section of a page, and where one came from."""
    found = body(
        {
            "type": "page",
            "userId": "u",
            "category": "Docs",
            "name": "Start",
            "context": {"page": {"url": "https://shop.test/a", "referrer": ""}, "userAgent": "UA"},
        }
    )

    assert found["web"] == {
        "webPageDetails": {
            "URL": "https://shop.test/a",
            "name": "Start",
            "siteSection": "Docs",
            "pageViews": {"value": 1},
        }
    }
    assert found["environment"] == {"browserDetails": {"userAgent": "UA"}}


def test_alias_and_group() -> None:
    """Alias links the previous id to the user; group names the group on the profile."""
    alias = body({"type": "alias", "userId": "u", "previousId": "a"})
    group = body({"type": "group", "userId": "u", "groupId": "g", "traits": {"name": "G"}})

    assert alias == {
        "identityMap": {"userId": [{"id": "u", "primary": True}], "anonymousId": [{"id": "a"}]}
    }
    assert group["_shop"] == {"groupId": "g", "groupTraits": {"name": "G"}}


@pytest.mark.parametrize(
    ("timestamp", "sent_at", "expected"),
    [
        (None, None, "2017-10-30T12:00:00.000Z"),
        ("2017-10-30T10:00:00Z", None, "2017-10-30T10:00:00.000Z"),
        ("2026-11-23T22:00:00Z", "2026-11-23T22:00:30.500Z", "2017-10-30T11:59:29.500Z"),
        ("2026-11-23T23:00:00+01:00", "2026-11-23T22:01:00+00:00", "2017-10-30T11:59:00.000Z"),
    ],
)
def test_time_is_receipt_less_the_sender_s_delay(
    timestamp: str | None, sent_at: str | None, expected: str
) -> None:
    """A sender's wrong clock does not matter when it says when it sent."""
    call = {"type": "track", "event": "E", "userId": "u", "timestamp": timestamp}

    assert body(call, sent_at)["timestamp"] == expected


def test_call_without_message_id_keeps_one_id() -> None:
    """The same call sent twice is the same event."""
    call = {"type": "track", "event": "E", "userId": "u", "properties": {"a": 1, "b": 2}}
    turned = {**call, "properties": {"b": 2, "a": 1}}

    assert body(call)["_id"] == body(turned)["_id"]
    assert body(call)["_id"] != body({**call, "event": "F"})["_id"]


@pytest.mark.parametrize(
    ("call", "path"),
    [
        ({"type": "track", "userId": "u"}, "/event"),
        ({"type": "track", "event": "E"}, ""),
        ({"type": "identify"}, ""),
        ({"type": "alias", "userId": "u"}, "/previousId"),
        ({"type": "group", "userId": "u"}, "/groupId"),
        ({"type": "purchase", "userId": "u"}, "/type"),
        ({"type": ["x"], "userId": "u"}, "/type"),
        ({"userId": "u"}, "/type"),
        ({"type": "track", "event": "E", "userId": "u", "timestamp": "noon"}, "/timestamp"),
        ({"type": "track", "event": "E", "userId": {"a": 1}}, ""),
        (
            {
                "type": "track",
                "event": "E",
                "userId": "u",
                "timestamp": "0001-01-01T00:00:00Z",
                "sentAt": "9999-01-01T00:00:00Z",
            },
            "/timestamp",
        ),
    ],
)
def test_calls_that_say_too_little(call: dict[str, Any], path: str) -> None:
    """Refused with the field that is missing or wrong."""
    with pytest.raises(BadCall) as caught:
        body(call)

    assert caught.value.violation.path == path


async def test_batch_reports_refused_calls(shop: Shop, http: httpx.AsyncClient) -> None:
    """200 all the same; each refused call is told by index and kept whole."""
    batch = [
        {
            "type": "identify",
            "userId": "u1",
            "anonymousId": None,
            "traits": {"email": "u1@example.test"},
        },
        {"type": "identify", "userId": "u2", "traits": {"email": "no address"}},
        {"type": "track", "userId": "u1"},
        7,
        {"type": "track", "userId": "u1", "event": "Order Completed", "properties": {"revenue": 1}},
    ]
    sent = {"batch": batch, "sentAt": "2026-11-23T22:02:55.662895+00:00", "writeKey": "WK1"}
    reply = await http.post("/v1/batch", json=sent)

    assert reply.status_code == 200
    assert reply.json()["success"] is True
    assert [one["index"] for one in reply.json()["errors"]] == [1, 2, 3]
    assert {frame.dataset for frame in shop.frames()} == {"d-profile", "d-event"}
    assert [json.loads(one.raw) for one in shop.failed()] == [
        {**one, "sentAt": sent["sentAt"]} if isinstance(one, dict) else one for one in batch[1:4]
    ]
    assert {one.source for one in shop.failed()} == {"write_key:WK1"}


async def test_single_calls(shop: Shop, http: httpx.AsyncClient) -> None:
    """A good call is success; a bad one is 400 with its place, and kept."""
    good = await http.post("/v1/track/", json={"event": "E", "userId": "u"}, auth=("WK1", ""))
    bad = await http.post("/v1/track", json={"userId": "u"}, auth=("WK1", ""))

    assert (good.status_code, good.json()) == (200, {"success": True})
    assert (bad.status_code, bad.json()["path"]) == (400, "/event")
    assert len(shop.failed()) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic ???"},
        {"authorization": "Basic V0sy"},
        {"authorization": "Bearer WK1"},
    ],
)
async def test_unknown_write_key(
    shop: Shop, http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    """401, and nothing is kept of strangers."""
    reply = await http.post("/v1/batch", json={"batch": []}, headers=headers)

    assert reply.status_code == 401
    assert shop.failed() == []


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"batch": {}}', b'{"batch": null}'])
async def test_broken_batches(shop: Shop, http: httpx.AsyncClient, content: bytes) -> None:
    """400 with a reason; the bytes are kept."""
    reply = await http.post("/v1/batch", content=content, auth=("WK1", ""))

    assert reply.status_code == 400
    assert len(shop.failed()) == 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "userId",
        "anonymousId",
        "event",
        "name",
        "properties",
        "traits",
        "context",
        "timestamp",
        "messageId",
    ]
)


@pytest.mark.thorough
@given(st.sampled_from(sorted(CALLS)), st.dictionaries(KEYS, JSON))
@settings(max_examples=150, deadline=None)
def test_any_call_is_mapped_or_refused(type: str, call: dict[str, Any]) -> None:
    """Whatever stands in a call, it becomes a record without null or is refused with a reason."""
    try:
        found = mapped({**call, "type": type}, tenant="shop", received_ms=RECEIVED).body
    except BadCall:
        return

    assert found["identityMap"]
    assert orjson.dumps(found)
