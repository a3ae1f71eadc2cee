"""What the streaming doors take, refuse and answer."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import orjson
import pytest
from ingestion_shop import NOW, SCOPE, Shop

from amity.kernel.clock import from_iso
from amity.kernel.limits import STREAM_REQUEST_BYTES_MAX
from amity.platform.ingestion.door import Pressure

PROFILE_SCHEMA = "https://ns.adobe.com/shop/schemas/profile"


def message(entity: Any = None, **header: Any) -> dict[str, Any]:
    """An XDM message for the profile dataset."""
    reference = {
        "id": PROFILE_SCHEMA,
        "contentType": "application/vnd.adobe.xed-full+json;version=1",
    }
    return {
        "header": {
            "schemaRef": reference,
            "imsOrgId": SCOPE.org,
            "datasetId": "d-profile",
            "source": {"name": "till"},
            **header,
        },
        "body": {
            "xdmMeta": {"schemaRef": reference},
            "xdmEntity": person("c1") if entity is None else entity,
        },
    }


def person(id: str, **fields: Any) -> dict[str, Any]:
    """A profile record."""
    return {"identityMap": {"CRMID": [{"id": id, "primary": True}]}, **fields}


async def test_message_is_durable_before_the_answer(shop: Shop, http: httpx.AsyncClient) -> None:
    """200 has the documented members, and the record stands in a frame with business time."""
    reply = await http.post("/collection/open?syncValidation=False", json=message())
    (frame,) = shop.frames()

    assert reply.status_code == 200
    assert reply.json().keys() == {"inletId", "xactionId", "receivedTimeMs", "syncValidation"}
    assert reply.json()["syncValidation"] == {"skipped": True}
    assert reply.json()["receivedTimeMs"] == from_iso(NOW) == frame.received_ms
    assert (frame.scope, frame.dataset, frame.behavior) == (SCOPE.key, "d-profile", "record")
    assert json.loads(frame.records[0]) == person("c1")


async def test_trailing_slash_is_ignored(http: httpx.AsyncClient) -> None:
    """The unchanged client sends one."""
    assert (await http.post("/collection/open/", json=message())).status_code == 200


@pytest.mark.parametrize("query", ["syncValidation=true", "synchronousValidation=true"])
async def test_synchronous_validation(shop: Shop, http: httpx.AsyncClient, query: str) -> None:
    """Valid: told so and kept. Invalid: 400 with the documented cause, and dropped."""
    good = await http.post(f"/collection/open?{query}", json=message())
    bad = await http.post(f"/collection/open?{query}", json=message(person("c2", age="x")))
    cause = bad.json()["report"]["cause"]["_streamingValidation"][0]

    assert good.json()["syncValidation"] == {"status": "pass"}
    assert bad.status_code == 400
    assert bad.json()["title"] == "Invalid XDM Message Format"
    assert bad.json()["report"]["message"] == (
        f"inletId: [open] imsOrgId: [{SCOPE.org}] Message is invalid"
    )
    assert (cause["pointerToViolation"], cause["keyword"]) == ("#/age", "type")
    assert cause["schemaLocation"] == PROFILE_SCHEMA
    assert len(shop.records()) == 1
    assert shop.failed() == []


async def test_invalid_record_is_kept_with_its_reason(shop: Shop, http: httpx.AsyncClient) -> None:
    """Without synchronous validation the answer is 200 and the record a failed one, whole."""
    sent = message(person("c1", age="x", colour="red"))
    reply = await http.post("/collection/open", json=sent)
    (failed,) = shop.failed()

    assert reply.status_code == 200
    assert shop.frames() == []
    assert (failed.path, failed.dataset, failed.source) == ("/age", "d-profile", "open")
    assert "and 1 more" in failed.reason
    assert json.loads(failed.raw) == sent


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"imsOrgId": "OTHER@AdobeOrg"}, "absent or wrong ims org"),
        ({"datasetId": "nowhere"}, "nowhere"),
        ({"datasetId": None}, "datasetId"),
        ({"datasetId": 7}, "datasetId"),
        ({"datasetId": "d-event"}, "schemaRef"),
        ({"schemaRef": {"id": "https://ns.adobe.com/shop/schemas/other"}}, "different schemaRef"),
        ({"schemaRef": None}, "schemaRef"),
        ({"schemaRef": "text"}, "schemaRef"),
    ],
)
async def test_wrong_header_is_answered(
    shop: Shop, http: httpx.AsyncClient, change: dict[str, Any], told: str
) -> None:
    """A header that does not fit is a 400 that says what, and the message is kept."""
    reply = await http.post("/collection/open", json=message(**change))

    assert reply.status_code == 400
    assert told in reply.json()["report"]["message"]
    assert told in shop.failed()[0].reason
    assert shop.frames() == []


async def test_missing_org_is_filled_in(shop: Shop, http: httpx.AsyncClient) -> None:
    """The inlet knows its organisation."""
    reply = await http.post("/collection/open", json=message(imsOrgId=None))

    assert reply.status_code == 200
    assert len(shop.records()) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b'"x"', b"null", b'{"header":1,"body":2}', b'{"a":NaN}', b"\xff",
     b'{"header":{},"body":{"xdmEntity":[]}}', b"[" * 900 + b"]" * 900],
)  # fmt: skip
async def test_what_is_no_message_is_kept_and_told(
    shop: Shop, http: httpx.AsyncClient, body: bytes
) -> None:
    """Malformed bodies are 400 with a reason and become failed records, bytes as they came."""
    reply = await http.post("/collection/open", content=body)
    (failed,) = shop.failed()

    assert reply.status_code == 400
    assert reply.json()["detail"] == failed.reason
    assert failed.raw in {body, b"[]", b"7", b'"x"', b"null"}


async def test_batch_answers_each_message_in_order(shop: Shop, http: httpx.AsyncClient) -> None:
    """Always 207; malformed messages are 400 at their place; invalid records are kept."""
    messages = [message(), 7, message(person("c2", age="x")), message(imsOrgId="other"), message()]
    reply = await http.post(
        "/collection/batch/open?syncValidation=False", json={"messages": messages}
    )
    responses = reply.json()["responses"]

    assert reply.status_code == 207
    assert reply.json().keys() == {"inletId", "batchId", "receivedTimeMs", "responses"}
    assert [one.get("statusCode") for one in responses] == [None, 400, None, 400, None]
    assert responses[1]["message"] == "Message has unknown xdm format"
    assert responses[3]["message"] == "Message has an absent or wrong ims org in the header"
    assert responses[4]["xactionId"] == f"{reply.json()['batchId']}:4"
    assert [len(frame.records) for frame in shop.frames()] == [2]
    assert len(shop.failed()) == 3


async def test_batch_has_no_synchronous_validation(http: httpx.AsyncClient) -> None:
    """Asking for it is 501 with what to do instead."""
    reply = await http.post("/collection/batch/open?syncValidation=true", json={"messages": []})

    assert reply.status_code == 501
    assert "/collection/open" in reply.json()["detail"]


@pytest.mark.parametrize("body", [{}, {"messages": {}}, [], "x"])
async def test_batch_without_messages_is_refused(http: httpx.AsyncClient, body: Any) -> None:
    """What is no batch is a 400, not an empty success."""
    assert (await http.post("/collection/batch/open", json=body)).status_code == 400


async def test_raw_record_takes_the_dataset_of_its_flow(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    """Bare JSON with a flow id goes to the flow's dataset; with an unknown one it is refused."""
    flow = {"x-adobe-flow-id": "flow-1"}
    good = await http.post("/collection/open", json=person("c1"), headers=flow)
    bad = await http.post("/collection/open?x-adobe-flow-id=flow-2", json=person("c1"))

    assert (good.status_code, bad.status_code) == (200, 400)
    assert [frame.dataset for frame in shop.frames()] == ["d-profile"]


