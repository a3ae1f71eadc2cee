"""No detour leads past the rules of exports, and what comes late is not left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from exported import Place

from amity.campaign.exports.errors import ExportUnderWay
from amity.campaign.exports.host import ExportHost
from amity.campaign.exports.model import Order
from amity.campaign.recipients.model import Attribute, Schema
from amity.campaign.recipients.service import Recipients
from amity.campaign.tracking.hits_sink import HitsSink
from amity.campaign.tracking.model import HITS_TOPIC, Hit, encoded
from amity.exchange.errors import ExportTooSoon
from amity.storage.ports import LogRecord
from amity.transports.errors import StoreRefused, StoreUnavailable
from amity.transports.local import LocalStore
from amity.transports.ports import Store

pytestmark = pytest.mark.thorough

HOUR_S = 3_600


def test_a_hit_that_was_written_down_late_is_exported(tmp_path: Path) -> None:
    """A worker was down for an hour: its export goes first, the clicks of that hour come into the next."""
    place = Place(tmp_path)
    ids = place.shop()
    clicked_ms = place.clock.now_ms()
    place.machine.passes(HOUR_S)
    place.run("trackingLog")
    sink = HitsSink(
        tables=place.tables,
        schemas=place.schemas,
        recipients=Recipients(place.tables, place.schemas, place.clock),
    )
    hit = Hit(
        id="late", kind="click", broadlog=ids["sent"], delivery=ids["delivery"], at_ms=clicked_ms
    )
    record = LogRecord(HITS_TOPIC, 0, 1, b"k", encoded(hit), "", 0)
    sink.handle([record], place.clock.now_ms())
    place.machine.passes(4 * HOUR_S)
    place.run("trackingLog")
    first, second = place.rows("trackingLog")
    assert [row["hit"] for row in first] == ["h1"]
    assert [row["hit"] for row in second] == ["late"]


def test_the_name_of_an_extension_is_no_way_round(tmp_path: Path) -> None:
    """A customer's extension of a log is the log itself: a file of it counts as its export."""
    place = Place(tmp_path)
    place.schemas.save(
        Schema(
            namespace="cus",
            name="broadLogRcp",
            extends="nms:broadLogRcp",
            attributes=(Attribute(name="extra"),),
        )
    )
    place.run("broadLog")
    for name in ("cus:broadLogRcp", "nms:broadLogRcp", "broadLog"):
        with pytest.raises(ExportTooSoon):
            place.exports.claim(name, key=name, by="workflow 1")
    place.exports.claim("nms:recipient", key="k", by="workflow 1")


def test_a_file_is_no_way_round_an_export_under_way(tmp_path: Path) -> None:
    """An export that waits for its place may go out any moment: no file of the same rows until then."""
    place = Place(tmp_path)
    place.exports.begin(Order(kind="broadLog", key="stuck", by="a test"))
    place.machine.passes(5 * HOUR_S)
    with pytest.raises(ExportUnderWay):
        place.exports.claim("nms:broadLogRcp", key="file", by="workflow 1")


class _Down:
    """A place that cannot be reached."""

    def put(self, path: str, data: bytes | Path, *, content_type: str = "") -> None:
        raise StoreUnavailable("nobody answers")


def test_one_place_that_is_down_holds_up_no_other(tmp_path: Path) -> None:
    """The oldest export cannot be delivered; one of another kind to another place is."""
    place = Place(tmp_path)
    place.shop()
    stores: dict[str, Store] = {"exchange": place.store, "down": _Down()}  # type: ignore[dict-item]
    place.exports._open_store = stores.__getitem__
    stuck = Order(kind="trackingLog", key="a", by="a test", account="down")
    fine = Order(kind="broadLog", key="b", by="a test")
    begun = [place.exports.begin(order) for order in (stuck, fine)]
    host = ExportHost(exports=place.exports, system=place.machine)
    host.run_once(place.clock.now_ms())
    assert [place.exports.export(one.id).state for one in begun] == ["begun", "published"]
    stores["down"] = place.store
    place.machine.passes(600)
    assert host.run_once(place.clock.now_ms()) == 1
    assert host.lag() == 0


def test_a_clock_set_back_before_a_file_went_elsewhere(tmp_path: Path) -> None:
    """Rows that bear times from before the last export are still owed after a file of another kind."""
    place = Place(tmp_path)
    ids = place.shop()
    place.run("broadLog")
    place.machine.set_clock(-HOUR_S)
    place.again()
    place.machine.passes(60)
    place.change("nms:broadLogRcp", ids["sent"], status=9, lastModified=place.clock.now_ms())
    place.machine.passes(6 * HOUR_S)
    place.exports.claim("nms:broadLogRcp", key="file", by="workflow 1")
    place.machine.passes(5 * HOUR_S)
    place.run("broadLog")
    assert "unknown" in [row["status"] for row in place.rows("broadLog")[-1]]


class _NoManifests(LocalStore):
    """A place whose keeper lets files in and refuses what says that they are whole."""

    def put(self, path: str, data: bytes | Path, *, content_type: str = "") -> None:
        if path.endswith(".json"):
            raise StoreRefused("no manifests here")
        super().put(path, data, content_type=content_type)


def test_a_place_that_refuses_manifests_is_no_way_round(tmp_path: Path) -> None:
    """What failed after rows were to be seen counts for the four hours, and its window is still owed."""
    place = Place(tmp_path)
    place.shop()
    place.store = _NoManifests(tmp_path / "exports")
    with pytest.raises(StoreRefused):
        place.run("broadLog")
    assert list((tmp_path / "exports").rglob("*.csv"))
    with pytest.raises(ExportTooSoon):
        place.run("broadLog")
    place.machine.passes(4 * HOUR_S)
    place.store = LocalStore(tmp_path / "exports")
    assert place.run("broadLog").rows == 2


def test_what_failed_unseen_may_be_tried_at_once(tmp_path: Path) -> None:
    """A place that takes nothing has been given nothing."""
    place = Place(tmp_path)
    place.shop()
    fine, place.store = place.store, _Refusing()  # type: ignore[assignment]
    with pytest.raises(StoreRefused):
        place.run("broadLog")
    place.store = fine
    assert place.run("broadLog").rows == 2


class _Refusing:
    """A place that takes nothing."""

    def put(self, path: str, data: bytes | Path, *, content_type: str = "") -> None:
        raise StoreRefused("nothing is taken here")
