"""What do both processes that serve the campaign open?

Its database and its work tables, beside the core of the data folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import re2

from amity.app.core import Core
from amity.app.folder import write_private
from amity.kernel.errors import Invalid
from amity.kernel.scope import Scope
from amity.storage.ports import Tables, WorkFiles
from amity.storage.sqlite.tables import SqliteTables
from amity.storage.sqlite.work_files import SqliteWorkFiles

LINK_KEY_BYTES = 32
PORTS = 65_536
_DOMAIN = re2.compile(r"(?i)([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.|$))*")


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignOptions:
    """What an installation says of its mail and its doors.

    Attributes:
        public_url: Base of the links in messages.
        smtp: ``HOST:PORT`` that takes messages; "" while there is none.
        bounce_domain: Domain of the envelope senders: what bounces comes back to it.
        host: Address of the doors.
        sftp_port: Port of the SFTP server; None for none, 0 for a free one.
        bounce_port: Port that takes bounces; None for none, 0 for a free one.
    """

    public_url: str
    smtp: str = ""
    bounce_domain: str = "bounces.example.test"
    host: str = "127.0.0.1"
    sftp_port: int | None = None
    bounce_port: int | None = None

    def __post_init__(self) -> None:
        host, _, port = self.smtp.rpartition(":")
        if self.smtp and not (host and port.isdecimal() and 0 < int(port) < PORTS):
            raise Invalid(f"--smtp {self.smtp!r}: write HOST:PORT, as in 127.0.0.1:25")
        if not _DOMAIN.fullmatch(self.bounce_domain):
            raise Invalid(f"--bounce-domain {self.bounce_domain!r}: write bounces.example.test")

    @property
    def arguments(self) -> list[str]:
        """For the campaign's worker."""
        return ["--smtp", self.smtp, "--bounce-domain", self.bounce_domain]


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignCore:
    """The open ports of the campaign side."""

    core: Core
    options: CampaignOptions
    scope: Scope
    """The one organisational unit it serves, and its sandbox."""

    tables: Tables
    work: WorkFiles
    link_key: bytes
    """Signs the links and envelope senders of messages."""


def open_campaign(core: Core, options: CampaignOptions) -> CampaignCore:
    """Open the campaign's database beside an open core."""
    folder, organisation = core.folder, core.folder.organisation()
    tables = SqliteTables(folder.campaign)
    return CampaignCore(
        core=core,
        options=options,
        scope=Scope(organisation["org_id"], organisation["sandbox"]),
        tables=tables,
        work=SqliteWorkFiles(folder.work_tables, tables, folder.campaign),
        link_key=_link_key(folder.keys / "links.key"),
    )


def _link_key(path: Path) -> bytes:
    """The installation's secret for links; made at the first start, kept in a 0600 file."""
    if not path.exists():
        write_private(path, os.urandom(LINK_KEY_BYTES).hex())
    return bytes.fromhex(path.read_text())