async def test_unknown_inlet(http: httpx.AsyncClient) -> None:
    """404 says where inlets come from."""
    reply = await http.post("/collection/nobody", json=message())

    assert reply.status_code == 404
    assert "streaming connection" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("token", "status"), [("", 401), ("Bearer bad", 401), ("Bearer good", 200)]
)
async def test_authenticated_inlet(
    shop: Shop, http: httpx.AsyncClient, token: str, status: int
) -> None:
    """No or a wrong token is 401 in the documented form, and nothing is kept."""
    reply = await http.post("/collection/locked", json=message(), headers={"authorization": token})

    assert reply.status_code == status
    if status == 401:
        assert reply.json()["status"] == "401"
        assert reply.json()["title"] == "Authorization"
        assert shop.failed() == []


async def test_gzip_is_unpacked(shop: Shop, http: httpx.AsyncClient) -> None:
    """A packed body is the same message."""
    packed = gzip.compress(orjson.dumps(message()))
    reply = await http.post(
        "/collection/open", content=packed, headers={"content-encoding": "gzip"}
    )

    assert reply.status_code == 200
    assert len(shop.records()) == 1


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [
        (gzip.compress(b" " * (STREAM_REQUEST_BYTES_MAX + 1), mtime=0), "gzip", 413),
        (gzip.compress(b"0" * 20_000_000, mtime=0), "gzip", 413),
        (gzip.compress(b"{}", mtime=0)[:-4], "gzip", 400),
        (gzip.compress(b"{}", mtime=0) + b"tail", "gzip", 400),
        (b"{}", "gzip", 400),
        (b"{}", "br", 415),
        (b" " * (STREAM_REQUEST_BYTES_MAX + 1), "identity", 413),
    ],
)
async def test_bodies_that_attack(
    http: httpx.AsyncClient, content: bytes, encoding: str, status: int
) -> None:
    """Bombs, cut and foreign packings, bodies too large: refused without being held."""
    reply = await http.post(
        "/collection/open", content=content, headers={"content-encoding": encoding}
    )

    assert reply.status_code == status


