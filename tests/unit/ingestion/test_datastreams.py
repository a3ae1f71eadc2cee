"""What a data stream may be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_shop import EdgeShop
from ingestion_shop import SCOPE

from amity.kernel.errors import Invalid, NotFound, NotSupported
from amity.platform.ingestion.datastreams import MAPPINGS_MAX


@pytest.fixture
def edge() -> Iterator[EdgeShop]:
    """A fresh shop."""
    made = EdgeShop()
    yield made
    made.appender.close()


def test_created_replaced_deleted(edge: EdgeShop) -> None:
    """It is what was sent, defaults filled in; deleted, its id is unknown."""
    made = edge.datastreams.create(SCOPE, {"name": "Shop", "eventDataset": "d-event"})
    changed = edge.datastreams.replace(
        SCOPE, made["id"], {"name": "Shop", "eventDataset": "d-event", "enabled": False}
    )
    found = edge.datastreams.find(made["id"])

    assert made["access"] == "mixed"
    assert made["enabled"] is True
    assert changed["createdAt"] == made["createdAt"]
    assert found is not None
    assert found.settings.enabled is False
    assert edge.datastreams.get(SCOPE, made["id"]) == changed
    assert len(edge.datastreams.listed(SCOPE)) == 4
    edge.datastreams.delete(SCOPE, made["id"])
    assert edge.datastreams.find(made["id"]) is None
    with pytest.raises(NotFound):
        edge.datastreams.get(SCOPE, made["id"])


def test_other_sandbox_sees_none(edge: EdgeShop) -> None:
    """A data stream is found by its own scope only."""
    other = SCOPE._replace(sandbox="dev")

    assert edge.datastreams.listed(other) == []
    for call in (edge.datastreams.get, edge.datastreams.delete):
        with pytest.raises(NotFound):
            call(other, edge.mixed)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": " "}, Invalid),
        ({"name": 7}, Invalid),
        ({"unknown": 1}, Invalid),
        ({"access": "open"}, Invalid),
        ({"ipObfuscation": "some"}, Invalid),
        ({"eventDataset": "nowhere"}, NotFound),
        ({"eventDataset": "d-profile"}, Invalid),
        ({"profileDataset": "d-event"}, Invalid),
        ({"lookups": {"geo": True}}, NotSupported),
        ({"firstPartyIdCookie": "a; b"}, Invalid),
        ({"mapping": [{"source": "xdm.a", "destination": "b"}]}, Invalid),
        ({"mapping": [{"source": "data.a", "destination": ""}]}, Invalid),
        ({"mapping": [{"source": "data.a", "destination": "a..b"}]}, Invalid),
        ({"mapping": [{"source": "data.a", "destination": "b"}] * (MAPPINGS_MAX + 1)}, Invalid),
    ],
)
def test_refused(edge: EdgeShop, change: dict[str, Any], error: type[Exception]) -> None:
    """What cannot be is refused when it is set up, not when events come."""
    with pytest.raises(error):
        edge.stream(**change)


def test_the_how_to_shows_one_that_can_be_made(edge: EdgeShop) -> None:
    """The data stream on the page is taken, its two datasets filled in."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "point-the-web-sdk-here.md"
    (block,) = re.findall(
        r"^```json datastream\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL
    )
    shown = json.loads(block)
    made = edge.datastreams.create(
        SCOPE, {**shown, "eventDataset": "d-event", "profileDataset": "d-profile"}
    )

    filled_in = {"eventDataset", "profileDataset", "lookups"}
    assert {key: made[key] for key in shown.keys() - filled_in - {"mapping"}} == {
        key: shown[key] for key in shown.keys() - filled_in - {"mapping"}
    }
    assert list(made["mapping"]) == shown["mapping"]
