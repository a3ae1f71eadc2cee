"""`kill -9` at random moments of import, workflow, sending and export: the loop comes out right.

No recipient made by a segment file, no message twice, unknown outcomes listed and bounded, the logs
at the platform exactly once.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from audience_flows import daily, local, open_flow, to_next_export
from small_campaign import HTML, SmallCampaign, running_campaign
from small_shop import LOYALTY, SmallShop, open_shop

from amity.app.demo.campaign_graphs import chain, file_import
from amity.app.demo.client import Refused
from amity.campaign.delivery.model import CHUNK_MESSAGES
from amity.kernel.clock import from_iso, to_iso
from amity.testing.server import RunningServer, free_port

KILLS = int(os.environ.get("AMITY_KILLS", "5"))
"""Five in `make test`, fifty in `make soak`."""

PHASES = ("import", "workflow", "sending", "export")
MEMBERS, STRANGERS = 400, 20
CHUNKS_MAX = 8
"""Chunks under way at a time, at most."""

LIST = "Members"
COLUMNS = ("externalId", "email", "firstName", "lastName")
LOGS = ("broadLog", "trackingLog", "nonDeliverable")


@dataclass(slots=True)
class Killer:
    """Kills the server, or the campaign's worker alone, a moment after something was begun."""

    server: RunningServer
    rng: random.Random
    left: int = KILLS
    in_phase: Counter[str] = field(default_factory=Counter)

    def strike(self, phase: str, begun: Callable[[], bool] = lambda: True) -> None:
        """Kill at a random moment after it has begun, as long as there are kills left."""
        if not self.left:
            return
        self.left -= 1
        self.in_phase[phase] += 1
        if phase == "sending":  # a moment among messages, not before or after them
            until = time.monotonic() + 30
            while not begun() and time.monotonic() < until:
                time.sleep(0.002)
            time.sleep(self.rng.uniform(0.0, 0.15))
        else:
            time.sleep(self.rng.uniform(0.0, 0.9))
        if self.rng.random() < 0.4:
            kill_worker(self.server)
        else:
            self.server.kill()
            self.server.start()


def kill_worker(server: RunningServer) -> None:
    """Kill the campaign's worker; the process that stays starts another."""
    for listed in Path(f"/proc/{server.pid}/task").glob("*/children"):
        for pid in listed.read_text().split():
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"campaign" in command.split(b"\0"):
                os.kill(int(pid), signal.SIGKILL)


def patiently(ask: Callable[[], Any], seconds: float = 120) -> Any:
    """Ask again while the server does not answer."""
    until = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except Refused as error:
            if "status" in error.data or time.monotonic() > until:
                raise
            time.sleep(0.05)


@dataclass(slots=True, kw_only=True)
class Run:
    """What was done, round by round."""

    campaign: SmallCampaign
    shop: SmallShop
    killer: Killer
    datasets: dict[str, str]
    deliveries: list[int] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)

    def workflow(self, graph: dict[str, Any], phase: str) -> int:
        """Make a workflow, start it, strike, wait until it has finished."""
        side = self.campaign.side
        id = int(patiently(lambda: side.workflow(graph)))
        patiently(lambda: side.command(id, "start"))
        self.killer.strike(phase)
        patiently(lambda: side.finished(id))
        return id

    def round(self, number: int) -> None:
        """One time around the loop."""
        self._import(number)
        self._audience(number)
        self._send(number)
        self._export()

    def _import(self, number: int) -> None:
        update = {
            "operation": "insertOrUpdate",
            "keys": [{"attribute": "externalId"}],
            "fields": [{"to": name} for name in COLUMNS],
        }
        path = "shop/recipients.csv"
        graph = file_import(
            f"import-{number}", source=("sftp", path), columns=COLUMNS, update=update
        )
        self.workflow(graph, "import")

    def _audience(self, number: int) -> None:
        column = f"_{self.shop.platform.tenant}_loyaltyId"
        reconcile = {"keys": [{"attribute": "externalId"}], "unreconciled": "exclude"}
        steps = (
            (
                "transfer",
                "file_transfer",
                {"account": "exchange", "path": "campaign/manifest-*.json", "manifest": True},
            ),
            (
                "load",
                "load_file",
                {
                    "audience": True,
                    "columns": [{"name": "externalId", "source": column}],
                    "keys": ["externalId"],
                },
            ),
            ("enrich", "enrichment", {"reconcile": reconcile}),
            ("list", "list_update", {"list": LIST, "operation": "replace"}),
        )
        self.workflow(chain(f"audience-{number}", *steps), "workflow")

    def _send(self, number: int) -> None:
        subject = f"Round {number}"
        content = {"fromAddress": "news@shop.example.test", "subject": subject, "html": HTML}
        steps = (
            ("members", "query", {"where": f"InList('{LIST}')"}),
            ("send", "delivery", {"content": content, "start": "prepareAndStart"}),
        )
        side, sink = self.campaign.side, self.campaign.sink
        before = sink.count()
        id = int(patiently(lambda: side.workflow(chain(f"send-{number}", *steps))))
        patiently(lambda: side.command(id, "start"))
        self.killer.strike("sending", lambda: sink.count() > before)
        patiently(lambda: side.finished(id))
        patiently(self.campaign.settle)
        found = patiently(lambda: list(side.every("deliveries", "deliveries")))
        self.deliveries += [one["id"] for one in found if one["workflowId"] == id]
        self.subjects.append(subject)

    def _export(self) -> None:
        side = self.campaign.side
        for kind in LOGS:
            patiently(lambda kind=kind: side.export_refusal(kind))
        self.killer.strike("export")
        patiently(self.campaign.settle)
        later = to_iso(from_iso(patiently(self.campaign.now)) + 5 * 3_600_000)
        patiently(lambda: self.shop.platform.advance(later))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """As many rounds as the kills need, and one in peace at the end."""
    folder = tmp_path_factory.mktemp("killed")
    with running_campaign(folder, bounce_port=free_port()) as campaign:
        shop = open_shop(campaign.server)
        order = {"externalNamespace": LOYALTY, "frequency": "hour", "interval": 1}
        made = shop.platform.post("/data/core/exchange/setup", order)
        everybody = [f"p{n}" for n in range(MEMBERS + STRANGERS)]
        shop.load([shop.customer(name, "250K+") for name in everybody])
        flow = open_flow(shop.platform, "Campaign", local("campaign"))
        daily(shop.platform, flow, shop.audiences["high_income"])
        to_next_export(shop.platform)
        place = campaign.server.data / "sftp" / "shop"
        place.mkdir(parents=True)
        lines = [f"{name},{name}@example.test,Ann,Number {name}" for name in everybody[:MEMBERS]]
        (place / "recipients.csv").write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
        done = Run(
            campaign=campaign,
            shop=shop,
            killer=Killer(campaign.server, random.Random(20171030)),
            datasets=made["datasets"],
        )
        number = 0
        while done.killer.left or number == 0:
            done.round(number)
            number += 1
        done.round(number)
        yield done
        shop.platform.close()


