"""What is changed between analysis, start and sending gets nobody a message he must not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from campaign_side import CONTENT, Campaign, Crash

from amity.campaign.delivery.errors import BadContent, WrongState
from amity.campaign.delivery.shapes import NewDelivery


@pytest.mark.parametrize("change", [{"transactional": True}, {"service": ""}])
def test_what_decides_who_may_be_written_to_is_analysed_again(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    """A delivery that was analysed as marketing does not become transactional, and the reverse."""
    campaign = Campaign(tmp_path)
    (ann,) = campaign.people({"email": "ann@x.example", "firstName": "Ann"})
    id = campaign.ready()
    campaign.set("nms:recipient", ann, blackListEmail=True)

    campaign.deliveries.update(id, NewDelivery(**change))

    with pytest.raises(WrongState, match="analyse"):
        campaign.deliveries.start(id)
    campaign.drain()
    assert campaign.server.addresses() == []


def test_a_delivery_that_is_paused_while_the_sender_looks(tmp_path: Path) -> None:
    """Who pauses is told that nothing more is claimed: then nothing is."""
    campaign = Campaign(tmp_path)
    campaign.crowd(5)
    id = campaign.started(CONTENT)
    claims: Any = campaign.sender._claims
    looked = claims.under_way

    def under_way(connection: Any) -> Any:
        found = looked(connection)
        if found:
            campaign.deliveries.pause(id)
        return found

    claims.under_way = under_way
    campaign.sender.run_once(campaign.clock.now_ms())
    claims.under_way = looked
    campaign.drain()

    assert campaign.server.addresses() == []
    assert campaign.statuses(id) == {"pending": 5}
    campaign.deliveries.resume(id)
    campaign.drain()
    assert len(campaign.server.addresses()) == 5


def test_a_delivery_is_not_forgotten_while_it_leaves(tmp_path: Path) -> None:
    """What is being handed over has a log to be settled in, and what has left one to come back to."""
    campaign = Campaign(tmp_path)
    campaign.crowd(3)
    id = campaign.started(CONTENT)

    def stopped() -> None:
        campaign.deliveries.stop(id)
        with pytest.raises(WrongState, match="have left"):
            campaign.deliveries.delete(id)
        campaign.server.before = lambda: None

    campaign.server.before = stopped
    campaign.drain()
    assert campaign.statuses(id) == {"sent": 3}
    with pytest.raises(WrongState, match="have left"):
        campaign.deliveries.delete(id)


def test_proofs_are_numbered_on(tmp_path: Path) -> None:
    """Also where one was deleted, and where the names of two deliveries begin alike."""
    campaign = Campaign(tmp_path)
    campaign.crowd(1)
    to = ["qa@shop.example"]
    long = "x" * 90
    ids = [campaign.ready(CONTENT, internal_name=long + end) for end in "ab"]
    first = campaign.deliveries.proof(ids[0], to)
    campaign.deliveries.proof(ids[0], to)
    campaign.drain()
    campaign.deliveries.delete(first["id"])

    again = campaign.deliveries.proof(ids[0], to)
    other = campaign.deliveries.proof(ids[1], to)

    assert again["content"]["subject"].startswith("Proof #3 ")
    assert other["content"]["subject"].startswith("Proof #1 ")
    assert len({again["internalName"], other["internalName"]}) == 2


def test_a_sender_that_adds_a_header_is_refused_before_anybody_is_written_to(
    tmp_path: Path,
) -> None:
    """Else each message fails for good, one by one."""
    campaign = Campaign(tmp_path)
    campaign.crowd(1)
    content = msgspec.structs.replace(CONTENT, from_name="Shop\r\nBcc: x@x.example")
    with pytest.raises(BadContent, match="line break"):
        campaign.ready(content)


def test_what_was_stopped_and_then_interrupted_is_not_pending_for_ever(tmp_path: Path) -> None:
    """A transactional message is sent again after a crash, but not one of a delivery that was stopped."""
    campaign = Campaign(tmp_path)
    campaign.crowd(2)
    id = campaign.started(CONTENT, transactional=True)

    def stopped() -> None:
        campaign.deliveries.stop(id)
        raise Crash

    campaign.server.before = stopped
    with pytest.raises(Crash):
        campaign.drain()
    campaign.server.before = lambda: None
    campaign.new_sender()
    campaign.drain()

    assert campaign.statuses(id) == {"unknown": 2}
    assert campaign.server.addresses() == []
