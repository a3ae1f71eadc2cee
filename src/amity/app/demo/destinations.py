"""Where do the demo's audiences go, and what has arrived there?

Two destinations over the flow service: the campaign (preset `campaign_v7`, e-mail targeting), which
may have all three audiences, and a partner (preset `campaign_standard`, export to a third party),
which may not have the one that tests income. Files are read back with DuckDB, not with our reader.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from amity.app.demo.client import Platform, Refused
from amity.app.demo.definitions import CAMPAIGN_SPEC, SOURCE_SPEC
from amity.kernel.errors import Corrupt

EMAIL_TARGETING = "/dulepolicy/marketingActions/core/emailTargeting"
EXPORT_TO_THIRD_PARTY = "/dulepolicy/marketingActions/core/exportToThirdParty"

FIRST_DAY = "2017-10-30"
LAST_DAY = "2018-12-31"
EXPORT_HOUR = "06:00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A flow that writes audience files into one folder."""

    name: str
    flow: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AudienceFile:
    """A file that lies there, and how it is to be read."""

    path: Path
    delimiter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What the files of one audience say when they are read one after the other."""

    files: list[AudienceFile]
    rows: int
    members: set[str]


def campaign_v7(platform: Platform) -> Destination:
    """The campaign: tab-separated files, e-mail targeting."""
    return _destination(platform, "Campaign", "campaign_v7", EMAIL_TARGETING)


def partner(platform: Platform) -> Destination:
    """A third party: comma-separated files."""
    return _destination(platform, "Partner", "campaign_standard", EXPORT_TO_THIRD_PARTY)


def map_audience(platform: Platform, destination: Destination, name: str, audience: str) -> None:
    """Add an audience to a flow: first a full file, then daily what changed."""
    schedule = {
        "frequency": "DAILY",
        "startDate": FIRST_DAY,
        "endDate": LAST_DAY,
        "startTime": EXPORT_HOUR,
    }
    value = {
        "id": audience,
        "name": name,
        "description": name,
        "filenameTemplate": "%DESTINATION_NAME%_%SEGMENT_ID%_%DATETIME(YYYYMMdd_HHmmss)%",
        "exportMode": "FIRST_FULL_THEN_INCREMENTAL",
        "schedule": schedule,
    }
    operation = {
        "op": "add",
        "path": "/transformations/0/params/segmentSelectors/selectors/-",
        "value": {"type": "PLATFORM_SEGMENT", "value": value},
    }
    platform.change_flow(destination.flow, [operation])


def refusal(
    platform: Platform, destination: Destination, name: str, audience: str
) -> dict[str, Any] | None:
    """The violation that mapping meets; None when it is let through."""
    try:
        map_audience(platform, destination, name, audience)
    except Refused as error:
        if error.data.get("status") == 409:
            found: dict[str, Any] = error.data["body"]
            return found
        raise
    return None


def arrived(folder: Path, destination: Destination, audience: str) -> Arrived:
    """Read the file sets of an audience in order; the last word on each person counts.

    A file counts only if its manifest names it, and only if it is the file the manifest promises.
    """
    manifests = [json.loads(path.read_bytes()) for path in _manifests(folder, destination)]
    files: list[AudienceFile] = []
    members: set[str] = set()
    rows = 0
    for manifest in sorted(manifests, key=lambda found: str(found["scheduledTime"])):
        if manifest["audienceId"] != audience:
            continue
        for result in manifest["exportResults"]:
            file = _promised(folder, result, manifest["format"]["delimiter"])
            files.append(file)
            for loyalty, status in _rows(file):
                rows += 1
                (members.add if status == "active" else members.discard)(loyalty)
    return Arrived(files=files, rows=rows, members=members)


def line_of(files: Iterable[AudienceFile], loyalty: str) -> tuple[str, str] | None:
    """The first file in which a person stands, and the line."""
    for file in files:
        lines = file.path.read_text().splitlines()[1:]
        for line, (found, _) in zip(lines, _rows(file), strict=True):
            if found == loyalty:
                return file.path.name, line
    return None


def _manifests(folder: Path, destination: Destination) -> list[Path]:
    return list((folder / destination.path).rglob("manifest-*.json"))


def _promised(folder: Path, result: Mapping[str, Any], delimiter: str) -> AudienceFile:
    path = folder / str(result["sinkPath"]).strip("/") / result["name"]
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != result["sha256"] or len(content) != result["size"]:
        raise Corrupt(f"{path} is not the file its manifest promises")
    return AudienceFile(path=path, delimiter=delimiter)


def _rows(file: AudienceFile) -> list[tuple[str, str]]:
    read = duckdb.connect().execute(
        "SELECT * FROM read_csv(?, header = true, all_varchar = true, delim = ?)",
        [str(file.path), file.delimiter],
    )
    names = [column[0] for column in read.description or ()]
    who = next(at for at, name in enumerate(names) if name.endswith("loyaltyId"))
    status = next(at for at, name in enumerate(names) if name.endswith("status"))
    return [(str(row[who]), str(row[status])) for row in read.fetchall()]


def _destination(platform: Platform, name: str, preset: str, action: str) -> Destination:
    spec = {"id": CAMPAIGN_SPEC, "version": "1.0"}
    path = name.lower()
    source = {
        "name": "Profile store",
        "connectionSpec": {"id": SOURCE_SPEC, "version": "1.0"},
        "data": {"format": "CSV", "schema": None},
        "params": {},
    }
    base = {"name": name, "connectionSpec": spec, "auth": {"specName": "Local", "params": {}}}
    base_id = platform.create("connections", base)
    target = {
        "name": name,
        "baseConnectionId": base_id,
        "connectionSpec": spec,
        "data": {"format": "CSV", "schema": {"id": "1.0", "version": "1.0"}},
        "params": {"mode": "LOCAL", "path": path, "format": "CSV", "preset": preset},
    }
    flow = {
        "name": name,
        "flowSpec": {"id": flow_spec(platform), "version": "1.0"},
        "sourceConnectionIds": [platform.create("sourceConnections", source)],
        "targetConnectionIds": [platform.create("targetConnections", target)],
        "policy": {"enforcementRefs": [action]},
        "transformations": [{"name": "GeneralTransform", "params": _mapping(platform.tenant)}],
    }
    return Destination(name=name, flow=platform.create("flows", flow), path=path)


def flow_spec(platform: Platform) -> str:
    """The id of the flow spec `upsToCampaign`, as the documents tell to look it up."""
    answer = platform.get("/data/foundation/flowservice/flowSpecs", property="name==upsToCampaign")
    return str(answer["items"][0]["id"])


def _mapping(tenant: str) -> dict[str, Any]:
    paths = [
        f"_{tenant}.loyaltyId",
        "person.name.firstName",
        "person.name.lastName",
        "personalEmail.address",
        "segmentMembership.seg_namespace.seg_id.status",
    ]
    selectors: list[Mapping[str, Any]] = [
        {"type": "JSON_PATH", "value": {"path": path, "operator": "EXISTS"}} for path in paths
    ]
    return {
        "segmentSelectors": {"selectors": []},
        "profileSelectors": {
            "selectors": selectors,
            "primaryFields": [
                {"fieldType": "ATTRIBUTE", "attributePath": f"_{tenant}.loyaltyId"},
            ],
        },
    }
