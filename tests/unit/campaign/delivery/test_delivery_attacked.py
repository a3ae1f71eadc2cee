"""What is changed between analysis, start and sending gets nobody a message he must not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from campaign_side import CONTENT, Campaign

from amity.campaign.delivery.errors import WrongState
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
