"""Where can an audience go? The registry of destinations; one file each in this folder."""

from __future__ import annotations

from amity.kernel.registry import Registry
from amity.platform.activation.destination import Destination
from amity.platform.activation.destinations import adobe_campaign, azure_blob, local_folder, sftp

DESTINATIONS: Registry[Destination] = Registry(
    "amity.destinations", (adobe_campaign.SPEC, azure_blob.SPEC, local_folder.SPEC, sftp.SPEC)
)
