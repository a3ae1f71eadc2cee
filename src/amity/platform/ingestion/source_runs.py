"""What does a run say of a lot that was read? Behaviour: platform-collect.md §8."""

from __future__ import annotations

from typing import Any, NamedTuple

from amity.kernel.ids import digest
from amity.kernel.scope import Scope


class LotRun(NamedTuple):
    """One lot, read or refused."""

    flow: str
    lot: str
    digest: str
    started_ms: int
    completed_ms: int
    taken: int = 0
    failed: int = 0
    code: str = ""
    error: str = ""
    """Why nothing of it was taken."""


def run_id(scope: Scope, run: LotRun) -> str:
    """The same lot has one run, however often it is tried."""
    return digest(scope.key, run.flow, run.lot, run.digest)


def run_body(scope: Scope, run: LotRun) -> dict[str, Any]:
    """The documented run; rows that became no record are counted, and kept as failed records."""
    errors = [{"code": run.code, "message": run.error}] if run.error else []
    status = "failed" if run.error else "success"
    if run.failed:
        message = f"{run.failed} rows were refused; GET /data/core/ingestion/failed lists them"
        errors.append({"code": "AMITY-SOURCE-ROWS", "message": message})
    files = 0 if run.error else 1
    return {
        "id": run_id(scope, run),
        "flowId": run.flow,
        "state": status,
        "metrics": {
            "durationSummary": {
                "startedAtUTC": run.started_ms,
                "completedAtUTC": run.completed_ms,
            },
            "recordSummary": {
                "inputRecordCount": run.taken + run.failed,
                "outputRecordCount": run.taken,
                "failedRecordCount": run.failed,
                "skippedRecordCount": 0,
                "failedInfo": [],
            },
            "fileSummary": {
                "inputFileCount": 1,
                "outputFileCount": files,
                "failedFileCount": 1 - files,
                "files": [run.lot],
            },
            "statusSummary": {"status": status, "errors": errors, "activityRefs": []},
        },
        "activities": [],
    }
