"""The unchanged `@adobe/alloy` in Chromium: what it sent is what the platform holds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from waiting import eventually
from web_sdk import Site, certificate, configure, package, site

from amity.testing.server import RunningServer

EVENTS = "_xdm.context.experienceevent"
PROFILE = "_xdm.context.profile"
ENTITIES = "/data/core/ups/access/entities"
THEIR_DOMAIN = "edge.example.test"
OUR_DOMAIN = "edge.shop.test"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that speaks https."""
    folder = tmp_path_factory.mktemp("edge")
    with RunningServer(folder / "data", tls=certificate(folder / "tls")) as running:
        yield running


@pytest.fixture
def http(secure: RunningServer) -> Iterator[httpx.Client]:
    """A client of its API."""
    with secure.client() as client:
        yield client


def shop_site(secure: RunningServer, domain: str) -> Any:
    """A page of a new visitor."""
    credentials = secure.credentials
    return site(secure.port, credentials["org_id"], credentials["datastream_id"], domain)


def events_of(http: httpx.Client, namespace: str, value: str, count: int) -> list[dict[str, Any]]:
    """The events of a person, as the profile holds them, once there are so many."""
    query = {
        "schema.name": EVENTS,
        "relatedSchema.name": PROFILE,
        "relatedEntityId": value,
        "relatedEntityIdNS": namespace,
    }
    found = eventually(
        lambda: http.get(ENTITIES, params=query).json().get("children", []),
        lambda seen: len(seen) >= count,
    )
    return [one["entity"] for one in found]


def files_of(http: httpx.Client, datastream: str, ecid: str, count: int) -> list[dict[str, Any]]:
    """The events of a device, as the files of the data stream's dataset hold them."""
    dataset = http.get(f"/data/core/edge/datastreams/{datastream}").json()["eventDataset"]

    def rows() -> list[dict[str, Any]]:
        found = http.get(f"/data/foundation/export/datasets/{dataset}/preview").json()["data"]
        return [row for row in found if ecid in str(row.get("identityMap"))]

    return eventually(rows, lambda seen: len(seen) >= count, 60)


def sent_events(made: Site) -> list[dict[str, Any]]:
    """The XDM of all events that the SDK has sent."""
    return [event["xdm"] for body in made.sent("interact") for event in body["events"]]


def without_empty(value: Any) -> Any:
    """The value without what says nothing, as a reader of the facts would write it."""
    if isinstance(value, dict):
        kept = {key: without_empty(one) for key, one in value.items() if one not in ("", None)}
        return {key: one for key, one in kept.items() if one != {}}
    return value


