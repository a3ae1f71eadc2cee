"""The documented calls of the Edge door on a running server, answers compared field by field.

The first body is one that the Web SDK has sent, as recorded.
"""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from waiting import eventually

from amity.testing.server import RunningServer

ENTITIES = "/data/core/ups/access/entities"
STREAMS = "/data/core/edge/datastreams"
FPID = "123e4567-e89b-42d3-a456-426614174000"
RECORDED = """
{"events":[{"xdm":{"eventType":"commerce.productViews","web":{"webPageDetails":{"URL":"http://localhost:11580/"},
"webReferrer":{"URL":""}},"device":{"screenHeight":720,"screenWidth":1280,"screenOrientation":"landscape"},
"environment":{"type":"browser","browserDetails":{"viewportWidth":1280,"viewportHeight":720}},
"placeContext":{"localTimezoneOffset":0,"localTime":"2026-11-23T22:06:27.005+00:00","ianaTimezone":"UTC"},
"timestamp":"2020-11-23T22:06:27.029Z","implementationDetails":{"name":"https://ns.adobe.com/experience/alloy",
"version":"2.33.1","environment":"browser"},
"identityMap":{"userId":[{"authenticatedState":"authenticated","id":"walker","primary":true}]},
"commerce":{"productViews":{"value":1}}},
"query":{"personalization":{"schemas":["https://ns.adobe.com/personalization/dom-action"],
"decisionScopes":["__view__"],"surfaces":["web://localhost:11580/"]}},"data":{"x":1}}],
"query":{"identity":{"fetch":["ECID"]}},
"meta":{"queueTimeMillis":34,"state":{"domain":"","cookiesEnabled":true}}}
"""
PAGE = {"content-type": "text/plain; charset=UTF-8", "origin": "http://localhost:11580"}


def post(server: RunningServer, path: str, body: Any, **query: str) -> httpx.Response:
    """Send as a page does; the data stream is the one that `amity init` made."""
    content = body if isinstance(body, str) else json.dumps(body)
    name = "datastreamId" if "/v2/" in path else "configId"
    params = {name: server.credentials["datastream_id"], **query}
    return httpx.post(f"{server.url}{path}", params=params, content=content, headers=PAGE)


def events_of(http: httpx.Client, namespace: str, value: str) -> list[dict[str, Any]]:
    """The events of a person that have come in so far."""
    query = {
        "schema.name": "_xdm.context.experienceevent",
        "relatedSchema.name": "_xdm.context.profile",
        "relatedEntityId": value,
        "relatedEntityIdNS": namespace,
    }
    reply = http.get(ENTITIES, params=query)
    children = reply.json().get("children", []) if reply.status_code == 200 else []
    return [one["entity"] for one in children]


def payloads(reply: httpx.Response) -> dict[str, Any]:
    """The payloads of an answer by type."""
    return {one["type"]: one["payload"] for one in reply.json()["handle"]}


def ecid_of(reply: httpx.Response) -> str:
    """The device that an answer tells of."""
    return str(payloads(reply)["identity:result"][0]["id"])


