"""Which datasets and batches are there?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from amity.kernel.clock import BusinessClock
from amity.kernel.ids import IdSource
from amity.kernel.scope import Scope
from amity.platform.catalog.batches import Batch
from amity.platform.catalog.datasets import check_enabling, dataset_of, kept_body, schema_id_of
from amity.platform.catalog.errors import (
    BatchNotFound,
    DatasetInUse,
    DatasetInvalid,
    DatasetNotFound,
    LabelsExist,
    LabelsInvalid,
    LabelsNotFound,
    LabelsOutdated,
)
from amity.platform.catalog.model import Dataset
from amity.platform.schema.model import ResolvedSchema
from amity.platform.schema.names import alt_id
from amity.platform.schema.service import SchemaRegistry
from amity.storage.ports import Document, Documents

DATASET = "dataset"
LABELS = "dataset_labels"
BATCH = "batch"
FILLED = frozenset({"success", "active", "processing", "staging", "loaded"})
"""States of a batch in which its records are, or are becoming, part of the dataset."""


class Guard(Protocol):
    """Governance's word on a change of labels."""

    def check_labels(self, scope: Scope, entity: str, labels: Sequence[str]) -> None:
        """Raises when data in use would then break a policy; `entity` is ``AEP:dataset:<id>``."""


class DatasetLabels(NamedTuple):
    """Usage labels of a dataset: of all of it, and of single fields of its schema."""

    dataset: tuple[str, ...]
    fields: dict[str, tuple[str, ...]]


class LabelRecord(NamedTuple):
    """The label assignment of a dataset as the API shows it."""

    labels: list[str]
    optional: list[dict[str, Any]]
    parents: list[Any]
    etag: str


class _Held(NamedTuple):
    version: int
    signature: tuple[Any, ...]
    datasets: dict[str, Dataset]


