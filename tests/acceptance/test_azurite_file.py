"""The files in a real blob service, read by DuckDB, are the memberships, person by person."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from audience_flows import (
    FileSet,
    Place,
    daily,
    file_sets,
    local,
    next_export,
    open_flow,
    runs_of,
    to_next_export,
)
from azure.storage.blob import ContainerClient
from small_shop import LOYALTY, SmallShop, open_shop
from waiting import eventually

from amity.app.demo.client import Refused
from amity.app.demo.definitions import CAMPAIGN_SPEC
from amity.kernel.clock import DAY_MS, MINUTE_MS, to_iso
from amity.testing.azurite import azurite_available, start_azurite
from amity.testing.server import RunningServer

START = "2017-10-30T00:00:00Z"
RICH, POOR = "250K+", "Under 15K"
NAMES = [
    "Plain",
    'Quo"ted "twice"',
    "Com,ma; and semicolon",
    "Tab\tbed",
    "Two\nlines",
    "Grüße 李 🙂",
    "'single'",
    "back\\slash",
    "null",
]
PEOPLE = 60
KILLS = (0.02, 0.15, None)
"""Seconds after which the server is killed; None: as soon as a new file is seen."""


class Blobs(Protocol):
    """Where the files of this module go."""

    def place(self, path: str, preset: str) -> Place: ...

    def names(self, path: str) -> list[str]: ...

    def fetch(self, name: str) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of a running blob service."""

    connection: str
    client: ContainerClient

    def place(self, path: str, preset: str) -> Place:
        """The documented way to an Azure container."""
        params = {"mode": "AZURE_BLOB", "container": self.client.container_name}
        return Place(
            auth={"specName": "Azure Blob", "params": {"connectionString": self.connection}},
            params={**params, "path": path, "format": "CSV", "preset": preset},
        )

    def names(self, path: str) -> list[str]:
        """The blobs below a path."""
        return list(self.client.list_blob_names(name_starts_with=f"{path}/"))

    def fetch(self, name: str) -> bytes:
        """One blob."""
        return self.client.download_blob(name).readall()


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder of the installation: stands for the blob service where there is no Node.js."""

    exports: Path

    def place(self, path: str, preset: str) -> Place:
        """A folder below it."""
        return local(path, preset)

    def names(self, path: str) -> list[str]:
        """The files below a path."""
        found = (self.exports / path).rglob("*")
        return [str(file.relative_to(self.exports)) for file in found if file.is_file()]

    def fetch(self, name: str) -> bytes:
        """One file."""
        return (self.exports / name).read_bytes()


@pytest.fixture(scope="module")
def blobs(
    server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container | Folder]:
    """A real Azurite with an empty container."""
    if not azurite_available():
        yield Folder(exports=server.data / "exports")
        return
    with start_azurite(tmp_path_factory.mktemp("azurite")) as running:
        connection = running.connection_string
        with ContainerClient.from_connection_string(connection, "audiences") as client:
            client.create_container()
            yield Container(connection=connection, client=client)


def sets_of(blobs: Blobs, path: str, work: Path) -> list[FileSet]:
    """The file sets below a path."""
    return file_sets(blobs.names(path), blobs.fetch, work)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose business clock stands at `START`."""
    with RunningServer(tmp_path_factory.mktemp("amity") / "data", clock=START) as running:
        yield running


@pytest.fixture(scope="module")
def shop(server: RunningServer) -> Iterator[SmallShop]:
    """A shop with people whose names are hard to write into a file."""
    opened = open_shop(server)
    opened.load([person(opened, n, RICH if n % 3 else POOR) for n in range(PEOPLE)])
    yield opened
    opened.platform.close()


def person(shop: SmallShop, number: int, income: str) -> dict[str, Any]:
    """A customer."""
    record = shop.customer(f"p{number}", income)
    record["person"]["name"]["firstName"] = NAMES[number % len(NAMES)]
    return record


def members(shop: SmallShop) -> dict[str, dict[str, str]]:
    """Loyalty id → what the file must say of a member, by looking every person up."""
    found = shop.platform.profiles(LOYALTY, [f"p{n}" for n in range(PEOPLE)])
    audience = shop.audiences["high_income"]
    own = f"_{shop.platform.tenant}"
    return {
        loyalty: {
            f"{own}_loyaltyId": loyalty,
            "person_name_firstName": profile["entity"]["person"]["name"]["firstName"],
            "person_name_lastName": profile["entity"]["person"]["name"]["lastName"],
            "personalEmail_address": profile["entity"]["personalEmail"]["address"],
            "segmentMembership_seg_namespace_seg_id_status": "active",
        }
        for loyalty, profile in found.items()
        if status(profile, audience) == "realized"
    }


def status(profile: dict[str, Any], audience: str) -> str:
    """Where a profile stands in an audience."""
    ups = profile["entity"].get("segmentMembership", {}).get("ups", {})
    return str(ups.get(audience, {}).get("status", ""))


def as_table(found: FileSet) -> dict[str, dict[str, str]]:
    """Loyalty id → the row; nobody stands in a file twice."""
    rows = {next(iter(row.values())): row for row in found.rows}
    assert len(rows) == len(found.rows)
    return rows