def by_type(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Events by their type, without what the door adds: `_id` and the device."""
    return {
        event["eventType"]: {
            key: value for key, value in event.items() if key not in ("_id", "identityMap")
        }
        for event in events
    }


def visit(made: Site) -> str:
    """A visitor looks around, signs in and buys; answers with the ECID that the SDK knows."""
    made.alloy("sendEvent", {"xdm": {"eventType": "web.webpagedetails.pageViews"}})
    made.alloy(
        "sendEvent",
        {"xdm": {"eventType": "commerce.productViews", "commerce": {"productViews": {"value": 1}}}},
    )
    made.alloy(
        "sendEvent",
        {
            "xdm": {
                "eventType": "commerce.purchases",
                "commerce": {"purchases": {"value": 1}, "order": {"priceTotal": 12.5}},
                "productListItems": [{"SKU": "P1", "quantity": 2, "priceTotal": 12.5}],
            }
        },
    )
    return str(made.alloy("getIdentity")["identity"]["ECID"])


@pytest.mark.parametrize("domain", [THEIR_DOMAIN, OUR_DOMAIN])
def test_what_was_sent_is_held_event_for_event(
    secure: RunningServer, http: httpx.Client, domain: str
) -> None:
    """Third-party and first-party: profile and files hold the SDK's events, each once, as sent."""
    with shop_site(secure, domain) as made:
        ecid = visit(made)
        sent = by_type([without_empty(one) for one in sent_events(made)])
        statuses = [one.response().status for one in made.requests if one.response()]  # type: ignore[union-attr]
        cookies = made.cookies()
    held = events_of(http, "ECID", ecid, 3)
    filed = files_of(http, secure.credentials["datastream_id"], ecid, 3)
    prefix = f"kndctr_{secure.credentials['org_id'].replace('@', '_')}_"

    assert statuses == [200, 200, 200]
    assert len(held) == len(filed) == len(sent) == 3
    assert moments(by_type(held)) == moments(sent)
    assert moments(by_type(filed)) == moments(sent)
    assert cookies.keys() >= {f"{prefix}identity", f"{prefix}cluster"}


def moments(value: Any) -> Any:
    """The value with its date-times to the millisecond in UTC, however they are written."""
    if isinstance(value, dict):
        return {key: moments(one) for key, one in value.items()}
    if isinstance(value, list):
        return [moments(one) for one in value]
    if isinstance(value, str) and value.startswith("20") and "T" in value:
        return datetime.fromisoformat(value).astimezone(UTC)
    return value


def test_visitor_stays_who_he_is_over_pages_and_signs_in(
    secure: RunningServer, http: httpx.Client
) -> None:
    """The next page sends the same ECID; a sign-in makes device and customer one profile."""
    with shop_site(secure, THEIR_DOMAIN) as made:
        first = visit(made)
        made.page.goto("https://www.shop.test/account")
        made.page.add_script_tag(path=package())
        credentials = secure.credentials
        configure(made, credentials["org_id"], credentials["datastream_id"], THEIR_DOMAIN)
        signed_in = {
            "userId": [{"id": "uma", "authenticatedState": "authenticated", "primary": True}]
        }
        made.alloy(
            "sendEvent", {"xdm": {"eventType": "web.formFilledOut", "identityMap": signed_in}}
        )
        second = made.alloy("getIdentity")["identity"]["ECID"]
        regional = [one.url for one in made.requests if "/ee/or2/v1/interact" in one.url]
    held = events_of(http, "userId", "uma", 4)

    assert first == second
    assert regional  # the SDK has taken up the location hint
    assert {one["eventType"] for one in held} >= {"web.formFilledOut", "commerce.purchases"}


def test_last_words_of_a_page_are_heard(secure: RunningServer, http: httpx.Client) -> None:
    """What the SDK sends by beacon while the page goes away is held, under the same device."""
    leaving = {"eventType": "web.webinteraction.linkClicks"}
    with shop_site(secure, THEIR_DOMAIN) as made:
        ecid = visit(made)
        made.alloy("sendEvent", {"documentUnloading": True, "xdm": leaving})
        made.page.goto("https://www.shop.test/next")
        held = events_of(http, "ECID", ecid, 4)
        beacons = [one.url for one in made.requests if "/v1/collect?" in one.url]

    assert len(beacons) == 1
    assert [one["eventType"] for one in held].count(leaving["eventType"]) == 1


def test_consent_is_kept_and_obeyed(secure: RunningServer, http: httpx.Client) -> None:
    """A no becomes a profile record; the SDK reads it in its cookie and sends nothing more."""
    answer = {"standard": "Adobe", "version": "2.0", "value": {"collect": {"val": "n"}}}
    with shop_site(secure, THEIR_DOMAIN) as made:
        ecid = visit(made)
        made.alloy("setConsent", {"consent": [answer]})
        before = len(made.sent("interact"))
        outcome = made.page.evaluate(
            "() => window.alloy('sendEvent', {xdm: {eventType: 'x'}}).then(() => '', e => e.message)"
        )
        cookies = made.cookies()
    query = {"schema.name": PROFILE, "entityId": ecid, "entityIdNS": "ECID"}
    profile = eventually(
        lambda: next(iter(http.get(ENTITIES, params=query).json().values())),
        lambda seen: "consents" in seen.get("entity", {}),
    )
    prefix = f"kndctr_{secure.credentials['org_id'].replace('@', '_')}_"

    assert profile["entity"]["consents"]["collect"] == {"val": "n"}
    assert cookies[f"{prefix}consent"] == "general=out"
    assert len(made.sent("interact")) == before
    assert isinstance(outcome, str)


def test_wrong_data_stream_is_told_to_the_page(secure: RunningServer) -> None:
    """The SDK can read the refusal: status, code and sentence."""
    org = secure.credentials["org_id"]
    with site(secure.port, org, "00000000-0000-4000-8000-000000000000", THEIR_DOMAIN) as made:
        said = made.page.evaluate(
            "() => window.alloy('sendEvent', {}).then(() => '', error => error.message)"
        )

    assert "status code 400" in said
    assert "EXEG-0003-400" in said
