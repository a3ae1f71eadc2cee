"""What can a box of a workflow do? The registry of activities; one file each in this folder."""

from __future__ import annotations

from amity.campaign.workflow.activities import (
    and_join,
    delivery,
    end,
    enrichment,
    exclusion,
    extraction,
    file_transfer,
    fork,
    list_update,
    load_file,
    log_export,
    query,
    scheduler,
    signal,
    split,
    start,
    test,
    update_data,
    wait,
)
from amity.campaign.workflow.activity import Activity
from amity.kernel.registry import Registry

ACTIVITIES: Registry[Activity] = Registry(
    "amity.activities",
    (
        and_join.SPEC,
        delivery.SPEC,
        end.SPEC,
        enrichment.SPEC,
        exclusion.SPEC,
        extraction.SPEC,
        file_transfer.SPEC,
        fork.SPEC,
        list_update.SPEC,
        load_file.SPEC,
        log_export.SPEC,
        query.SPEC,
        scheduler.SPEC,
        signal.SPEC,
        split.SPEC,
        start.SPEC,
        test.SPEC,
        update_data.SPEC,
        wait.SPEC,
    ),
)
