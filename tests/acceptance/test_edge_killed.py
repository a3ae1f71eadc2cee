"""What the Edge door has acknowledged survives a SIGKILL, once, however often its client repeats it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx
from waiting import eventually

from amity.testing.server import RunningServer

SENDERS = 4
KILLS = 2
PER_LIFE = 15
"""Acknowledged requests of a sender between two kills."""

REFUSED_EVERY = 5
SENT_MAX = 200
"""Fewer than the events that one look at a person shows."""


def event(sender: int, number: int) -> dict[str, Any]:
    """An event of one person; every fifth is one that the schema refuses."""
    xdm: dict[str, Any] = {
        "eventType": f"e{sender}-{number}",
        "timestamp": "2020-01-01T00:00:00Z",
        "identityMap": {"userId": [{"id": f"killed{sender}", "primary": True}]},
    }
    return {"xdm": {**xdm, "colour": "red"} if number % REFUSED_EVERY == 0 else xdm}


class Sender(threading.Thread):
    """Sends one event after the other, each again and again until it is acknowledged."""

    def __init__(self, server: RunningServer, number: int, ended: threading.Event) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, int] = {}
        self._server, self._number, self._ended = server, number, ended

    def run(self) -> None:
        number = 0
        with httpx.Client(timeout=10) as http:
            while not self._ended.is_set() and number < SENT_MAX:
                sent = event(self._number, number)
                query = {
                    "configId": self._server.credentials["datastream_id"],
                    "requestId": f"r-{self._number}-{number}",
                }
                try:
                    url = f"{self._server.url}/ee/v1/interact"
                    reply = http.post(url, params=query, json={"events": [sent]})
                except httpx.TransportError:
                    self._ended.wait(0.05)
                    continue
                self.acknowledged[sent["xdm"]["eventType"]] = reply.status_code
                number += 1
                self._ended.wait(0.1)


def held_of(http: httpx.Client, sender: int) -> list[str]:
    """The types of the events that a sender's person has."""
    query = {
        "schema.name": "_xdm.context.experienceevent",
        "relatedSchema.name": "_xdm.context.profile",
        "relatedEntityId": f"killed{sender}",
        "relatedEntityIdNS": "userId",
        "limit": "1000",
    }
    reply = http.get("/data/core/ups/access/entities", params=query)
    return [one["entity"]["eventType"] for one in reply.json().get("children", [])]


def test_acknowledged_events_survive_once(data_folder: Path) -> None:
    """Taken ones are events, each once; refused ones are failed records; none is missing."""
    ended = threading.Event()
    with RunningServer(data_folder) as server:
        senders = [Sender(server, number, ended) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        for life in range(1, KILLS + 1):
            eventually(
                lambda: min(len(one.acknowledged) for one in senders),
                lambda seen, life=life: seen >= life * PER_LIFE,  # type: ignore[misc]
                120,
            )
            server.kill()
            server.start()
        eventually(
            lambda: min(len(one.acknowledged) for one in senders),
            lambda seen: seen >= (KILLS + 1) * PER_LIFE,
            120,
        )
        ended.set()
        for sender in senders:
            sender.join(30)
        with server.client() as http:
            for number, sender in enumerate(senders):
                taken = {name for name, status in sender.acknowledged.items() if status == 200}
                held = eventually(
                    lambda number=number: held_of(http, number),  # type: ignore[misc]
                    lambda seen, taken=taken: len(seen) >= len(taken),  # type: ignore[misc]
                    60,
                )

                assert sorted(held) == sorted(taken)
            refused = {
                name
                for sender in senders
                for name, status in sender.acknowledged.items()
                if status == 207
            }
            source = f"datastream:{server.credentials['datastream_id']}"
            query: dict[str, Any] = {"source": source, "code": "", "limit": 1000}
            failed = eventually(
                lambda: http.get("/data/core/ingestion/failed", params=query).json()["items"],
                lambda seen: len(seen) >= len(refused),
            )
            kept = {
                http.get(f"/data/core/ingestion/failed/{one['id']}/raw").json()["eventType"]
                for one in failed
            }

    assert kept >= refused
    assert {status for one in senders for status in one.acknowledged.values()} == {200, 207}
