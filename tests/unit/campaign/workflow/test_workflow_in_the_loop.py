"""The worker's loop fires the timers of workflows each at its own time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amity.app.clock_routes import append_tick
from amity.app.core import CAMPAIGN_WRITER, open_core
from amity.app.folder import DataFolder
from amity.app.loop import Hosts, Loop
from amity.campaign.workflow.engine import Engine
from amity.kernel.clock import DAY_MS
from amity.storage.sqlite.state import SqliteState


def test_three_days_in_one_advance(desk: Any, graph: Any, tmp_path: Path) -> None:
    """One advance of three days runs a daily workflow three times, each at its hour."""
    folder = DataFolder(tmp_path / "data")
    folder.create()
    core = open_core(folder, clock="2017-10-30T00:00:00Z", writer=CAMPAIGN_WRITER)
    state = SqliteState(folder.campaign_state)
    desk.engine.close()
    desk.engine = Engine(
        tables=desk.tables,
        work=desk.work,
        activities=desk.activities,
        means=None,  # type: ignore[arg-type]
        clock=core.clock,
        system=core.system,
    )
    loop = Loop(
        Hosts([desk.engine]), clock=core.clock, system=core.system, log=core.log, state=state
    )
    boxes = {"c": ("scheduler", {"cron": "0 6 * * *"}), "m": ("make", {"count": 1}), "p": "put"}
    id = int(desk.workflows.create(graph("c>m m>p", boxes))["id"])
    desk.workflows.command(id, "start")
    append_tick(core.log, core.clock.now_ms() + 3 * DAY_MS)
    while loop.turn():
        pass
    state.close()
    core.close()

    ended = [one["ended"] for one in desk.workflows.tasks(id) if one["activity"] == "p"]
    assert ended == [f"2017-1{day}T06:00:00.000Z" for day in ("1-01", "0-31", "0-30")]
    assert desk.effects() == [("p", 0)] * 3
