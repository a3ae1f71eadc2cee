"""A shop with people, audiences and a destination that keeps JSON lines in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

import msgspec
import pyarrow as pa

from amity.flow.runner import Runner
from amity.flow.sink import SinkRunner
from amity.kernel.clock import VirtualBusinessClock, from_iso
from amity.kernel.ids import ProfileId, SeededIds
from amity.kernel.scope import Scope
from amity.platform.activation.destination import (
    Auth,
    Capabilities,
    DestinationSpec,
    Job,
    Means,
    Published,
    Words,
)
from amity.platform.activation.errors import BadFlow
from amity.platform.activation.exporter import Exporter
from amity.platform.activation.flow_kind import DestinationKind, StoredActivations
from amity.platform.activation.people import Seen
from amity.platform.activation.stage import ActivationStage
from amity.platform.catalog.flow_service import FlowService
from amity.platform.governance.book import PolicyBook
from amity.platform.governance.lineage import AudienceFacts, Source
from amity.platform.governance.service import Governance
from amity.platform.segmentation.model import MEMBERSHIPS_TOPIC, MembershipChanged
from amity.storage.ports import Entry, Log, State
from amity.storage.sqlite.log import SqliteLog
from amity.storage.sqlite.state import SqliteState
from amity.testing.memory import MemoryDocuments, MemoryLog, MemoryState
from amity.transports.outbound import Outbound

SCOPE = Scope("A@AmityOrg", "prod")
START = "2024-01-04T00:00:00Z"
FOLDER_SPEC = "4fce964d-3f37-408f-9778-e597338a21ee"
SOURCE_SPEC = "8a9c3494-9708-43d7-ae3f-cda01e5030e1"
EMAIL_TARGETING = "/dulepolicy/marketingActions/core/emailTargeting"
PATHS = ("_shop.id", "personalEmail.address", "segmentMembership.seg_namespace.seg_id.status")


class LinesConfig(msgspec.Struct, kw_only=True, rename="camel"):
    authentication: str = ""
    path: str


@dataclass
class LinesFiles:
    """Rows of one job; seen under their name only when published."""

    folder: Path
    job: Job

    def __post_init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.to_pylist()

    def publish(self) -> Published:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{self.job.audience}-{self.job.scheduled_ms}-{self.job.run}.jsonl"
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        (self.folder / name).write_text(text)
        return Published(files=(name,), manifest="", rows=len(self.rows), bytes=len(text))

    def discard(self) -> None:
        self.rows.clear()


class Lines:
    words = Words("active", "expired")

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, job: Job) -> LinesFiles:
        return LinesFiles(self._folder, job)


def _check_filename(template: str) -> None:
    if "%SEGMENT_ID%" not in template:
        raise BadFlow("a name must hold %SEGMENT_ID%")


LINES = DestinationSpec(
    name="lines",
    summary="JSON lines in a folder, for tests.",
    config=LinesConfig,
    make=lambda config, *, means: Lines(means.exports / config.path),
    connection_specs={FOLDER_SPEC: "Lines"},
    flow_spec=("1a0514a6-33d4-4c7f-aff8-594799c47549", "linesFlow"),
    auths=(Auth(name="Local"), Auth(name="Key", required=("accountKey",))),
    target=("path",),
    capabilities=Capabilities(calendar=True),
    check_filename=_check_filename,
)
SPECS: Mapping[str, DestinationSpec] = {"lines": LINES}


class Plain:
    """Secrets that hide nothing."""

    def encrypt(self, plain: str) -> str:
        return f"enc:{plain}"

    def decrypt(self, sealed: str) -> str:
        return sealed.removeprefix("enc:")


class Shop:
    """Everything between a membership and a file, wired as the application wires it."""

    def __init__(self, folder: Path, *, sqlite: bool = False) -> None:
        self.exports = folder / "exports"
        self.clock = VirtualBusinessClock(from_iso(START))
        self.documents = MemoryDocuments(self.clock)
        self.log: Log = SqliteLog(folder, writer=0) if sqlite else MemoryLog()
        self.state: State = SqliteState(folder / "state.db") if sqlite else MemoryState()
        self.views_of: dict[str, dict[str, Any]] = {}
        self.homes: dict[str, str] = {}
        self.customers = Source(
            dataset="customers", name="Customers", labels=frozenset(), fields={}
        )
        self.audiences = {
            id: AudienceFacts(
                id=id, name=id.title(), merge_policy="mp", merge_policy_name="Default"
            )
            for id in ("rich", "poor")
        }
        ids = SeededIds(Random(7))
        self.book = PolicyBook(documents=self.documents, ids=ids, clock=self.clock)
        activations = StoredActivations(documents=self.documents, specs=SPECS)
        self.activations = activations
        self.governance = Governance(book=self.book, estate=self, activations=activations)
        self.kind = DestinationKind(
            specs=SPECS,
            activations=activations,
            governance=self.governance,
            clock=self.clock,
            append=self.log.append,
        )
        self.flows = FlowService(
            documents=self.documents,
            ids=ids,
            clock=self.clock,
            kinds=[self.kind],
            secrets=Plain(),
        )
        self.exporter = Exporter(
            state=self.state,
            flows=self.flows,
            people=self,
            governance=self.governance,
            specs=SPECS,
            means=Means(self.exports, folder / "work", Outbound()),
            clock=self.clock,
        )
        self.runner = Runner([ActivationStage()], log=self.log, state=self.state, name="activation")
        self.sink = SinkRunner(self.exporter, log=self.log, state=self.state)

    def sources(self, scope: Scope, merge_policy: str) -> Sequence[Source]:
        return [self.customers]

    def source(self, scope: Scope, dataset: str) -> Source | None:
        return self.customers if dataset == "customers" else None

    def audience(self, scope: Scope, id: str) -> AudienceFacts | None:
        return self.audiences.get(id)

    def views(
        self, scope: Scope, ids: Sequence[ProfileId], merge_policy: str
    ) -> Mapping[ProfileId, Seen]:
        homes = {id: self.homes.get(id, id) for id in ids}
        return {
            id: Seen(ProfileId(home), self.views_of[home])
            for id, home in homes.items()
            if home in self.views_of
        }

    def person(self, id: str, **more: Any) -> None:
        self.views_of[id] = {
            "_shop": {"id": id},
            "personalEmail": {"address": f"{id}@example.test"},
            **more,
        }

    def member(
        self,
        profile: str,
        status: Literal["realized", "exited"] = "realized",
        audience: str = "rich",
    ) -> None:
        change = MembershipChanged(
            SCOPE.key, ProfileId(profile), audience, status, self.clock.now_ms(), "record", 1
        )
        body = msgspec.msgpack.encode(change)
        self.log.append([Entry(MEMBERSHIPS_TOPIC, profile.encode(), body)])

    def flow(self, *audiences: str, paths: Sequence[str] = PATHS, **params: Any) -> str:
        """A flow that leads into the folder `out`; its id."""
        base = self.flows.create(
            SCOPE,
            "connections",
            {
                "name": "Folder",
                "connectionSpec": {"id": FOLDER_SPEC, "version": "1.0"},
                "auth": {"specName": "Local", "params": {}},
            },
        )
        target = self.flows.create(
            SCOPE,
            "targetConnections",
            {
                "name": "Campaign",
                "baseConnectionId": base.body["id"],
                "connectionSpec": {"id": FOLDER_SPEC, "version": "1.0"},
                "params": {"path": "out"},
            },
        )
        source = self.flows.create(
            SCOPE,
            "sourceConnections",
            {"name": "Profiles", "connectionSpec": {"id": SOURCE_SPEC, "version": "1.0"}},
        )
        selectors = [{"type": "JSON_PATH", "value": {"path": path}} for path in paths]
        made = self.flows.create(
            SCOPE,
            "flows",
            {
                "name": "To campaign",
                "flowSpec": {"id": LINES.flow_spec[0], "version": "1.0"},
                "sourceConnectionIds": [source.body["id"]],
                "targetConnectionIds": [target.body["id"]],
                "policy": {"enforcementRefs": [EMAIL_TARGETING]},
                "transformations": [
                    {
                        "name": "GeneralTransform",
                        "params": {
                            "segmentSelectors": {"selectors": [mapped(one) for one in audiences]},
                            "profileSelectors": {"selectors": selectors},
                            **params,
                        },
                    }
                ],
            },
        )
        return str(made.body["id"])

    def patch(self, flow: str, *operations: dict[str, Any]) -> None:
        etag = self.flows.get(SCOPE, "flows", flow).etag
        self.flows.patch(SCOPE, "flows", flow, list(operations), if_match=f'"{etag}"')

    def until(self, iso: str) -> None:
        """Advance as the worker does: drain, fire each due timer with its effects, drain."""
        to_ms = from_iso(iso)
        self.drain()
        while (due := self.runner.next_due()) is not None and due <= to_ms:
            self.clock.advance_to(max(due, self.clock.now_ms()))
            self.runner.fire_due(due)
            self.drain()
        self.clock.advance_to(to_ms)
        self.drain()

    def drain(self) -> None:
        now_ms = self.clock.now_ms()
        while self.runner.run_once(now_ms) + self.sink.run_once(now_ms):
            pass

    def files(self, audience: str = "rich") -> list[list[dict[str, Any]]]:
        found = sorted((self.exports / "out").glob(f"{audience}-*.jsonl"))
        return [[json.loads(line) for line in path.read_text().splitlines()] for path in found]

    def told(self, audience: str = "rich") -> list[list[tuple[str, str]]]:
        """(id, status) of each row of each file."""
        return [
            sorted(
                (row["_shop_id"], row["segmentMembership_seg_namespace_seg_id_status"])
                for row in file
            )
            for file in self.files(audience)
        ]

    def runs(self, flow: str) -> list[dict[str, Any]]:
        return self.flows.runs(SCOPE, flow)


def mapped(
    audience: str, mode: str = "FIRST_FULL_THEN_INCREMENTAL", **schedule: Any
) -> dict[str, Any]:
    """A selector that exports daily at 06:00 unless said otherwise."""
    when = {"frequency": "DAILY", "startDate": "2024-01-05", "startTime": "06:00", **schedule}
    return {
        "type": "PLATFORM_SEGMENT",
        "value": {"id": audience, "exportMode": mode, "schedule": when},
    }
