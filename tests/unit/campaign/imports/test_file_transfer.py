"""Files are taken once, whole, and found again after a crash."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from amity.campaign.imports.accounts import AccountBody
from amity.campaign.imports.copies import KEPT_PER_WORKFLOW, Copies, fixed_part, matching
from amity.campaign.imports.errors import StillGrowing
from amity.campaign.workflow.activity import Done, Later
from amity.campaign.workflow.errors import BadOptions
from amity.testing.own_sftp import PASSWORD, own_sftp
from amity.transports.errors import BadPath, NoSuchFile
from amity.transports.local import LocalStore

if TYPE_CHECKING:
    from conftest import Ground

SHOP = {"account": "sftp", "path": "shop/in/*.csv"}


def names(result: Any) -> list[str]:
    assert isinstance(result, Done)
    return [copy["source"] for copy in result.outputs["out"].vars["files"]]


def test_files_are_taken_in_order_and_only_once(ground: Ground) -> None:
    """Those that match, within one folder; again only when they have changed."""
    for name in ("b.csv", "a.csv", "a.txt", "old/c.csv"):
        ground.sftp.put(f"shop/in/{name}", b"x")
    ground.sftp.put("other/in/d.csv", b"x")

    first = ground.run("file_transfer", SHOP)

    assert names(first) == ["shop/in/a.csv", "shop/in/b.csv"]
    assert isinstance(first, Done)
    told = first.outputs["out"].vars
    assert (told["filename"], told["filenames"]) == ("a.csv", "shop/in/a.csv\nshop/in/b.csv")
    with pytest.raises(NoSuchFile, match="no new file"):
        ground.run("file_transfer", SHOP, memory=first.memory)

    ground.sftp.put("shop/in/b.csv", b"xy")
    assert names(ground.run("file_transfer", SHOP, memory=first.memory)) == ["shop/in/b.csv"]
    again = ground.run("file_transfer", {**SHOP, "onlyNew": False}, memory=first.memory)
    assert len(names(again)) == 2


def test_a_missing_file_is_an_error_or_a_way(ground: Ground) -> None:
    """As is asked for; the input goes on."""
    with pytest.raises(NoSuchFile, match=r"shop/in/\*\.csv at sftp"):
        ground.run("file_transfer", SHOP)
    done = ground.run("file_transfer", {**SHOP, "missing": "transition"})
    assert isinstance(done, Done)
    assert list(done.outputs) == ["missing"]
    for action in ("list", "exists"):
        with pytest.raises(NoSuchFile):
            ground.run("file_transfer", {**SHOP, "action": action})


def test_after_a_crash_the_same_files_are_found(ground: Ground) -> None:
    """Also where the source was deleted before the task's end was written down."""
    ground.sftp.put("shop/in/a.csv", b"a")
    moving = {**SHOP, "deleteSource": True}

    before = ground.run("file_transfer", moving, id=4)
    ground.sftp.put("shop/in/b.csv", b"b")
    after = ground.run("file_transfer", moving, id=4)

    assert names(before) == names(after) == ["shop/in/a.csv"]
    assert ground.sftp.head("shop/in/a.csv") is None
    assert names(ground.run("file_transfer", moving, id=5)) == ["shop/in/b.csv"]


class Growing(LocalStore):
    """A folder in which a file grows whenever it is read."""

    def open(self, path: str) -> IO[bytes]:
        opened = super().open(path)
        self.put(path, self.get_whole(path) + b"more")
        return opened

    def get_whole(self, path: str) -> bytes:
        with super().open(path) as file:
            return file.read()


def test_a_file_that_grows_while_it_is_taken_is_not_taken(tmp_path: Path) -> None:
    """It is tried again later; no copy of half a file counts."""
    store, copies = Growing(tmp_path / "there"), Copies(tmp_path / "copies")
    store.put("a.csv", b"half")
    stat = store.head("a.csv")
    assert stat is not None
    with pytest.raises(StillGrowing, match="changed"):
        copies.fetch("wkf1_1_files", store, stat)
    assert copies.taken("wkf1_1_files") is None


