"""What the Edge door takes, refuses and answers, and what those who lie to it get."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import httpx
import orjson
import pytest
from edge_shop import ORG_PREFIX, EdgeShop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingestion_shop import NOW, SCOPE

from amity.flow.failed import FailedRecord
from amity.kernel.clock import RealSystemClock, from_iso
from amity.kernel.errors import TooMany
from amity.kernel.limits import (
    EDGE_COLLECT_UNITS_MAX,
    EDGE_EVENTS_MAX,
    EDGE_INTERACT_UNITS_MAX,
    EDGE_REQUEST_BYTES_MAX,
    EDGE_UNIT_BYTES,
)
from amity.kernel.scope import Scope
from amity.platform.ingestion.door import Pressure
from amity.platform.ingestion.edge_door import Units
from amity.platform.ingestion.edge_identity import EdgeIdentities, ecid_of_fpid
from amity.platform.ingestion.errors import NotReplayable, StillRefused
from amity.platform.ingestion.replays import Replays

ECID = "0" * 20 + "123456789012345678"
FPID = "123e4567-e89b-42d3-a456-426614174000"
ERRORS = "https://ns.adobe.com/aep/errors/EXEG-"
IDENTITY = f"{ORG_PREFIX}identity"
CONSENT = f"{ORG_PREFIX}consent"


@pytest.fixture
def edge() -> Iterator[EdgeShop]:
    """A fresh shop."""
    made = EdgeShop()
    yield made
    made.appender.close()


@pytest.fixture
async def http(edge: EdgeShop) -> AsyncIterator[httpx.AsyncClient]:
    """A client of its Edge door."""
    async with client_of(edge) as client:
        yield client


def client_of(edge: EdgeShop) -> httpx.AsyncClient:
    """A client of an Edge door."""
    transport = httpx.ASGITransport(app=edge.edge, client=("203.0.113.9", 4711))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="https://edge.shop.test")


def event(**xdm: Any) -> dict[str, Any]:
    """An event as a browser sends it: empty where it knows nothing, without `_id`."""
    return {
        "xdm": {
            "eventType": "commerce.productViews",
            "web": {"webPageDetails": {"URL": "http://x/"}, "webReferrer": {"URL": ""}},
            "timestamp": "2017-10-30T11:59:00.000Z",
            **xdm,
        },
        "query": {"personalization": {"decisionScopes": ["__view__"]}},
    }


def handles(reply: httpx.Response) -> dict[str, Any]:
    """The payloads of an answer by type."""
    return {one["type"]: one["payload"] for one in reply.json()["handle"]}


def stored(reply: httpx.Response) -> dict[str, str]:
    """What an answer asks its client to keep."""
    return {one["key"]: one["value"] for one in handles(reply)["state:store"]}


def records(edge: EdgeShop) -> list[dict[str, Any]]:
    """The records on the log."""
    return [json.loads(record) for record in edge.records()]


async def interact(
    http: httpx.AsyncClient, stream: str, body: Any, path: str = "/ee/v1/interact", **more: Any
) -> httpx.Response:
    """Send as a browser does: JSON as plain text, from a page of another origin."""
    headers = {"content-type": "text/plain; charset=UTF-8", "origin": "https://shop.test"}
    headers |= more.pop("headers", {})
    name = "configId" if "/v1/" in path else "datastreamId"
    query = {name: stream, **more.pop("query", {})}
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return await http.post(path, params=query, content=content, headers=headers, **more)


async def test_event_is_durable_before_the_answer(edge: EdgeShop, http: httpx.AsyncClient) -> None:
    """200 with documented handles; the event is on the log with the ECID that the answer tells."""
    body = {
        "events": [event(identityMap={"CRMID": [{"id": "u1", "primary": True}]})],
        "query": {"identity": {"fetch": ["ECID"]}},
        "meta": {"state": {"domain": "", "cookiesEnabled": True}},
    }
    reply = await interact(http, edge.mixed, body, query={"requestId": "r-1"})
    (frame,) = edge.frames()
    (record,) = records(edge)
    found = handles(reply)
    ecid = found["identity:result"][0]["id"]

    assert reply.status_code == 200
    assert re.fullmatch(r"r-1-[0-9a-f]{16}", reply.json()["requestId"])
    assert re.fullmatch(r"\d{38}", ecid)
    assert found["identity:result"] == [{"id": ecid, "namespace": {"code": "ECID"}}]
    assert found["locationHint:result"] == [
        {"scope": "EdgeNetwork", "hint": "or2", "ttlSeconds": 1800}
    ]
    assert {one["key"]: one["maxAge"] for one in found["state:store"]} == {
        IDENTITY: 34128000,
        f"{ORG_PREFIX}cluster": 1800,
    }
    assert found["state:store"][0]["attrs"] == {"SameSite": "None"}
    assert (frame.scope, frame.dataset) == (SCOPE.key, "d-event")
    assert record["identityMap"] == {
        "CRMID": [{"id": "u1", "primary": True}],
        "ECID": [{"id": ecid, "authenticatedState": "ambiguous", "primary": False}],
    }
    assert record["web"] == {"webPageDetails": {"URL": "http://x/"}}
    assert record["timestamp"] == "2017-10-30T11:59:00.000Z"


async def test_device_without_other_identity_is_primary(
    edge: EdgeShop, http: httpx.AsyncClient
) -> None:
    """The ECID becomes primary if none is set; an empty list of ECIDs is none."""
    events = [event(), event(identityMap={"ECID": []}), event(identityMap={"ECID": [{"id": ECID}]})]
    await interact(http, edge.mixed, {"events": events})
    found = [one["identityMap"]["ECID"][0] for one in records(edge)]

    assert [one["primary"] for one in found] == [True, True, True]
    assert [one["id"] == ECID for one in found] == [False, False, True]


async def test_what_was_stored_names_the_visitor_again(
    edge: EdgeShop, http: httpx.AsyncClient
) -> None:
    """State given back in the body, or as a cookie, is the same device."""
    first = await interact(http, edge.mixed, {"events": [event()]})
    kept = stored(first)[IDENTITY]
    entries = [{"key": IDENTITY, "value": kept}]
    for body, headers in (
        ({"events": [event()], "meta": {"state": {"entries": entries}}}, {}),
        ({"events": [event()]}, {"cookie": f"a=b; {IDENTITY}={kept}"}),
    ):
        await interact(http, edge.mixed, body, headers=headers)

    assert len({one["identityMap"]["ECID"][0]["id"] for one in records(edge)}) == 1
    assert "identity:result" not in handles(
        await interact(http, edge.mixed, {"events": [event()]}, headers=headers)
    )


async def test_cookies_of_our_domain_are_set(edge: EdgeShop, http: httpx.AsyncClient) -> None:
    """With a domain this host lies in, cookies are set; then nothing is left to store."""
    state = {"domain": "shop.test", "cookiesEnabled": True}
    reply = await interact(http, edge.mixed, {"events": [event()], "meta": {"state": state}})
    cookies = reply.headers.get_list("set-cookie")

    assert "state:store" not in handles(reply)
    assert [one.partition("=")[0] for one in cookies] == [IDENTITY, f"{ORG_PREFIX}cluster"]
    assert all(
        one.endswith("; Secure; SameSite=None") and "; Domain=shop.test; Max-Age=" in one
        for one in cookies
    )


@pytest.mark.parametrize(
    "state",
    [
        {"domain": "other.test", "cookiesEnabled": True},
        {"domain": "shop.test", "cookiesEnabled": False},
        {"domain": "test", "cookiesEnabled": True},
        {"domain": "shop.test\r\nSet-Cookie: a=b", "cookiesEnabled": True},
        {"domain": ".shop.test; Max-Age=0", "cookiesEnabled": True},
        {"domain": ["shop.test"], "cookiesEnabled": True},
        {"domain": "p.test", "cookiesEnabled": True},
        "nonsense",
    ],
)
async def test_domains_that_are_not_ours_get_no_cookie(
    edge: EdgeShop, http: httpx.AsyncClient, state: Any
) -> None:
    """The page's word alone sets no cookie, and nothing of it gets into a header."""
    reply = await interact(http, edge.mixed, {"events": [event()], "meta": {"state": state}})

    assert reply.status_code == 200
    assert reply.headers.get_list("set-cookie") == []
    assert IDENTITY in stored(reply)


