"""How do messages leave? The registry of channels; one file each in this folder."""

from __future__ import annotations

from amity.campaign.delivery.channel import Channel
from amity.campaign.delivery.channels import email
from amity.kernel.registry import Registry

CHANNELS: Registry[Channel] = Registry("amity.channels", (email.SPEC,))
