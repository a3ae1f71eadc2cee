"""What was acknowledged survives; what is sent twice counts once."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_shop import SmallShop, open_shop

from amity.app.demo.client import Refused
from amity.kernel.clock import HOUR_MS, MINUTE_MS, from_iso, to_iso
from amity.testing.server import RunningServer

START = "2017-10-30T00:00:00Z"
START_MS = from_iso(START)
PEOPLE = 60
KILLS = int(os.environ.get("AMITY_KILLS", "5"))
"""Five in `make test`, fifty in `make soak`."""

ROUNDS = 8 * KILLS


@pytest.fixture
def server(data_folder: Path) -> Iterator[RunningServer]:
    """A server on virtual time."""
    with RunningServer(data_folder, clock=START) as running:
        yield running


def events_of(shop: SmallShop, number: int) -> list[dict[str, Any]]:
    """One request: anonymous views, some sign-ins, some purchases, some shared devices."""
    rng = random.Random(number)
    events = []
    for n in range(50):
        at_ms = START_MS - rng.randrange(20 * 24) * HOUR_MS - n * MINUTE_MS
        person, device = rng.randrange(PEOPLE), rng.randrange(PEOPLE + PEOPLE // 3)
        id = f"e{number}-{n}"
        kind = rng.random()
        if kind < 0.5:
            events.append(shop.event(id, at_ms, "commerce.productViews", device=f"d{device}"))
        elif kind < 0.7:
            both = {"loyalty": f"p{person}", "device": f"d{device % PEOPLE}"}
            events.append(shop.event(id, at_ms, "web.webpagedetails.pageViews", **both))
        else:
            events.append(shop.event(id, at_ms, "commerce.purchases", loyalty=f"p{person}"))
    return events


def send_all(shop: SmallShop, stop: threading.Event | None = None) -> None:
    """Send every request until each is acknowledged, whatever happens to the server."""
    for number in range(ROUNDS):
        while True:
            try:
                accepted, refused = shop.stream(events_of(shop, number))
            except Refused as error:
                if "status" in error.data:
                    raise
                if stop is not None and stop.wait(0.05):
                    return
                continue
            assert (accepted, refused) == (50, [])
            break


def settled(shop: SmallShop) -> dict[str, Any]:
    """The end table, once everything has been worked off."""
    shop.platform.advance(to_iso(START_MS + HOUR_MS))
    return shop.table()


def people(shop: SmallShop) -> list[dict[str, Any]]:
    """The customers."""
    return [shop.customer(f"p{n}", "250K+" if n % 3 else "Under 15K") for n in range(PEOPLE)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The end table of a run in which nothing happens, and of one in which all is sent twice."""
    with RunningServer(tmp_path_factory.mktemp("calm") / "data", clock=START) as server:
        shop = open_shop(server)
        shop.load(people(shop))
        send_all(shop)
        once = settled(shop)
        shop.load(people(shop))
        send_all(shop)
        shop.platform.advance(to_iso(START_MS + 2 * HOUR_MS))
        twice = shop.table()
        shop.platform.close()
        return [comparable(once), comparable(twice)]


def comparable(table: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on when the worker looked.

    Audience ids differ from run to run, the sizes in order do not. Who had been a member for a
    moment between two records of one batch is left out: how records are batched decides that.
    """
    counts = sorted(one["realized"] for one in table["audiences"].values())
    return {"profiles": table["profiles"], "audiences": counts}


def test_ingesting_twice_changes_nothing(undisturbed: list[dict[str, Any]]) -> None:
    """Profiles, events and memberships are the same after everything was sent again."""
    once, twice = undisturbed

    assert once == twice
    assert once["profiles"]["events"] == ROUNDS * 50


def _kill_worker(server: RunningServer) -> None:
    """Kill the worker alone."""
    for listed in Path(f"/proc/{server.pid}/task").glob("*/children"):
        for pid in listed.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def test_kills_leave_the_same_table(
    server: RunningServer, undisturbed: list[dict[str, Any]]
) -> None:
    """`kill -9` at random moments under load: the same end table."""
    rng = random.Random(20171030)
    shop = open_shop(server)
    shop.load(people(shop))
    stop = threading.Event()
    sender = threading.Thread(target=send_all, args=(shop, stop))
    sender.start()
    try:
        for _ in range(KILLS):
            stop.wait(rng.uniform(0.05, 0.6))
            # A worker that dies alone is started again by the process that stays.
            _kill_worker(server)
            stop.wait(rng.uniform(0.05, 0.6))
            server.kill()
            server.start()
    finally:
        sender.join(120)
        stop.set()

    table = comparable(settled(shop))
    shop.platform.close()

    assert not sender.is_alive()
    assert table == undisturbed[0]
