"""Which workflows are ready-made? The registry of templates; one file each in this folder."""

from __future__ import annotations

from amity.campaign.workflow.model import Graph
from amity.kernel.registry import Registry

TEMPLATES: Registry[Graph] = Registry("amity.templates", ())