@pytest.mark.parametrize(
    "cookie",
    [
        "x", "", "=", "A" * 10_000, "\xff\xfe", ECID, "../../etc",
        EdgeIdentities(ids=None, key=b"another").sealed(SCOPE.org, ECID),  # type: ignore[arg-type]
        EdgeIdentities(ids=None, key=b"k" * 32).sealed("OTHER@AmityOrg", ECID),  # type: ignore[arg-type]
    ],
)  # fmt: skip
async def test_cookies_that_lie_name_nobody(
    edge: EdgeShop, http: httpx.AsyncClient, cookie: str
) -> None:
    """A cookie that this server did not seal for this organisation is as none: a new ECID."""
    entries = [{"key": IDENTITY, "value": cookie}]
    body = {"events": [event()], "meta": {"state": {"entries": entries}}}
    reply = await interact(http, edge.mixed, body)

    assert reply.status_code == 200
    assert handles(reply)["identity:result"][0]["id"] != ECID


def test_any_change_to_a_cookie_breaks_its_seal(edge: EdgeShop) -> None:
    """Whichever character is changed, the cookie names nobody; unchanged it names its ECID."""
    sealed = edge.identities.sealed(SCOPE.org, ECID)
    changed = [
        f"{sealed[:at]}{'B' if sealed[at] != 'B' else 'C'}{sealed[at + 1 :]}"
        for at in range(len(sealed) - 1)
    ]

    assert edge.identities.opened(SCOPE.org, sealed) == ECID
    assert {edge.identities.opened(SCOPE.org, one) for one in changed} == {""}


