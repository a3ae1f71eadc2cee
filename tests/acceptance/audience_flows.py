"""Flows to the campaign destination, and what their files say to a reader that is not ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from amity.app.demo.client import Platform
from amity.app.demo.definitions import CAMPAIGN_SPEC, SOURCE_SPEC
from amity.app.demo.destinations import EMAIL_TARGETING, flow_spec
from amity.kernel.clock import DAY_MS, HOUR_MS, MINUTE_MS, from_iso, to_iso

TEMPLATE = "%DESTINATION_NAME%_%SEGMENT_ID%_%DATETIME(YYYYMMdd_HHmmss)%"
SELECTORS = "/transformations/0/params/segmentSelectors/selectors"

Person = dict[str, str]
"""Column → cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the files of a flow go: a way to sign in and the parameters of the target."""

    auth: Mapping[str, Any]
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """A manifest and the people in its files, in order of the lines."""

    manifest: dict[str, Any]
    rows: list[Person]

    @property
    def at_ms(self) -> int:
        """When it was due."""
        return from_iso(self.manifest["scheduledTime"])

    def standing(self) -> dict[str, str]:
        """Loyalty id → the status in the file."""
        return {_cell(row, "loyaltyId"): _cell(row, "status") for row in self.rows}


def local(path: str, preset: str = "campaign_v7") -> Place:
    """A folder of the installation."""
    return Place(
        auth={"specName": "Local", "params": {}},
        params={"mode": "LOCAL", "path": path, "format": "CSV", "preset": preset},
    )


def open_flow(platform: Platform, name: str, place: Place, *, action: str = EMAIL_TARGETING) -> str:
    """A flow without audiences; its id."""
    spec = {"id": CAMPAIGN_SPEC, "version": "1.0"}
    source = {
        "name": "Profile store",
        "connectionSpec": {"id": SOURCE_SPEC, "version": "1.0"},
        "data": {"format": "CSV", "schema": None},
        "params": {},
    }
    base = {"name": name, "connectionSpec": spec, "auth": place.auth}
    target = {
        "name": name,
        "baseConnectionId": platform.create("connections", base),
        "connectionSpec": spec,
        "data": {"format": "CSV", "schema": {"id": "1.0", "version": "1.0"}},
        "params": place.params,
    }
    flow = {
        "name": name,
        "flowSpec": {"id": flow_spec(platform), "version": "1.0"},
        "sourceConnectionIds": [platform.create("sourceConnections", source)],
        "targetConnectionIds": [platform.create("targetConnections", target)],
        "policy": {"enforcementRefs": [action]},
        "transformations": [{"name": "GeneralTransform", "params": _mapping(platform.tenant)}],
    }
    return platform.create("flows", flow)


def daily(platform: Platform, flow: str, audience: str) -> None:
    """Map an audience: the first file is full, then one a day with what changed, at 06:00."""
    schedule = {
        "frequency": "DAILY",
        "startDate": now_of(platform)[:10],
        "endDate": "2030-01-01",
        "startTime": "06:00",
    }
    value = {
        "id": audience,
        "name": audience,
        "filenameTemplate": TEMPLATE,
        "exportMode": "FIRST_FULL_THEN_INCREMENTAL",
        "schedule": schedule,
    }
    selector = {"type": "PLATFORM_SEGMENT", "value": value}
    platform.change_flow(flow, [{"op": "add", "path": f"{SELECTORS}/-", "value": selector}])


def now_of(platform: Platform) -> str:
    """Business time."""
    return str(platform.get("/admin/clock")["now"])


def next_export(platform: Platform) -> int:
    """The next 06:00."""
    now = from_iso(now_of(platform))
    due = now - now % DAY_MS + 6 * HOUR_MS
    return due + (DAY_MS if due <= now else 0)


def to_next_export(platform: Platform) -> int:
    """Advance to a minute past the next 06:00; when the export was due."""
    due = next_export(platform)
    platform.advance(to_iso(due + MINUTE_MS))
    return due


def runs_of(platform: Platform, flow: str) -> list[dict[str, Any]]:
    """The runs of a flow, the newest first."""
    found: list[dict[str, Any]] = platform.get(
        "/data/foundation/flowservice/runs", property=f"flowId=={flow}", limit=100
    )["items"]
    return found


def file_sets(names: list[str], fetch: Callable[[str], bytes], work: Path) -> list[FileSet]:
    """What lies at a destination, in order of schedule; every promise of a manifest is checked.

    Args:
        names: The paths that are there.
        fetch: The bytes of one.
        work: Where files are put for the reader.
    """
    found = []
    promised = set()
    for name in names:
        if not name.rpartition("/")[2].startswith("manifest-"):
            continue
        manifest = json.loads(fetch(name))
        rows: list[Person] = []
        for result in manifest["exportResults"]:
            path = f"{result['sinkPath'].strip('/')}/{result['name']}".lstrip("/")
            content = fetch(path)
            assert len(content) == result["size"]
            assert hashlib.sha256(content).hexdigest() == result["sha256"]
            part = _read(content, manifest["format"]["delimiter"], work)
            assert len(part) == result["rows"]
            rows += part
            promised.add(path)
        assert len(rows) == manifest["rows"]
        promised.add(name)
        found.append(FileSet(manifest=manifest, rows=rows))
    assert promised == set(names), "no file without a manifest"
    return sorted(found, key=lambda one: one.at_ms)


def local_file_sets(exports: Path, path: str, work: Path) -> list[FileSet]:
    """The same of a folder of the installation."""
    names = [
        str(file.relative_to(exports)) for file in (exports / path).rglob("*") if file.is_file()
    ]
    return file_sets(names, lambda name: (exports / name).read_bytes(), work)


def _read(content: bytes, delimiter: str, work: Path) -> list[Person]:
    file = work / "part.csv"
    file.write_bytes(content)
    read = duckdb.connect().execute(
        "SELECT * FROM read_csv(?, header = true, all_varchar = true, delim = ?, quote = '\"',"
        " escape = '\"', strict_mode = true, auto_detect = false, columns = ?)",
        [str(file), delimiter, _columns(content, delimiter)],
    )
    names = [column[0] for column in read.description or ()]
    return [dict(zip(names, row, strict=True)) for row in read.fetchall()]


def _columns(content: bytes, delimiter: str) -> dict[str, str]:
    header = content.split(b"\n", 1)[0].decode().rstrip("\r").split(delimiter)
    return {name.strip('"'): "VARCHAR" for name in header}


def _cell(row: Person, ending: str) -> str:
    return next(value for name, value in row.items() if name.endswith(ending))


def _mapping(tenant: str) -> dict[str, Any]:
    paths = [
        f"_{tenant}.loyaltyId",
        "person.name.firstName",
        "person.name.lastName",
        "personalEmail.address",
        "segmentMembership.seg_namespace.seg_id.status",
    ]
    selectors = [
        {"type": "JSON_PATH", "value": {"path": path, "operator": "EXISTS"}} for path in paths
    ]
    key = {"fieldType": "ATTRIBUTE", "attributePath": f"_{tenant}.loyaltyId"}
    return {
        "segmentSelectors": {"selectors": []},
        "profileSelectors": {"selectors": selectors, "primaryFields": [key]},
    }
