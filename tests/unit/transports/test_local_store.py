"""A folder is a store of files."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from amity.testing.transport_suite import TransportSuite
from amity.transports.errors import BadPath
from amity.transports.local import LocalStore
from amity.transports.registry import TRANSPORTS


class TestLocalStore(TransportSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "store")


def test_a_link_does_not_lead_out(tmp_path: Path) -> None:
    """Neither a linked folder nor a linked file is followed outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("s")
    store = LocalStore(tmp_path / "store")
    (tmp_path / "store" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "store" / "file").symlink_to(tmp_path / "outside" / "secret")

    for path in ("out/secret", "file"):
        with pytest.raises(BadPath, match="link"):
            store.get(path)
        with pytest.raises(BadPath, match="link"):
            store.put(path, b"x")
    assert (tmp_path / "outside" / "secret").read_text() == "s"


def test_unfinished_files_are_not_seen(tmp_path: Path) -> None:
    """What a killed writer left behind is neither listed nor read."""
    store = LocalStore(tmp_path)
    (tmp_path / ".x.amity-part").write_text("half")

    assert list(store.list()) == []
    with pytest.raises(BadPath, match="unfinished"):
        store.get(".x.amity-part")


def test_what_a_killed_writer_left_is_taken_up(tmp_path: Path) -> None:
    """The next try at the same file leaves nothing hidden behind."""
    script = """
import os, signal, sys
from pathlib import Path
from amity.transports.local import LocalStore
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
LocalStore(Path(sys.argv[1])).put("a/people.csv", b"half a line" * 100)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    left = [file.name for file in (tmp_path / "a").iterdir()]
    LocalStore(tmp_path).put("a/people.csv", b"whole")

    assert done.returncode == -signal.SIGKILL
    assert len(left) == 1
    assert left[0].endswith(".amity-part")
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["people.csv"]
    assert (tmp_path / "a" / "people.csv").read_bytes() == b"whole"


def test_writers_of_one_file_take_turns(tmp_path: Path) -> None:
    """Whoever reads finds what one of them wrote, whole; no draft stays."""
    store = LocalStore(tmp_path)
    contents = [bytes([65 + n]) * 200_000 for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: store.put("x", content), contents * 4))

    assert store.get("x") in contents
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_the_registry_makes_a_store_of_its_config(tmp_path: Path) -> None:
    """By name, from the config as JSON."""
    spec = TRANSPORTS["local"]
    store = spec.make(msgspec.convert({"folder": str(tmp_path / "new")}, spec.config))
    store.put("x", b"1")

    assert (tmp_path / "new" / "x").read_bytes() == b"1"