async def test_explicit_ecid_wins_over_cookie_and_fpid(
    edge: EdgeShop, http: httpx.AsyncClient
) -> None:
    """The documented order: ECID of the request, ECID of the cookie, FPID."""
    kept = edge.identities.sealed(SCOPE.org, "1" * 38)
    both = {"ECID": [{"id": ECID}], "FPID": [{"id": FPID}]}
    cookie = {"cookie": f"{IDENTITY}={kept}"}
    asked = {"query": {"identity": {"fetch": ["ECID"]}}}
    told = []
    for identities, headers in (
        (both, cookie),
        ({"FPID": [{"id": FPID}]}, cookie),
        ({"FPID": [{"id": FPID}]}, {}),
    ):
        body = {"events": [event(identityMap=identities)], **asked}
        reply = await interact(http, edge.mixed, body, headers=headers)
        told.append(handles(reply)["identity:result"][0]["id"])

    assert told == [ECID, "1" * 38, ecid_of_fpid(SCOPE.org, FPID)]
    assert all("FPID" not in one["identityMap"] for one in records(edge))


async def test_first_party_cookie_is_the_same_device_everywhere(
    edge: EdgeShop, http: httpx.AsyncClient
) -> None:
    """The cookie that the data stream names is an FPID; one that is no UUID is as none."""
    stream = edge.stream(firstPartyIdCookie="myid")
    replies = [
        await interact(http, stream, {"events": [event()]}, headers={"cookie": f"myid={value}"})
        for value in (FPID, FPID, "nonsense")
    ]
    (one, two, three) = (one["identityMap"]["ECID"][0]["id"] for one in records(edge))

    assert one == two == ecid_of_fpid(SCOPE.org, FPID) != three
    assert [reply.status_code for reply in replies] == [200, 200, 200]


@pytest.mark.parametrize(
    ("identities", "code"),
    [
        ({"ECID": [{"id": "1" * 37}]}, "0305-400"),
        ({"ECID": [{"id": "1" * 39}]}, "0305-400"),
        ({"ECID": [{"id": "x" * 38}]}, "0305-400"),
        ({"ECID": [{"id": "٣" * 38}]}, "0305-400"),
        ({"ECID": [{"id": "'; DROP TABLE x"}]}, "0305-400"),
        ({"FPID": [{"id": "not a uuid"}]}, "0308-400"),
    ],
)
async def test_forged_ids_are_refused_and_kept(
    edge: EdgeShop, http: httpx.AsyncClient, identities: Any, code: str
) -> None:
    """An id of the wrong form is a documented 400; the request is a failed record, bytes as sent."""
    body = {"events": [event(identityMap=identities)]}
    reply = await interact(http, edge.mixed, body)
    (failed,) = edge.failed()

    assert reply.status_code == 400
    assert reply.json()["type"] == ERRORS + code
    assert reply.headers["content-type"].startswith("application/problem+json")
    assert json.loads(failed.raw) == body
    assert (failed.source, code in failed.reason) == (f"datastream:{edge.mixed}", True)
    assert edge.frames() == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "0101-400"), (b"{", "0101-400"), (b"\xff\x00", "0101-400"), (b'{"a":NaN}', "0101-400"),
        (b'{"a":"\\ud800"}', "0101-400"), (b"[" * 900 + b"]" * 900, "0101-400"),
        (b"[]", "0102-400"), (b"7", "0102-400"), (b"null", "0102-400"),
        (b"{}", "0103-400"), (b'{"events":[]}', "0103-400"), (b'{"events":null}', "0103-400"),
        (b'{"events":7}', "0102-400"), (b'{"events":"x"}', "0102-400"),
        (b'{"events":[7]}', "0102-400"), (b'{"events":[[]]}', "0102-400"),
        (b'{"events":[null]}', "0102-400"), (b'{"events":[{"xdm":[]}]}', "0102-400"),
        (b'{"events":[{"xdm":"x"}]}', "0102-400"), (b'{"xdm":7,"events":[{}]}', "0102-400"),
    ],
)  # fmt: skip
async def test_nonsense_is_told_and_kept(
    edge: EdgeShop, http: httpx.AsyncClient, body: bytes, code: str
) -> None:
    """A body of the wrong form is a documented 400 with place, kept byte for byte."""
    reply = await interact(http, edge.mixed, body)
    report = reply.json()["report"]

    assert reply.status_code == 400
    assert reply.json()["type"] == ERRORS + code
    assert report == {
        "requestId": reply.headers["x-request-id"],
        "configId": edge.mixed,
        "orgId": SCOPE.org,
    }
    assert [one.raw for one in edge.failed()] == [body]
    assert edge.frames() == []


