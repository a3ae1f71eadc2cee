"""HTTP of the catalog: datasets, batches, labels. Behaviour: platform-collect.md §1, §4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Request, Response
from fastapi.responses import JSONResponse

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.kernel.errors import AmityError
from amity.kernel.json_patch import apply_patch
from amity.kernel.scope import Scope
from amity.platform.catalog.batches import Batch
from amity.platform.catalog.datasets import SERVER_KEYS
from amity.platform.catalog.errors import DatasetInvalid, DatasetNotFound
from amity.platform.catalog.query import page_of, projected, property_names
from amity.platform.catalog.render import shown_batch, shown_dataset, shown_file, shown_view
from amity.platform.catalog.service import Catalog, LabelRecord
from amity.platform.schema.model import ResolvedSchema
from amity.storage.ports import Document

BASE = "/data/foundation/catalog"
LABELS_BASE = "/data/foundation/dataset/datasets"
Viewer = Annotated[Principal, needs("view-datasets")]
Manager = Annotated[Principal, needs("manage-datasets")]
Labeller = Annotated[Principal, needs("apply-labels")]
IfMatch = Annotated[str | None, Header(alias="If-Match")]


def router(catalog: Catalog) -> APIRouter:
    """`/data/foundation/catalog/…` and `/data/foundation/dataset/datasets/{id}/labels`."""
    routes = APIRouter(tags=["catalog"])
    shows = _Shows(catalog)
    _datasets(routes, catalog, shows)
    _changes(routes, catalog)
    _views(routes, catalog)
    _batches(routes, catalog)
    _labels(routes, catalog)
    return routes


class _Shows:
    """Shows datasets with what other parts know of them."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def all(self, scope: Scope) -> dict[str, dict[str, Any]]:
        last: dict[str, Batch] = {}
        for batch in self._catalog.batches(scope):
            last.setdefault(batch.dataset_id, batch)
        return {
            each.id: shown_dataset(scope, each, self._schema(scope, each.id), last.get(each.id))
            for each in self._catalog.documents(scope)
        }

    def one(self, scope: Scope, id: str, names: list[str]) -> dict[str, Any]:
        document = self._catalog.document(scope, id)
        last = next(iter(self._catalog.batches(scope, dataset=id)), None)
        return projected(shown_dataset(scope, document, self._schema(scope, id), last), names)

    def _schema(self, scope: Scope, id: str) -> ResolvedSchema | None:
        try:
            return self._catalog.schema_of(scope, id)
        except AmityError:
            return None


def _datasets(routes: APIRouter, catalog: Catalog, shows: _Shows) -> None:
    @routes.get(f"{BASE}/dataSets")
    def find(request: Request, principal: Viewer) -> dict[str, Any]:
        """Datasets keyed by id; filters, order, offset paging."""
        return page_of(shows.all(principal.scope), request.query_params.multi_items())

    @routes.post(f"{BASE}/dataSets", status_code=201, response_model=None)
    def create(principal: Manager, body: Annotated[Any, Body()]) -> list[str]:
        """Create a dataset."""
        made = catalog.create_dataset(principal.scope, body, actor=principal.id)
        return [_reference(made.id)]

    @routes.get(f"{BASE}/dataSets/{{id}}")
    def get(id: str, request: Request, principal: Viewer) -> dict[str, Any]:
        """One dataset, keyed by its id."""
        names = property_names(request.query_params.multi_items())
        return {id: shows.one(principal.scope, id, names)}


def _changes(routes: APIRouter, catalog: Catalog) -> None:
    @routes.put(f"{BASE}/dataSets/{{id}}", response_model=None)
    def replace(id: str, principal: Manager, body: Annotated[Any, Body()]) -> list[str]:
        """Give a dataset a new body."""
        catalog.change_dataset(principal.scope, id, body, actor=principal.id)
        return [_reference(id)]

    @routes.patch(f"{BASE}/dataSets/{{id}}", response_model=None)
    def patch(id: str, principal: Manager, body: Annotated[Any, Body()]) -> list[str]:
        """Change a dataset: a partial object replaces top-level members, a list is a JSON Patch."""
        return _patched(catalog, principal, id, lambda old: _changed(old, body))

    @routes.patch(f"{BASE}/v2/dataSets/{{id}}", response_model=None)
    def merge(id: str, principal: Manager, body: Annotated[Any, Body()]) -> list[str]:
        """Change a dataset: nested objects are merged, null removes."""
        return _patched(catalog, principal, id, lambda old: _merged(old, body))

    @routes.delete(f"{BASE}/dataSets/{{id}}", response_model=None)
    def delete(id: str, principal: Manager) -> list[str]:
        """Delete a dataset."""
        catalog.delete_dataset(principal.scope, id)
        return [_reference(id)]


