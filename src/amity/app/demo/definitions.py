"""What must be set up before the first record comes?

Namespaces and linking rules, schemas with their identities and a relationship, datasets, audiences,
a label, a policy, destinations: everything over the documented API, as a customer would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amity.app.demo.checks import HIGH_INCOMES
from amity.app.demo.client import Platform
from amity.app.demo.derive import COOKIE, LOYALTY, PRODUCT

PROFILE_CLASS = "https://ns.adobe.com/xdm/context/profile"
EVENT_CLASS = "https://ns.adobe.com/xdm/context/experienceevent"
PRODUCT_CLASS = "https://ns.adobe.com/xdm/classes/product"
GROUPS = "https://ns.adobe.com/xdm/context"

EXPORT_POLICY = "corepolicy_0001"
EXPORT_LABEL = "C2"

SOURCE_SPEC = "8a9c3494-9708-43d7-ae3f-cda01e5030e1"
CAMPAIGN_SPEC = "0b23e41a-cb4a-4321-a78f-3b654f5d7d97"

AUDIENCES = {
    "high_income": "High income",
    "frequent": "Frequent shoppers",
    "viewed_then_bought": "Viewed, then bought",
}
"""Key of the independent check → name of the audience."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasets:
    """Ids of what was made."""

    customers: str
    products: str
    purchases: str
    visits: str
    customer_schema: str
    event_schema: str


def namespaces(platform: Platform) -> None:
    """Loyalty ids are unique and rank above cookies; products are no people."""
    platform.namespace(LOYALTY, "CROSS_DEVICE", "Loyalty id of the household")
    platform.namespace(COOKIE, "COOKIE", "Cookie of the shop's pages")
    platform.namespace(PRODUCT, "NON_PEOPLE", "SKU of the shop")
    platform.linking_rules(
        [
            {"code": LOYALTY, "unique": True, "priority": 1},
            {"code": COOKIE, "unique": False, "priority": 2},
        ]
    )


def schemas_and_datasets(platform: Platform) -> Datasets:
    """A profile, a product and an event schema; four datasets."""
    own = f"_{platform.tenant}"
    customers = platform.schema(
        "Shop customers",
        [
            PROFILE_CLASS,
            f"{GROUPS}/profile-person-details",
            f"{GROUPS}/profile-personal-details",
            platform.field_group(_customer_fields(own)),
        ],
    )
    products = platform.schema(
        "Shop products", [PRODUCT_CLASS, platform.field_group(_product_fields(own))]
    )
    events = platform.schema(
        "Shop events",
        [
            EVENT_CLASS,
            f"{GROUPS}/identitymap",
            f"{GROUPS}/experienceevent-commerce",
            f"{GROUPS}/experienceevent-web",
            platform.field_group(_event_fields(own)),
        ],
    )
    _identity(platform, customers, f"/{own}/loyaltyId", LOYALTY)
    _identity(platform, products, "/productID", PRODUCT)
    _favourite(platform, customers, products, f"/{own}/favouriteSku")
    for schema in (customers, products, events):
        platform.enable_for_profile(schema)
    return Datasets(
        customers=platform.dataset("Customers", customers),
        products=platform.dataset("Products", products),
        purchases=platform.dataset("Purchases", events),
        visits=platform.dataset("Web visits", events),
        customer_schema=customers,
        event_schema=events,
    )


def restrict_income(platform: Platform, customers_schema: str) -> None:
    """Income may not be exported to third parties: a label on the field, and the core policy."""
    path = f"/_{platform.tenant}/demographics/income"
    platform.descriptor("descriptorLabel", customers_schema, path, labels=[EXPORT_LABEL])
    platform.enable_core_policies([EXPORT_POLICY])


def audiences(platform: Platform) -> dict[str, str]:
    """Key of the independent check → id of the audience."""
    incomes = ", ".join(f'"{income}"' for income in HIGH_INCOMES)
    rules = {
        "high_income": f"_{platform.tenant}.demographics.income in [{incomes}]",
        "frequent": (
            'xEvent[eventType = "commerce.purchases"'
            " and timestamp occurs <= 28 days before now].count() >= 6"
        ),
        "viewed_then_bought": (
            "exists View from xEvent where"
            ' (View.eventType = "commerce.productViews"'
            " and View.timestamp occurs <= 14 days before now),"
            " Bought from xEvent where"
            ' (Bought.eventType = "commerce.purchases"'
            " and Bought.timestamp occurs <= 14 days before now"
            " and Bought.timestamp occurs <= 24 hours after View.timestamp)"
        ),
    }
    return {
        key: platform.audience(name, rules[key].split(" where")[0], rules[key])
        for key, name in AUDIENCES.items()
    }


def _identity(platform: Platform, schema: str, path: str, namespace: str) -> None:
    more = {"namespace": namespace, "property": "xdm:code", "isPrimary": True}
    platform.descriptor("descriptorIdentity", schema, path, **more)


def _favourite(platform: Platform, customers: str, products: str, path: str) -> None:
    """A customer's favourite product is a product."""
    platform.descriptor("descriptorReferenceIdentity", customers, path, identityNamespace=PRODUCT)
    platform.descriptor(
        "descriptorOneToOne",
        customers,
        path,
        destinationSchema=products,
        destinationVersion=1,
        destinationProperty="/productID",
    )


def _customer_fields(own: str) -> dict[str, Any]:
    answers = (
        "ageBand", "income", "homeOwnership", "maritalStatus", "householdSize",
        "householdComposition", "kidsCount",
    )  # fmt: skip
    fields = {
        **_strings(["loyaltyId", "favouriteSku", "campaign"]),
        "demographics": {"type": "object", "properties": _strings(answers)},
    }
    return _group("Shop customer", PROFILE_CLASS, own, fields)


def _product_fields(own: str) -> dict[str, Any]:
    names = ["manufacturerId", "department", "brand", "category", "packageSize"]
    return _group("Shop product", PRODUCT_CLASS, own, _strings(names))


def _event_fields(own: str) -> dict[str, Any]:
    return _group("Shop event", EVENT_CLASS, own, _strings(["storeId"]))


def _strings(names: Sequence[str]) -> dict[str, Any]:
    return {name: {"type": "string", "title": name} for name in names}


def _group(title: str, of: str, own: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    inner = {own: {"type": "object", "properties": dict(fields)}}
    return {
        "title": title,
        "type": "object",
        "meta:intendedToExtend": [of],
        "definitions": {"fields": {"properties": inner}},
        "allOf": [{"$ref": "#/definitions/fields"}],
    }
