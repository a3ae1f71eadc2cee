"""Fixtures of the ingestion tests; the shop itself lies in `ingestion_shop`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from ingestion_shop import Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A fresh shop."""
    made = Shop()
    yield made
    made.appender.close()


@pytest.fixture
async def http(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shop's door."""
    transport = httpx.ASGITransport(app=shop.door)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://door.test") as client:
        yield client