def _views(routes: APIRouter, catalog: Catalog) -> None:
    @routes.get(f"{BASE}/dataSets/{{id}}/views")
    def find(id: str, principal: Viewer) -> dict[str, Any]:
        """The views of a dataset: one."""
        return shown_view(catalog.document(principal.scope, id))

    @routes.get(f"{BASE}/dataSets/{{id}}/views/{{view}}")
    def get(id: str, view: str, principal: Viewer) -> dict[str, Any]:
        """One view."""
        return shown_view(_viewed(catalog, principal.scope, id, view))

    @routes.get(f"{BASE}/dataSets/{{id}}/views/{{view}}/files")
    def files(id: str, view: str, principal: Viewer) -> dict[str, Any]:
        """What was added to a dataset, by batch."""
        document = _viewed(catalog, principal.scope, id, view)
        added = catalog.batches(principal.scope, dataset=id, status="success")
        return {batch.id: shown_file(batch, document) for batch in added}


def _batches(routes: APIRouter, catalog: Catalog) -> None:
    def all_batches(scope: Scope) -> dict[str, dict[str, Any]]:
        return {batch.id: shown_batch(scope, batch) for batch in catalog.batches(scope)}

    @routes.get(f"{BASE}/batches")
    def find(request: Request, principal: Viewer) -> dict[str, Any]:
        """Batches keyed by id, the newest first."""
        return page_of(all_batches(principal.scope), request.query_params.multi_items())

    @routes.get(f"{BASE}/lastBatches")
    def newest(request: Request, principal: Viewer) -> dict[str, Any]:
        """The newest batch of every dataset."""
        last: dict[str, Any] = {}
        for batch in catalog.batches(principal.scope):
            last.setdefault(batch.dataset_id, batch)
        shown = {each.id: shown_batch(principal.scope, each) for each in last.values()}
        return page_of(shown, request.query_params.multi_items())

    @routes.get(f"{BASE}/batches/{{id}}")
    def get(id: str, principal: Viewer) -> dict[str, Any]:
        """One batch, keyed by its id."""
        return {id: shown_batch(principal.scope, catalog.batch(principal.scope, id))}


def _labels(routes: APIRouter, catalog: Catalog) -> None:
    path = f"{LABELS_BASE}/{{id}}/labels"

    @routes.get(path)
    def get(id: str, principal: Viewer) -> JSONResponse:
        """The labels of a dataset and those its fields inherit from the schema."""
        record = catalog.label_record(principal.scope, id)
        key = f"AEP:dataset:{id}"
        body = {"labels": record.labels, "optionalLabels": record.optional}
        head = {"imsOrg": principal.scope.org, "parents": record.parents}
        return JSONResponse({key: head | body}, headers={"etag": f'"{record.etag}"'})

    @routes.head(path)
    def head(id: str, principal: Viewer) -> Response:
        """Only the etag."""
        record = catalog.label_record(principal.scope, id)
        return Response(headers={"etag": f'"{record.etag}"'})

    @routes.post(path, status_code=201)
    def create(id: str, principal: Labeller, body: Annotated[Any, Body()]) -> JSONResponse:
        """Give an unlabelled dataset labels."""
        record = catalog.put_labels(principal.scope, id, body, etag=None, create=True)
        return _assigned(record, 201)

    @routes.put(path)
    def replace(
        id: str, principal: Labeller, body: Annotated[Any, Body()], if_match: IfMatch = None
    ) -> JSONResponse:
        """Replace the labels of a dataset; without If-Match, give an unlabelled one its first."""
        record = catalog.put_labels(principal.scope, id, body, etag=if_match)
        return _assigned(record, 201 if if_match is None else 200)

    @routes.delete(path, status_code=204)
    def delete(id: str, principal: Labeller, if_match: IfMatch = None) -> None:
        """Take all labels of a dataset away."""
        catalog.delete_labels(principal.scope, id, etag=if_match)


def _assigned(record: LabelRecord, status: int) -> JSONResponse:
    body = {
        "parents": record.parents,
        "optionalLabels": record.optional,
        "labels": record.labels,
        "code": f"PES-{status}",
        "message": "Labels assigned",
    }
    return JSONResponse(body, status_code=status, headers={"etag": f'"{record.etag}"'})


def _patched(
    catalog: Catalog, principal: Principal, id: str, change: Callable[[Any], Any]
) -> list[str]:
    catalog.revise_dataset(principal.scope, id, change, actor=principal.id)
    return [_reference(id)]


def _changed(old: dict[str, Any], body: Any) -> Any:
    if isinstance(body, list):
        return apply_patch(old, body)
    if not isinstance(body, dict):
        raise DatasetInvalid("send the members to replace as an object, or a JSON Patch as a list")
    return {**old, **{key: value for key, value in body.items() if key not in SERVER_KEYS}}


def _merged(old: Any, more: Any) -> Any:
    """RFC 7386: objects merge, null removes, the rest replaces."""
    if not isinstance(more, dict):
        return more
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in more.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _viewed(catalog: Catalog, scope: Scope, id: str, view: str) -> Document:
    document = catalog.document(scope, id)
    if document.body["viewId"] != view:
        raise DatasetNotFound(f"dataset {id!r} has no view {view!r}", dataset=id, view=view)
    return document


def _reference(id: str) -> str:
    return f"@/dataSets/{id}"
