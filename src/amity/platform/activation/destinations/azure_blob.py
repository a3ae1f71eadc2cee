"""Audience files in a container of Azure Blob Storage. Behaviour: platform-activation.md §4.3."""

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
from amity.transports.azure_blob import AzureBlobConfig, AzureBlobStore


class AzureBlobTarget(FileOptions, frozen=True, kw_only=True, rename="camel"):
    """A folder in a container."""

    connection_string: str
    container: str
    authentication: str = ""
    path: str = ""


def _make(config: AzureBlobTarget, *, means: Means) -> Destination:
    place = AzureBlobConfig(connection_string=config.connection_string, container=config.container)
    return FileDestination(
        store=AzureBlobStore(place, outbound=means.outbound),
        folder=config.path,
        file=config.file(),
        work=means.work,
    )


SPEC = DestinationSpec(
    name="azure_blob",
    summary="Audience files in a container of Azure Blob Storage.",
    config=AzureBlobTarget,
    make=_make,
    connection_specs={
        "6d6b59bf-fb58-4107-9064-4d246c0e5bb2": "Azure Blob Storage",
        "e258278b-a4cf-43ac-b158-4fa0ca0d948b": "Azure Blob Storage (legacy)",
    },
    flow_spec=("752d422f-b16f-4f0d-b1c6-26e448e3b388", "upsToAzureBlob"),
    auths=(Auth(name="ConnectionString", required=("connectionString",)),),
    target=("container", "path", "fileType", "csvOptions", "compression", "includeFileManifest"),
    capabilities=Capabilities(calendar=True),
    check_filename=check_template,
)