async def test_refused_event_is_kept_and_its_neighbours_taken(
    edge: EdgeShop, http: httpx.AsyncClient
) -> None:
    """207 with an error an event; the good one is on the log, the other a failed record."""
    body = {"events": [event(), event(colour="red"), event(timestamp="yesterday")]}
    reply = await interact(http, edge.mixed, body)
    failed = edge.failed()

    assert reply.status_code == 207
    assert [one["report"]["eventIndex"] for one in reply.json()["errors"]] == [1, 2]
    assert [one["report"]["path"] for one in reply.json()["errors"]] == ["/colour", "/timestamp"]
    assert IDENTITY in stored(reply)
    assert len(edge.records()) == 1
    assert {one.path for one in failed} == {"/colour", "/timestamp"}
    assert {one.dataset for one in failed} == {"d-event"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "0002-400"),
        ({"configId": ""}, "0002-400"),
        ({"configId": "nowhere"}, "0003-400"),
        ({"configId": "../../etc/passwd"}, "0003-400"),
        ({"configId": "x" * 5000}, "0003-400"),
        ({"configId": "\x00"}, "0003-400"),
    ],
)
async def test_unknown_data_streams(
    http: httpx.AsyncClient, query: dict[str, str], code: str
) -> None:
    """No name, or one of nothing, is a documented 400."""
    reply = await http.post("/ee/v1/interact", params=query, json={"events": [event()]})

    assert reply.status_code == 400
    assert reply.json()["type"] == ERRORS + code


async def test_disabled_data_stream_takes_nothing(edge: EdgeShop, http: httpx.AsyncClient) -> None:
    """422 with the documented code."""
    reply = await interact(http, edge.off, {"events": [event()]})

    assert (reply.status_code, reply.json()["type"]) == (422, f"{ERRORS}0004-422")
    assert edge.frames() == edge.failed() == []


@pytest.mark.parametrize(
    ("stream", "header", "status", "code"),
    [
        ("locked", "", 401, "0500-401"),
        ("locked", "Bearer bad", 401, "0501-401"),
        ("locked", "Basic good", 401, "0500-401"),
        ("locked", "Bearer ", 401, "0500-401"),
        ("mixed", "Bearer bad", 401, "0501-401"),
        ("locked", "Bearer good", 200, ""),
        ("mixed", "bearer good", 200, ""),
    ],
)
async def test_tokens(
    edge: EdgeShop, http: httpx.AsyncClient, stream: str, header: str, status: int, code: str
) -> None:
    """An authenticated stream takes nothing without a good token; a mixed one no bad token."""
    body = {"events": [event(identityMap={"CRMID": [{"id": "u1", "primary": True}]})]}
    headers = {"authorization": header} if header else {}
    reply = await interact(http, getattr(edge, stream), body, headers=headers)

    assert reply.status_code == status
    if code:
        assert reply.json()["type"] == ERRORS + code
    assert len(edge.records()) == (status == 200)


async def test_servers_name_the_primary_identity(edge: EdgeShop, http: httpx.AsyncClient) -> None:
    """Without one: 400 with the documented code. With one, no ECID is minted beside it."""
    good = {"authorization": "Bearer good"}
    for marked in (False, True):
        identities = {"CRMID": [{"id": "u1", "primary": marked}]}
        body = {"event": event(identityMap=identities)}
        reply = await interact(http, edge.locked, body, "/ee/v2/interact", headers=good)
        if not marked:
            assert (reply.status_code, reply.json()["type"]) == (400, f"{ERRORS}0306-400")
    (record,) = records(edge)

    assert reply.status_code == 200
    assert record["identityMap"] == identities


async def test_version_two_takes_one_event(edge: EdgeShop, http: httpx.AsyncClient) -> None:
    """`event`, not `events`, and both spellings of the query's name."""
    path = "/ee/va6/v2/interact"
    replies = [
        await interact(http, edge.mixed, {"event": event()}, path),
        await http.post(path, params={"dataStreamId": edge.mixed}, json={"event": event()}),
        await interact(http, edge.mixed, {"events": [event()]}, path),
    ]

    assert [reply.status_code for reply in replies] == [200, 200, 400]
    assert handles(replies[0])["locationHint:result"][0]["hint"] == "va6"