def test_recorded_request_of_the_sdk(server: RunningServer) -> None:
    """The documented answer; the event is held as sent; the same request again is no event."""
    request = "1e5e9a3c-97e4-4e4b-8f3e-2f9d6f1f1c11"
    reply = post(server, "/ee/v1/interact", RECORDED, requestId=request)
    again = post(server, "/ee/or2/v1/interact", RECORDED, requestId=request)
    other = post(server, "/ee/v1/interact", RECORDED, requestId=f"{request[:-1]}2")
    prefix = f"kndctr_{server.credentials['org_id'].replace('@', '_')}_"
    with server.client() as http:
        held = eventually(lambda: events_of(http, "userId", "walker"), lambda seen: len(seen) >= 2)
        stream = http.get(f"{STREAMS}/{server.credentials['datastream_id']}").json()
        preview = f"/data/foundation/export/datasets/{stream['eventDataset']}/preview"
        filed = eventually(
            lambda: [one for one in http.get(preview).json()["data"] if "walker" in str(one)],
            lambda seen: len(seen) >= 2,
            60,
        )
    sent = json.loads(RECORDED)["events"][0]["xdm"]
    del sent["web"]["webReferrer"]
    (first,) = [one for one in held if ecid_of(reply) in str(one)]

    assert [reply.status_code, again.status_code, other.status_code] == [200, 200, 200]
    assert re.fullmatch(rf"{request}-[0-9a-f]{{16}}", reply.json()["requestId"])
    assert payloads(reply) == {
        "identity:result": [{"id": ecid_of(reply), "namespace": {"code": "ECID"}}],
        "locationHint:result": [{"scope": "EdgeNetwork", "hint": "or2", "ttlSeconds": 1800}],
        "state:store": [
            {
                "key": f"{prefix}identity",
                "value": payloads(reply)["state:store"][0]["value"],
                "maxAge": 34128000,
                "attrs": {"SameSite": "None"},
            },
            {
                "key": f"{prefix}cluster",
                "value": "or2",
                "maxAge": 1800,
                "attrs": {"SameSite": "None"},
            },
        ],
    }
    assert reply.headers["access-control-allow-origin"] == PAGE["origin"]
    assert reply.headers["access-control-allow-credentials"] == "true"
    assert len({one["_id"] for one in held}) == len(held) == len(filed) == 2
    assert first["identityMap"]["userId"] == sent["identityMap"]["userId"]
    assert {key: first[key] for key in sent if key != "identityMap"} == {
        key: value for key, value in sent.items() if key != "identityMap"
    }


def test_duplicate_event_id_is_dropped(server: RunningServer) -> None:
    """Of several deliveries of one `_id` the first counts, whatever the later ones say."""
    for value in (1, 2, 3):
        xdm = {
            "_id": "walk-once",
            "timestamp": "2020-01-01T00:00:00Z",
            "eventType": "commerce.productViews",
            "commerce": {"productViews": {"value": value}},
            "identityMap": {"userId": [{"id": "once", "primary": True}]},
        }
        assert post(server, "/ee/v2/interact", {"event": {"xdm": xdm}}).status_code == 200
    last = {**xdm, "_id": "walk-last"}
    assert post(server, "/ee/v2/collect", {"events": [{"xdm": last}]}).status_code == 202
    with server.client() as http:
        held = eventually(
            lambda: events_of(http, "userId", "once"),
            lambda seen: any(one["_id"] == "walk-last" for one in seen),
        )

    assert sorted(one["_id"] for one in held) == ["walk-last", "walk-once"]
    (once,) = [one for one in held if one["_id"] == "walk-once"]
    assert once["commerce"]["productViews"]["value"] == 1


def test_identity_of_a_first_party_device(server: RunningServer) -> None:
    """One call answers with the ECID of an FPID, always the same, and nothing is collected."""
    body = {
        "xdm": {"identityMap": {"FPID": [{"id": FPID}]}},
        "query": {"identity": {"fetch": ["ECID"]}},
    }
    first, second = (post(server, "/ee/v1/identity/acquire", body) for _ in range(2))
    event = {"xdm": {**body["xdm"], "timestamp": "2020-01-01T00:00:00Z", "eventType": "x"}}
    sent = post(server, "/ee/v1/interact", {"events": [event], "query": body["query"]})

    assert first.status_code == 200
    assert ecid_of(first) == ecid_of(second) == ecid_of(sent)
    assert payloads(first)["identity:result"][0]["namespace"] == {"code": "ECID"}


