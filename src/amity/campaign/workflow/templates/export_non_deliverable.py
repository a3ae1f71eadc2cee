"""Export of the non-deliverables. Publishes addresses with errors, in quarantine or denylisted for the platform."""

from __future__ import annotations

from functools import partial

from amity.campaign.workflow.export_graph import ExportConfig, export_graph
from amity.campaign.workflow.template import TemplateSpec

SPEC = TemplateSpec(
    name="export_non_deliverable",
    label="Export of the non-deliverables",
    summary="Publishes addresses with errors, in quarantine or denylisted for the platform.",
    config=ExportConfig,
    make=partial(export_graph, kind="nonDeliverable"),
)
