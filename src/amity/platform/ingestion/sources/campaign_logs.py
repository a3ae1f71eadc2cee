"""The campaign side's log files as events and records: the way back.

Exports are found by their manifests, in a folder of this installation, a container of Azure Blob
Storage or on an SFTP server. Not a source of the followed product, whose customers build this by
hand: one flow for each of the four kinds of log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from amity.exchange.log_file import LogKind, Published, check_export, log_rows, published
from amity.kernel.errors import Forbidden, Invalid
from amity.platform.ingestion.campaign_records import BadRow, Naming, record_of
from amity.platform.ingestion.source import (
    Lot,
    SignIn,
    Source,
    SourceMeans,
    SourceRow,
    SourceSpec,
)
from amity.tabular.read import Row
from amity.transports.azure_blob import AzureBlobConfig, AzureBlobStore
from amity.transports.local import LocalStore
from amity.transports.ports import Store
from amity.transports.sftp import SftpConfig, SftpStore

LOCAL, BLOB = "Local", "ConnectionString"
PASSWORD, SSH_KEY = "SFTP with Password", "SFTP with SSH Key"


class CampaignLogsConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the exports of one kind lie, and how their people are called here."""

    authentication: str
    logs: LogKind
    path: str = "campaign-logs"
    external_namespace: str = ""
    email_namespace: str = "Email"
    connection_string: str = ""
    container: str = ""
    domain: str = ""
    """Host of the SFTP server: the documented name."""

    port: int = 22
    username: str = ""
    password: str = ""
    ssh_key: str = ""
    host_key: str = ""


@dataclass(frozen=True, slots=True)
class LogLot:
    """One export."""

    store: Store
    found: Published
    naming: Naming
    work: Path

    @property
    def name(self) -> str:
        """Where its manifest lies."""
        return self.found.path

    @property
    def digest(self) -> str:
        """Of the manifest, which holds the digests of the files."""
        return self.found.digest

    def rows(self) -> Iterator[SourceRow]:
        """Its rows; the whole export is read once before the first is given."""
        manifest = self.found.manifest()
        check_export(self.store, manifest, self.work)
        for row in log_rows(self.store, manifest, self.work):
            yield _row(row, manifest.kind, self.naming)


class CampaignLogs:
    """The exports of one kind in a store."""

    def __init__(self, store: Store, config: CampaignLogsConfig, means: SourceMeans) -> None:
        self._store = store
        self._config = config
        self._work = means.work
        self._naming = Naming(config.external_namespace, config.email_namespace, means.tenant)

    def lots(self) -> Iterator[Lot]:
        """The exports, oldest first."""
        for found in published(self._store, self._config.path.strip("/"), self._config.logs):
            yield LogLot(self._store, found, self._naming, self._work)


def _row(row: Row, kind: LogKind, naming: Naming) -> SourceRow:
    if row.value is None:
        return SourceRow(row.line, row.raw, None, row.error or "the row is broken")
    try:
        mapped = record_of(kind, row.value, naming)
    except BadRow as error:
        return SourceRow(row.line, row.raw, None, error.message)
    return SourceRow(row.line, row.raw, mapped.body, "", mapped.rank_ms)


def _make(config: CampaignLogsConfig, *, means: SourceMeans) -> Source:
    return CampaignLogs(_store(config, means), config, means)


def _store(config: CampaignLogsConfig, means: SourceMeans) -> Store:
    if config.authentication == LOCAL:
        if means.exports is None:
            raise Forbidden(
                "the folder of this installation holds the files of another sandbox: have the "
                "exports put into a container or onto an SFTP server, and read them there"
            )
        return LocalStore(means.exports)
    if config.authentication == BLOB:
        if not config.container:
            raise Invalid("the source connection has no params.container: name it")
        place = AzureBlobConfig(
            connection_string=config.connection_string, container=config.container
        )
        return AzureBlobStore(place, outbound=means.outbound)
    account = SftpConfig(
        host=config.domain,
        port=config.port,
        username=config.username,
        password=config.password,
        private_key=config.ssh_key,
        host_key=config.host_key,
    )
    return SftpStore(account, outbound=means.outbound)


_SFTP = ("port", "hostKey")

SPEC = SourceSpec(
    name="campaign_logs",
    summary="Log files of the campaign side: deliveries, answers, bad addresses, preferences.",
    config=CampaignLogsConfig,
    make=_make,
    connection_specs={"5b0a7f7e-2c8e-4e57-9a52-7d7a3d9f8b41": "Campaign Logs"},
    flow_spec=("e2f3c7a4-51d6-4a0c-8a37-3c1de0c1f2b7", "CampaignLogsToAEP"),
    auths={
        LOCAL: SignIn(),
        BLOB: SignIn(required=("connectionString",)),
        PASSWORD: SignIn(required=("domain", "username", "password"), optional=_SFTP),
        SSH_KEY: SignIn(required=("domain", "username", "sshKey"), optional=_SFTP),
    },
    params=("logs", "path", "container", "externalNamespace", "emailNamespace"),
)
