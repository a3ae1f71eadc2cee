"""HTTP of data access: what lies in a batch, what was wrong with it, and first rows of a dataset.

Behaviour: platform-collect.md §4, §5. A batch's files are one dataset file, named by the batch's id.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, Protocol
from urllib.parse import quote

import sqlglot.expressions as sge
from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, JSONResponse

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.kernel.scope import Scope
from amity.platform.catalog.batches import Batch
from amity.platform.catalog.model import Dataset
from amity.platform.ingestion.batch_files import BatchFiles, FileInfo
from amity.platform.ingestion.errors import UnknownFile
from amity.storage.ports import Document, Lake, LakeTable

BASE = "/data/foundation/export"
PAGE_MAX = 1_000
PREVIEW_ROWS = 100
Viewer = Annotated[Principal, needs("view-datasets")]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]


class Shelf(Protocol):
    """What is needed of the catalog."""

    def batch(self, scope: Scope, id: str) -> Batch: ...

    def dataset(self, scope: Scope, id: str) -> Dataset: ...

    def document(self, scope: Scope, id: str) -> Document: ...


class _Page(NamedTuple):
    start: str
    limit: int


class Exports:
    """Shows files and rows.

    Args:
        catalog: Knows batches and datasets.
        files: Keeps the files of batches.
        lake: Keeps the rows of datasets.
        public_url: Base of links, without a slash at its end.
    """

    def __init__(self, *, catalog: Shelf, files: BatchFiles, lake: Lake, public_url: str) -> None:
        self._catalog = catalog
        self._files = files
        self._lake = lake
        self._base = public_url.rstrip("/") + BASE

    def batch_files(self, scope: Scope, batch_id: str) -> dict[str, Any]:
        """The dataset files of a batch: one, when files were put."""
        batch = self._catalog.batch(scope, batch_id)
        listed = self._files.of(scope, batch_id).listed()
        view = self._catalog.document(scope, batch.dataset_id).body.get("viewId", "")
        entry = {
            "dataSetFileId": batch_id,
            "dataSetViewId": view,
            "version": "1.0.0",
            "created": str(batch.created_ms),
            "updated": str(batch.updated_ms),
            "isValid": batch.status in {"success", "active"},
            "_links": {"self": {"href": f"{self._base}/files/{batch_id}"}},
        }
        data = [entry] if listed else []
        return {"data": data, "_page": {"limit": 100, "count": len(data)}}

    def part(self, scope: Scope, batch_id: str, part: str, page: _Page) -> dict[str, Any]:
        """The files of a part of a batch: `files`, `failed`, or a folder of `meta`."""
        self._catalog.batch(scope, batch_id)
        below = part.removeprefix("meta/") + "/" if part.startswith("meta/") else ""
        href = {
            "files": f"{self._base}/files/{batch_id}",
            "failed": f"{self._base}/batches/{batch_id}/failed",
        }.get(part, f"{self._base}/batches/{batch_id}/meta")
        listed = self._files.of(scope, batch_id).listed(part)
        found = [info for info in listed if info.name > page.start][: page.limit]
        return {
            "data": [_entry(info, f"{href}?path={quote(below + info.name)}") for info in found],
            "_page": {"limit": page.limit, "count": len(found)},
        }

    def meta(self, scope: Scope, batch_id: str) -> dict[str, Any]:
        """The folders of a batch's diagnostics."""
        self._catalog.batch(scope, batch_id)
        listed = self._files.of(scope, batch_id).listed("meta")
        lengths: dict[str, int] = {}
        for info in listed:
            folder = info.name.split("/")[0]
            lengths[folder] = lengths.get(folder, 0) + info.length
        href = f"{self._base}/batches/{batch_id}/meta?path="
        data = [_entry(FileInfo(name, length), href + name) for name, length in lengths.items()]
        return {"data": data, "_page": {"limit": 100, "count": len(data)}}

    def download(self, scope: Scope, batch_id: str, name: str, part: str) -> FileResponse:
        """A file of a part of a batch, whole or the range asked for."""
        self._catalog.batch(scope, batch_id)
        path = self._files.of(scope, batch_id).path(name, part)
        return FileResponse(
            path, media_type="application/octet-stream", filename=name.rpartition("/")[2]
        )

    def preview(self, scope: Scope, dataset_id: str) -> dict[str, Any]:
        """The first rows of a dataset, without the columns that are ours alone."""
        dataset = self._catalog.dataset(scope, dataset_id)
        table = LakeTable(scope, dataset.id)
        if self._lake.schema(table) is None:
            return {"data": []}
        names = [sge.column(name, quoted=True) for name in self._columns(table)]
        statement = sge.select(*names).from_("rows").limit(PREVIEW_ROWS)
        found = self._lake.query(statement, {"rows": table})
        return {"data": [_without_nulls(row) for row in found.to_pylist()]}

    def _columns(self, table: LakeTable) -> list[str]:
        schema = self._lake.schema(table)
        names = schema.names if schema is not None else []
        return [name for name in names if not name.startswith("_amity_")]


