"""How do the records get in? History as batch files, what follows as a stream in time order."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

import orjson

from amity.app.demo.client import Platform
from amity.app.demo.definitions import Datasets
from amity.app.demo.derive import Shop
from amity.kernel.clock import DAY_MS, to_iso

FILE_ROWS = 20_000
REQUEST_MESSAGES = 250
Progress = Callable[[str, int], None]


@dataclass(slots=True, kw_only=True)
class Taken:
    """What one kind of record came to at the door."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    lines: int = 0
    """Purchase lines in what was sent."""
    reasons: list[str] = field(default_factory=list)


def load_batches(platform: Platform, dataset: str, records: Iterable[dict[str, Any]]) -> Taken:
    """Load records as JSON-lines files, one batch for each `FILE_ROWS` of them."""
    taken = Taken()
    source = iter(records)
    while rows := list(islice(source, FILE_ROWS)):
        batch = platform.batch(dataset, "json")
        body = b"\n".join(orjson.dumps(row) for row in rows) + b"\n"
        platform.put_file(batch, dataset, f"part-{taken.sent // FILE_ROWS:04d}.json", body)
        metrics = platform.complete(batch)["metrics"]
        taken.sent += len(rows)
        taken.accepted += metrics["outputRecordCount"]
        taken.refused += metrics.get("failedRecordCount", 0)
        taken.lines += sum(len(row.get("productListItems", ())) for row in rows)
    return taken


def stream(
    platform: Platform, shop: Shop, made: Datasets, *, end_ms: int, say: Progress
) -> dict[str, Taken]:
    """Send what follows the history, a day at a time, the business clock going before it.

    Receipt is business time, and a record may not lie in the future: so the clock is moved to the
    end of a day, then the day's records are sent in order of time.
    """
    door = _StreamDoor(platform, made.event_schema)
    datasets = {"purchases": made.purchases, "visits": made.visits}
    taken = {kind: Taken() for kind in datasets}
    for day, events in groupby(_in_order(shop, end_ms), key=lambda event: event[0] // DAY_MS):
        platform.advance(to_iso(min((day + 1) * DAY_MS, end_ms)))
        sent = 0
        while part := list(islice(events, REQUEST_MESSAGES)):
            sent += len(part)
            for kind, dataset in datasets.items():
                bodies = [event for _, each, event in part if each == kind]
                door.send(dataset, bodies, taken[kind])
        say(to_iso(day * DAY_MS)[:10], sent)
    return taken


def _in_order(shop: Shop, end_ms: int) -> Iterator[tuple[int, str, dict[str, Any]]]:
    purchases = ((at_ms, "purchases", event) for at_ms, event in shop.timed_purchases(end_ms))
    visits = ((at_ms, "visits", event) for at_ms, event in shop.web_events(end_ms))
    return heapq.merge(purchases, visits, key=lambda event: event[0])


class _StreamDoor:
    """An inlet of the demo's own."""

    def __init__(self, platform: Platform, schema: str) -> None:
        self._platform = platform
        self._inlet = platform.inlet("Shop stream")
        self._reference = {
            "id": schema,
            "contentType": "application/vnd.adobe.xed-full+json;version=1",
        }

    def send(self, dataset: str, bodies: list[dict[str, Any]], taken: Taken) -> None:
        """Send events for one dataset in one request and enter what became of them."""
        if not bodies:
            return
        header = {
            "schemaRef": self._reference,
            "imsOrgId": self._platform.org,
            "datasetId": dataset,
            "source": {"name": "Amity demo"},
        }
        meta = {"schemaRef": self._reference}
        messages = [
            {"header": header, "body": {"xdmMeta": meta, "xdmEntity": body}} for body in bodies
        ]
        accepted, reasons = self._platform.send(self._inlet, messages)
        taken.sent += len(bodies)
        taken.accepted += accepted
        taken.refused += len(reasons)
        taken.reasons += reasons[:3]
        taken.lines += sum(len(body.get("productListItems", ())) for body in bodies)
