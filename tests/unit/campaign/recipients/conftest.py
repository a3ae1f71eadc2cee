"""A campaign database in a folder of its own, and the services on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.service import Recipients
from amity.kernel.clock import VirtualBusinessClock, from_iso
from amity.storage.sqlite.tables import SqliteTables


@pytest.fixture
def clock() -> VirtualBusinessClock:
    return VirtualBusinessClock(from_iso("2017-10-30T00:00:00Z"))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the built-in tables, made once and copied for each test."""
    path = tmp_path_factory.mktemp("installed") / "campaign.db"
    made = SqliteTables(path)
    CampaignSchemas(made, VirtualBusinessClock(0)).install()
    made.close()
    return path


@pytest.fixture
def tables(tmp_path: Path, installed: Path) -> Iterator[SqliteTables]:
    shutil.copyfile(installed, tmp_path / "campaign.db")
    made = SqliteTables(tmp_path / "campaign.db")
    yield made
    made.close()


@pytest.fixture
def schemas(tables: SqliteTables, clock: VirtualBusinessClock) -> CampaignSchemas:
    return CampaignSchemas(tables, clock)


@pytest.fixture
def recipients(
    tables: SqliteTables, schemas: CampaignSchemas, clock: VirtualBusinessClock
) -> Recipients:
    return Recipients(tables, schemas, clock)


@pytest.fixture
def quarantine(schemas: CampaignSchemas) -> Quarantine:
    return Quarantine(schemas)
