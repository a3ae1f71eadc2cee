"""What do both processes that serve the campaign open?

Its database and its work tables, beside the core of the data folder.
"""

from __future__ import annotations

from dataclasses import dataclass

from amity.app.core import Core
from amity.kernel.scope import Scope
from amity.storage.ports import Tables
from amity.storage.sqlite.tables import SqliteTables


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
    bounce_domain: str = ""
    host: str = "127.0.0.1"
    sftp_port: int | None = None
    bounce_port: int | None = None

    @property
    def arguments(self) -> list[str]:
        """For the campaign's worker."""
        return ["--smtp", self.smtp, "--bounce-domain", self.bounce_domain]


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignCore:
    """The open ports of the campaign side."""

    core: Core
    scope: Scope
    """The one organisational unit it serves, and its sandbox."""

    tables: Tables


def open_campaign(core: Core) -> CampaignCore:
    """Open the campaign's database beside an open core."""
    organisation = core.folder.organisation()
    return CampaignCore(
        core=core,
        scope=Scope(organisation["org_id"], organisation["sandbox"]),
        tables=SqliteTables(core.folder.campaign),
    )
