"""Export of the delivery logs. Publishes each new state of each message for the platform."""

from __future__ import annotations

from functools import partial

from amity.campaign.workflow.export_graph import ExportConfig, export_graph
from amity.campaign.workflow.template import TemplateSpec

SPEC = TemplateSpec(
    name="export_broad_log",
    label="Export of the delivery logs",
    summary="Publishes each new state of each message for the platform.",
    config=ExportConfig,
    make=partial(export_graph, kind="broadLog"),
)
