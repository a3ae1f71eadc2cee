"""Memberships end by themselves, to the second, on the virtual clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from small_shop import SmallShop, open_shop

from amity.kernel.clock import DAY_MS, HOUR_MS, SECOND_MS, from_iso, to_iso
from amity.testing.server import RunningServer

START = "2017-10-30T00:00:00Z"
START_MS = from_iso(START)


@pytest.fixture
def server(data_folder: Path) -> Iterator[RunningServer]:
    """A server whose business clock stands at `START`."""
    with RunningServer(data_folder, clock=START) as running:
        yield running


@pytest.fixture
def shop(server: RunningServer) -> Iterator[SmallShop]:
    """A shop with nobody in it."""
    opened = open_shop(server)
    yield opened
    opened.platform.close()


def test_member_leaves_at_the_second(shop: SmallShop) -> None:
    """The moving-window audience loses its member when the window runs out, not before."""
    first = START_MS - 20 * DAY_MS
    shop.load([shop.customer("1")])
    shop.stream(
        [
            shop.event(f"p{n}", first + n * HOUR_MS, "commerce.purchases", loyalty="1")
            for n in range(6)
        ]
    )
    shop.platform.advance(to_iso(START_MS + SECOND_MS))
    entered = shop.membership("1", "frequent")
    shop.platform.advance(to_iso(first + 28 * DAY_MS - SECOND_MS))
    one_second_before = shop.membership("1", "frequent")
    shop.platform.advance(to_iso(first + 28 * DAY_MS))
    at_the_second = shop.membership("1", "frequent")

    assert (entered, one_second_before, at_the_second) == ("realized", "realized", "exited")


def test_what_is_told_later_counts(shop: SmallShop) -> None:
    """While the clock stands still, the batch loaded last has the last word."""
    for n in range(6):
        shop.load([shop.customer("1", "250K+" if n % 2 else "Under 15K")])
        shop.platform.advance(to_iso(START_MS))
        assert shop.membership("1", "high_income") == (
            "realized" if n % 2 else "exited" if n else ""
        )


def test_restart_does_not_lose_the_timer(server: RunningServer, shop: SmallShop) -> None:
    """A timer set before `kill -9` fires after the restart; the clock resumes where it stood."""
    first = START_MS - 20 * DAY_MS
    shop.load([shop.customer("1")])
    shop.stream([shop.event(f"p{n}", first, "commerce.purchases", loyalty="1") for n in range(6)])
    shop.platform.advance(to_iso(START_MS + DAY_MS))
    server.kill()
    server.start()
    now = shop.platform.get("/admin/clock")["now"]
    shop.platform.advance(to_iso(first + 28 * DAY_MS))

    assert now == to_iso(START_MS + DAY_MS)
    assert shop.membership("1", "frequent") == "exited"


def test_clock_never_goes_back(server: RunningServer, shop: SmallShop) -> None:
    """An advance into the past is refused with the time it is."""
    with server.client() as http:
        reply = http.post("/admin/clock", json={"to": "2017-10-29T00:00:00Z"})

    assert reply.status_code == 400
    assert "2017-10-30T00:00:00" in reply.json()["detail"]


def test_future_events_are_refused(shop: SmallShop) -> None:
    """An event after business now is no event yet: refused, kept, listed."""
    shop.stream([shop.event("f1", START_MS + DAY_MS, "commerce.purchases", loyalty="9")])
    shop.platform.advance(to_iso(START_MS + HOUR_MS))
    listed = shop.platform.get("/data/core/ingestion/failed")

    assert shop.membership("9", "frequent") == ""
    assert [one["path"] for one in listed["items"]] == ["/timestamp"]
    assert "is later than" in listed["items"][0]["reason"]


def test_real_clock_cannot_be_advanced(tmp_path: Path) -> None:
    """Without --clock an advance is refused."""
    with RunningServer(tmp_path / "real") as running, running.client() as http:
        reply: httpx.Response = http.post("/admin/clock", json={"advance": "PT1H"})

    assert reply.status_code == 409
