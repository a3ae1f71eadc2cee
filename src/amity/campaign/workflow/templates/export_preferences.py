"""Export of the preferences. Publishes opt-outs and subscriptions for the platform; switched off at first."""

from __future__ import annotations

from functools import partial

from amity.campaign.workflow.export_graph import ExportConfig, export_graph
from amity.campaign.workflow.template import TemplateSpec

SPEC = TemplateSpec(
    name="export_preferences",
    label="Export of the preferences",
    summary="Publishes opt-outs and subscriptions for the platform; switched off at first.",
    config=ExportConfig,
    make=partial(export_graph, kind="preferences"),
)
