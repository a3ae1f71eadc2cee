"""Log exports lie four hours apart, whatever somebody tries."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from exported import Place
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from routed import Client

from amity.app import problems
from amity.campaign.exports.errors import ExportUnderWay, SwitchedOff
from amity.campaign.exports.host import ExportHost
from amity.campaign.exports.interval import Moment, wait_ms
from amity.campaign.exports.model import Order
from amity.campaign.exports.routes import router
from amity.exchange.errors import ExportTooSoon
from amity.exchange.guardrails import EXPORT_INTERVAL_MS_MIN
from amity.kernel.clock import HOUR_MS, to_iso

pytestmark = pytest.mark.thorough

HOUR_S = 3_600


class LetIn:
    """A gate that knows everybody."""

    def authorize(self, request: object, permission: str) -> object:
        class Who:
            id = "attacker"

        return Who()


def api(place: Place) -> Client:
    app = FastAPI()
    problems.install(app)
    app.state.gate = LetIn()
    app.include_router(router(place.exports, place.ids))
    return Client(app)


def test_a_second_export_within_four_hours_is_refused_over_the_api(tmp_path: Path) -> None:
    """The answer is 409 and says when the next is allowed; other kinds do not wait for this one."""
    place = Place(tmp_path)
    first = api(place).post("/campaign/exports/broadLog")
    assert first.status_code == 202
    host = ExportHost(exports=place.exports, system=place.machine)
    assert host.run_once(0) == 1

    again = api(place).post("/campaign/exports/broadLog", json={"folder": "elsewhere"})

    assert again.status_code == 409
    assert again.json()["next_allowed"] == to_iso(place.clock.now_ms() + EXPORT_INTERVAL_MS_MIN)
    assert "4 h apart" in again.json()["detail"]
    assert api(place).post("/campaign/exports/trackingLog").status_code == 202


def test_one_under_way_is_not_doubled(tmp_path: Path) -> None:
    """While an export is not done, another of its kind is refused, and it counts from its beginning."""
    place = Place(tmp_path)
    api(place).post("/campaign/exports/broadLog")

    assert api(place).post("/campaign/exports/broadLog").status_code == 409
    assert len(place.exports.under_way()) == 1


def test_a_crowd_gets_one_export(tmp_path: Path) -> None:
    """Of sixteen orders at the same moment one begins."""
    place = Place(tmp_path)
    orders = [Order(kind="broadLog", key=f"k{n}", by="crowd") for n in range(16)]

    def begins(order: Order) -> bool:
        try:
            place.exports.begin(order)
        except (ExportUnderWay, ExportTooSoon):
            return False
        return True

    with ThreadPoolExecutor(8) as crowd:
        assert 1 == sum(crowd.map(begins, orders))


@pytest.mark.parametrize("virtual", [False, True])
def test_the_edge(tmp_path: Path, virtual: bool) -> None:
    """A millisecond before four hours is too soon, at four hours it is allowed."""
    place = Place(tmp_path, virtual=virtual)
    place.run()
    if place.virtual:
        place.virtual.advance_to(place.virtual.now_ms() + EXPORT_INTERVAL_MS_MIN - 1)
    else:
        place.machine.passes(4 * HOUR_S - 0.001)
    with pytest.raises(ExportTooSoon):
        place.run()
    if place.virtual:
        place.virtual.advance_to(place.virtual.now_ms() + 1)
    else:
        place.machine.passes(0.001)

    assert place.run().state == "published"


def test_a_restart_does_not_forget(tmp_path: Path) -> None:
    """A process started anew refuses like the one before it."""
    place = Place(tmp_path)
    place.run()
    place.again()

    with pytest.raises(ExportTooSoon):
        place.run()


def test_a_clock_set_forward_brings_nothing_sooner(tmp_path: Path) -> None:
    """With or without a restart of the process: the machine has not been up for four hours since."""
    place = Place(tmp_path)
    place.run()
    place.machine.set_clock(30 * HOUR_S)
    with pytest.raises(ExportTooSoon) as refused:
        place.run()
    place.again()
    with pytest.raises(ExportTooSoon):
        place.run()

    assert refused.value.data["next_allowed_ms"] == place.clock.now_ms() + EXPORT_INTERVAL_MS_MIN
    place.machine.passes(4 * HOUR_S)
    assert place.run().state == "published"


def test_a_clock_set_back_does_not_lock_exports_out(tmp_path: Path) -> None:
    """An export stamped in the far future: after four hours by the machine's count the next one runs."""
    place = Place(tmp_path)
    place.machine.set_clock(24 * 365 * HOUR_S)
    place.again()
    place.run()
    place.machine.set_clock(-24 * 365 * HOUR_S)
    place.again()
    with pytest.raises(ExportTooSoon):
        place.run()
    place.machine.passes(4 * HOUR_S)

    assert place.run().state == "published"


