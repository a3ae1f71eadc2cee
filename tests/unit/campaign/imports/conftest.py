"""What tests of files coming in share: a campaign database, places for files, a task to run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
import sqlalchemy as sa

from amity.access.secrets import SecretBox
from amity.campaign.exports.interval import Watch
from amity.campaign.exports.service import LogExports
from amity.campaign.imports.accounts import ExternalAccounts, Folders
from amity.campaign.imports.copies import Copies
from amity.campaign.recipients.conditions import Conditions
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.workflow.activities import ACTIVITIES
from amity.campaign.workflow.activity import Done, Later, Out, Task, WorkTable
from amity.campaign.workflow.means import Means
from amity.exchange.audience_file import AudienceExport, AudienceFileWriter
from amity.exchange.formats import CAMPAIGN_V7, AudienceFile
from amity.exchange.manifest import Manifest
from amity.exchange.names import NameFacts
from amity.kernel.clock import RealSystemClock, VirtualBusinessClock, from_iso
from amity.kernel.ids import RandomIds
from amity.storage.sqlite.tables import SqliteTables
from amity.storage.sqlite.work_files import SqliteWorkFiles
from amity.transports.local import LocalStore
from amity.transports.outbound import Outbound

NOW = from_iso("2017-10-30T08:00:00Z")


class Ground:
    """One installation's campaign side, as far as files are concerned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualBusinessClock(NOW)
        self.tables = SqliteTables(folder / "campaign.db")
        self.schemas = CampaignSchemas(self.tables, self.clock)
        self.work = SqliteWorkFiles(folder / "work", self.tables, folder / "campaign.db")
        (folder / "keys").mkdir()
        self.accounts = ExternalAccounts(
            tables=self.tables,
            secrets=SecretBox(folder / "keys" / "secrets.key"),
            outbound=Outbound(allow_loopback=True),
            folders=Folders(exchange=folder / "exports", sftp=folder / "sftp"),
            clock=self.clock,
        )
        self.copies = Copies(folder / "copies")
        self.exports = LogExports(
            tables=self.tables,
            schemas=self.schemas,
            watch=Watch(clock=self.clock, system=RealSystemClock(), boot="b"),
            open_store=self.accounts.open,
            spool=folder / "spool",
            ids=RandomIds(),
        )
        self.sftp = LocalStore(folder / "sftp")
        self.exchange = LocalStore(folder / "exports")
        self.journal: list[str] = []
        self.now_ms = NOW
        self.tasks = 0

    def means(self) -> Means:
        """What the activities of files use; the rest is not asked for."""
        given = {
            "accounts": self.accounts,
            "clock": self.clock,
            "conditions": Conditions(self.schemas),
            "copies": self.copies,
            "exports": self.exports,
            "schemas": self.schemas,
            "tables": self.tables,
            "work": self.work,
        }
        return Means(**dict.fromkeys(f.name for f in dataclasses.fields(Means)) | given)

    def run(
        self,
        kind: str,
        options: Mapping[str, Any],
        *,
        vars: Mapping[str, Any] | None = None,
        memory: Mapping[str, Any] | None = None,
        inputs: Mapping[str, WorkTable] | None = None,
        id: int = 0,
    ) -> Done | Later:
        """One activity, as a task of its own, or as that of an id again."""
        self.tasks += 1
        spec = ACTIVITIES[kind]
        activity = spec.make(msgspec.convert(options, spec.config), self.means())
        result = activity.run(
            Task(
                workflow=7,
                id=id or 1000 + self.tasks,
                activity=kind,
                inputs=inputs or {},
                vars=vars or {},
                instance_vars={},
                memory=memory or {},
                now_ms=self.now_ms,
                since_ms=NOW,
                attempt=1,
                work=self.work,
                journal=lambda level, text: self.journal.append(f"{level}: {text}"),
                stopped=lambda: False,
            )
        )
        assert isinstance(result, (Done, Later))
        return result

    def load(self, options: Mapping[str, Any], *files: str, **transfer: Any) -> Done:
        """Transfer files of the SFTP folder, then load them."""
        taken = self.run("file_transfer", {"account": "sftp", "path": files[0], **transfer})
        assert isinstance(taken, Done)
        done = self.run("load_file", options, vars=taken.outputs["out"].vars)
        assert isinstance(done, Done)
        return done

    def rows(self, out: Out) -> list[dict[str, Any]]:
        """The rows of a transition's table, without ``n`` and ``id``."""
        assert out.table is not None
        names = [column.name for column in out.table.columns]
        rows = sa.table("rows", sa.column("n"), *map(sa.column, names))
        with self.work.read(out.table.name) as connection:
            query = sa.select(*(rows.c[name] for name in names)).order_by(rows.c.n)
            found = [dict(row) for row in connection.execute(query).mappings()]
        assert len(found) == out.table.count
        return found

    def audience(
        self,
        rows: Sequence[tuple[str, ...]],
        *,
        run: str = "r1",
        at: str = "2017-10-30T00:00:00Z",
        columns: tuple[str, ...] = ("crm_id", "personalEmail.address", "segmentMembership.status"),
        file: AudienceFile = CAMPAIGN_V7,
        **more: Any,
    ) -> Manifest:
        """Publish a file set as the platform does."""
        facts = {
            "names": NameFacts(
                destination="Shop",
                segment_id="0f9b5c1e-3a77",
                segment_name="Rich",
                at_ms=from_iso(at),
            ),
            "destination_id": "flow1",
            "run_id": run,
            "columns": columns,
            "merge_policy": "mp",
            "mode": "incremental",
            "folder": "campaign",
        }
        writer = AudienceFileWriter(
            store=self.exchange,
            spool=self.folder / "writing",
            file=file,
            export=AudienceExport(**(facts | more)),
        )
        cells = list(zip(*rows, strict=True)) or [[] for _ in columns]
        writer.write(pa.table([pa.array(one, pa.string()) for one in cells], names=list(columns)))
        return writer.publish()


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path)
    yield made
    made.tables.close()


@pytest.fixture
def make_ground(tmp_path: Path) -> Iterator[Callable[[], Ground]]:
    """For property tests: each example has a folder of its own."""
    made: list[Ground] = []

    def make() -> Ground:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Ground(folder))
        return made[-1]

    yield make
    for one in made:
        one.tables.close()
