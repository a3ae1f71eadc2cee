from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from answered import Answered


@pytest.fixture(scope="session")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a delivery that was sent, made once."""
    folder = tmp_path_factory.mktemp("sent")
    Answered(folder).close()
    return folder / "campaign.db"


@pytest.fixture
def answered(tmp_path: Path, sent: Path) -> Iterator[Answered]:
    """A delivery that was sent."""
    shutil.copy(sent, tmp_path)
    made = Answered(tmp_path)
    yield made
    made.close()
