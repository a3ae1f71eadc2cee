"""How do datasets, batches and their parts look in an answer? Behaviour: platform-collect.md §4."""

from __future__ import annotations

from typing import Any

import msgspec

from amity.kernel.scope import Scope
from amity.platform.catalog.batches import Batch
from amity.platform.schema.model import ResolvedSchema
from amity.storage.ports import Document


def shown_dataset(
    scope: Scope, document: Document, schema: ResolvedSchema | None, last: Batch | None
) -> dict[str, Any]:
    """A dataset; `last` is its newest batch."""
    body = dict(document.body)
    body |= {
        "imsOrg": scope.org,
        "sandboxId": scope.sandbox,
        "created": document.created_ms,
        "updated": document.updated_ms,
        "createdClient": body.get("createdUser", ""),
        "version": f"1.0.{document.version - 1}",
        "files": f"@/dataSets/{document.id}/views/{body['viewId']}/files",
        "classification": {
            "dataBehavior": schema.behavior if schema else "record",
            "managedBy": "CUSTOMER",
        },
    }
    if last is not None:
        body |= {"lastBatchId": last.id, "lastBatchStatus": last.status}
        if last.status == "success":
            body["lastSuccessfulBatch"] = last.id
    return body


def shown_batch(scope: Scope, batch: Batch) -> dict[str, Any]:
    """A batch."""
    body: dict[str, Any] = {
        "id": batch.id,
        "imsOrg": scope.org,
        "sandboxId": scope.sandbox,
        "status": batch.status,
        "relatedObjects": [{"type": "dataSet", "id": batch.dataset_id}],
        "inputFormat": batch.input_format,
        "metrics": batch.metrics,
        "errors": batch.errors,
        "tags": _tags(batch),
        "created": batch.created_ms,
        "updated": batch.updated_ms,
        "version": "1.0.0",
    }
    optional = {
        "externalId": batch.external_id,
        "replay": batch.replay,
        "started": batch.started_ms,
        "completed": batch.completed_ms,
    }
    return body | {key: value for key, value in optional.items() if value}


def _tags(batch: Batch) -> dict[str, Any]:
    tags: dict[str, Any] = msgspec.to_builtins(batch.tags)
    tags.setdefault("acp_enableErrorDiagnostics", [str(batch.diagnostics).lower()])
    tags.setdefault("acp_partialIngestionPercent", [str(batch.partial_percent)])
    return tags


def shown_view(document: Document) -> dict[str, Any]:
    """The one view of a dataset."""
    id = document.body["viewId"]
    return {
        id: {
            "dataSetId": document.id,
            "isProduced": False,
            "columnsFromSchema": True,
            "created": document.created_ms,
            "updated": document.updated_ms,
            "transforms": "",
            "files": f"@/dataSets/{document.id}/views/{id}/files",
        }
    }


def shown_file(batch: Batch, document: Document) -> dict[str, Any]:
    """What a batch added to a dataset's view."""
    return {
        "id": f"{batch.id}",
        "batchId": batch.id,
        "dataSetId": document.id,
        "dataSetViewId": document.body["viewId"],
        "isValid": batch.status == "success",
        "created": batch.created_ms,
        "updated": batch.updated_ms,
        "records": batch.metrics.get("outputRecordCount", 0),
        "size": batch.metrics.get("inputByteSize", 0),
    }