def router(exports: Exports) -> APIRouter:
    """`/data/foundation/export/…`."""
    routes = APIRouter(tags=["data access"])
    _batches(routes, exports)
    _files(routes, exports)
    return routes


def _batches(routes: APIRouter, exports: Exports) -> None:
    @routes.get(f"{BASE}/batches/{{batch}}/files")
    def files(batch: str, principal: Viewer) -> dict[str, Any]:
        """The dataset files of a batch."""
        return exports.batch_files(principal.scope, batch)

    @routes.get(f"{BASE}/batches/{{batch}}/failed", response_model=None)
    def failed(
        batch: str, principal: Viewer, path: str = "", start: str = "", limit: Limit = 100
    ) -> FileResponse | dict[str, Any]:
        """The refused rows of a batch, by file; `path` downloads one."""
        if path:
            return exports.download(principal.scope, batch, path, "failed")
        return exports.part(principal.scope, batch, "failed", _Page(start, limit))

    @routes.get(f"{BASE}/batches/{{batch}}/meta", response_model=None)
    def meta(
        batch: str, principal: Viewer, path: str = "", start: str = "", limit: Limit = 100
    ) -> FileResponse | dict[str, Any]:
        """The diagnostics of a batch: `input_files`, `row_errors`, or one file of them."""
        folder = path.strip("/")
        if not folder:
            return exports.meta(principal.scope, batch)
        if folder in {"input_files", "row_errors"}:
            return exports.part(principal.scope, batch, f"meta/{folder}", _Page(start, limit))
        return exports.download(principal.scope, batch, folder, "meta")


def _files(routes: APIRouter, exports: Exports) -> None:
    @routes.get(f"{BASE}/files/{{file}}", response_model=None)
    @routes.head(f"{BASE}/files/{{file}}", response_model=None)
    def file(
        file: str, principal: Viewer, path: str = "", start: str = "", limit: Limit = 100
    ) -> FileResponse | JSONResponse:
        """The files of a dataset file; `path` downloads one (with Range, a part of it)."""
        if path:
            return exports.download(principal.scope, file, path, "files")
        found = exports.part(principal.scope, file, "files", _Page(start, limit))
        if not found["data"] and not start:
            raise UnknownFile(f"there is no dataset file {file!r}")
        return JSONResponse(found)

    @routes.get(f"{BASE}/datasets/{{dataset}}/preview")
    def preview(dataset: str, principal: Viewer) -> dict[str, Any]:
        """The first rows of a dataset."""
        return exports.preview(principal.scope, dataset)


def _entry(info: FileInfo, href: str) -> dict[str, Any]:
    return {"name": info.name, "length": str(info.length), "_links": {"self": {"href": href}}}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nulls(one) for one in value]
    return value
