"""The demo's ledger and its reading of audience files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from amity.app.demo.destinations import Destination, arrived, line_of
from amity.app.demo.ledger import Ledger
from amity.kernel.errors import Corrupt

CAMPAIGN = Destination(name="Campaign", flow="f", path="campaign")


def test_a_line_that_does_not_add_up_is_broken() -> None:
    """In must be out plus what was set aside."""
    ledger = Ledger()
    ledger.add("door", "events", 10, 8, set_aside=2)
    ledger.add("lake", "events", 8, 7)

    assert ["lake"] == [line.hop for line in ledger.broken]


def export(folder: Path, name: str, audience: str, text: str) -> Path:
    """One file with its manifest, as a destination leaves them."""
    path = folder / "campaign" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    manifest = {
        "scheduledTime": name,
        "audienceId": audience,
        "format": {"delimiter": "\t" if name.endswith(".txt") else ","},
        "exportResults": [
            {
                "sinkPath": "campaign",
                "name": name,
                "size": len(text),
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
            }
        ],
    }
    (path.parent / f"manifest-{name}.json").write_text(json.dumps(manifest))
    return path


def test_the_last_file_has_the_last_word(tmp_path: Path) -> None:
    """A full file, then changes: who is `exited` later is no member, whatever the separator."""
    full = "_acme_loyaltyId\tsegmentMembership_status\n1\tactive\n2\tactive\n"
    later = "_acme_loyaltyId,segmentMembership_status\n2,exited\n3,active\n"
    export(tmp_path, "2.csv", "a", later)
    export(tmp_path, "1.txt", "a", full)
    export(tmp_path, "3.csv", "b", "_acme_loyaltyId,segmentMembership_status\n9,active\n")

    got = arrived(tmp_path, CAMPAIGN, "a")

    assert {"1", "3"} == got.members
    assert (len(got.files), got.rows) == (2, 4)
    assert ("2.csv", "3,active") == line_of(got.files, "3")
    assert line_of(got.files, "7") is None


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    """A file that is not what its manifest promises is not read."""
    path = export(tmp_path, "1.csv", "a", "_acme_loyaltyId,segmentMembership_status\n1,active\n")
    path.write_text("_acme_loyaltyId,segmentMembership_status\n2,active\n")

    with pytest.raises(Corrupt, match="not the file its manifest promises"):
        arrived(tmp_path, CAMPAIGN, "a")
