"""Does every message leave at most once, whatever happens in between?"""

from __future__ import annotations

from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from campaign_side import CONTENT, START_MS, Campaign, Crash, FakeServer

from amity.campaign.delivery.channel import Fate
from amity.campaign.delivery.message import Outgoing
from amity.campaign.delivery.model import CHUNK_MESSAGES
from amity.kernel.clock import DAY_MS, HOUR_MS, MINUTE_MS

pytestmark = pytest.mark.thorough

CROWD = 210


def _run_until_crash(campaign: Campaign) -> bool:
    try:
        campaign.drain()
    except Crash:
        return True
    return False


def _calm(campaign: Campaign) -> None:
    campaign.tables.die_before = campaign.tables.die_after = -1
    campaign.server.before = lambda: None


def _check_marketing(campaign: Campaign, id: int) -> None:
    sent = Counter(campaign.server.addresses())
    assert [address for address, times in sent.items() if times > 1] == []
    statuses = campaign.statuses(id)
    unknown = statuses.get("unknown", 0)
    assert unknown <= CHUNK_MESSAGES * campaign.server.parallel
    assert statuses.get("sent", 0) + unknown == CROWD
    assert len(sent) <= CROWD
    told = {log["address"] for log in campaign.results.logs(id, status="sent", limit=1_000)}
    assert told <= set(sent)
    assert campaign.deliveries.get(id)["state"] == "finished"


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_message_twice_whichever_commit_dies(tmp_path: Path, when: str) -> None:
    """The process dies before or after each commit of a run: nobody gets two marketing messages."""
    campaign, deaths = Campaign(tmp_path), 0
    campaign.crowd(CROWD)
    for number in count(1):
        campaign.server.taken.clear()
        id = campaign.started()
        campaign.new_sender()
        setattr(campaign.tables, f"die_{when}", campaign.tables.commits + number)
        died = _run_until_crash(campaign)
        _calm(campaign)
        campaign.new_sender()
        campaign.drain()
        _check_marketing(campaign, id)
        if not died:
            break
        deaths += 1
    # How many commits a run has depends on how many chunks come back at a time; these it has at least:
    # what a dead process left, the first claim, one that settles and claims for each two chunks, the end.
    assert deaths >= 2 + CROWD // CHUNK_MESSAGES // 2


@pytest.mark.parametrize("message", [1, 37, 50, 51, 100, 210])
def test_no_message_twice_whichever_hand_over_dies(tmp_path: Path, message: int) -> None:
    """The process dies before the n-th message: what it had sent of the chunk is unknown, not sent again."""
    campaign = Campaign(tmp_path)
    campaign.crowd(CROWD)
    id = campaign.started()
    seen = Counter[str]()

    def die() -> None:
        seen["n"] += 1
        if seen["n"] == message:
            raise Crash

    campaign.server.before = die
    assert _run_until_crash(campaign)
    _calm(campaign)
    campaign.new_sender()
    campaign.drain()
    _check_marketing(campaign, id)
    unknown = campaign.results.logs(id, status="unknown", limit=1_000)
    assert 0 < len(unknown) <= CHUNK_MESSAGES * campaign.server.parallel
    assert "nobody can know" in unknown[0]["failureText"]


def test_three_deaths_in_one_delivery(tmp_path: Path) -> None:
    """Dying again and again leaves at most a chunk a worker unknown each time, and nobody twice."""
    campaign = Campaign(tmp_path)
    campaign.crowd(450)
    id = campaign.started()
    deaths = 0
    for step in (3, 2, 3):
        campaign.tables.die_after = campaign.tables.commits + step
        deaths += _run_until_crash(campaign)
        _calm(campaign)
        campaign.new_sender()
    campaign.drain()
    sent = Counter(campaign.server.addresses())
    assert deaths == 3
    assert max(sent.values()) == 1
    assert campaign.statuses(id).get("unknown", 0) <= deaths * CHUNK_MESSAGES * 2


