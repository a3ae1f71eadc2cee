"""A flow of a source is refused where it leads nowhere, and wakes when it should."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from amity.flow.step import Cancel, Output, Timer
from amity.flow.timetable import TimetableState
from amity.kernel.clock import HOUR_MS, VirtualBusinessClock, from_iso
from amity.kernel.errors import AmityError, Forbidden, NotFound
from amity.kernel.ids import SeededIds
from amity.kernel.scope import Scope
from amity.platform.catalog.flow_service import SHOWN_SECRET, FlowService
from amity.platform.catalog.model import Dataset
from amity.platform.ingestion.campaign_records import BadRow, Naming, record_of
from amity.platform.ingestion.source import SourceMeans
from amity.platform.ingestion.source_flows import SourceKind, SourceSpecs, find_flow
from amity.platform.ingestion.source_stage import (
    RUNS_TOPIC,
    SourceDue,
    SourceFlowChanged,
    SourceStage,
    Standing,
)
from amity.platform.ingestion.sources import SOURCES
from amity.storage.ports import Entry
from amity.testing.memory import MemoryDocuments
from amity.transports.outbound import Outbound

SCOPE = Scope("O@AmityOrg", "prod")
NOW = from_iso("2017-10-30T12:00:00Z")
(SPEC_ID,) = SOURCES["campaign_logs"].connection_specs  # type: ignore[attr-defined]
FLOW_SPEC, _ = SOURCES["campaign_logs"].flow_spec  # type: ignore[attr-defined]


class Secrets:
    def encrypt(self, plain: str) -> str:
        return f"enc:{plain}"

    def decrypt(self, sealed: str) -> str:
        return sealed.removeprefix("enc:")


class Desk:
    """A flow service that serves the sources, and what it has told the worker."""

    def __init__(self) -> None:
        self.clock = VirtualBusinessClock(NOW)
        documents = MemoryDocuments(self.clock)
        self.told: list[Entry] = []
        self.kind = SourceKind(
            specs=SOURCES,
            documents=documents,
            catalog=self,
            clock=self.clock,
            append=self.told.extend,
        )
        self.flows = FlowService(
            documents=documents,
            ids=SeededIds(random.Random(1)),
            clock=self.clock,
            kinds=[self.kind],
            secrets=Secrets(),
        )

    def dataset(self, scope: Scope, id: str) -> Dataset:
        if id != "d1":
            raise NotFound(f"there is no dataset {id}")
        return Dataset(id=id, name=id, schema_id="s", profile_enabled=True, identity_enabled=True)

    def flow(self, **change: Any) -> str:
        """Create the chain of a flow; `change` replaces a part."""
        spec = {"id": SPEC_ID, "version": "1.0"}
        auth = change.get("auth", {"specName": "Local"})
        base = self.flows.create(
            SCOPE, "connections", {"name": "b", "connectionSpec": spec, "auth": auth}
        )
        source = self.flows.create(
            SCOPE,
            "sourceConnections",
            {
                "name": "s",
                "baseConnectionId": base.body["id"],
                "connectionSpec": spec,
                "params": change.get("params", {"logs": "broadLog"}),
            },
        )
        target = self.flows.create(
            SCOPE,
            "targetConnections",
            {
                "name": "t",
                "connectionSpec": {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c"},
                "params": change.get("target", {"dataSetId": "d1"}),
            },
        )
        body = {
            "name": "f",
            "flowSpec": {"id": change.get("flow_spec", FLOW_SPEC)},
            "sourceConnectionIds": [source.body["id"]],
            "targetConnectionIds": [target.body["id"]],
            **change.get("flow", {}),
        }
        return str(self.flows.create(SCOPE, "flows", body).body["id"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"auth": {"specName": "Magic"}}, "is none of Local"),
        ({"auth": {"specName": "ConnectionString", "params": {}}}, "lacks connectionString"),
        ({"auth": {"specName": "Local", "params": {"password": "x"}}}, "does not know password"),
        ({"params": {"logs": "everything"}}, "campaign_logs"),
        ({"params": {}}, "campaign_logs"),
        ({"target": {}}, "dataSetId"),
        ({"target": {"dataSetId": "d2"}}, "no dataset"),
        ({"flow_spec": "other"}, FLOW_SPEC),
        ({"flow": {"scheduleParams": {"frequency": "often"}}}, "frequency"),
        ({"flow": {"scheduleParams": {"frequency": "hour", "interval": 0}}}, "1 or more"),
        ({"flow": {"scheduleParams": {"startTime": "soon"}}}, "whole number"),
        ({"flow": {"scheduleParams": {"startTime": "9" * 25}}}, "beyond the year 9999"),
        ({"flow": {"scheduleParams": {"startTime": "-1"}}}, "before 1970"),
        ({"flow": {"scheduleParams": {"frequency": "day", "interval": 10**18}}}, "interval leads"),
        ({"flow": {"transformations": [{"name": "Mapping"}]}}, "maps its rows itself"),
    ],
)
def test_a_flow_that_leads_nowhere_is_refused(change: dict[str, Any], words: str) -> None:
    """By name of the member, and nothing is told to the worker."""
    desk = Desk()
    with pytest.raises(AmityError, match=words):
        desk.flow(**change)

    assert desk.told == []


def test_secrets_are_opened_for_the_reader_alone() -> None:
    """Kept sealed, shown hidden, given in clear to who connects."""
    desk = Desk()
    auth = {"specName": "ConnectionString", "params": {"connectionString": "AccountKey=k"}}
    id = desk.flow(auth=auth, params={"logs": "broadLog", "container": "c"})
    (base,) = desk.flows.find(SCOPE, "connections")
    found = find_flow(desk.flows, SCOPE, id, SourceSpecs(SOURCES))

    assert base.body["auth"]["params"]["connectionString"] == SHOWN_SECRET
    assert found is not None
    assert found.config.connection_string == "AccountKey=k"
    assert (found.start_ms, found.interval_ms) == (NOW, 15 * 60_000)
    assert find_flow(desk.flows, SCOPE, "gone", SourceSpecs(SOURCES)) is None


def test_every_way_to_sign_in_can_be_made(tmp_path: Path) -> None:
    """A source is made of each way without calling anybody; one of a folder lists nothing at first."""
    means = SourceMeans(tmp_path / "exports", tmp_path / "work", Outbound(), "shop")
    spec = SOURCES["campaign_logs"]
    config = spec.config(authentication="Local", logs="trackingLog")

    assert list(spec.make(config, means=means).lots()) == []
    with pytest.raises(AmityError, match="container"):
        spec.make(spec.config(authentication="ConnectionString", logs="broadLog"), means=means)


def stepped(
    messages: list[Any], fired: list[Timer], now: int, state: TimetableState[Standing]
) -> Any:
    return SourceStage().step(state, messages, fired, now)


def test_another_sandbox_reads_no_files_of_this_one(tmp_path: Path) -> None:
    """The folder of the installation is one sandbox's; the others are told what to do instead."""
    desk = Desk()
    flow = find_flow(desk.flows, SCOPE, desk.flow(), SourceSpecs(SOURCES))
    assert flow is not None
    means = SourceMeans(tmp_path / "exports", tmp_path, Outbound(), "shop", home=SCOPE)

    assert list(flow.spec.make(flow.config, means=means.of(SCOPE)).lots()) == []
    with pytest.raises(Forbidden, match="another sandbox"):
        flow.spec.make(flow.config, means=means.of(Scope(SCOPE.org, "dev")))