async def test_collect_mints_no_ecid(edge: EdgeShop, http: httpx.AsyncClient) -> None:
    """204, 202 or a silent 204; an event of a device that nobody knows is refused and kept."""
    known = event(identityMap={"CRMID": [{"id": "u1", "primary": True}]})
    body = {"events": [known, known]}
    answers = [
        (await interact(http, edge.mixed, body, path, query=query)).status_code
        for path, query in (
            ("/ee/v1/collect", {}),
            ("/ee/v2/collect", {}),
            ("/ee/v2/collect", {"silent": "true"}),
        )
    ]
    unknown = await interact(http, edge.mixed, {"events": [event()]}, "/ee/or2/v1/collect")

    assert answers == [204, 202, 204]
    assert len(edge.records()) == 6
    assert all(one["identityMap"].keys() == {"CRMID"} for one in records(edge))
    assert unknown.status_code == 207
    assert "identity" in edge.failed()[0].reason


async def test_same_request_again_has_the_same_event_ids(
    edge: EdgeShop, http: httpx.AsyncClient
) -> None:
    """A client that repeats its request sends no new events; another request is another."""
    body = {"events": [event(), event()]}
    for request in ("r-1", "r-1", "r-2"):
        await interact(http, edge.mixed, body, query={"requestId": request})
    await interact(http, edge.mixed, {"events": [event(_id="mine")]})
    ids = [one["_id"] for one in records(edge)]

    assert ids[:2] == ids[2:4]
    assert len(set(ids)) == 5
    assert ids[-1] == "mine"


async def test_identity_acquire(edge: EdgeShop, http: httpx.AsyncClient) -> None:
    """The identity alone; nothing gets onto the log."""
    body = {"xdm": {"identityMap": {}}, "query": {"identity": {"fetch": ["ECID"]}}}
    reply = await interact(http, edge.mixed, body, "/ee/v1/identity/acquire")

    assert reply.status_code == 200
    assert handles(reply)["identity:result"][0]["namespace"] == {"code": "ECID"}
    assert edge.frames() == edge.failed() == []


@pytest.mark.parametrize(
    ("entry", "val", "general"),
    [
        ({"standard": "Adobe", "version": "1.0", "value": {"general": "in"}}, "y", "in"),
        ({"standard": "Adobe", "version": "1.0", "value": {"general": "out"}}, "n", "out"),
        ({"standard": "Adobe", "version": "1.0", "value": {"general": "pending"}}, "p", "pending"),
        ({"standard": "Adobe", "version": "2.0", "value": {"collect": {"val": "n"}}}, "n", "out"),
        ({"standard": "Adobe", "version": "2.0", "value": {"collect": {"val": "li"}}}, "LI", ""),
        (
            {"standard": "IAB TCF", "version": "2.0", "gdprApplies": True,
             "value": "CO052l-O052l-DGAMBFRACBgAIBAAAAAAIYgEawAQEagAAAA"},
            "y", "in",
        ),
        (
            {"standard": "IAB TCF", "version": "2.0", "gdprApplies": True, "value": "C" + "A" * 59},
            "n", "out",
        ),
        (
            {"standard": "IAB TCF", "version": "2.0", "gdprApplies": False, "value": "C"},
            "y", "in",
        ),
    ],
)  # fmt: skip
async def test_consent_becomes_a_profile_record(
    edge: EdgeShop, http: httpx.AsyncClient, entry: dict[str, Any], val: str, general: str
) -> None:
    """Each standard's answer is a record of the visitor; the cookie says what the client reads."""
    body = {
        "query": {"consent": {"operation": "update"}, "identity": {"fetch": ["ECID"]}},
        "identityMap": {"CRMID": [{"id": "u1"}]},
        "consent": [entry],
    }
    reply = await interact(http, edge.mixed, body, "/ee/v1/privacy/set-consent")
    (record,) = records(edge)
    ecid = handles(reply)["identity:result"][0]["id"]

    assert reply.status_code == 200
    assert edge.frames()[0].dataset == "d-profile"
    assert record["consents"] == {"collect": {"val": val}, "metadata": {"time": f"{NOW[:-1]}.000Z"}}
    assert record["identityMap"]["ECID"] == [
        {"id": ecid, "authenticatedState": "ambiguous", "primary": True}
    ]
    assert record["identityMap"]["CRMID"] == [{"id": "u1"}]
    assert stored(reply).get(CONSENT, "") == (f"general={general}" if general else "")
    assert handles(reply)["consent:preferences"] == [{"collect": {"val": val}}]