def test_rows_written_while_the_clock_was_wrong_are_not_lost(tmp_path: Path) -> None:
    """A clock set back by two hours: the next window reaches back far enough to hold them."""
    place = Place(tmp_path)
    ids = place.shop()
    place.run()
    place.machine.passes(60)
    place.machine.set_clock(-2 * HOUR_S)
    place.again()
    place.change("nms:broadLogRcp", ids["sent"], status=2, lastModified=place.clock.now_ms())
    place.machine.passes(6 * HOUR_S)

    place.run()

    assert ("failed", str(ids["sent"])) in {(row["status"], row["id"]) for row in place.rows()[-1]}


def test_a_start_of_the_machine_in_between(tmp_path: Path) -> None:
    """After a new start business time counts; set back beyond the last export, uptime is the proof."""
    place = Place(tmp_path)
    place.run()
    place.machine.reboot(2 * HOUR_S)
    place.again()
    with pytest.raises(ExportTooSoon):
        place.run()
    place.machine.passes(2 * HOUR_S)
    assert place.run().state == "published"

    place.machine.reboot(10)
    place.machine.set_clock(-100 * HOUR_S)
    place.again()
    with pytest.raises(ExportTooSoon):
        place.run()
    place.machine.passes(4 * HOUR_S)
    assert place.run().state == "published"


def test_another_kind_of_clock_is_no_way_around(tmp_path: Path) -> None:
    """A server started anew on a virtual clock of the year 2040 exports nothing sooner."""
    last = Moment(business_ms=0, machine_ms=0, boot="b", virtual=False)
    now = Moment(business_ms=9**14, machine_ms=HOUR_MS, boot="b", virtual=True)

    assert 3 * HOUR_MS == wait_ms(last, now)


def test_a_file_that_something_else_writes_counts(tmp_path: Path) -> None:
    """An extraction of log rows claims its export: the next of either kind waits; the cursor stays."""
    place = Place(tmp_path)
    place.shop()
    place.machine.passes(HOUR_S)
    place.exports.check("nms:broadLogRcp", place.clock.now_ms())
    place.exports.claim("nms:broadLogRcp", key="task 1", by="workflow 1")
    place.exports.claim("nms:broadLogRcp", key="task 1", by="workflow 1")
    with pytest.raises(ExportTooSoon):
        place.exports.claim("broadLog", key="task 2", by="workflow 1")
    with pytest.raises(ExportTooSoon):
        place.exports.check("nms:broadLogRcp", place.clock.now_ms())
    with pytest.raises(ExportTooSoon):
        place.run()
    place.exports.check("nms:recipient", place.clock.now_ms())
    place.machine.passes(4 * HOUR_S)

    assert place.run().rows == 2


def test_the_same_order_twice_is_one_export(tmp_path: Path) -> None:
    """A task that is run again after a crash gets its export, and no refusal."""
    place = Place(tmp_path)
    first = place.run(key="wkf1 task 7")

    assert place.run(key="wkf1 task 7") == first


def test_preferences_are_off_until_switched_on(tmp_path: Path) -> None:
    """Off at first, with the way to switch them on; then exported like the others."""
    place = Place(tmp_path)
    place.shop()
    with pytest.raises(SwitchedOff, match="PUT /campaign/exports/preferences"):
        place.run("preferences")
    assert api(place).put("/campaign/exports/preferences", json={"enabled": 1}).status_code == 400
    api(place).put("/campaign/exports/preferences", json={"enabled": True})

    assert place.run("preferences").rows == 2


def test_what_the_api_does_not_know(tmp_path: Path) -> None:
    """An unknown kind, export, member or a folder that leads elsewhere: a sentence, nothing begun."""
    place = Place(tmp_path)
    client = api(place)
    answers = [
        client.post("/campaign/exports/everything"),
        client.get("/campaign/exports/nope"),
        client.post("/campaign/exports/broadLog", json={"window": "all"}),
        client.post("/campaign/exports/broadLog", json={"folder": "../../etc"}),
    ]

    assert [404, 404, 400, 400] == [answer.status_code for answer in answers]
    assert client.get("/campaign/exports").json()["items"] == []


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("passes"), st.integers(0, 6 * HOUR_S)),
            st.tuples(st.just("set"), st.integers(-9 * HOUR_S, 9 * HOUR_S)),
            st.tuples(st.just("restart"), st.just(0)),
            st.tuples(st.just("export"), st.just(0)),
        ),
        max_size=14,
    )
)
def test_no_order_of_settings_and_restarts_brings_two_within_four_hours(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Between any two published exports the machine was up for four hours."""
    place = Place(tmp_path_factory.mktemp("attack"))
    done = []
    for what, how_much in [*steps, ("export", 0)]:
        if what == "passes":
            place.machine.passes(how_much)
        elif what == "set":
            place.machine.set_clock(how_much)
        elif what == "restart":
            place.again()
        else:
            try:
                place.run()
                done.append(place.machine.up_s)
            except ExportTooSoon:
                pass

    assert all(later - earlier >= 4 * HOUR_S for earlier, later in pairwise(done))
