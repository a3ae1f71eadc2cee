"""What is exported is whole, in one piece, and nothing is left out between two exports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest
from exported import START, Place
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.campaign.exports.errors import ExportUnderWay
from amity.campaign.exports.host import ExportHost
from amity.campaign.exports.model import Order
from amity.campaign.exports.opt_outs import OptOutStream
from amity.campaign.workflow.activities.log_export import SPEC
from amity.campaign.workflow.activity import Done, Later, Task
from amity.campaign.workflow.templates import TEMPLATES
from amity.exchange.errors import ExportTooSoon
from amity.exchange.preferences import PREFERENCES_TOPIC, change_of
from amity.flow.intake import Intake
from amity.kernel.clock import HOUR_MS, VirtualBusinessClock, to_iso
from amity.kernel.scope import Scope
from amity.testing.memory import MemoryLog, MemoryState
from amity.transports.errors import StoreRefused, StoreUnavailable
from amity.transports.local import LocalStore
from amity.transports.ports import Stat

pytestmark = pytest.mark.thorough

SCOPE = Scope("O@AmityOrg", "prod")


class Killed(BaseException):
    """The process is gone."""


@dataclass
class CutStore:
    """A store in a folder whose nth put is the last thing that happens, or fails."""

    inner: LocalStore
    left: int
    error: type[BaseException] | BaseException = Killed
    done: bool = False
    """Whether the file is there by then."""

    def put(self, path: str, data: bytes | Path, *, content_type: str = "") -> None:
        if self.left == 0 and not self.done:
            raise self.error
        self.inner.put(path, data, content_type=content_type)
        if self.left == 0:
            raise self.error
        self.left -= 1

    def get(self, path: str) -> bytes:
        return self.inner.get(path)

    def open(self, path: str) -> IO[bytes]:
        return self.inner.open(path)

    def list(self, prefix: str = "") -> Iterator[Stat]:
        return self.inner.list(prefix)

    def head(self, path: str) -> Stat | None:
        return self.inner.head(path)

    def delete(self, path: str) -> None:
        self.inner.delete(path)


def test_the_rows_say_what_the_tables_say(tmp_path: Path) -> None:
    """Names for numbers, times as RFC 3339, whose row it is; text that a spreadsheet would run is whole."""
    place = Place(tmp_path)
    ids = place.shop()
    place.exports.switch("preferences", enabled=True)
    for kind in ("broadLog", "trackingLog", "nonDeliverable", "preferences"):
        place.run(kind)  # type: ignore[arg-type]
    ((sent, failed),) = place.rows()
    ((opened,),) = place.rows("trackingLog")
    ((address,),) = place.rows("nonDeliverable")
    ((ann, bob),) = place.rows("preferences")

    assert (
        sent
        | {
            "id": str(ids["sent"]),
            "deliveryName": "DM1",
            "campaignName": "Campaign 18",
            "externalId": "c1",
            "email": "ann@shop.test",
            "address": "ann@shop.test",
            "channel": "email",
            "status": "sent",
            "failureType": "none",
            "seed": "false",
            "eventDate": to_iso(START),
        }
        == sent
    )
    assert ("failed", "hard", "userUnknown") == (
        failed["status"],
        failed["failureType"],
        failed["failureReason"],
    )
    assert failed["failureText"] == "=550 5.1.1 'no such user'"
    assert (opened["type"], opened["hit"], opened["broadLogId"]) == ("open", "h1", sent["id"])
    assert (address["status"], address["errorCount"]) == ("quarantine", "1")
    assert (ann["blackListEmail"], bob["blackListEmail"]) == ("false", "true")


def test_subscriptions_are_in_the_preferences(tmp_path: Path) -> None:
    """The last word on each service; a subscription alone brings the person into the next window."""
    place = Place(tmp_path)
    ids = place.shop()
    place.exports.switch("preferences", enabled=True)
    place.run("preferences")
    place.machine.passes(5 * 3_600)
    service = place.add("nms:service", name="newsletter")
    for action in (1, 0):
        place.add(
            "nms:subHisto",
            service_id=service,
            recipient_id=ids["ann"],
            action=action,
            date=place.clock.now_ms(),
        )
    place.run("preferences")

    ann, *_ = place.rows("preferences")[-1]
    assert ann["subscriptions"] == '{"newsletter":"n"}'
    assert ann["lastModified"] == to_iso(place.clock.now_ms())


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("at", [0, 1])
def test_killed_while_publishing(tmp_path: Path, at: int, done: bool) -> None:
    """Killed at a file or the manifest: begun once, finished by the next worker, one export in the end."""
    place = Place(tmp_path)
    place.shop()
    store = place.store
    place.store = CutStore(LocalStore(tmp_path / "exports"), at, done=done)
    with pytest.raises(Killed):
        place.run(key="k")
    with pytest.raises(ExportUnderWay):
        place.run(key="other")
    place.store = store
    assert len(place.rows()) == (at == 1 and done)
    place.again()
    host = ExportHost(exports=place.exports, system=place.machine)
    assert host.lag() == 1

    assert host.run_once(0) == 1
    assert host.run_once(0) == 0
    assert [2] == [len(rows) for rows in place.rows()]
    assert list((tmp_path / "spool").glob("*")) == []
    with pytest.raises(ExportTooSoon):
        place.run(key="other")


def test_a_place_that_cannot_be_reached_is_tried_again(tmp_path: Path) -> None:
    """The host waits and goes on; a place that refuses for good fails the export, which does not count."""
    place = Place(tmp_path)
    place.shop()
    inner = LocalStore(tmp_path / "exports")
    order = Order(kind="broadLog", key="k", by="t")
    place.exports.begin(order)
    host = ExportHost(exports=place.exports, system=place.machine)
    place.store = CutStore(inner, 0, StoreUnavailable("down"))
    assert host.run_once(0) == 0
    place.store = CutStore(inner, 0, StoreRefused("no"))
    assert host.run_once(0) == 0
    place.machine.passes(60)
    assert host.run_once(0) == 1
    (failed,) = place.exports.exports(10)
    assert (failed.state, failed.error) == ("failed", "no")

    place.store = inner
    assert place.exports.run(order).state == "published"


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(-700, 20_000), min_size=1, max_size=8), st.integers(0, 700))
def test_nothing_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], late_s: int
) -> None:
    """Rows written by transactions that began up to the overlap before they ended are all exported."""
    place = Place(tmp_path_factory.mktemp("gaps"), virtual=True)
    assert place.virtual is not None
    delivery = place.shop()["delivery"]
    made = set()
    for n, gap in enumerate(gaps):
        stamp = place.virtual.now_ms() - min(late_s, 599) * 1_000
        made.add(
            place.add(
                "nms:broadLogRcp",
                delivery_id=delivery,
                address=f"a{n}",
                eventDate=stamp,
                lastModified=stamp,
            )
        )
        if gap > 0:
            place.virtual.advance_to(place.virtual.now_ms() + gap * 1_000)
        if place.exports.wait_ms("broadLog") == 0:
            place.run()
    place.virtual.advance_to(place.virtual.now_ms() + 4 * HOUR_MS)
    place.run()
    shipped = {int(row["id"]) for rows in place.rows() for row in rows}

    assert made <= shipped


def test_a_clock_of_the_api_that_runs_ahead(tmp_path: Path) -> None:
    """Ordered at a time that the worker has not reached: what it writes until then is not skipped."""
    place = Place(tmp_path, virtual=True)
    assert place.virtual is not None
    delivery = place.shop()["delivery"]
    worker = place.exports
    place.virtual = VirtualBusinessClock(START + 2 * HOUR_MS)
    begun = place.again().begin(Order(kind="broadLog", key="k", by="api"))
    worker.carry_out(begun.id)
    late = place.add(
        "nms:broadLogRcp", delivery_id=delivery, address="a", lastModified=START + HOUR_MS
    )
    place.virtual.advance_to(START + 7 * HOUR_MS)
    place.run()

    assert str(late) in {row["id"] for row in place.rows()[-1]}


def stream_of(place: Place, log: MemoryLog) -> OptOutStream:
    return OptOutStream(tables=place.tables, schemas=place.schemas, append=log.append, scope=SCOPE)


def test_every_change_of_a_flag_is_streamed_once(tmp_path: Path) -> None:
    """In order, whoever made it; killed between saying and noting, it is said again and heard once."""
    place, log = Place(tmp_path), MemoryLog(writer=2)
    ids = place.shop()
    stream = stream_of(place, log)
    assert stream.lag() == 1
    assert stream.run_once(0) == 1
    assert stream.run_once(0) == 0
    place.change("nms:recipient", ids["ann"], blackListEmail=1)
    place.change("nms:recipient", ids["ann"], language="fr")
    place.change("nms:recipient", ids["ann"], blackListEmail=0, blackList=1)

    def cut(entries: Any) -> None:
        log.append(entries)
        raise Killed

    with pytest.raises(Killed):
        OptOutStream(tables=place.tables, schemas=place.schemas, append=cut, scope=SCOPE).run_once(
            0
        )
    assert stream_of(place, log).run_once(0) == 3
    intake = Intake((PREFERENCES_TOPIC,), log=log, state=MemoryState(), name="reader")
    heard = [change_of(one.body) for one in intake.fresh(intake.read(PREFERENCES_TOPIC, 100))]

    assert [("bob@shop.test", "email", False), *[("ann@shop.test", *said) for said in (
        ("email", False), ("all", False), ("email", True))]] == [
        (one.email, one.channel, one.allowed) for one in heard
    ]  # fmt: skip
    assert {"c1"} == {one.external_id for one in heard if one.email == "ann@shop.test"}


def task_of(place: Place, id: int) -> Task:
    return Task(
        workflow=1,
        id=id,
        activity="export",
        inputs={},
        vars={},
        instance_vars={},
        memory={},
        now_ms=place.clock.now_ms(),
        attempt=1,
        work=None,  # type: ignore[arg-type]
        journal=lambda _level, _text: None,
        stopped=lambda: False,
    )


class Lent:
    """What the activity asks of the installation."""

    def __init__(self, place: Place) -> None:
        self.exports = place.exports


def test_the_activity_exports_once_and_not_too_soon(tmp_path: Path) -> None:
    """Run again after a crash it answers the same; a little early it waits, much too early it is refused."""
    place = Place(tmp_path)
    place.shop()
    activity = SPEC.make(SPEC.config(kind="broadLog"), Lent(place))
    first = activity.run(task_of(place, 1))
    assert isinstance(first, Done)
    assert first.outputs["out"].vars["rows"] == 2
    again = activity.run(task_of(place, 1))
    assert isinstance(again, Done)
    assert again.outputs == first.outputs
    with pytest.raises(ExportTooSoon, match="the next is allowed at 2017-10-30T12:00:00"):
        activity.run(task_of(place, 2))
    place.machine.passes(4 * 3_600 - 2)

    assert Later(
        at_ms=place.clock.now_ms() + 2_000,
        why="exports lie 4 h apart: waits until 2017-10-30T12:00:00.000Z",
    ) == activity.run(task_of(place, 2))


def test_the_four_templates(tmp_path: Path) -> None:
    """Each exports its kind, by activities whose options are understood."""
    found = {}
    for name, spec in TEMPLATES.items():
        if name.startswith("export_"):
            graph = spec.make(spec.config(name=name))
            options = graph.step("export").options
            found[name] = msgspec.convert(options, SPEC.config).kind

    assert found == {
        "export_broad_log": "broadLog",
        "export_non_deliverable": "nonDeliverable",
        "export_preferences": "preferences",
        "export_tracking_log": "trackingLog",
    }