@pytest.mark.parametrize(
    ("consent", "code"),
    [
        (None, "0103-400"),
        ([], "0103-400"),
        ("in", "0103-400"),
        ([7], "0102-400"),
        ([{}], "0102-400"),
        ([{"standard": "Adobe", "version": "1.0", "value": {"general": "perhaps"}}], "0102-400"),
        ([{"standard": "Adobe", "version": "1.0", "value": {"general": ["in"]}}], "0102-400"),
        ([{"standard": "Adobe", "version": "2.0", "value": "y"}], "0102-400"),
        ([{"standard": ["Adobe"], "version": {}, "value": {}}], "0102-400"),
        ([{"standard": "IAB TCF", "version": "2.0", "value": "!!"}], "0102-400"),
        ([{"standard": "IAB TCF", "version": "2.0", "value": "CO"}], "0102-400"),
    ],
)
async def test_bad_consent_is_told_and_kept(
    edge: EdgeShop, http: httpx.AsyncClient, consent: Any, code: str
) -> None:
    """What is no consent changes none, and sets no cookie."""
    body = {"consent": consent}
    reply = await interact(http, edge.mixed, body, "/ee/v1/privacy/set-consent")

    assert (reply.status_code, reply.json()["type"]) == (400, ERRORS + code)
    assert edge.frames() == []
    assert json.loads(edge.failed()[0].raw) == body


async def test_refused_consent_is_not_told_as_stored(
    edge: EdgeShop, http: httpx.AsyncClient
) -> None:
    """A value that the schema refuses: 207, a failed record, and no consent cookie."""
    value = {"collect": {"val": "y"}, "share": {"val": "maybe"}}
    body = {"consent": [{"standard": "Adobe", "version": "2.0", "value": value}]}
    reply = await interact(http, edge.mixed, body, "/ee/v1/privacy/set-consent")

    assert reply.status_code == 207
    assert CONSENT not in stored(reply)
    assert "consent:preferences" not in handles(reply)
    assert edge.failed()[0].path == "/consents/share/val"


async def test_no_consent_means_no_event(edge: EdgeShop, http: httpx.AsyncClient) -> None:
    """Who has said no is answered with the documented warning, and nothing is kept."""
    entries = [{"key": CONSENT, "value": "general=out"}]
    body = {"events": [event()], "meta": {"state": {"entries": entries}}}
    reply = await interact(http, edge.mixed, body)
    quiet = await interact(http, edge.mixed, body, "/ee/v1/collect")

    assert reply.status_code == 200
    assert reply.json()["warnings"][0]["type"] == f"{ERRORS}0301-200"
    assert quiet.status_code == 204
    assert edge.frames() == edge.failed() == []


async def test_stream_without_profile_dataset_takes_no_consent(
    edge: EdgeShop, http: httpx.AsyncClient
) -> None:
    """It is told, and the answer of the visitor is kept."""
    stream = edge.stream(profileDataset="")
    body = {"consent": [{"standard": "Adobe", "version": "1.0", "value": {"general": "out"}}]}
    reply = await interact(http, stream, body, "/ee/v1/privacy/set-consent")

    assert reply.status_code == 422
    assert "profileDataset" in edge.failed()[0].reason


async def test_mapping_look_ups_and_obfuscation(edge: EdgeShop, http: httpx.AsyncClient) -> None:
    """`data` goes where the data stream says; what is learnt of the client is obfuscated."""
    stream = edge.stream(
        mapping=[
            {"source": "data.total", "destination": "commerce.order.priceTotal"},
            {"source": "data.cart.lines", "destination": "productListItems"},
            {"source": "data.nothing", "destination": "commerce.order.taxAmount"},
            {"source": "data.total", "destination": "eventType.deeper"},
        ][:3],
        lookups={"network": True, "device": True},
        ipObfuscation="partial",
    )
    sent = {**event(), "data": {"total": 12.5, "cart": {"lines": [{"SKU": "P1"}]}, "other": 1}}
    await interact(http, stream, {"events": [sent]}, headers={"user-agent": "Browser/1"})
    (record,) = records(edge)

    assert record["commerce"] == {"order": {"priceTotal": 12.5}}
    assert record["productListItems"] == [{"SKU": "P1"}]
    assert record["environment"]["ipV4"] == "203.0.113.0"
    assert record["environment"]["browserDetails"]["userAgent"] == "Browser/1"
    assert "other" not in json.dumps(record)


@pytest.mark.parametrize(("how", "kept"), [("none", "2001:db8:1:2:3::4"), ("partial", "2001:db8:1::"),
                                           ("full", None)])  # fmt: skip
async def test_addresses_in_the_event_are_obfuscated_too(
    edge: EdgeShop, http: httpx.AsyncClient, how: str, kept: str | None
) -> None:
    """Whoever says it, an address is kept as far as the data stream allows."""
    stream = edge.stream(ipObfuscation=how)
    body = {"events": [event(environment={"ipV6": "2001:db8:1:2:3::4"})]}
    await interact(http, stream, body)
    (record,) = records(edge)

    assert record.get("environment", {}).get("ipV6") == kept


