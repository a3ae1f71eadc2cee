"""Which workflows are ready-made? The registry of templates; one file each in this folder."""

from __future__ import annotations

from amity.campaign.workflow.model import Graph
from amity.campaign.workflow.templates import (
    export_broad_log,
    export_non_deliverable,
    export_preferences,
    export_tracking_log,
    import_audiences,
    import_recipients,
)
from amity.kernel.registry import Registry

TEMPLATES: Registry[Graph] = Registry(
    "amity.templates",
    (
        export_broad_log.SPEC,
        export_non_deliverable.SPEC,
        export_preferences.SPEC,
        export_tracking_log.SPEC,
        import_audiences.SPEC,
        import_recipients.SPEC,
    ),
)
