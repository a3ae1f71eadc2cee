"""Audience files on an SFTP server. Behaviour: platform-activation.md §4.3.

The documented parameters name no host key. A server whose key is not pinned is refused with the key
that it shows, so `hostKey` can be added once it was checked.
"""

from __future__ import annotations

from amity.exchange.names import check_template
from amity.platform.activation.destination import (
    Auth,
    Capabilities,
    Destination,
    DestinationSpec,
    Means,
)
from amity.platform.activation.file_set import FileDestination, FileOptions
from amity.transports.sftp import SftpConfig, SftpStore


class SftpTarget(FileOptions, frozen=True, kw_only=True, rename="camel"):
    """A folder at an account of a server."""

    domain: str
    username: str
    port: int = 22
    password: str = ""
    ssh_key: str = ""
    host_key: str = ""
    authentication: str = ""
    remote_path: str = ""


def _make(config: SftpTarget, *, means: Means) -> Destination:
    place = SftpConfig(
        host=config.domain,
        port=config.port,
        username=config.username,
        password=config.password,
        private_key=config.ssh_key,
        host_key=config.host_key,
        folder="/" if config.remote_path.startswith("/") else "",
    )
    return FileDestination(
        store=SftpStore(place, outbound=means.outbound),
        folder=config.remote_path,
        file=config.file(),
        work=means.work,
    )


SPEC = DestinationSpec(
    name="sftp",
    summary="Audience files on an SFTP server.",
    config=SftpTarget,
    make=_make,
    connection_specs={
        "36965a81-b1c6-401b-99f8-22508f1e6a26": "SFTP",
        "64ef4b8b-a6e0-41b5-9677-3805d1ee5dd0": "SFTP (legacy)",
    },
    flow_spec=("fd36aaa4-bf2b-43fb-9387-43785eeeb799", "upsToSftp"),
    auths=(
        Auth(
            name="SFTP with Password",
            required=("domain", "username", "password"),
            optional=("port", "hostKey"),
        ),
        Auth(
            name="SFTP with SSH Key",
            required=("domain", "username", "sshKey"),
            optional=("port", "hostKey"),
        ),
    ),
    target=("remotePath", "fileType", "csvOptions", "compression", "includeFileManifest"),
    capabilities=Capabilities(calendar=True),
    check_filename=check_template,
)
