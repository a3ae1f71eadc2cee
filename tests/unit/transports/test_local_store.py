"""A folder is a store of files."""

from __future__ import annotations

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


def test_the_registry_makes_a_store_of_its_config(tmp_path: Path) -> None:
    """By name, from the config as JSON."""
    spec = TRANSPORTS["local"]
    store = spec.make(msgspec.convert({"folder": str(tmp_path / "new")}, spec.config))
    store.put("x", b"1")

    assert (tmp_path / "new" / "x").read_bytes() == b"1"
