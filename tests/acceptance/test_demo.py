"""The demo, in the small form, as a user starts it; and what it says when something is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from waiting import eventually

from amity.app.demo.client import Platform
from amity.app.demo.destinations import Destination, arrived
from amity.kernel.clock import RealSystemClock
from amity.kernel.errors import Corrupt

FEW = 40
RICH_ONE = "18"
"""A household of the first `FEW` with a high income."""

NOBODY = "99999999"


def started(data: Path, households: int) -> subprocess.Popen[str]:
    """`amity demo`, its words in `demo.out` beside its folder."""
    command = [sys.executable, "-m", "amity.app.cli", "demo", "--households", str(households)]
    with (data.parent / "demo.out").open("w") as out:
        return subprocess.Popen(
            [*command, "--data", str(data)], stdout=out, stderr=subprocess.STDOUT, text=True
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    """A demo of 150 households: its exit status, its words, its folder."""
    data = tmp_path_factory.mktemp("demo") / "data"
    status = started(data, 150).wait(600)
    return status, (data.parent / "demo.out").read_text(), data


def test_demo_adds_up(finished: tuple[int, str, Path]) -> None:
    """`amity demo --households 150` ends with status 0, every row adding up."""
    status, said, _ = finished

    assert status == 0, said[-6000:]
    assert "every hop adds up" in said
    assert "WRONG" not in said
    assert "NO" not in {cell.strip() for cell in said.replace("┃", "│").split("│")}


def test_demo_tells_a_whole_story(finished: tuple[int, str, Path]) -> None:
    """All hops, all audiences, both destinations and one person stand in what it says."""
    _, said, _ = finished
    hops = ("shop", "batch door", "stream door", "lake", "profile", "identity", "segmentation")

    for hop in (*hops, "activation"):
        assert f"│ {hop} " in said
    for audience in ("High income", "Frequent shoppers", "Viewed, then bought"):
        assert f"right audience '{audience}'" in said
    assert "'High income' to 'Partner': refused" in said
    assert "One person's story" in said


def test_changed_file_is_not_believed(finished: tuple[int, str, Path], tmp_path: Path) -> None:
    """The check of the files sees one byte that is not as the manifest promises."""
    exports = tmp_path / "exports"
    shutil.copytree(finished[2] / "exports", exports)
    manifest = json.loads(next(exports.glob("campaign/manifest-*.json")).read_bytes())
    campaign = Destination(name="Campaign", flow=manifest["destinationId"], path="campaign")
    untouched = arrived(exports, campaign, manifest["audienceId"])
    file = exports / "campaign" / manifest["exportResults"][0]["name"]
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)

    assert untouched.rows >= len(untouched.members)
    with pytest.raises(Corrupt, match="manifest promises"):
        arrived(exports, campaign, manifest["audienceId"])


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A demo of few households that goes on."""
    data = tmp_path / "data"
    process = started(data, FEW)
    yield process, data
    process.kill()
    process.wait(30)


def test_planted_errors_are_found(running: tuple[subprocess.Popen[str], Path]) -> None:
    """Somebody too many, and somebody changed behind its back: status 1, and it says who."""
    process, data = running
    platform = eventually(lambda: joined(data), lambda found: found is not None, 120)
    assert platform is not None
    customers = eventually(lambda: loaded_customers(platform), bool, 120)
    own = f"_{platform.tenant}"
    strangers = [
        {own: {"loyaltyId": NOBODY, "demographics": {"income": "Under 15K"}}},
        {own: {"loyaltyId": RICH_ONE, "demographics": {"income": "Under 15K"}}},
    ]
    batch = platform.batch(customers, "json")
    body = b"\n".join(orjson.dumps(one) for one in strangers)
    platform.put_file(batch, customers, "planted.json", body)
    platform.complete(batch)
    platform.close()
    status = process.wait(600)
    said = (data.parent / "demo.out").read_text()

    assert status == 1
    assert "every hop adds up" not in said
    assert "does not add up: lake, customers" in said
    assert "does not add up: profile, people" in said
    assert f"WRONG audience 'High income': missing 1 ({RICH_ONE})" in said
    assert f"WRONG files of 'High income' at Campaign: missing 1 ({RICH_ONE})" in said
    assert "right audience 'Frequent shoppers'" in said


def joined(data: Path) -> Platform | None:
    """A client of the demo's server, once it is up."""
    try:
        url = json.loads((data / "endpoints.json").read_text())["http"]
        credentials = json.loads((data / "test-credentials.json").read_text())
    except FileNotFoundError:
        return None
    return Platform(url, credentials, RealSystemClock())


def loaded_customers(platform: Platform) -> str:
    """The dataset of customers, once they are in; "" before."""
    sets: dict[str, Any] = platform.get("/data/foundation/catalog/dataSets", limit=100)
    batches: dict[str, Any] = platform.get("/data/foundation/catalog/batches", limit=100)
    found = [id for id, one in sets.items() if one["name"] == "Customers"]
    taken = {
        one["relatedObjects"][0]["id"] for one in batches.values() if one["status"] == "success"
    }
    return next((id for id in found if id in taken), "")
