"""The unchanged `segment-analytics-python` streams in with the write key."""

from __future__ import annotations

from typing import Any

from segment.analytics import Client
from waiting import eventually

from amity.testing.server import RunningServer


def send(server: RunningServer) -> None:
    """An anonymous view, a sign-in and an order, as an SDK sends them."""
    failures: list[Any] = []
    client = Client(
        write_key=server.credentials["write_key"],
        host=server.url,
        on_error=lambda error, items: failures.append(error),
        max_retries=2,
    )
    client.track(anonymous_id="anon-1", event="Product Viewed", properties={"product_id": "P1"})
    client.identify("user-1", traits={"email": "user-1@example.test", "firstName": "Uma"})
    client.alias("anon-1", "user-1")
    client.track(
        user_id="user-1",
        anonymous_id="anon-1",
        event="Order Completed",
        properties={
            "order_id": "O1",
            "revenue": 12.5,
            "currency": "USD",
            "products": [{"product_id": "P1", "sku": "P1", "quantity": 2, "price": 6.25}],
        },
    )
    client.flush()
    client.join()

    assert failures == []


def test_calls_become_one_profile(server: RunningServer) -> None:
    """A userId and its anonymousId are one profile that holds the traits and all events."""
    send(server)
    with server.client() as http:

        def entity(namespace: str, value: str) -> Any:
            query = {"schema.name": "_xdm.context.profile", "entityId": value}
            reply = http.get(
                "/data/core/ups/access/entities", params={**query, "entityIdNS": namespace}
            )
            return next(iter(reply.json().values())) if reply.status_code == 200 else {}

        profile = eventually(
            lambda: entity("userId", "user-1"),
            lambda seen: (
                len(seen.get("identityGraph", [])) >= 2
                and "personalEmail" in seen.get("entity", {})
            ),
        )
        events = eventually(
            lambda: http.get(
                "/data/core/ups/access/entities",
                params={
                    "schema.name": "_xdm.context.experienceevent",
                    "relatedSchema.name": "_xdm.context.profile",
                    "relatedEntityId": "user-1",
                    "relatedEntityIdNS": "userId",
                },
            ).json()["children"],
            lambda seen: len(seen) >= 2,
        )

    assert profile["entity"]["personalEmail"]["address"] == "user-1@example.test"
    assert entity_types(events) >= {"commerce.productViews", "commerce.purchases"}


def test_shared_device_follows_who_signed_in_last(server: RunningServer) -> None:
    """An `identify` counts when it was said, not when its flush came in: it may not outrun a login."""
    moments = ("2020-01-01T10:00:00Z", "2020-01-01T10:00:05Z", "2020-01-01T10:00:06Z")
    first = {"type": "identify", "userId": "ann", "anonymousId": "shared", "traits": {"a": "b"}}
    then = {"type": "track", "userId": "bob", "anonymousId": "shared", "event": "Signed In"}
    calls = [
        {**first, "messageId": "s1", "timestamp": moments[0]},
        {**then, "messageId": "s2", "timestamp": moments[1]},
    ]
    body = {"batch": calls, "sentAt": moments[2]}
    key = (server.credentials["write_key"], "")
    asked = {"ns": "anonymousId", "id": "shared"}
    graph = {"composite_xids": [asked], "projection_type": "set"}
    with server.client() as http:
        http.post("/v1/batch", json=body, auth=key).raise_for_status()
        found = eventually(
            lambda: http.post("/data/core/identity/v2/graph", json=graph).json()["graphs"],
            lambda seen: bool(seen) and {"ns": "userId", "id": "bob"} in seen[0]["members"],
        )

    assert found[0]["members"] == [asked, {"ns": "userId", "id": "bob"}]


def entity_types(events: list[dict[str, Any]]) -> set[str]:
    """The event types among entities of events."""
    return {event["entity"]["eventType"] for event in events}