@pytest.mark.parametrize("preset", ["campaign_v7", "campaign_standard"])
def test_files_are_the_memberships(
    shop: SmallShop, blobs: Blobs, preset: str, tmp_path: Path
) -> None:
    """First everybody who is in; the next day who came in and who left, and nobody else."""
    folder = f"daily/{preset}"
    flow = open_flow(shop.platform, f"Daily {preset}", blobs.place(folder, preset))
    daily(shop.platform, flow, shop.audiences["high_income"])

    first_due = to_next_export(shop.platform)
    before = members(shop)
    (full,) = sets_of(blobs, folder, tmp_path)
    leaver = next(n for n in range(PEOPLE) if f"p{n}" in before)
    joiner = next(n for n in range(PEOPLE) if f"p{n}" not in before)
    shop.load([person(shop, leaver, POOR), person(shop, joiner, RICH)])
    second_due = to_next_export(shop.platform)
    after = members(shop)
    _, changes = sets_of(blobs, folder, tmp_path)

    assert as_table(full) == before
    assert full.manifest["window"]["mode"] == "full"
    assert (full.at_ms, changes.at_ms) == (first_due, second_due)
    assert changes.manifest["window"]["mode"] == "incremental"
    assert changes.standing() == {f"p{joiner}": "active", f"p{leaver}": "expired"}
    assert after.keys() == before.keys() - {f"p{leaver}"} | {f"p{joiner}"}
    assert as_table(changes)[f"p{joiner}"] == after[f"p{joiner}"]


def test_run_tells_what_was_written(shop: SmallShop, blobs: Blobs, tmp_path: Path) -> None:
    """The run of an export counts the people who qualified and names the files."""
    flow = open_flow(shop.platform, "Counted", blobs.place("counted", "campaign_v7"))
    daily(shop.platform, flow, shop.audiences["high_income"])
    to_next_export(shop.platform)
    (run,) = runs_of(shop.platform, flow)
    (full,) = sets_of(blobs, "counted", tmp_path)
    records = run["metrics"]["recordSummary"]

    assert run["metrics"]["statusSummary"]["status"] == "success"
    assert run["id"] == full.manifest["flowRunId"]
    assert records["inputRecordCount"] == records["outputRecordCount"] == len(full.rows)
    assert len(full.rows) == len(members(shop))


def test_secret_of_the_container_is_never_shown(shop: SmallShop) -> None:
    """No answer of the flow service holds the account key."""
    key = "bm90IGZvciB5b3VyIGV5ZXM="
    text = f"DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={key}"
    spec = {"id": CAMPAIGN_SPEC, "version": "1.0"}
    auth = {"specName": "Azure Blob", "params": {"connectionString": text}}
    made = shop.platform.create("connections", {"name": "S", "connectionSpec": spec, "auth": auth})
    shown = [
        shop.platform.item("connections", made),
        shop.platform.get("/data/foundation/flowservice/connections", limit=100),
        shop.platform.get("/data/foundation/audit/events"),
    ]

    assert made in str(shown[0])
    assert key not in str(shown)


def test_killed_exports_leave_one_file_set(
    server: RunningServer, shop: SmallShop, blobs: Blobs, tmp_path: Path
) -> None:
    """`kill -9` while files are being written: the export is done again under the same names."""
    flow = open_flow(shop.platform, "Killed", blobs.place("killed", "campaign_v7"))
    daily(shop.platform, flow, shop.audiences["high_income"])
    due = next_export(shop.platform)
    for day, after_s in enumerate(KILLS):
        target = to_iso(due + day * DAY_MS + MINUTE_MS)
        killed_while_advancing(server, (shop, blobs), target, after_s)
        shop.platform.advance(target)
        shop.load([person(shop, 0, POOR if day % 2 else RICH)])
    to_next_export(shop.platform)
    sets = sets_of(blobs, "killed", tmp_path)
    standing: dict[str, str] = {}
    for one in sets:
        standing |= one.standing()

    assert [one.at_ms for one in sets] == [due + day * DAY_MS for day in range(len(KILLS) + 1)]
    assert [one.manifest["window"]["mode"] for one in sets] == ["full", *["incremental"] * 3]
    assert {who for who, word in standing.items() if word == "active"} == members(shop).keys()
    assert list((server.data / "work").iterdir()) == []
    assert {run["metrics"]["statusSummary"]["status"] for run in runs_of(shop.platform, flow)} == {
        "success"
    }


def killed_while_advancing(
    server: RunningServer, places: tuple[SmallShop, Blobs], target: str, after_s: float | None
) -> None:
    """Ask for an advance, kill the server at some moment of it, start it again."""
    shop, blobs = places
    known = set(blobs.names("killed"))

    def advance() -> None:
        try:
            shop.platform.advance(target)
        except Refused as error:
            if "status" in error.data:
                raise

    asking = threading.Thread(target=advance)
    asking.start()
    if after_s is None:
        eventually(
            lambda: set(blobs.names("killed")) - known,
            lambda new: bool(new) or not asking.is_alive(),
        )
    else:
        asking.join(after_s)
    server.kill()
    asking.join(60)
    server.start()