@pytest.mark.parametrize(
    ("size", "status"), [(EDGE_REQUEST_BYTES_MAX, 400), (EDGE_REQUEST_BYTES_MAX + 1, 413),
                         (10_000_000, 413)]
)  # fmt: skip
async def test_size_limit(edge: EdgeShop, http: httpx.AsyncClient, size: int, status: int) -> None:
    """64 KB and not a byte more, told with the documented code; a bomb is no smaller."""
    body = b" " * size
    packed = gzip.compress(body)
    replies = [
        await interact(http, edge.mixed, body),
        await interact(http, edge.mixed, packed, headers={"content-encoding": "gzip"}),
    ]

    assert [reply.status_code for reply in replies] == [status, status]
    if status == 413:
        assert replies[0].json()["type"] == f"{ERRORS}0112-413"


async def test_number_of_events_is_limited(edge: EdgeShop, http: httpx.AsyncClient) -> None:
    """Many empty events in a small request are no way to fill the log."""
    replies = [
        await interact(http, edge.mixed, {"events": [{}] * count})
        for count in (EDGE_EVENTS_MAX, EDGE_EVENTS_MAX + 1)
    ]

    assert [reply.status_code for reply in replies] == [200, 413]


@pytest.mark.parametrize(
    ("kind", "status"),
    [("text/plain", 200), ("application/json", 200), ("application/vnd.x+json;v=1", 200),
     ("TEXT/PLAIN", 200), ("multipart/form-data", 415), ("text/html", 415),
     ("application/x-www-form-urlencoded", 415)],
)  # fmt: skip
async def test_content_types(
    edge: EdgeShop, http: httpx.AsyncClient, kind: str, status: int
) -> None:
    """JSON, and JSON as plain text, which needs no preflight; nothing else."""
    body = {"events": [event()]}
    reply = await interact(http, edge.mixed, body, headers={"content-type": kind})

    assert reply.status_code == status


