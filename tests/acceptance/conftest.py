"""Servers for the acceptance tests: real processes on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import web_sdk

from amity.testing.server import RunningServer

# Without browser or SDK, as `scripts/alloy` says, its recorded requests stand for them:
# `test_edge_walk_through.py` sends those everywhere.
collect_ignore = [] if web_sdk.available() else ["test_alloy.py"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server on real time, for clients that live in wall-clock time."""
    with RunningServer(tmp_path_factory.mktemp("amity") / "data") as running:
        yield running


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """An empty data folder."""
    return tmp_path / "data"