def test_when_a_flow_wakes() -> None:
    """At once when it is made, then by its schedule; after days of silence once; off, never."""
    state: TimetableState[Standing] = TimetableState()
    on = SourceFlowChanged(SCOPE.key, "f", True, NOW, HOUR_MS)
    (first,) = stepped([on], [], NOW + 5, state).timers
    assert (first.due_ms, first.version) == (NOW + 5, 1)
    outcome = stepped([], [first], NOW + 5, state)
    (again,) = outcome.timers
    assert outcome.outputs == [Output(RUNS_TOPIC, SCOPE, b"f", SourceDue(SCOPE.key, "f", NOW + 5))]
    assert again.due_ms == NOW + HOUR_MS
    late = stepped([], [again], NOW + 50 * HOUR_MS, state)
    assert len(late.outputs) == 1
    assert late.timers[0].due_ms == NOW + 51 * HOUR_MS

    off = stepped([SourceFlowChanged(SCOPE.key, "f", False, 0, 0)], [], NOW, state)
    assert off.timers == [Cancel(SCOPE, b"f")]
    assert stepped([], [late.timers[0]], NOW + 51 * HOUR_MS, state).outputs == []


def test_a_flow_of_one_time() -> None:
    """It wakes once."""
    state: TimetableState[Standing] = TimetableState()
    once = SourceFlowChanged(SCOPE.key, "f", True, NOW + 1, 0)
    (timer,) = stepped([once], [], NOW, state).timers

    assert timer.due_ms == NOW + 1
    assert stepped([], [timer], NOW + 1, state).timers == []