async def test_largest_body_is_taken(shop: Shop, http: httpx.AsyncClient) -> None:
    """Exactly the limit, unpacked, is not too large."""
    body = orjson.dumps(message())
    body += b" " * (STREAM_REQUEST_BYTES_MAX - len(body))

    assert (await http.post("/collection/open", content=body)).status_code == 200
    assert (
        await http.post(
            "/collection/open",
            content=gzip.compress(body, mtime=0),
            headers={"content-encoding": "gzip"},
        )
    ).status_code == 200


async def test_body_without_length_is_bounded(http: httpx.AsyncClient) -> None:
    """A stream of chunks is cut off at the limit."""

    async def chunks() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    assert (await http.post("/collection/open", content=chunks())).status_code == 413


@pytest.mark.parametrize("status", [429, 503])
async def test_pressure_is_told(shop: Shop, http: httpx.AsyncClient, status: int) -> None:
    """Under pressure nothing is taken, and the sender knows when to come back."""
    shop.pressed = Pressure(status, 7, "the disk is nearly full")
    reply = await http.post("/collection/open", json=message())

    assert (reply.status_code, reply.headers["retry-after"]) == (status, "7")
    assert shop.frames() == []


async def test_browsers_may_send(http: httpx.AsyncClient) -> None:
    """Preflight and answers carry what a browser asks for."""
    preflight = await http.options("/collection/open", headers={"origin": "https://shop.test"})
    reply = await http.post(
        "/collection/open", json=message(), headers={"origin": "https://shop.test"}
    )

    assert preflight.status_code == 204
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert reply.headers["access-control-allow-origin"] == "https://shop.test"


async def test_other_methods_and_places(http: httpx.AsyncClient) -> None:
    """GET is 405; a path without a door is 404."""
    assert (await http.get("/collection/open")).status_code == 405
    assert (await http.post("/v1/unknown", json={})).status_code == 404
    assert (await http.post("/collection", json={})).status_code == 404


async def test_large_batches_become_frames_of_bounded_size(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    """No frame holds more than a step takes in one transaction."""
    key = ("WK1", "")
    calls = [
        {"type": "track", "event": "E", "userId": str(n), "messageId": str(n)} for n in range(2_300)
    ]
    reply = await http.post("/v1/batch", json={"batch": calls}, auth=key)

    assert reply.json() == {"success": True}
    assert [len(frame.records) for frame in shop.frames()] == [1_000, 1_000, 300]


@pytest.mark.parametrize(
    ("product", "refused"),
    [
        ({"sku": "1", "quantity": 1e308, "price": 1}, []),
        ({"sku": "1", "quantity": 18446744073709551616, "price": 2}, []),
        ({"sku": "1", "quantity": 9223372036854775807, "price": 9223372036854775807}, [0]),
        ({"sku": "1", "quantity": "1e300", "price": 1e300}, [0]),
    ],
)
async def test_numbers_beyond_all_bounds_break_nothing(
    shop: Shop, http: httpx.AsyncClient, product: dict[str, Any], refused: list[int]
) -> None:
    """What has no place in 64 bits is refused, or kept where the schema allows; the others go in."""
    call = {
        "type": "track",
        "event": "Order Completed",
        "anonymousId": "a1",
        "properties": {"order_id": "1", "products": [product]},
    }
    good = {**call, "messageId": "m2", "properties": {}}

    reply = await http.post("/v1/batch", json={"batch": [call, good]}, auth=("WK1", ""))

    assert reply.status_code == 200
    assert [error["index"] for error in reply.json().get("errors", [])] == refused
    assert sum(len(frame.records) for frame in shop.frames()) == 2 - len(refused)


async def test_an_event_id_of_any_length_is_judged_at_the_door(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    """What identity would refuse later is refused at once: profile and lake agree."""
    call = {"type": "track", "event": "Seen", "anonymousId": "a1", "messageId": "m" * 1_025}

    reply = await http.post("/v1/track", json=call, auth=("WK1", ""))

    assert (reply.status_code, reply.json()["path"]) == (400, "/_id")
    assert shop.frames() == []