def test_consent_is_a_profile_record(server: RunningServer) -> None:
    """set-consent answers with the documented handles; the profile holds the consents."""
    value = {"collect": {"val": "y"}, "marketing": {"email": {"val": "n"}}}
    body = {
        "query": {"consent": {"operation": "update"}, "identity": {"fetch": ["ECID"]}},
        "identityMap": {"userId": [{"id": "careful", "primary": True}]},
        "consent": [{"standard": "Adobe", "version": "2.0", "value": value}],
    }
    reply = post(server, "/ee/v1/privacy/set-consent", body)
    prefix = f"kndctr_{server.credentials['org_id'].replace('@', '_')}_"
    stored = {one["key"]: one["value"] for one in payloads(reply)["state:store"]}
    query = {"schema.name": "_xdm.context.profile", "entityIdNS": "userId", "entityId": "careful"}
    with server.client() as http:

        def entity() -> dict[str, Any]:
            found = http.get(ENTITIES, params=query)
            if found.status_code != 200:
                return {}
            shown: dict[str, Any] = next(iter(found.json().values()))["entity"]
            return shown

        profile = eventually(entity, lambda seen: "consents" in seen)

    assert reply.status_code == 200
    assert stored[f"{prefix}consent"] == "general=in"
    assert payloads(reply)["consent:preferences"] == [{"collect": {"val": "y"}}]
    assert profile["consents"]["marketing"]["email"]["val"] == "n"
    assert ecid_of(reply) in str(profile["identityMap"])


def test_refused_event_is_among_the_failed_records(server: RunningServer) -> None:
    """207 tells which event and why; the record is listed under its data stream, whole."""
    good = {"timestamp": "2020-01-01T00:00:00Z", "eventType": "x"}
    events = [{"xdm": good}, {"xdm": {**good, "colour": "red"}}]
    reply = post(server, "/ee/v1/interact", {"events": events})
    (error,) = reply.json()["errors"]
    source = f"datastream:{server.credentials['datastream_id']}"
    with server.client() as http:
        found = eventually(
            lambda: http.get("/data/core/ingestion/failed", params={"source": source}).json()[
                "items"
            ],
            lambda seen: any(one["path"] == "/colour" for one in seen),
        )
        (failed,) = [one for one in found if one["path"] == "/colour"]
        raw = http.get(f"/data/core/ingestion/failed/{failed['id']}/raw").json()

    assert reply.status_code == 207
    assert error["report"]["eventIndex"] == 1
    assert error["report"]["path"] == "/colour"
    assert raw["colour"] == "red"


def test_data_streams_by_their_api(server: RunningServer) -> None:
    """Made, used with a token, changed, disabled, deleted: the door goes by it at once."""
    with server.client() as http:
        default = http.get(f"{STREAMS}/{server.credentials['datastream_id']}").json()
        order = {
            "name": "Till",
            "eventDataset": default["eventDataset"],
            "access": "authenticated",
            "mapping": [{"source": "data.total", "destination": "commerce.order.priceTotal"}],
        }
        made = http.post(STREAMS, json=order)
        id = made.json()["id"]
        xdm = {
            "timestamp": "2020-01-01T00:00:00Z",
            "eventType": "commerce.purchases",
            "identityMap": {"userId": [{"id": "till-guest", "primary": True}]},
        }
        body = {"event": {"xdm": xdm, "data": {"total": 9.5}}}
        url = f"{server.url}/ee/v2/interact?datastreamId={id}"
        anonymous = httpx.post(url, json=body)
        known = http.post(url, json=body)
        held = eventually(lambda: events_of(http, "userId", "till-guest"), bool)
        disabled = http.put(f"{STREAMS}/{id}", json={**order, "enabled": False})
        refused = http.post(url, json=body)
        listed = http.get(STREAMS).json()
        deleted = http.delete(f"{STREAMS}/{id}")
        unknown = http.post(url, json=body)
        gone = http.get(f"{STREAMS}/{id}")

    assert (made.status_code, disabled.status_code, deleted.status_code) == (201, 200, 204)
    assert {one["id"] for one in listed["items"]} >= {id, default["id"]}
    assert (anonymous.status_code, known.status_code, refused.status_code) == (401, 200, 422)
    assert unknown.json()["type"].endswith("EXEG-0003-400")
    assert gone.status_code == 404
    assert held[0]["commerce"]["order"]["priceTotal"] == 9.5
    assert held[0]["identityMap"].keys() == {"userId"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_data_streams_need_a_token(server: RunningServer, method: str) -> None:
    """Nobody without one reads or changes them."""
    path = STREAMS if method == "POST" else f"{STREAMS}/{server.credentials['datastream_id']}"

    assert httpx.request(method, f"{server.url}{path}", json={}).status_code in {401, 403}
