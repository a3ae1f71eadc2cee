"""Export of the tracking logs. Publishes opens, clicks and unsubscriptions for the platform."""

from __future__ import annotations

from functools import partial

from amity.campaign.workflow.export_graph import ExportConfig, export_graph
from amity.campaign.workflow.template import TemplateSpec

SPEC = TemplateSpec(
    name="export_tracking_log",
    label="Export of the tracking logs",
    summary="Publishes opens, clicks and unsubscriptions for the platform.",
    config=ExportConfig,
    make=partial(export_graph, kind="trackingLog"),
)