NAMING = Naming("crm", "Email", "shop")
SENT = {"id": "7", "externalId": "c1", "status": "sent", "eventDate": "2017-10-30T08:00:00.000Z"}


@pytest.mark.parametrize(
    ("cells", "event"),
    [
        ({"status": "sent"}, "directMarketing.emailSent"),
        ({"status": "taken"}, "directMarketing.emailSent"),
        ({"status": "received"}, "directMarketing.emailDelivered"),
        ({"status": "failed", "failureType": "hard"}, "directMarketing.emailBounced"),
        ({"status": "failed", "failureType": "soft"}, "directMarketing.emailBouncedSoft"),
        ({"status": "failed", "failureType": "ignored"}, "delivery.feedback"),
        ({"status": "pending"}, "delivery.feedback"),
        ({"status": "unknown"}, "delivery.feedback"),
    ],
)
def test_event_types_of_the_states(cells: dict[str, str], event: str) -> None:
    """Each state of a message has its documented event type, and states differ by `_id`."""
    body = record_of("broadLog", SENT | cells, NAMING).body

    assert body["eventType"] == event
    assert (body["_id"] == record_of("broadLog", SENT, NAMING).body["_id"]) == (
        cells == {"status": "sent"}
    )


@pytest.mark.parametrize(
    ("kind", "machine", "event"),
    [
        ("open", "false", "directMarketing.emailOpened"),
        ("click", "false", "directMarketing.emailClicked"),
        ("optOut", "false", "directMarketing.emailUnsubscribed"),
        ("open", "true", "directMarketing.machineOpened"),
        ("click", "true", "directMarketing.machineClicked"),
    ],
)
def test_event_types_of_the_answers(kind: str, machine: str, event: str) -> None:
    """What a machine did is not counted as a person's answer."""
    cells = {
        "id": "1",
        "hit": "h",
        "externalId": "c1",
        "type": kind,
        "machine": machine,
        "logDate": "2017-10-30T08:00:00Z",
    }
    body = record_of("trackingLog", cells, NAMING).body

    assert body["eventType"] == event
    assert ("directMarketing" in body) == (machine == "false")


@pytest.mark.parametrize(
    ("kind", "cells", "words"),
    [
        ("broadLog", {"id": ""}, "id is empty"),
        ("broadLog", {"status": ""}, "status is empty"),
        ("broadLog", {"eventDate": "yesterday"}, "eventDate"),
        ("broadLog", {"eventDate": ""}, "it says when it happened"),
        ("broadLog", {"seed": "maybe"}, "seed is true or false"),
        ("nonDeliverable", {"errorCount": "many"}, "errorCount is a number"),
        ("preferences", {"lastModified": "2017-10-30"}, "recipientId"),
        (
            "preferences",
            {"recipientId": "1", "lastModified": "2017-10-30", "subscriptions": "[]"},
            "subscriptions",
        ),
        (
            "preferences",
            {"recipientId": "1", "lastModified": "2017-10-30", "subscriptions": '{"a": ["y"]}'},
            "subscriptions",
        ),
        ("preferences", {"recipientId": "1", "lastModified": "0001-01-01"}, "lastModified"),
    ],
)
def test_a_row_that_says_nothing_sensible(kind: str, cells: dict[str, str], words: str) -> None:
    """It is refused by column, and never guessed at."""
    with pytest.raises(BadRow, match=words):
        record_of(kind, SENT | cells, NAMING)


def test_long_texts_are_cut() -> None:
    """A page-long answer of a mail server does not make the event too large."""
    body = record_of("broadLog", SENT | {"failureText": "x" * 100_000}, NAMING).body

    assert len(body["_experience"]["campaign"]["reasonMessage"]) == 500
