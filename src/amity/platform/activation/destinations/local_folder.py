"""Audience files in a folder of this installation.

Not a destination of the followed product: it is here so that everything works before an account of
any cloud is at hand, and as the model for other destinations of files.
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
from amity.transports.local import LocalStore


class LocalFolderConfig(FileOptions, frozen=True, kw_only=True, rename="camel"):
    """A folder below the one for exports."""

    authentication: str = ""
    path: str = ""


def _make(config: LocalFolderConfig, *, means: Means) -> Destination:
    return FileDestination(
        store=LocalStore(means.exports), folder=config.path, file=config.file(), work=means.work
    )


SPEC = DestinationSpec(
    name="local_folder",
    summary="Audience files in a folder of this installation.",
    config=LocalFolderConfig,
    make=_make,
    connection_specs={"0f6d7bb6-3c0f-4b7e-9a51-5d0d4a6a3a10": "Local Folder"},
    flow_spec=("3f1f6c52-7c59-4a53-8d0c-9b5d2f2f6a11", "upsToLocalFolder"),
    auths=(Auth(name="Local"),),
    target=("path", "fileType", "csvOptions", "compression", "includeFileManifest"),
    capabilities=Capabilities(calendar=True),
    check_filename=check_template,
)
