"""Labels put over the registry and the catalog reach the activation they concern."""

from __future__ import annotations

import random

import pytest
from governed import SCOPE, Shop, activation

from amity.expression.syntax.pql import parse
from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.ids import SeededIds
from amity.kernel.scope import Scope
from amity.platform.catalog.service import Catalog
from amity.platform.governance.book import PolicyBook
from amity.platform.governance.errors import LabelsViolation, ViolationsError
from amity.platform.governance.estate import AudienceRule, PlatformEstate
from amity.platform.governance.service import Governance
from amity.platform.profile.policies import MergePolicies
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS
from amity.platform.schema.service import SchemaRegistry
from amity.testing.memory import MemoryDocuments

GROUPS = "https://ns.adobe.com/xdm/context"
UNION = [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
RULES = {
    "rich": 'person.name.lastName = "Croesus"',
    "buyers": 'xEvent[eventType = "commerce.purchases" and commerce.order.priceTotal > 9].count() > 1',
    "both": 'inSegment("buyers") and personalEmail.address.isNotNull()',
}


class House:
    """Registry, catalog, merge policies, three audiences, governance."""

    def __init__(self) -> None:
        clock = VirtualBusinessClock(1_500_000_000_000)
        documents, ids = MemoryDocuments(clock), SeededIds(random.Random(5))
        self.registry = SchemaRegistry(documents=documents, ids=ids, clock=clock, tenant="shop")
        self.catalog = Catalog(documents=documents, ids=ids, clock=clock, registry=self.registry)
        self.policies = MergePolicies(documents=documents, ids=ids)
        self.flows = Shop()
        self.estate = PlatformEstate(catalog=self.catalog, merge_policies=self.policies, rules=self)
        book = PolicyBook(documents=documents, ids=ids, clock=clock)
        book.save_core(SCOPE, ["corepolicy_0003"])
        self.governance = Governance(book=book, estate=self.estate, activations=self.flows)
        self.catalog.guard = self.governance
        self.customers, self.customer_schema = self._dataset(
            "Customers",
            PROFILE_CLASS,
            f"{GROUPS}/profile-person-details",
            f"{GROUPS}/profile-personal-details",
        )
        self.orders, self.order_schema = self._dataset(
            "Orders", EVENT_CLASS, f"{GROUPS}/experienceevent-commerce"
        )

    def rule(self, scope: Scope, id: str) -> AudienceRule | None:
        text = RULES.get(id)
        return None if text is None else AudienceRule(name=id, rule=parse(text))

    def label(self, schema: str, pointer: str) -> None:
        self.registry.create_descriptor(
            SCOPE,
            {
                "@type": "xdm:descriptorLabel",
                "xdm:sourceSchema": schema,
                "xdm:sourceVersion": 1,
                "xdm:sourceProperty": pointer,
                "xdm:labels": ["C4"],
            },
        )

    def held(self, audience: str, fields: str = "person.name.firstName") -> list[str]:
        found = self.governance.verify(SCOPE, activation(audience, fields=fields))
        return [carrier.field for one in found for carrier in one.carriers]

    def _dataset(self, name: str, *parts: str) -> tuple[str, str]:
        body = {"title": name, "allOf": [{"$ref": part} for part in parts]}
        schema = self.registry.create_schema(SCOPE, body)
        self.registry.patch(SCOPE, "schema", schema.id, UNION)
        dataset = self.catalog.create_dataset(
            SCOPE,
            {
                "name": name,
                "schemaRef": {
                    "id": schema.id,
                    "contentType": "application/vnd.adobe.xed+json;version=1",
                },
                "tags": {"unifiedProfile": ["enabled:true"]},
            },
        )
        return dataset.id, schema.id


def test_field_labels_follow_rule_and_mapping() -> None:
    """A descriptor on a field holds back whoever reads or maps it, and nobody else."""
    house = House()
    house.label(house.customer_schema, "/person/name/lastName")

    assert house.held("rich") == ["person.name.lastName"]
    assert house.held("buyers") == []
    assert house.held("buyers", fields="person.name") == ["person.name.lastName"]


def test_event_fields_count_where_events_are_read() -> None:
    """A label on an event's field reaches rules that read it, also through `inSegment`."""
    house = House()
    house.label(house.order_schema, "/commerce/order/priceTotal")

    assert house.held("buyers") == ["commerce.order.priceTotal"]
    assert house.held("both") == ["commerce.order.priceTotal"]
    assert house.held("rich", fields="commerce.order.priceTotal") == []


def test_dataset_labels_are_guarded() -> None:
    """The catalog asks before it keeps labels under which a running activation would break."""
    house = House()
    house.flows.activations.append(activation("rich"))
    body = {"labels": ["C4"]}

    with pytest.raises(LabelsViolation):
        house.catalog.put_labels(SCOPE, house.orders, body, etag="0")
    assert house.held("rich") == []
    house.flows.activations.clear()
    house.catalog.put_labels(SCOPE, house.orders, body, etag="0")

    assert house.held("rich") == [""]


def test_a_rule_is_guarded_through_those_that_ask_for_it() -> None:
    """`both` is activated and asks for `buyers`: `buyers` may not begin to read what is labelled."""
    house = House()
    house.label(house.customer_schema, "/person/name/lastName")
    house.flows.activations.append(activation("both"))
    changed = AudienceRule(name="buyers", rule=parse(RULES["rich"]))

    with pytest.raises(ViolationsError):
        house.governance.check_audience(SCOPE, house.estate.facts(SCOPE, "buyers", changed))


def test_precedence_reads_only_what_it_lists() -> None:
    """A merge policy by dataset precedence does not take labels of datasets it leaves out."""
    house = House()
    house.catalog.put_labels(SCOPE, house.orders, {"labels": ["C4"]}, etag="0")
    assert house.held("rich") == [""]

    house.policies.create(
        SCOPE,
        {
            "name": "Customers first",
            "schema": {"name": "_xdm.context.profile"},
            "identityGraph": {"type": "pdg"},
            "attributeMerge": {"type": "dataSetPrecedence", "order": [house.customers]},
            "default": True,
        },
    )

    assert house.held("rich") == []
