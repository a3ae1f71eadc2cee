"""Datasets are made from schemas, know their flags, labels and batches, and stay in their sandbox."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.errors import Outdated
from amity.kernel.ids import SeededIds
from amity.kernel.scope import Scope
from amity.platform.catalog.batches import Batch
from amity.platform.catalog.datasets import is_on, table_name
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
from amity.platform.catalog.service import Catalog
from amity.platform.schema.errors import BreakingChange, ResourceNotFound
from amity.platform.schema.model import PROFILE_CLASS
from amity.platform.schema.service import SchemaRegistry
from amity.testing.memory import MemoryDocuments

SCOPE = Scope("O@AmityOrg", "prod")
OTHER = Scope("O@AmityOrg", "dev")
UNION = [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
ON = {"unifiedProfile": ["enabled: true", "isUpsert: true"], "unifiedIdentity": ["enabled:true"]}


class Shelf:
    """A catalog with one profile schema."""

    def __init__(self, *, union: bool = True, guard: Any = None) -> None:
        clock = VirtualBusinessClock(1_500_000_000_000)
        self.documents = MemoryDocuments(clock)
        ids = SeededIds(random.Random(3))
        self.registry = SchemaRegistry(
            documents=self.documents, ids=ids, clock=clock, tenant="shop"
        )
        self.catalog = Catalog(
            documents=self.documents, ids=ids, clock=clock, registry=self.registry, guard=guard
        )
        self.registry.add_dependents(self.catalog)
        parts = (PROFILE_CLASS, "https://ns.adobe.com/xdm/context/profile-personal-details")
        body = {"title": "Customers", "allOf": [{"$ref": part} for part in parts]}
        self.schema = self.registry.create_schema(SCOPE, body)
        if union:
            self.registry.patch(SCOPE, "schema", self.schema.id, UNION)

    def body(self, **more: Any) -> dict[str, Any]:
        """A dataset body."""
        return {"name": "Shop customers", "schemaRef": {"id": self.schema.id}, **more}


def test_flags_are_read_from_tags() -> None:
    """Both spellings of the tags count; upsert is a tag of its own."""
    shelf = Shelf()
    plain = shelf.catalog.create_dataset(SCOPE, shelf.body())
    on = shelf.catalog.create_dataset(SCOPE, shelf.body(tags=ON))

    assert (plain.profile_enabled, plain.identity_enabled, plain.upsert) == (False, False, False)
    assert (on.profile_enabled, on.identity_enabled, on.upsert) == (True, True, True)
    assert not is_on({"unifiedProfile": ["enabled:false"]}, "unifiedProfile")


def test_dataset_is_found_only_in_its_sandbox() -> None:
    """The same id in another sandbox is nothing."""
    shelf = Shelf()
    made = shelf.catalog.create_dataset(SCOPE, shelf.body())

    assert shelf.catalog.dataset(SCOPE, made.id) == made
    assert shelf.catalog.datasets(OTHER) == []
    with pytest.raises(DatasetNotFound):
        shelf.catalog.dataset(OTHER, made.id)
    with pytest.raises(DatasetNotFound):
        shelf.catalog.document(OTHER, made.id)


@pytest.mark.parametrize(
    "change",
    [
        {"name": " "},
        {"schemaRef": {}},
        {"schemaRef": "schema"},
        {"schemaRef": {"id": "https://ns.adobe.com/shop/schemas/none"}},
        {"tags": ["enabled:true"]},
        {"extensions": {"adobe_lakeHouse": {"rowExpiration": {"ttlValue": "P3M"}}}},
    ],
)
def test_malformed_dataset_is_refused(change: dict[str, Any]) -> None:
    """A dataset needs a name, an existing schema and tags; what is not served is refused."""
    shelf = Shelf()
    with pytest.raises((DatasetInvalid, ResourceNotFound)):
        shelf.catalog.create_dataset(SCOPE, shelf.body(**change))


def test_profile_needs_an_enabled_schema() -> None:
    """A dataset is enabled only after its schema."""
    shelf = Shelf(union=False)

    with pytest.raises(DatasetInvalid, match="union"):
        shelf.catalog.create_dataset(SCOPE, shelf.body(tags=ON))


def test_change_keeps_schema_and_table() -> None:
    """Name and tags change; the schema does not, and a lost update is refused."""
    shelf = Shelf()
    made = shelf.catalog.create_dataset(SCOPE, shelf.body())
    view = shelf.catalog.document(SCOPE, made.id).body["viewId"]
    other = shelf.registry.create_schema(
        SCOPE, {"title": "Others", "allOf": [{"$ref": PROFILE_CLASS}]}
    )
    changed = shelf.catalog.change_dataset(SCOPE, made.id, shelf.body(name="Shoppers", tags=ON))

    assert (changed.name, changed.profile_enabled) == ("Shoppers", True)
    assert shelf.catalog.dataset(SCOPE, made.id) == changed
    assert shelf.catalog.document(SCOPE, made.id).body["viewId"] == view
    with pytest.raises(DatasetInvalid, match="keeps its schema"):
        shelf.catalog.change_dataset(SCOPE, made.id, shelf.body(schemaRef={"id": other.id}))
    with pytest.raises(DatasetInUse):
        shelf.catalog.delete_dataset(SCOPE, made.id)


def test_dataset_protects_its_schema() -> None:
    """A schema with a dataset takes no breaking change, even before it is enabled."""
    shelf = Shelf(union=False)
    made = shelf.catalog.create_dataset(SCOPE, shelf.body())
    drop = [{"op": "remove", "path": "/allOf/1"}]
    with pytest.raises(BreakingChange, match="removed"):
        shelf.registry.patch(SCOPE, "schema", shelf.schema.id, drop)
    shelf.catalog.delete_dataset(SCOPE, made.id)

    shelf.registry.patch(SCOPE, "schema", shelf.schema.id, drop)


def test_batches_come_newest_first() -> None:
    """Batches are kept as they are and chosen by dataset and status."""
    catalog = Shelf().catalog
    for number, status in enumerate(("success", "failed", "success")):
        catalog.put_batch(SCOPE, Batch(id=f"b{number}", dataset_id=f"d{number % 2}", status=status))  # type: ignore[arg-type]

    assert [batch.id for batch in catalog.batches(SCOPE)] == ["b2", "b1", "b0"]
    assert [batch.id for batch in catalog.batches(SCOPE, dataset="d0")] == ["b2", "b0"]
    assert [batch.id for batch in catalog.batches(SCOPE, status="failed")] == ["b1"]
    assert catalog.batch(SCOPE, "b1").dataset_id == "d1"
    with pytest.raises(BatchNotFound):
        catalog.batch(OTHER, "b1")


def test_primary_identity_stays_once_there_is_data() -> None:
    """After a successful batch the primary identity of the schema is fixed."""
    shelf = Shelf(union=False)
    descriptor = shelf.registry.create_descriptor(
        SCOPE,
        {
            "@type": "xdm:descriptorIdentity",
            "xdm:sourceSchema": shelf.schema.id,
            "xdm:sourceProperty": "/personalEmail/address",
            "xdm:namespace": "Email",
            "xdm:isPrimary": True,
        },
    )
    made = shelf.catalog.create_dataset(SCOPE, shelf.body())
    shelf.catalog.put_batch(SCOPE, Batch(id="b", dataset_id=made.id, status="success"))

    with pytest.raises(BreakingChange):
        shelf.registry.delete_descriptor(SCOPE, descriptor["@id"])


class Refusing:
    """A guard that refuses C2 and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def check_labels(self, scope: Scope, entity: str, labels: Sequence[str]) -> None:
        self.asked.append((entity, tuple(labels)))
        if "C2" in labels:
            raise Outdated("violates")


