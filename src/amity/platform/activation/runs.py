"""What does a run say of an export?

The documented run, and beside it the ledger that adds up to the last person. Behaviour:
platform-activation.md §4.10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from amity.kernel.clock import to_iso
from amity.platform.activation.destination import Published
from amity.platform.activation.model import ExportOrder
from amity.platform.activation.rows import CODES, Ledger
from amity.platform.governance.evaluation import Violation, explain, violation_body

IN_PROGRESS, SUCCESS, FAILED = "inProgress", "success", "failed"
NOTHING = Published(files=(), manifest="", rows=0, bytes=0)


class Span(NamedTuple):
    """When it began and ended, business time."""

    started_ms: int
    completed_ms: int = 0


def status_of(run: Mapping[str, Any]) -> str:
    """The documented status of a run."""
    return str(run["metrics"]["statusSummary"]["status"])


def started(order: ExportOrder, span: Span) -> dict[str, Any]:
    """A run that goes on."""
    return _run(order, span, (IN_PROGRESS, []), (Ledger(), NOTHING))


def succeeded(
    order: ExportOrder, span: Span, ledger: Ledger, published: Published
) -> dict[str, Any]:
    """A run whose files lie at the destination."""
    return _run(order, span, (SUCCESS, []), (ledger, published))


def failed(order: ExportOrder, span: Span, code: str, message: str) -> dict[str, Any]:
    """A run that has written nothing."""
    return _run(order, span, (FAILED, [{"code": code, "message": message}]), (Ledger(), NOTHING))


def paused(order: ExportOrder, span: Span, violations: Sequence[Violation]) -> dict[str, Any]:
    """A run that a policy holds back; written nothing, and to be caught up later."""
    errors = [
        {
            "code": "AMITY-ACTIVATION-PAUSED",
            "message": "Paused: " + explain(violation),
            **violation_body(violation),
        }
        for violation in violations
    ]
    return _run(order, span, (FAILED, errors), (Ledger(), NOTHING)) | {"state": "paused"}


def _run(
    order: ExportOrder,
    span: Span,
    status: tuple[str, list[dict[str, Any]]],
    result: tuple[Ledger, Published],
) -> dict[str, Any]:
    ledger, published = result
    excluded = [
        {"code": CODES[reason][0], "message": CODES[reason][1], "count": count}
        for reason, count in sorted((+ledger.excluded).items())
    ]
    return {
        "id": order.run,
        "flowId": order.flow,
        "state": status[0],
        "metrics": {
            "durationSummary": {
                "startedAtUTC": span.started_ms,
                "completedAtUTC": span.completed_ms,
            },
            "sizeSummary": {"inputBytes": 0, "outputBytes": published.bytes},
            "recordSummary": {
                "inputRecordCount": ledger.qualified,
                "createdRecordCount": ledger.written,
                "outputRecordCount": published.rows,
                "skippedRecordCount": ledger.excluded.total(),
                "failedRecordCount": 0,
                "sourceSummaries": [
                    {
                        "id": order.audience,
                        "entitySummaries": [{"id": f"segment:{order.audience}"}],
                        "inputRecordCount": ledger.qualified,
                    }
                ],
                "targetSummaries": [
                    {
                        "id": order.flow,
                        "entitySummaries": [
                            {"id": f"segment:{order.audience}", "outputRecordCount": published.rows}
                        ],
                    }
                ],
                "skippedInfo": excluded,
                "failedInfo": [],
            },
            "fileSummary": {
                "inputFileCount": 0,
                "outputFileCount": len(published.files),
                "files": list(published.files),
                "manifest": published.manifest,
            },
            "statusSummary": {"status": status[0], "errors": status[1], "activityRefs": []},
        },
        "activities": [],
        "order": {
            "segment": order.audience,
            "mode": order.mode,
            "scheduledTime": to_iso(order.scheduled_ms),
            "onDemand": order.on_demand,
        },
        "ledger": ledger.body(),
    }
