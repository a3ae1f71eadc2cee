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


def entity_types(events: list[dict[str, Any]]) -> set[str]:
    """The event types among entities of events."""
    return {event["entity"]["eventType"] for event in events}