def test_transactional_is_sent_again_under_the_same_id(tmp_path: Path) -> None:
    """What somebody asked for must arrive: it is sent again, and the copies can be told as one."""
    campaign = Campaign(tmp_path)
    campaign.crowd(60)
    id = campaign.started(transactional=True)
    campaign.tables.die_before = campaign.tables.commits + 3
    assert _run_until_crash(campaign)
    first = {one.recipient: _header(one, "Message-ID") for one in campaign.server.taken}
    assert first
    campaign.server.taken.clear()
    _calm(campaign)
    campaign.new_sender()
    campaign.drain()
    again = {one.recipient: _header(one, "Message-ID") for one in campaign.server.taken}
    assert campaign.statuses(id) == {"sent": 60}
    both = set(first) & set(again)
    assert both
    assert {name: first[name] for name in both} == {name: again[name] for name in both}


def _header(message: Outgoing, name: str) -> str:
    head = message.body.split(b"\r\n\r\n")[0].decode()
    return next(line for line in head.split("\r\n") if line.startswith(name + ":"))


def test_opt_out_between_analysis_and_sending(tmp_path: Path) -> None:
    """Whoever opted out or was quarantined since the analysis gets nothing, and the log says why."""
    campaign = Campaign(tmp_path)
    ids = campaign.people(*({"email": f"p{n}@x.example", "firstName": "P"} for n in range(5)))
    id = campaign.ready()
    campaign.set("nms:recipient", ids[0], blackListEmail=True)
    campaign.set("nms:recipient", ids[1], blackList=True)
    with campaign.raw.begin() as connection:
        campaign.quarantine.record(
            connection, address="p2@x.example", failure_type=2, failure_reason=1, now_ms=START_MS
        )
        campaign.quarantine.denylist(connection, address="p3@x.example", now_ms=START_MS)
    campaign.deliveries.start(id)
    campaign.drain()
    assert campaign.server.addresses() == ["p4@x.example"]
    why = [one["failureReason"] for one in campaign.results.logs(id, status="ignored")]
    assert why == ["denylisted", "denylisted", "quarantine", "denylisted"]


def test_recipient_deleted_between(tmp_path: Path) -> None:
    """A recipient who was deleted after the analysis gets nothing."""
    campaign = Campaign(tmp_path)
    one, _ = campaign.people(
        {"email": "a@x.example", "firstName": "A"}, {"email": "b@x.example", "firstName": "B"}
    )
    id = campaign.ready()
    table = campaign.schemas.table("nms:recipient")
    with campaign.raw.begin() as connection:
        connection.execute(sa.delete(table).where(table.c.id == one))
    campaign.deliveries.start(id)
    campaign.drain()
    assert campaign.server.addresses() == ["b@x.example"]
    assert campaign.statuses(id) == {"ignored": 1, "sent": 1}


def _busy(until_ms: int, campaign_of: list[Campaign]) -> Any:
    def answer(_: Outgoing) -> tuple[Fate, int, str, str]:
        if campaign_of[0].clock.now_ms() < until_ms:
            return Fate.DEFERRED, 451, "4.7.1", "Try again later"
        return Fate.TAKEN, 250, "2.0.0", "Ok"

    return answer


def test_temporary_refusal_for_an_hour(tmp_path: Path) -> None:
    """A server that says 4xx for an hour gets every message once, after the documented wait."""
    box: list[Campaign] = []
    campaign = Campaign(tmp_path, FakeServer(answer=_busy(START_MS + HOUR_MS, box)))
    box.append(campaign)
    campaign.crowd(120)
    id = campaign.started()
    campaign.drain()
    assert campaign.statuses(id) == {"pending": 120}
    assert campaign.deliveries.get(id)["state"] == "retry_pending"
    assert campaign.sender.next_due() == START_MS + HOUR_MS
    campaign.until(START_MS + 2 * HOUR_MS)
    assert campaign.statuses(id) == {"sent": 120}
    assert max(Counter(campaign.server.addresses()).values()) == 1
    assert campaign.deliveries.get(id)["state"] == "finished"
    with campaign.raw.connect() as connection:
        known = campaign.quarantine.statuses(connection, ["p1@crowd.example"])
    assert known == {"p1@crowd.example": "valid"}