def test_every_phase_was_struck(run: Run) -> None:
    """The kills fell into import, workflow, sending and export."""
    assert run.killer.left == 0
    assert sum(run.killer.in_phase.values()) == KILLS
    assert KILLS < len(PHASES) or set(run.killer.in_phase) == set(PHASES)


def test_recipients_are_those_of_the_profile_file(run: Run) -> None:
    """Each once; no stranger of the audience was made a recipient; the list holds the others."""
    side = run.campaign.side
    found = [str(one["externalId"]) for one in side.every("recipients", "recipients")]
    members = [one["externalId"] for one in side.every(f"lists/{LIST}/members", "recipients")]

    assert Counter(found) == Counter(f"p{n}" for n in range(MEMBERS))
    assert Counter(members) == Counter(found)


def test_nobody_was_written_to_twice(run: Run) -> None:
    """Of each delivery every member has one mail, or none and an outcome that is listed as unknown."""
    mails: dict[str, Counter[str]] = {subject: Counter() for subject in run.subjects}
    for mail in run.campaign.sink.mails():
        mails[str(mail.message["Subject"])].update(mail.recipients)
    everybody = {f"p{n}@example.test" for n in range(MEMBERS)}
    bound = CHUNK_MESSAGES * CHUNKS_MAX * run.killer.in_phase["sending"]
    unknown_in_all = 0
    for delivery, subject in zip(run.deliveries, run.subjects, strict=True):
        logs = list(run.campaign.side.every(f"deliveries/{delivery}/logs", "logs"))
        status = {one["address"]: one["status"] for one in logs}
        unknown = list(run.campaign.side.every(f"deliveries/{delivery}/unknown", "logs"))
        unknown_in_all += len(unknown)

        assert len(logs) == len(status) == MEMBERS
        assert set(status.values()) <= {"sent", "unknown"}
        assert max(mails[subject].values()) == 1
        assert {one for one, found in status.items() if found == "sent"} <= set(mails[subject])
        assert everybody - set(mails[subject]) <= {one["address"] for one in unknown}
    assert 0 < unknown_in_all <= bound, "a kill while sending leaves some outcomes unknown"
    assert len(run.deliveries) == len(run.subjects)


def test_logs_are_at_the_platform_exactly_once(run: Run) -> None:
    """As many events as messages have states, on the right people: none missing, none twice."""
    run.shop.platform.post("/admin/clock", {"advance": "PT6H"})
    expected = Counter[str]()
    states = 0
    for delivery in run.deliveries:
        for log in run.campaign.side.every(f"deliveries/{delivery}/logs", "logs"):
            name = log["address"].partition("@")[0]
            expected[f"{name} {log['status']}"] += 1
            states += 1
    rows = run.shop.platform.doctor()["lake"][run.datasets["broadLog"]]
    kinds = {"directMarketing.emailSent": "sent", "delivery.feedback": "unknown"}
    found = Counter[str]()
    for n in range(0, MEMBERS, 7):
        for event in run.shop.platform.events(LOYALTY, f"p{n}"):
            kind = str(event["entity"].get("eventType", ""))
            if kind in kinds:
                found[f"p{n} {kinds[kind]}"] += 1

    looked_at = {f"p{n}" for n in range(0, MEMBERS, 7)}
    assert rows == states
    assert found == Counter(
        {key: count for key, count in expected.items() if key.partition(" ")[0] in looked_at}
    )


def test_work_tables_and_claims_are_not_left_behind(run: Run) -> None:
    """No task hangs, no message is claimed by a dead sender, no export is under way."""
    side = run.campaign.side
    states = {one["stateLabel"] for one in side.get("workflows", limit=1000)["workflows"]}
    sending = run.campaign.rows("broadLogs", status="sending")
    exports = {one["state"] for one in side.get("exports", limit=200)["items"]}

    assert states == {"finished"}
    assert sending == []
    assert exports == {"published"}