class Catalog:
    """Datasets, their labels and their batches.

    Args:
        documents: Where they are kept.
        ids: Names for new ones.
        clock: Business time.
        registry: The schemas datasets are made from.
        guard: Governance's word on label changes, when there is one.
    """

    def __init__(
        self,
        *,
        documents: Documents,
        ids: IdSource,
        clock: BusinessClock,
        registry: SchemaRegistry,
        guard: Guard | None = None,
    ) -> None:
        self.guard = guard
        self._documents = documents
        self._ids = ids
        self._clock = clock
        self._registry = registry
        self._held: dict[Scope, _Held] = {}
        self._changing = threading.Lock()

    def dataset(self, scope: Scope, id: str) -> Dataset:
        """One dataset; raises `DatasetNotFound`."""
        found = self._all(scope).get(id)
        if found is None:
            raise DatasetNotFound(
                f"there is no dataset {id!r} in sandbox {scope.sandbox!r}; "
                "GET /data/foundation/catalog/dataSets lists them",
                dataset=id,
            )
        return found

    def datasets(self, scope: Scope) -> list[Dataset]:
        """All datasets, in order of creation."""
        return list(self._all(scope).values())

    def schema_of(self, scope: Scope, dataset_id: str) -> ResolvedSchema:
        """The schema of a dataset, put together."""
        return self._registry.resolved(scope, self.dataset(scope, dataset_id).schema_id)

    def document(self, scope: Scope, id: str) -> Document:
        """The dataset as it is kept; raises `DatasetNotFound`."""
        found = self._documents.get(scope, DATASET, id)
        return found if found is not None else self._missing(scope, id)

    def documents(self, scope: Scope) -> list[Document]:
        """All datasets as they are kept."""
        return self._documents.find(scope, DATASET)

    def create_dataset(self, scope: Scope, body: Any, *, actor: str = "") -> Dataset:
        """Create a dataset from the documented body."""
        kept = kept_body(body)
        check_enabling(kept, self._registry.resolved(scope, schema_id_of(kept)))
        id = self._ids.hex(24)
        kept |= {"viewId": self._ids.hex(24), "createdUser": actor, "updatedUser": actor}
        return dataset_of(self._documents.put(scope, DATASET, id, kept, if_version=0), ())

    def change_dataset(self, scope: Scope, id: str, body: Any, *, actor: str = "") -> Dataset:
        """Give a dataset a new body; its schema and its table stay."""
        old = self.document(scope, id)
        kept = kept_body(body)
        resolved = self._registry.resolved(scope, schema_id_of(kept))
        if alt_id(resolved.id) != alt_id(schema_id_of(old.body)):
            raise DatasetInvalid("a dataset keeps its schema: create another dataset instead")
        check_enabling(kept, resolved)
        stays = ("viewId", "createdUser")
        kept |= {key: old.body[key] for key in stays if key in old.body} | {"updatedUser": actor}
        put = self._documents.put(scope, DATASET, id, kept, if_version=old.version)
        return dataset_of(put, self._dataset_labels(scope, id))

    def revise_dataset(
        self, scope: Scope, id: str, change: Callable[[dict[str, Any]], Any], *, actor: str = ""
    ) -> Dataset:
        """Give a dataset the body that `change` makes of the one it has."""
        with self._changing:
            body = change(self.document(scope, id).body)
            return self.change_dataset(scope, id, body, actor=actor)

    def delete_dataset(self, scope: Scope, id: str) -> None:
        """Delete a dataset; one enabled for Profile is refused."""
        dataset = self.dataset(scope, id)
        if dataset.profile_enabled:
            raise DatasetInUse(
                f"dataset {dataset.name!r} is enabled for Profile: disable it first", dataset=id
            )
        self._documents.delete(scope, LABELS, id)
        self._documents.delete(scope, DATASET, id)

    def batch(self, scope: Scope, id: str) -> Batch:
        """One batch; raises `BatchNotFound`."""
        found = self._documents.get(scope, BATCH, id)
        if found is None:
            raise BatchNotFound(f"there is no batch {id!r} in sandbox {scope.sandbox!r}", batch=id)
        return msgspec.convert(found.body, Batch)

    def put_batch(self, scope: Scope, batch: Batch) -> None:
        """Create or replace a batch."""
        self._documents.put(scope, BATCH, batch.id, msgspec.to_builtins(batch))

    def batches(self, scope: Scope, *, dataset: str = "", status: str = "") -> list[Batch]:
        """Batches, the newest first."""
        found = (msgspec.convert(each.body, Batch) for each in self._documents.find(scope, BATCH))
        chosen = [
            batch
            for batch in found
            if dataset in ("", batch.dataset_id) and status in ("", batch.status)
        ]
        return chosen[::-1]

    def labels(self, scope: Scope, dataset_id: str) -> DatasetLabels:
        """The usage labels that data of a dataset carries: its own and those of its fields."""
        dataset = self.dataset(scope, dataset_id)
        resolved = self._registry.resolved(scope, dataset.schema_id)
        return DatasetLabels(dataset.labels, resolved.labels)

    def label_record(self, scope: Scope, dataset_id: str) -> LabelRecord:
        """The label assignment; raises `LabelsNotFound` while there is none."""
        dataset = self.dataset(scope, dataset_id)
        found = self._documents.get(scope, LABELS, dataset_id)
        fields = self._registry.resolved(scope, dataset.schema_id).labels
        optional = [
            {"option": _option(dataset.schema_id, path), "labels": list(labels)}
            for path, labels in fields.items()
        ]
        if found is None and not optional:
            raise LabelsNotFound(f"dataset {dataset_id!r} has no labels: PUT assigns some")
        body: dict[str, Any] = found.body if found else {"labels": [], "parents": []}
        return LabelRecord(body["labels"], optional, body["parents"], found.etag if found else "0")

    def put_labels(
        self, scope: Scope, dataset_id: str, body: Any, *, etag: str | None, create: bool = False
    ) -> LabelRecord:
        """Assign labels to a whole dataset; labels of fields are the schema's, put there."""
        self.dataset(scope, dataset_id)
        found = self._documents.get(scope, LABELS, dataset_id)
        if create and found is not None and found.body["labels"]:
            raise LabelsExist(dataset=dataset_id)
        if not create:
            _check_etag(found, etag)
        kept = _labels_body(body)
        self._check_optional(scope, dataset_id, body)
        before = set(found.body["labels"]) if found else set()
        if self.guard is not None and set(kept["labels"]) - before:
            self.guard.check_labels(scope, f"AEP:dataset:{dataset_id}", kept["labels"])
        self._documents.put(
            scope, LABELS, dataset_id, kept, if_version=found.version if found else 0
        )
        return self.label_record(scope, dataset_id)

    def delete_labels(self, scope: Scope, dataset_id: str, *, etag: str | None) -> None:
        """Take all labels of a whole dataset away."""
        self.dataset(scope, dataset_id)
        found = self._documents.get(scope, LABELS, dataset_id)
        if found is None:
            raise LabelsNotFound(f"dataset {dataset_id!r} has no labels")
        _check_etag(found, etag)
        self._documents.delete(scope, LABELS, dataset_id)

    def schema_in_use(self, scope: Scope, schema_id: str) -> bool:
        """Whether a dataset was made from the schema (`schema.Dependents`)."""
        wanted = alt_id(schema_id)
        return any(alt_id(each.schema_id) == wanted for each in self.datasets(scope))

    def schema_has_data(self, scope: Scope, schema_id: str) -> bool:
        """Whether a batch of such a dataset was taken in (`schema.Dependents`)."""
        wanted = alt_id(schema_id)
        mine = {each.id for each in self.datasets(scope) if alt_id(each.schema_id) == wanted}
        return bool(mine) and any(
            batch.dataset_id in mine and batch.status in FILLED for batch in self.batches(scope)
        )

    def _check_optional(self, scope: Scope, dataset_id: str, body: dict[str, Any]) -> None:
        """Labels of fields may be sent back as they were read, not changed here."""
        given = body.get("optionalLabels")
        if not given:
            return
        fields = self.labels(scope, dataset_id).fields
        inherited = {
            _option("", path)["schemaPath"]: sorted(labels) for path, labels in fields.items()
        }
        try:
            sent = {each["option"]["schemaPath"]: sorted(each["labels"]) for each in given}
        except (KeyError, TypeError) as error:
            raise LabelsInvalid("optionalLabels is a list of {option, labels}") from error
        if sent != inherited:
            raise LabelsInvalid(
                "labels of fields belong to the schema: create or delete an xdm:descriptorLabel "
                "there, and the dataset inherits it"
            )

    def _all(self, scope: Scope) -> dict[str, Dataset]:
        version = self._documents.version()
        held = self._held.get(scope)
        if held is not None and held.version == version:
            return held.datasets
        documents = self._documents.find(scope, DATASET)
        labelled = {each.id: each for each in self._documents.find(scope, LABELS)}
        signature = tuple((each.id, each.version) for each in (*documents, *labelled.values()))
        if held is not None and held.signature == signature:
            datasets = held.datasets
        else:
            datasets = {
                each.id: dataset_of(each, _labels_in(labelled.get(each.id))) for each in documents
            }
        self._held[scope] = _Held(version, signature, datasets)
        return datasets

    def _dataset_labels(self, scope: Scope, id: str) -> tuple[str, ...]:
        return _labels_in(self._documents.get(scope, LABELS, id))

    def _missing(self, scope: Scope, id: str) -> Document:
        self.dataset(scope, id)
        raise DatasetNotFound(f"there is no dataset {id!r}", dataset=id)


