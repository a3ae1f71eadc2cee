"""The demo's ledger and its reading of audience files."""

from __future__ import annotations

from pathlib import Path

from amity.app.demo.destinations import Destination, arrived, line_of
from amity.app.demo.ledger import Ledger

CAMPAIGN = Destination(name="Campaign", flow="f", path="campaign")


def test_a_line_that_does_not_add_up_is_broken() -> None:
    """In must be out plus what was set aside."""
    ledger = Ledger()
    ledger.add("door", "events", 10, 8, set_aside=2)
    ledger.add("lake", "events", 8, 7)

    assert ["lake"] == [line.hop for line in ledger.broken]


def test_the_last_file_has_the_last_word(tmp_path: Path) -> None:
    """A full file, then changes: who is `exited` later is no member, whatever the separator."""
    folder = tmp_path / "campaign"
    folder.mkdir()
    full = folder / "Campaign_segment-a_20171030_060000.txt"
    full.write_text("_acme_loyaltyId\tsegmentMembership_status\n1\tactive\n2\tactive\n")
    later = folder / "Campaign_segment-a_20171031_060000.csv"
    later.write_text("_acme_loyaltyId,segmentMembership_status\n2,exited\n3,active\n")
    (folder / "Campaign_segment-b_20171031_060000.csv").write_text(
        "_acme_loyaltyId,segmentMembership_status\n9,active\n"
    )

    got = arrived(tmp_path, CAMPAIGN, "segment-a")

    assert {"1", "3"} == got.members
    assert (2, 4) == (len(got.files), got.rows)
    assert (later, "3,active") == line_of(got.files, "3")
    assert line_of(got.files, "7") is None
