"""Files that are exchanged under a task, forged, or carried round a corner."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from amity.campaign.imports.audience import MANIFEST_BYTES_MAX
from amity.campaign.imports.errors import BadFile
from amity.campaign.workflow.activity import Done
from amity.exchange.errors import NoManifest
from amity.transports.local import LocalStore

if TYPE_CHECKING:
    from conftest import Ground

SEGMENT = "Shop_segment0f9b5c1e-3a77_20171030080000.csv"
EMAILS: dict[str, Any] = {"columns": [{"name": "email"}]}


def _origin(done: Any, output: str = "out") -> str:
    assert isinstance(done, Done)
    table = done.outputs[output].table
    assert table is not None
    return table.origin


@pytest.mark.parametrize(
    "way", ["at once", "by a forged variable", "by another workflow", "rejects"]
)
def test_a_segment_file_stays_one_when_it_is_written_anew(ground: Ground, way: str) -> None:
    """Extracted, under another name, or among the rejects: its rows still create nobody."""
    ground.sftp.put(SEGMENT, b"email\nann@x.org\nlonger@x.org\n")
    options = EMAILS if way != "rejects" else {"columns": [{"name": "email", "length": 10}]}
    loaded = ground.load(options, SEGMENT)
    if way == "rejects":
        assert _origin(loaded, "rejects") == "segment"
        forged = dict(loaded.outputs["rejects"].vars)
        again = ground.run("load_file", {"columns": [{"name": "c", "source": "raw"}]}, vars=forged)
        assert _origin(again) == "segment"
        return
    table = loaded.outputs["out"].table
    assert table is not None
    written = ground.run("extraction", {"name": "customers"}, inputs={"a": table})
    assert isinstance(written, Done)
    told = dict(written.outputs["out"].vars)
    if way == "by a forged variable":
        told["files"] = [{**told["files"][0], "segment": False, "name": "customers.csv"}]
    if way == "by another workflow":
        put = {"account": "sftp", "action": "upload", "path": "customers.csv"}
        ground.run("file_transfer", put, vars=told)
        assert _origin(ground.load(EMAILS, "customers.csv")) == "segment"
        return

    assert _origin(ground.run("load_file", EMAILS, vars=told)) == "segment"


def test_a_file_that_came_meanwhile_is_not_deleted(ground: Ground) -> None:
    """Killed between the copy and the deletion: what was put there since is for the next run."""
    ground.sftp.put("in/a.csv", b"email\nann@x.org\n")
    options = {"account": "sftp", "path": "in/*.csv", "deleteSource": True}
    copied = ground.run("file_transfer", {**options, "deleteSource": False}, id=1)
    ground.sftp.put("in/a.csv", b"email\nann@x.org\nbob@x.org\n")

    again = ground.run("file_transfer", options, id=1)

    assert isinstance(copied, Done)
    assert isinstance(again, Done)
    assert again.outputs["out"].vars["files"] == copied.outputs["out"].vars["files"]
    assert ground.sftp.get("in/a.csv") == b"email\nann@x.org\nbob@x.org\n"
    taken = ground.run("file_transfer", options, memory=again.memory)
    assert isinstance(taken, Done)
    assert taken.outputs["out"].vars["files"][0]["size"] == 26
    assert ground.sftp.head("in/a.csv") is None


def test_columns_in_another_order(ground: Ground) -> None:
    """Of several files each is read by its own header; one with other columns is refused."""
    ground.sftp.put("in/1.csv", b"email,name\nann@x.org,Ann\n")
    ground.sftp.put("in/2.csv", b"name,email\nBob,bob@x.org\n")
    rows = ground.rows(ground.load({}, "in/*.csv").outputs["out"])
    assert [row["email"] for row in rows] == ["ann@x.org", "bob@x.org"]

    ground.sftp.put("in/3.csv", b"name,phone\nBob,1\n")
    with pytest.raises(BadFile, match=r"3\.csv"):
        ground.load({}, "in/*.csv")


def test_a_huge_manifest_is_not_taken_into_memory(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may upload could else end the worker, again and again."""
    ground.sftp.put("in/manifest-1.json", b"{}")
    asked: list[int] = []
    transfer = {"account": "sftp", "path": "in/manifest-*.json", "manifest": True}

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            asked.append(size)
            return b" " * size if size >= 0 else b""

    monkeypatch.setattr(LocalStore, "open", lambda *_: Endless())
    for options in ({}, {"audience": "Rich"}):
        with pytest.raises(NoManifest):
            ground.run("file_transfer", {**transfer, **options})
    assert asked
    assert all(0 <= size <= MANIFEST_BYTES_MAX + 1 for size in asked)
