"""The campaign's logs are at the platform exactly once, whatever is killed on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import sqlglot.expressions as sge
from exported import START, Place

from amity.app.assembly import Platform, assemble
from amity.app.core import HTTP_WRITER, Core, open_core
from amity.app.folder import DataFolder
from amity.app.worker_side import lake_primary, stages
from amity.campaign.exports.opt_outs import OptOutStream
from amity.campaign.exports.store import EXPORTS
from amity.flow.failures import Failures, FailuresStage
from amity.flow.runner import Runner
from amity.flow.sink import SinkRunner
from amity.kernel.clock import HOUR_MS, VirtualBusinessClock, from_iso, to_iso
from amity.kernel.scope import Scope
from amity.platform.catalog.flow_service import FlowService
from amity.platform.identity.model import Identity
from amity.platform.ingestion.batches import BatchEnds
from amity.platform.ingestion.campaign_setup import CampaignSetup, SetupOrder
from amity.platform.ingestion.identities import identities_of
from amity.platform.ingestion.lake_sink import LakeSink
from amity.platform.ingestion.preferences import PreferencesSink
from amity.platform.ingestion.reception import Reception
from amity.platform.ingestion.source import SourceMeans
from amity.platform.ingestion.source_flows import SourceKind
from amity.platform.ingestion.source_reader import SourceReader
from amity.platform.ingestion.source_stage import SourceStage
from amity.platform.ingestion.sources import SOURCES
from amity.storage.ports import LakeTable

SCOPE = Scope("O@AmityOrg", "prod")


class Killed(BaseException):
    """The process is gone."""


class Knife:
    """Kills at the nth step; what the step does is done or not done by then."""

    def __init__(self) -> None:
        self.left = -1
        self.after = False

    def step(self, work: Callable[[], Any]) -> Any:
        if self.left == 0 and not self.after:
            raise Killed
        done = work()
        if self.left == 0:
            raise Killed
        self.left -= 1
        return done


class CutState:
    """A state whose transactions may be the last thing that happens."""

    def __init__(self, inner: Any, knife: Knife) -> None:
        self._inner, self._knife = inner, knife

    @contextmanager
    def write(self) -> Iterator[Any]:
        self._knife.step(lambda: None)
        with self._inner.write() as writer:
            yield writer
        self._knife.step(lambda: None)

    def read(self) -> Any:
        return self._inner.read()


class Secrets:
    def encrypt(self, plain: str) -> str:
        return f"enc:{plain}"

    def decrypt(self, sealed: str) -> str:
        return sealed.removeprefix("enc:")


class Both:
    """A campaign database and a platform that reads its exports, on one virtual clock."""

    def __init__(self, folder: Path) -> None:
        data = DataFolder(folder / "data")
        data.create()
        self.campaign = Place(data.root, virtual=True)
        self.knife = Knife()
        self.core: Core = open_core(data, clock=to_iso(START), writer=HTTP_WRITER)
        assert isinstance(self.campaign.virtual, VirtualBusinessClock)
        self.clock = self.campaign.virtual
        object.__setattr__(self.core, "clock", self.clock)
        self.platform: Platform = assemble(
            self.core, tenant="shop", public_url="http://shop.test", append=self.core.log.append
        )
        self.kind = SourceKind(
            specs=SOURCES,
            documents=self.core.documents,
            catalog=self.platform.catalog,
            clock=self.clock,
            append=self.core.log.append,
        )
        self.flows = FlowService(
            documents=self.core.documents,
            ids=self.core.ids,
            clock=self.clock,
            kinds=[self.platform.inlets, self.platform.destinations, self.kind],
            secrets=Secrets(),
        )
        self.setup = CampaignSetup(
            registry=self.platform.registry,
            catalog=self.platform.catalog,
            namespaces=self.platform.namespaces,
            documents=self.core.documents,
        )
        self.platform.namespaces.create(
            SCOPE, {"code": "crm", "idType": "CROSS_DEVICE", "name": "Customer"}
        )
        order = SetupOrder(external_namespace="crm", frequency="hour", interval=4)
        self.made = self.setup.set_up(self.flows, SCOPE, order)
        self.campaign.exports.switch("preferences", enabled=True)
        self.restart()

    def restart(self) -> None:
        """A worker that has just started."""
        core, platform = self.core, self.platform
        reception = Reception(
            validators=platform.validators, clock=self.clock, ids=core.ids, tenant="shop"
        )
        lake = LakeSink(
            lake=core.lake,
            state=core.state,
            resolve=platform.registry.resolved,
            identities=identities_of,
            primary=lake_primary(platform.settings),
            batches=BatchEnds(catalog=platform.catalog, clock=self.clock),
        )
        reader = SourceReader(
            state=CutState(core.state, self.knife),  # type: ignore[arg-type]
            flows=self.flows,
            specs=SOURCES,
            means=SourceMeans(core.folder.exports, core.folder.work, core.outbound, "shop"),
            reception=reception,
            append=self._append,
            clock=self.clock,
        )
        preferences = PreferencesSink(place=self.setup, reception=reception, append=core.log.append)
        self.timed = [
            Runner(stages(platform), log=core.log, state=core.state, name="platform"),
            Runner([SourceStage()], log=core.log, state=core.state, name="sources"),
            Runner([FailuresStage()], log=core.log, state=core.state, name="failures"),
        ]
        self.sinks = [
            SinkRunner(sink, log=core.log, state=core.state, system=core.system)
            for sink in (reader, preferences, lake)
        ]
        self.stream = OptOutStream(
            tables=self.campaign.tables,
            schemas=self.campaign.schemas,
            append=core.log.append,
            scope=SCOPE,
        )

    def settle(self) -> None:
        """Run until nothing moves."""
        moved = 1
        while moved:
            now = self.clock.now_ms()
            moved = self.stream.run_once(now)
            moved += sum(host.run_once(now) for host in [*self.timed, *self.sinks])
            moved += sum(host.fire_due(now) for host in self.timed)

    def passes(self, ms: int) -> None:
        """Business time goes by."""
        self.clock.advance_to(self.clock.now_ms() + ms)
        self.settle()

    def export_all(self) -> None:
        for kind in ("broadLog", "trackingLog", "nonDeliverable", "preferences"):
            self.campaign.run(kind)  # type: ignore[arg-type]

    def events(self, ns: str, id: str) -> Counter[str]:
        """How often each kind of event is in the profile of a person."""
        profile = self.platform.profiles.profile_of(SCOPE, Identity(ns, id))
        with self.core.state.read() as reader:
            found = self.platform.profiles.events(reader, SCOPE, profile)
            return Counter(str(one.body["eventType"]) for one in found)

    def consents(self, ns: str, id: str) -> dict[str, str]:
        """What the profile says a person allows."""
        profile = self.platform.profiles.profile_of(SCOPE, Identity(ns, id))
        view = self.platform.profiles.views(SCOPE, [profile])[profile]
        said = view.get("consents", {}).get("marketing", {})
        return {channel: choice["val"] for channel, choice in said.items()}

    def lake_rows(self, kind: str) -> list[str]:
        """The `_id`s of the rows of a dataset in the lake."""
        table = LakeTable(SCOPE, self.made["datasets"][kind])
        if self.core.lake.schema(table) is None:
            return []
        asked = sge.select("_amity_id").from_("t")
        return [str(id) for id in self.core.lake.query(asked, {"t": table}).column(0).to_pylist()]

    def refused(self) -> list[str]:
        """Why records were refused."""
        found = Failures(self.core.state).find(SCOPE)
        return [one.reason for one in found]

    def runs(self, kind: str) -> list[tuple[str, int]]:
        """State and rows taken of each run of a flow."""
        found = self.flows.runs(SCOPE, self.made["flows"][kind])
        return [
            (run["state"], run["metrics"]["recordSummary"]["outputRecordCount"]) for run in found
        ]

    def _append(self, entries: Any) -> Any:
        return self.knife.step(lambda: self.core.log.append(entries))


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    """Both sides, set up."""
    made = Both(tmp_path)
    yield made
    made.core.close()


def test_each_state_and_each_answer_is_one_event(both: Both) -> None:
    """Windows overlap, rows change, files are read late: the profile and the lake count each once."""
    ids = both.campaign.shop()
    both.export_all()
    both.settle()
    both.passes(4 * HOUR_MS)
    both.campaign.change(
        "nms:broadLogRcp",
        ids["sent"],
        status=2,
        failureType=1,
        failureReason=5,
        lastModified=both.clock.now_ms(),
    )
    both.export_all()
    both.passes(4 * HOUR_MS)
    both.export_all()
    both.passes(4 * HOUR_MS)

    assert Counter(
        {
            "directMarketing.emailSent": 1,
            "directMarketing.emailOpened": 1,
            "directMarketing.emailBouncedSoft": 1,
        }
    ) == both.events("crm", "c1")
    assert Counter(
        {"directMarketing.emailBounced": 1, "directMarketing.nonDeliverable": 1}
    ) == both.events("Email", "bob@shop.test")
    assert {"email": "n"} == both.consents("Email", "bob@shop.test")
    assert both.refused() == []
    for kind, count in (("broadLog", 3), ("trackingLog", 1), ("nonDeliverable", 1)):
        rows = both.lake_rows(kind)
        assert (count, count) == (len(rows), len(set(rows)))


def test_overlapping_windows_ship_rows_twice(both: Both) -> None:
    """The other tests would prove nothing otherwise: a row at the edge is in both files."""
    both.campaign.shop()
    both.campaign.run()
    both.passes(4 * HOUR_MS)
    both.campaign.run()

    first, second = both.campaign.rows()
    assert [row["id"] for row in first] == [row["id"] for row in second]


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_step(both: Both, after: bool) -> None:
    """The reader is killed at its first step, then at its second, …: in the end each event is once."""
    both.campaign.shop()
    both.export_all()
    kills = 0
    for nth in range(40):
        both.knife.left, both.knife.after = nth, after
        try:
            both.settle()
        except Killed:
            kills += 1
            both.restart()
            both.kind.announce_all(SCOPE)
            continue
        break
    both.knife.left = -1
    both.settle()

    assert kills >= 4
    assert Counter({"directMarketing.emailSent": 1, "directMarketing.emailOpened": 1}) == (
        both.events("crm", "c1")
    )
    for kind in ("broadLog", "trackingLog", "nonDeliverable"):
        rows = both.lake_rows(kind)
        assert len(rows) == len(set(rows)) > 0


def test_a_lot_that_lies_waits(both: Both) -> None:
    """A truncated file: nothing of it is taken, the run says why; made good, it is read once."""
    both.campaign.shop()
    both.campaign.run()
    (file,) = (both.core.folder.exports / "campaign-logs").glob("broadLog_*.csv")
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    both.settle()
    (run,) = both.flows.runs(SCOPE, both.made["flows"]["broadLog"])

    assert run["state"] == "failed"
    assert "its manifest says" in run["metrics"]["statusSummary"]["errors"][0]["message"]
    assert both.lake_rows("broadLog") == []
    file.write_bytes(whole)
    both.passes(4 * HOUR_MS)
    assert [("success", 2)] == both.runs("broadLog")
    assert len(both.lake_rows("broadLog")) == 2


def test_a_manifest_that_lies_about_its_rows(both: Both) -> None:
    """More rows promised than are there: found before the first of many pages is taken."""
    delivery = both.campaign.shop()["delivery"]
    both.campaign.add_many(
        "nms:broadLogRcp",
        [
            {"delivery_id": delivery, "address": f"a{n}@shop.test", "status": 1,
             "eventDate": START, "lastModified": START}
            for n in range(1_200)
        ],
    )  # fmt: skip
    both.campaign.run()
    (manifest,) = (both.core.folder.exports / "campaign-logs").glob("logs-*.json")
    manifest.write_text(manifest.read_text().replace('"rows": 1202', '"rows": 1203'))
    both.settle()

    assert [("failed", 0)] == both.runs("broadLog")
    assert both.lake_rows("broadLog") == []


def test_an_export_that_was_published_again_is_read_again(both: Both) -> None:
    """Resumed after a crash it may hold more than what was read of it: the rest is taken, nothing twice."""
    ids = both.campaign.shop()
    export = both.campaign.run()
    both.settle()
    both.campaign.add(
        "nms:broadLogRcp",
        recipient_id=ids["bob"],
        delivery_id=ids["delivery"],
        address="other@shop.test",
        status=1,
        eventDate=START,
        lastModified=START,
    )
    with both.campaign.tables.begin() as connection:
        connection.execute(sa.update(EXPORTS).values(state="begun"))
    both.campaign.exports.carry_out(export.id)
    both.passes(4 * HOUR_MS)

    assert [("success", 2), ("success", 3)] == both.runs("broadLog")
    assert len(both.lake_rows("broadLog")) == 3


def test_a_row_without_a_name_is_kept_with_its_reason(both: Both) -> None:
    """A recipient without external id and address: a failed record; the rows beside it are taken."""
    nobody = both.campaign.add("nms:recipient", lastModified=START)
    delivery = both.campaign.shop()["delivery"]
    both.campaign.add(
        "nms:broadLogRcp",
        recipient_id=nobody,
        delivery_id=delivery,
        status=1,
        eventDate=START,
        lastModified=START,
    )
    both.campaign.run()
    both.settle()

    assert len(both.lake_rows("broadLog")) == 2
    assert len(both.refused()) == 1
    assert "needs an identity" in both.refused()[0]


def test_an_opt_out_does_not_wait_for_the_export(both: Both) -> None:
    """It is in the profile at once, and a file exported before and read after does not undo it."""
    ids = both.campaign.shop()
    both.settle()
    both.campaign.run("preferences")
    both.clock.advance_to(both.clock.now_ms() + 1_000)
    both.campaign.change(
        "nms:recipient", ids["ann"], blackListEmail=1, lastModified=both.clock.now_ms()
    )
    both.settle()
    assert {"email": "n"} == both.consents("crm", "c1")
    both.passes(4 * HOUR_MS)
    assert {"email": "n"} == both.consents("crm", "c1")

    both.campaign.change(
        "nms:recipient", ids["ann"], blackListEmail=0, lastModified=both.clock.now_ms()
    )
    both.settle()
    assert {"email": "y"} == both.consents("crm", "c1")


def test_an_opt_out_file_read_late_does_not_undo_a_newer_yes(both: Both) -> None:
    """Said no, exported, said yes again, then the file is read: the newer word stands."""
    ids = both.campaign.shop()
    both.settle()
    both.campaign.change("nms:recipient", ids["ann"], blackList=1, lastModified=START)
    both.campaign.run("preferences")
    both.campaign.change("nms:recipient", ids["ann"], blackList=0, lastModified=START)
    both.stream.run_once(0)
    both.sinks[1].run_once(both.clock.now_ms())
    both.passes(4 * HOUR_MS)

    assert {"any": "y"} == both.consents("crm", "c1")


def test_the_setup_may_be_repeated(both: Both) -> None:
    """The same call again makes nothing new; another sandbox has datasets of its own."""
    again = both.setup.set_up(
        both.flows,
        SCOPE,
        SetupOrder(external_namespace="crm", frequency="hour", interval=4),
    )
    elsewhere = both.setup.set_up(both.flows, Scope(SCOPE.org, "dev"), SetupOrder())

    assert both.made == again
    assert set(elsewhere["datasets"].values()).isdisjoint(again["datasets"].values())


def test_time_of_the_event_is_that_of_the_log(both: Both) -> None:
    """Not the time of the export or of the reading."""
    both.campaign.shop()
    both.clock.advance_to(START + HOUR_MS)
    both.export_all()
    both.settle()
    profile = both.platform.profiles.profile_of(SCOPE, Identity("crm", "c1"))
    with both.core.state.read() as reader:
        found = list(both.platform.profiles.events(reader, SCOPE, profile))

    assert {START} == {from_iso(one.body["timestamp"]) for one in found}