@pytest.mark.parametrize(
    "origin", [b"https://shop.test", b"http://localhost:11580", b"null", b"https://[::1]:8443"]
)
async def test_credentialed_requests_of_other_origins(
    edge: EdgeShop, http: httpx.AsyncClient, origin: bytes
) -> None:
    """The answer names the very origin and allows credentials, refusals and preflights too."""
    body = {"events": [event()]}
    replies = [
        await interact(http, edge.mixed, body, headers={"origin": origin.decode()}),
        await interact(http, "nowhere", body, headers={"origin": origin.decode()}),
        await http.options("/ee/v1/interact", headers={"origin": origin.decode()}),
    ]

    assert [reply.status_code for reply in replies] == [200, 400, 204]
    for reply in replies:
        assert reply.headers["access-control-allow-origin"] == origin.decode()
        assert reply.headers["access-control-allow-credentials"] == "true"
        assert reply.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    [b"https://a.test\r\nset-cookie: a=b", b"https://a.test\nx: y", b"*", b"https://a.test b",
     b"https://a.test\x00", b"javascript:alert(1)", b"\xff\xfe", b"https://" + b"a" * 9000],
)  # fmt: skip
async def test_forged_origins_reach_no_header(edge: EdgeShop, origin: bytes) -> None:
    """Nothing of an Origin of another form is in the answer, whatever server is in front."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "method": "POST",
        "path": "/ee/v1/interact",
        "query_string": f"configId={edge.mixed}&requestId=a%0d%0ax:y".encode(),
        "headers": [(b"origin", origin), (b"x-request-id", b"b\r\nx: y")],
        "client": None,
    }
    await edge.edge(scope, receive, send)
    headers = sent[0]["headers"]

    assert all(b"\r" not in value and b"\n" not in value for _, value in headers)
    assert b"access-control-allow-origin" not in dict(headers)
    assert b"set-cookie" not in dict(headers)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/ee/v1/interact", 405), ("POST", "/ee/v3/interact", 404), ("POST", "/ee/", 404),
     ("POST", "/ee/mars/v1/interact", 404), ("POST", "/ee/v1/privacy", 404),
     ("POST", "/ee/v1/interact/more", 404), ("DELETE", "/ee/v1/collect", 405)],
)  # fmt: skip
async def test_other_doors(http: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    """What is not there is told as a problem."""
    reply = await http.request(method, path)

    assert (reply.status_code, reply.json()["status"]) == (status, status)


async def test_pressure_and_units_put_off(edge: EdgeShop, http: httpx.AsyncClient) -> None:
    """Too much at once is 429 or 503 with a time to wait."""
    edge.pressed = Pressure(503, 30, "the disk is nearly full")
    reply = await interact(http, edge.mixed, {"events": [event()]})

    assert (reply.status_code, reply.headers["retry-after"]) == (503, "30")
    assert edge.frames() == []


@pytest.mark.parametrize(
    ("call", "limit"),
    [("interact", EDGE_INTERACT_UNITS_MAX), ("collect", EDGE_COLLECT_UNITS_MAX)],
)
def test_units_a_second(call: str, limit: int) -> None:
    """A stream takes its units and not one more, until the next second; others are not held up."""
    clock = HandClock()
    units = Units(clock)
    for _ in range(limit // 2):
        units.take("a", call, EDGE_UNIT_BYTES + 1)
    with pytest.raises(TooMany):
        units.take("a", call, 1)
    units.take("b", call, 1)
    clock.sleep(1)
    units.take("a", call, 1)


class HandClock(RealSystemClock):
    """A system clock that a test moves."""

    at_s = 0.0

    def monotonic_s(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["events", "event", "xdm", "data", "query", "meta", "state", "entries", "key", "value",
             "identityMap", "ECID", "FPID", "id", "primary", "consent", "standard", "version",
             "general", "collect", "val", "environment", "ipV4", "browserDetails", "identity",
             "fetch", "domain", "timestamp", "_id"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=25,
)  # fmt: skip


@pytest.mark.thorough
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.dictionaries(st.sampled_from(["events", "event", "xdm", "meta", "query", "consent",
                                          "identityMap"]), JSON, max_size=5),
    path=st.sampled_from(["/ee/v1/interact", "/ee/v2/interact", "/ee/v1/collect", "/ee/v2/collect",
                          "/ee/v1/privacy/set-consent", "/ee/v1/identity/acquire"]),
)  # fmt: skip
async def test_any_json_is_answered_and_nothing_is_lost(body: Any, path: str) -> None:
    """Whatever comes, the answer is a documented one; what was not accepted is kept."""
    edge = EdgeShop()
    stream = edge.stream(lookups={"network": True, "device": True}, ipObfuscation="partial")
    try:
        async with client_of(edge) as http:
            reply = await interact(http, stream, body, path)
        kept = len(edge.records()) + len(edge.failed())
    finally:
        edge.appender.close()

    assert reply.status_code in {200, 202, 204, 207, 400}
    if reply.status_code in {207, 400}:
        assert edge.failed()
    if path.endswith(("interact", "collect")):
        assert kept


class Filed(NamedTuple):
    """A failed record as it is found."""

    record: FailedRecord
    status: str = "open"


class FiledRecords:
    """The failed records on a shop's log."""

    def __init__(self, edge: EdgeShop) -> None:
        self._edge = edge

    def get(self, scope: Scope, id: str) -> Any:
        """The one of that id."""
        found = [one for one in self._edge.failed() if (one.id, one.scope) == (id, scope.key)]
        return Filed(found[0]) if found else None


def replays(edge: EdgeShop) -> Replays:
    """Sends failed records again."""
    return Replays(
        failures=FiledRecords(edge),
        reception=edge.reception,
        inlets=edge,
        write_keys=edge,
        append=edge.appender.append,
    )


async def test_refused_event_is_replayed_once_it_is_right(
    edge: EdgeShop, http: httpx.AsyncClient
) -> None:
    """An event of a clock ahead of ours is refused; when its time has come, replay takes it."""
    body = {"events": [event(timestamp="2017-10-30T13:00:00.000Z")]}
    await interact(http, edge.mixed, body)
    (failed,) = edge.failed()
    with pytest.raises(StillRefused):
        await replays(edge).replay(SCOPE, failed.id)
    edge.clock.advance_to(from_iso("2017-10-30T13:00:00Z"))
    answer = await replays(edge).replay(SCOPE, failed.id)
    (record,) = records(edge)

    assert answer["status"] == "replayed"
    assert record["timestamp"] == "2017-10-30T13:00:00.000Z"
    assert record["_id"] == json.loads(failed.raw)["_id"]


async def test_whole_refused_request_says_where_to_send_it(
    edge: EdgeShop, http: httpx.AsyncClient
) -> None:
    """It was never a record: replay says so instead of breaking down."""
    await interact(http, edge.mixed, b"{")
    (failed,) = edge.failed()

    with pytest.raises((NotReplayable, StillRefused)):
        await replays(edge).replay(SCOPE, failed.id)


async def test_event_of_a_dataset_that_is_gone_is_kept(
    edge: EdgeShop, http: httpx.AsyncClient
) -> None:
    """The request is answered with the reason and lies among the failed records."""
    edge.gone = True
    body = {"events": [event()]}
    reply = await interact(http, edge.mixed, body)

    assert reply.status_code == 404
    assert "d-event" in reply.json()["detail"]
    assert [json.loads(one.raw) for one in edge.failed()] == [body]