def test_labels_change_under_their_etag() -> None:
    """Labels are created once, replaced under If-Match, seen in the dataset, and asked about."""
    guard = Refusing()
    shelf = Shelf(guard=guard)
    id = shelf.catalog.create_dataset(SCOPE, shelf.body()).id
    with pytest.raises(LabelsNotFound):
        shelf.catalog.label_record(SCOPE, id)
    first = shelf.catalog.put_labels(SCOPE, id, {"labels": [["C1", "C3"]]}, etag=None, create=True)

    assert shelf.catalog.dataset(SCOPE, id).labels == ("C1", "C3")
    with pytest.raises(LabelsExist):
        shelf.catalog.put_labels(SCOPE, id, {"labels": ["C1"]}, etag=None, create=True)
    with pytest.raises(LabelsOutdated):
        shelf.catalog.put_labels(SCOPE, id, {"labels": ["C1"]}, etag=None)
    with pytest.raises(Outdated, match="violates"):
        shelf.catalog.put_labels(SCOPE, id, {"labels": ["C2"]}, etag=first.etag)
    second = shelf.catalog.put_labels(SCOPE, id, {"labels": ["C1"]}, etag=f'"{first.etag}"')
    assert guard.asked == [
        (f"AEP:dataset:{id}", ("C1", "C3")),
        (f"AEP:dataset:{id}", ("C2",)),
    ]
    shelf.catalog.delete_labels(SCOPE, id, etag=second.etag)
    assert shelf.catalog.dataset(SCOPE, id).labels == ()


