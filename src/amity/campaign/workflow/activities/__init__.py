"""What can a box of a workflow do? The registry of activities; one file each in this folder."""

from __future__ import annotations

from amity.campaign.workflow.activities import (
    and_join,
    delivery,
    end,
    extraction,
    file_transfer,
    fork,
    load_file,
    log_export,
    scheduler,
    signal,
    start,
    test,
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
        extraction.SPEC,
        file_transfer.SPEC,
        fork.SPEC,
        load_file.SPEC,
        log_export.SPEC,
        scheduler.SPEC,
        signal.SPEC,
        start.SPEC,
        test.SPEC,
        wait.SPEC,
    ),
)
