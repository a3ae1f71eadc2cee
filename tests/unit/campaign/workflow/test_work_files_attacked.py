"""No moment at which two look at a work file, or the disk fails, costs a population."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from amity.storage.sqlite.work_files import SqliteWorkFiles


def test_a_sweep_at_the_moment_of_publishing(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that opens the folder may hold a draft's file just when it is published."""
    folder = desk.folder / "work"
    with desk.work.build("kept") as connection:
        connection.exec_driver_sql("CREATE TABLE rows (n INTEGER)")
    whole, draft = folder / "kept.db", folder / "kept.part"
    content = whole.read_bytes()
    os.rename(whole, draft)  # noqa: PTH104 - as it was before it was published
    flock = fcntl.flock

    def published_meanwhile(descriptor: int, operation: int) -> None:
        draft.replace(whole)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", published_meanwhile)
    SqliteWorkFiles(folder, desk.tables, desk.folder / "campaign.db")

    assert whole.read_bytes() == content


def test_a_file_that_cannot_be_dropped(
    desk: Any, graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task has ended: what it made is there for those that follow, whatever becomes of its inputs."""
    unlink, failed = Path.unlink, []

    def unlinked(path: Path, *, missing_ok: bool = False) -> None:
        if path.suffix == ".db" and not failed:
            failed.append(path)
            raise OSError(5, "Input/output error")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlinked)
    boxes = {"m": ("make", {"count": 3}), "k": "keep", "p": "put"}
    id = desk.start(graph("m>k k>p", boxes))

    assert failed
    assert desk.state(id) == ("finished", False)
    assert len(desk.effects()) == 3
