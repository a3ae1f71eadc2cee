"""Audience files that a campaign of the followed product reads.

The format is a preset: `campaign_v7` (tab-separated text, or `campaign_v7_csv`) or
`campaign_standard`. The files lie in Azure Blob Storage, where the blueprint names it, on an SFTP
server, or in a folder of this installation. Behaviour: platform-activation.md §4.3, §8.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from amity.exchange.formats import AUDIENCE_FILES
from amity.exchange.names import check_template
from amity.platform.activation.destination import (
    Auth,
    Capabilities,
    Destination,
    DestinationSpec,
    Means,
)
from amity.platform.activation.errors import BadConnection
from amity.platform.activation.file_set import FileDestination
from amity.transports.azure_blob import AzureBlobConfig, AzureBlobStore
from amity.transports.local import LocalStore
from amity.transports.ports import Store
from amity.transports.sftp import SftpConfig, SftpStore


class CampaignConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the files lie and who reads them."""

    mode: Literal["AZURE_BLOB", "FTP", "LOCAL"]
    preset: Literal["campaign_v7", "campaign_v7_csv", "campaign_standard"] = "campaign_v7"
    format: Literal["CSV"] = "CSV"
    path: str = ""
    container: str = ""
    connection_string: str = ""
    remote_path: str = ""
    domain: str = ""
    host: str = ""
    """Of the server; "" where `domain` names it."""

    port: int = 22
    username: str = ""
    password: str = ""
    ssh_key: str = ""
    host_key: str = ""
    authentication: str = ""
    include_file_manifest: bool = True

    def __post_init__(self) -> None:
        """Mode and way to sign in must be of one kind."""
        if self.mode == "AZURE_BLOB" and not (self.connection_string and self.container):
            raise BadConnection(
                "mode AZURE_BLOB needs the `container`, and a connection with specName 'Azure Blob'"
            )
        if self.mode == "FTP" and not (self.username and (self.host or self.domain)):
            raise BadConnection(
                "mode FTP needs a connection with specName 'SFTP with Password' or 'SFTP with SSH Key'"
            )


def _make(config: CampaignConfig, *, means: Means) -> Destination:
    return FileDestination(
        store=_store(config, means),
        folder=config.remote_path if config.mode == "FTP" else config.path,
        file=AUDIENCE_FILES[config.preset],
        work=means.work,
    )


def _store(config: CampaignConfig, means: Means) -> Store:
    if config.mode == "LOCAL":
        return LocalStore(means.exports)
    if config.mode == "FTP":
        return _sftp(config, means)
    place = AzureBlobConfig(connection_string=config.connection_string, container=config.container)
    return AzureBlobStore(place, outbound=means.outbound)


def _sftp(config: CampaignConfig, means: Means) -> Store:
    place = SftpConfig(
        host=config.host or config.domain,
        port=config.port,
        username=config.username,
        password=config.password,
        private_key=config.ssh_key,
        host_key=config.host_key,
        folder="/" if config.remote_path.startswith("/") else "",
    )
    return SftpStore(place, outbound=means.outbound)


SPEC = DestinationSpec(
    name="adobe_campaign",
    summary="Audience files for a campaign, v7 or Standard, by preset.",
    config=CampaignConfig,
    make=_make,
    connection_specs={"0b23e41a-cb4a-4321-a78f-3b654f5d7d97": "Adobe Campaign"},
    flow_spec=("6b8e3d4c-2c0a-4f0e-9d0e-1f4b7f6a5c12", "upsToCampaign"),
    auths=(
        Auth(name="Azure Blob", required=("connectionString",)),
        Auth(
            name="SFTP with Password",
            required=("domain", "username", "password"),
            optional=("host", "port", "hostKey"),
        ),
        Auth(
            name="SFTP with SSH Key",
            required=("domain", "username", "sshKey"),
            optional=("host", "port", "hostKey"),
        ),
        Auth(name="Local"),
    ),
    target=(
        "mode",
        "preset",
        "container",
        "path",
        "remotePath",
        "format",
        "includeFileManifest",
    ),
    capabilities=Capabilities(calendar=False),
    check_filename=check_template,
)