def test_first_labels_need_no_etag() -> None:
    """An unlabelled dataset has no etag one could send; after that it must be sent."""
    shelf = Shelf()
    id = shelf.catalog.create_dataset(SCOPE, shelf.body()).id
    with pytest.raises(LabelsOutdated):
        shelf.catalog.put_labels(SCOPE, id, {"labels": ["C1"]}, etag='"7"')
    record = shelf.catalog.put_labels(SCOPE, id, {"labels": ["C1"]}, etag=None)

    assert record.labels == ["C1"]
    with pytest.raises(LabelsOutdated):
        shelf.catalog.put_labels(SCOPE, id, {"labels": ["C2"]}, etag=None)


def test_labels_of_fields_come_from_the_schema() -> None:
    """A dataset shows its schema's field labels and does not change them."""
    shelf = Shelf()
    id = shelf.catalog.create_dataset(SCOPE, shelf.body()).id
    shelf.registry.create_descriptor(
        SCOPE,
        {
            "@type": "xdm:descriptorLabel",
            "xdm:sourceSchema": shelf.schema.id,
            "xdm:sourceProperty": "/personalEmail/address",
            "xdm:labels": ["I1"],
        },
    )
    record = shelf.catalog.label_record(SCOPE, id)
    body = {"labels": ["C1"], "optionalLabels": record.optional}

    assert shelf.catalog.labels(SCOPE, id).fields == {"personalEmail/address": ("I1",)}
    assert record.optional[0]["option"]["schemaPath"] == (
        "/properties/personalEmail/properties/address"
    )
    shelf.catalog.put_labels(SCOPE, id, body, etag=record.etag)
    record.optional[0]["labels"] = []
    with pytest.raises(LabelsInvalid, match="descriptorLabel"):
        shelf.catalog.put_labels(SCOPE, id, body, etag=shelf.catalog.label_record(SCOPE, id).etag)


@pytest.mark.parametrize("body", [[], {"labels": [1]}, {"labels": "C1"}, {"labels": [""]}])
def test_malformed_labels_are_refused(body: Any) -> None:
    """Labels are a list of names."""
    shelf = Shelf()
    id = shelf.catalog.create_dataset(SCOPE, shelf.body()).id

    with pytest.raises(LabelsInvalid):
        shelf.catalog.put_labels(SCOPE, id, body, etag=None, create=True)


def test_table_name() -> None:
    """A dataset's table has a plain name."""
    assert table_name("Shop: customers 2017") == "shop_customers_2017"
