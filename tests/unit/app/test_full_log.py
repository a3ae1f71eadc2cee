"""A log that cannot be written ends nothing."""

from __future__ import annotations

import io
from pathlib import Path

from amity.app.logs import Enduring


def test_a_line_that_finds_no_room_is_left_out() -> None:
    """Neither writing nor flushing fails on a full disk."""
    with Path("/dev/full").open("wb", buffering=0) as full:
        log = Enduring(io.TextIOWrapper(full, write_through=True))
        assert log.write("a line\n" * 10_000) == 0
        log.flush()