def test_temporary_refusal_for_ever(tmp_path: Path) -> None:
    """Five tries on the first day, then one a day; the validity ends it as failed."""
    times: list[int] = []
    box: list[Campaign] = []

    def answer(_: Outgoing) -> tuple[Fate, int, str, str]:
        times.append(box[0].clock.now_ms() - START_MS)
        return Fate.DEFERRED, 451, "4.7.1", "Try again later"

    campaign = Campaign(tmp_path, FakeServer(answer=answer))
    box.append(campaign)
    campaign.people({"email": "a@x.example", "firstName": "A"})
    id = campaign.started()
    campaign.until(START_MS + 6 * DAY_MS)
    assert [at // HOUR_MS for at in times] == [0, 1, 3, 7, 14, 24, 48, 72, 96, 120]
    log = campaign.results.logs(id)[0]
    assert (log["status"], log["failureReason"]) == ("failed", "unreachable")
    assert campaign.deliveries.get(id)["state"] == "finished"


def test_hard_refusal_quarantines(tmp_path: Path) -> None:
    """An unknown user fails at once and is in quarantine; the next delivery leaves it out."""
    campaign = Campaign(
        tmp_path, FakeServer(answer=lambda _: (Fate.REFUSED, 550, "5.1.1", "User unknown"))
    )
    campaign.people({"email": "a@x.example", "firstName": "A"})
    id = campaign.started()
    campaign.drain()
    log = campaign.results.logs(id)[0]
    assert (log["status"], log["failureType"], log["failureReason"]) == (
        "failed",
        "hard",
        "userUnknown",
    )
    assert campaign.results.indicators(id)["hardBounce"] == 1
    assert campaign.results.indicators(id)["newQuarantine"] == 1
    report = campaign.deliveries.get(campaign.ready())["report"]
    assert [(one["reason"], one["count"]) for one in report["excluded"]] == [("quarantine", 1)]


def test_template_error_for_one(tmp_path: Path) -> None:
    """One recipient's data break the template: that one fails with the reason, the others are written to."""
    campaign = Campaign(tmp_path)
    campaign.people(
        {"email": "a@x.example", "firstName": "A", "gender": 1},
        {"email": "b@x.example", "firstName": "B", "gender": 0},
        {"email": "c@x.example", "firstName": "C", "gender": 2},
    )
    text = "{{ 10 | divided_by: recipient.gender }} {{ unsubscribeUrl }}"
    id = campaign.started(_with(html="", text=text))
    campaign.drain()
    assert campaign.server.addresses() == ["a@x.example", "c@x.example"]
    failed = campaign.results.logs(id, status="failed")
    assert [(one["address"], one["failureType"]) for one in failed] == [("b@x.example", "ignored")]
    assert "text" in failed[0]["failureText"]
    assert "divide" in failed[0]["failureText"]


@pytest.mark.parametrize("field", ["firstName", "lastName"])
def test_header_injection_in_a_name(tmp_path: Path, field: str) -> None:
    """A name that would add a header reaches no message; the recipient fails with the reason."""
    campaign = Campaign(tmp_path)
    evil = {"email": "a@x.example", "firstName": "A", field: "A\r\nBcc: all@evil.example"}
    campaign.people(evil, {"email": "b@x.example", "firstName": "B"})
    id = campaign.started()
    campaign.drain()
    assert campaign.server.addresses() == ["b@x.example"]
    failed = campaign.results.logs(id, status="failed")
    assert "control character" in failed[0]["failureText"]
    assert not any(b"evil" in one.body for one in campaign.server.taken)


def test_connection_broken_before_the_end(tmp_path: Path) -> None:
    """A break before the last dot is no delivery: the message is tried again and arrives once."""
    box: list[Campaign] = []

    def answer(message: Outgoing) -> tuple[Fate, int, str, str]:
        if message.recipient == "p7@crowd.example" and box[0].clock.now_ms() < START_MS + MINUTE_MS:
            return Fate.BROKEN, 0, "", "Connection lost"
        return Fate.TAKEN, 250, "", "Ok"

    campaign = Campaign(tmp_path, FakeServer(answer=answer))
    box.append(campaign)
    campaign.crowd(120)
    id = campaign.started()
    campaign.until(START_MS + 2 * HOUR_MS)
    assert campaign.statuses(id) == {"sent": 120}
    assert max(Counter(campaign.server.addresses()).values()) == 1


def test_silence_after_the_end(tmp_path: Path) -> None:
    """No answer after the last dot: marketing mail is unknown, one for each chunk at most, and listed."""

    def answer(message: Outgoing) -> tuple[Fate, int, str, str]:
        if message.recipient == "p7@crowd.example":
            return Fate.UNSURE, 0, "", "Connection lost"
        return Fate.TAKEN, 250, "", "Ok"

    campaign = Campaign(tmp_path, FakeServer(answer=answer))
    campaign.crowd(120)
    id = campaign.started()
    campaign.until(START_MS + 2 * HOUR_MS)
    assert campaign.statuses(id) == {"sent": 119, "unknown": 1}
    unknown = campaign.results.logs(id, status="unknown")
    assert [one["address"] for one in unknown] == ["p7@crowd.example"]
    assert max(Counter(campaign.server.addresses()).values()) == 1


def test_server_away(tmp_path: Path) -> None:
    """While the mail server is away nothing is tried in vain: no try is counted, no address blamed."""
    box: list[Campaign] = []

    def answer(_: Outgoing) -> tuple[Fate, int, str, str]:
        if box[0].clock.now_ms() < START_MS + 40 * MINUTE_MS:
            return Fate.UNSENT, 0, "", "no connection"
        return Fate.TAKEN, 250, "", "Ok"

    campaign = Campaign(tmp_path, FakeServer(answer=answer))
    box.append(campaign)
    campaign.crowd(70)
    id = campaign.started()
    campaign.until(START_MS + HOUR_MS)
    assert campaign.statuses(id) == {"sent": 70}
    assert {log["tries"] for log in campaign.results.logs(id)} == {1}
    with campaign.raw.connect() as connection:
        assert campaign.quarantine.statuses(connection, ["p1@crowd.example"]) == {}


def test_pause_resume_stop(tmp_path: Path) -> None:
    """Paused, nothing leaves; resumed, it goes on; stopped, the rest is cancelled for good."""
    campaign = Campaign(tmp_path)
    campaign.server.parallel = 1
    campaign.crowd(CROWD)
    id = campaign.started()
    campaign.sender.run_once(START_MS)
    campaign.deliveries.pause(id)
    campaign.drain()
    assert campaign.statuses(id) == {"sent": 50, "pending": CROWD - 50}
    campaign.deliveries.resume(id)
    campaign.sender.run_once(START_MS)
    campaign.deliveries.stop(id)
    campaign.drain()
    assert campaign.statuses(id) == {"sent": 100, "cancelled": CROWD - 100}
    assert campaign.deliveries.get(id)["state"] == "stopped"


def test_stopped_while_deferred(tmp_path: Path) -> None:
    """What comes back deferred to a delivery that was stopped meanwhile is cancelled, too."""
    campaign = Campaign(
        tmp_path, FakeServer(answer=lambda _: (Fate.DEFERRED, 451, "4.7.1", "later"))
    )
    campaign.crowd(10)
    id = campaign.started()
    campaign.sender.run_once(START_MS)
    campaign.deliveries.stop(id)
    campaign.drain()
    assert campaign.statuses(id) == {"cancelled": 10}


def test_contact_date(tmp_path: Path) -> None:
    """Nothing leaves before the contact date; then all does."""
    campaign = Campaign(tmp_path)
    campaign.crowd(3)
    id = campaign.started(contact_date="2017-10-31T09:00:00Z")
    campaign.drain()
    assert campaign.server.taken == []
    assert campaign.sender.next_due() == START_MS + DAY_MS + HOUR_MS
    campaign.until(START_MS + 2 * DAY_MS)
    assert campaign.statuses(id) == {"sent": 3}


def test_target_of_nobody(tmp_path: Path) -> None:
    """A delivery whose whole target is excluded is finished at once."""
    campaign = Campaign(tmp_path)
    campaign.people({"email": "a@x.example", "blackList": True})
    id = campaign.started()
    campaign.drain()
    assert campaign.deliveries.get(id)["state"] == "finished"
    assert campaign.sender.next_due() is None


def test_orderly_end_leaves_nothing_unknown(tmp_path: Path) -> None:
    """A worker that is told to end settles what is under way."""
    campaign = Campaign(tmp_path)
    campaign.crowd(CROWD)
    id = campaign.started()
    campaign.sender.run_once(START_MS)
    campaign.sender.close(START_MS)
    campaign.new_sender()
    campaign.drain()
    assert campaign.statuses(id) == {"sent": CROWD}


def _with(**changes: Any) -> Any:
    return msgspec.structs.replace(CONTENT, **changes)