@pytest.mark.thorough
def test_a_foreign_server_must_hold_still(ground: Ground, tmp_path: Path) -> None:
    """A file at a foreign SFTP server is taken when two looks, a while apart, agree."""
    with own_sftp(tmp_path / "theirs", "shop") as server:
        params = {
            "host": "127.0.0.1",
            "port": server.port,
            "username": "shop",
            "password": PASSWORD,
            "hostKey": server.fingerprint,
        }
        ground.accounts.save(AccountBody(name="theirs", kind="sftp", params=params))
        theirs = LocalStore(server.root / "shop")
        theirs.put("in/a.csv", b"ha")
        options = {"account": "theirs", "path": "in/*.csv"}

        look = ground.run("file_transfer", options, id=9)
        assert isinstance(look, Later)
        assert look.at_ms == ground.now_ms + 30_000
        assert "in/a.csv" in look.why
        theirs.put("in/a.csv", b"half")
        assert isinstance(ground.run("file_transfer", options, id=9), Later)
        assert names(ground.run("file_transfer", options, id=9)) == ["in/a.csv"]
        at_once = ground.run("file_transfer", {**options, "settleS": 0}, id=10)
        assert names(at_once) == ["in/a.csv"]


def test_what_was_written_is_uploaded(ground: Ground) -> None:
    """Under its own name in a folder, or under one that is given; one for two is refused."""
    ground.sftp.put("shop/in/a.csv", b"a")
    ground.sftp.put("shop/in/b.csv", b"b")
    two = ground.run("file_transfer", SHOP)
    one = ground.run("file_transfer", {**SHOP, "path": "shop/in/a.csv"})
    assert isinstance(two, Done)
    assert isinstance(one, Done)

    up = {"account": "exchange", "action": "upload"}
    for _ in range(2):
        ground.run("file_transfer", {**up, "path": "out/"}, vars=two.outputs["out"].vars)
    ground.run("file_transfer", {**up, "path": "as.csv"}, vars=one.outputs["out"].vars)

    found = {stat.path: ground.exchange.get(stat.path) for stat in ground.exchange.list()}
    assert found == {"as.csv": b"a", "out/a.csv": b"a", "out/b.csv": b"b"}
    with pytest.raises(BadOptions, match="end the path in /"):
        ground.run("file_transfer", {**up, "path": "x"}, vars=two.outputs["out"].vars)
    with pytest.raises(NoSuchFile):
        ground.run("file_transfer", {**up, "path": "x"})


def test_listing_and_deleting(ground: Ground) -> None:
    """What matches, and no more of it than is allowed."""
    for name in "abc":
        ground.sftp.put(f"shop/in/{name}.csv", b"x")
    listed = ground.run("file_transfer", {**SHOP, "action": "list", "maxFiles": 2})
    assert isinstance(listed, Done)
    assert listed.outputs["out"].vars["filenames"] == "shop/in/a.csv\nshop/in/b.csv"
    ground.run("file_transfer", {**SHOP, "action": "delete", "path": "shop/in/[ab].csv"})
    ground.run("file_transfer", {**SHOP, "action": "delete", "path": "shop/in/a*"})
    assert [stat.path for stat in ground.sftp.list()] == ["shop/in/b.csv", "shop/in/c.csv"]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "a//b", ""])
def test_a_path_stays_inside_the_account(ground: Ground, path: str) -> None:
    """Refused before anything runs."""
    with pytest.raises(BadPath):
        ground.run("file_transfer", {"account": "sftp", "path": path})


def test_old_copies_are_forgotten(tmp_path: Path) -> None:
    """Of each workflow the newest stay; others' are not touched."""
    copies = Copies(tmp_path)
    copies.note("wkf2_1_files", [])
    for task in range(1, KEPT_PER_WORKFLOW + 3):
        copies.note(f"wkf1_{task}_files", [])
    copies.sweep("wkf1_3_files")
    kept = {found.name for found in tmp_path.iterdir()}
    assert "wkf2_1_files" in kept
    assert len(kept) == KEPT_PER_WORKFLOW + 1
    assert {"wkf1_1_files", "wkf1_2_files"}.isdisjoint(kept)


@pytest.mark.parametrize(
    ("pattern", "path", "meant"),
    [
        ("a+b(.csv", "a+b(.csv", True),
        ("a.csv", "abcsv", False),
        ("in/?.csv", "in/a.csv", True),
        ("in/?.csv", "in/ab.csv", False),
        ("in/*", "in/a/b", False),
        ("*/x-*.csv", "shop/x-1.csv", True),
        ("x*", "ax", False),
    ],
)
def test_wildcards_stand_within_a_folder(pattern: str, path: str, meant: bool) -> None:
    """All else in a pattern means itself."""
    assert meant == matching(pattern, path)
    assert not meant or path.startswith(fixed_part(pattern))