def _labels_in(document: Document | None) -> tuple[str, ...]:
    return tuple(document.body["labels"]) if document else ()


def _option(schema_id: str, path: str) -> dict[str, str]:
    pointer = "".join(f"/properties/{part}" for part in path.split("/"))
    return {
        "id": schema_id,
        "contentType": "application/vnd.adobe.xed-full+json;version=1",
        "schemaPath": pointer,
    }


def _check_etag(found: Document | None, etag: str | None) -> None:
    """Labels are changed as they were read; where there are none, there was nothing to read."""
    if found is None and etag is None:
        return
    current = found.etag if found else "0"
    if etag is None or etag.strip('"') != current:
        raise LabelsOutdated(etag=current)


def _labels_body(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise LabelsInvalid("the body is an object with labels, a list of label names")
    given = body.get("labels", [])
    if not isinstance(given, list) or not isinstance(body.get("parents", []), list):
        raise LabelsInvalid("labels is a list of label names, like C2 or custom/Name")
    labels = [each for one in given for each in (one if isinstance(one, list) else [one])]
    if not all(isinstance(label, str) and label for label in labels):
        raise LabelsInvalid("labels is a list of label names, like C2 or custom/Name")
    return {"labels": list(dict.fromkeys(labels)), "parents": list(body.get("parents", []))}
