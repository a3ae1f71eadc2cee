"""Durable ingest over HTTP on one core: single events and batches of 100.

Ours: an authenticated inlet, schema validation, partitions, one commit a group. The baseline reads
the same bodies and appends them to a file, nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
from report import Row, medians
from shop import START_MS, Shop, device, event, message, set_up
from wrk import Serving, rate

RUNS = 3
BATCH = 100
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Load:
    """What one request carries and how many requests run at once."""

    path: str
    body: bytes
    connections: int


def measure(folder: Path) -> list[Row]:
    """Both rows."""
    shop = set_up(folder / "ingest")
    record = event(shop, 1, START_MS, {"Device": device(1)})
    batch = {
        "messages": [
            message(shop, event(shop, n, START_MS, {"Device": device(n)})) for n in range(BATCH)
        ]
    }
    single = Load(f"/collection/{shop.inlet}", orjson.dumps(message(shop, record)), 64)
    many = Load(f"/collection/batch/{shop.inlet}", orjson.dumps(batch), 16)
    server = [sys.executable, str(_HERE / "http_server.py"), str(shop.folder.root)]
    raw = [sys.executable, str(_HERE / "raw_server.py"), str(folder / "raw.log")]
    with Serving(server, "/livez", folder) as ours, Serving(raw, "/", folder) as baseline:
        urls = [ours.base, baseline.base]
        one = medians(*_runs(shop, urls, single, folder), RUNS)
        hundred = medians(*_runs(shop, urls, many, folder), RUNS)
    return [
        Row(
            work="durable ingest, single events",
            ours=one[0],
            baseline=one[1],
            unit="events/s",
            hold=0.75,
            note="authenticated, schema-validated, one core; raw ASGI + msgspec + fdatasync log",
        ),
        Row(
            work=f"durable ingest, batches of {BATCH}",
            ours=hundred[0] * BATCH,
            baseline=hundred[1] * BATCH,
            unit="events/s",
            hold=0.45,
        ),
    ]


def _runs(
    shop: Shop, urls: list[str], load: Load, folder: Path
) -> tuple[Callable[[], float], Callable[[], float]]:
    headers = {"Authorization": f"Bearer {shop.token}", "Content-Type": "application/json"}

    def against(url: str) -> Callable[[], float]:
        def run() -> float:
            return rate(
                f"{url}{load.path}",
                load.body,
                headers,
                connections=load.connections,
                folder=folder,
            )

        return run

    ours, raw = (against(url) for url in urls)
    return ours, raw
