"""How do the shop's rows become records of the platform?

Customers, products and purchases carry what the data set says. What it lacks (names, `example.test`
addresses, devices, web visits) is derived from its ids and says so. Nothing here is random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from amity.app.demo.raw import STREAM_START_MS, Basket, RawData
from amity.app.demo.visits import Visit, all_visits, number
from amity.kernel.clock import to_iso

LOYALTY = "Loyalty"
COOKIE = "ShopCookie"
PRODUCT = "ShopProduct"

END_OF_TIME_MS = 1 << 52

_FIRST_NAMES = (
    "Ada", "Ben", "Cleo", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivo", "June", "Kai", "Lena",
    "Milo", "Nora", "Omar", "Pia", "Quinn", "Rosa", "Sam", "Tess", "Uri", "Vera", "Will", "Yara",
)  # fmt: skip
_LAST_NAMES = (
    "Abel", "Brook", "Castle", "Dale", "East", "Field", "Grove", "Hill", "Isle", "Jordan", "Knoll",
    "Lake", "Moor", "North", "Orchard", "Pond", "Quarry", "Reed", "Stone", "Thorn", "Vale", "Wood",
)  # fmt: skip
_DEMOGRAPHICS = {
    "age": "ageBand",
    "income": "income",
    "home_ownership": "homeOwnership",
    "marital_status": "maritalStatus",
    "household_size": "householdSize",
    "household_comp": "householdComposition",
    "kids_count": "kidsCount",
}
_PRODUCT_FIELDS = {
    "manufacturer_id": "manufacturerId",
    "department": "department",
    "brand": "brand",
    "product_category": "category",
    "package_size": "packageSize",
}


class Shop:
    """The records of one run.

    Args:
        raw: The raw tables.
        tenant: The tenant id, without underscore: custom fields lie under it.
        campaigns: Household → the campaign that is planned for it.
    """

    def __init__(
        self, raw: RawData, tenant: str, campaigns: Mapping[int, str] | None = None
    ) -> None:
        self.raw = raw
        self._own = f"_{tenant}"
        self._campaigns = campaigns or {}
        later = raw.baskets(STREAM_START_MS, END_OF_TIME_MS)
        self.visits: list[Visit] = all_visits(raw.households, later, raw.product_ids())

    def customers(self) -> Iterator[dict[str, Any]]:
        """One record a household."""
        answers = self.raw.demographics()
        favourites = self.raw.favourites()
        for household in self.raw.households:
            yield self._customer(household, answers.get(household), favourites.get(household))

    def products(self) -> Iterator[dict[str, Any]]:
        """One record a product."""
        for row in self.raw.products():
            own = {ours: row[name] for name, ours in _PRODUCT_FIELDS.items() if name in row}
            title = row.get("product_type") or row["department"]
            yield {"productID": row["product_id"], "productName": title, self._own: own}

    def history(self) -> Iterator[dict[str, Any]]:
        """One event a basket before the stream begins."""
        for basket in self.raw.baskets(0, STREAM_START_MS):
            yield self._purchase(basket)

    def timed_purchases(self, end_ms: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """(time, event) for each streamed basket, in order of time."""
        for basket in self.raw.baskets(STREAM_START_MS, end_ms):
            yield basket.at_ms, self._purchase(basket)

    def web_events(self, end_ms: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """(time, event) for each web visit, in order of time."""
        for visit in self.visits:
            if visit.at_ms < end_ms:
                yield visit.at_ms, self._web_event(visit)

    def _customer(
        self, household: int, answers: dict[str, str] | None, favourite: int | None
    ) -> dict[str, Any]:
        own: dict[str, Any] = {"loyaltyId": str(household)}
        if favourite is not None:
            own["favouriteSku"] = str(favourite)
        if answers:
            own["demographics"] = {_DEMOGRAPHICS[name]: value for name, value in answers.items()}
        if household in self._campaigns:
            own["campaign"] = self._campaigns[household]
        first, last = name_of(household)
        return {
            "person": {"name": {"firstName": first, "lastName": last}},
            "personalEmail": {"address": address_of(household)},
            self._own: own,
        }

    def _purchase(self, basket: Basket) -> dict[str, Any]:
        lines = zip(basket.skus, basket.quantities, basket.prices, strict=True)
        return {
            "_id": f"basket-{basket.id}",
            "timestamp": to_iso(basket.at_ms),
            "eventType": "commerce.purchases",
            "identityMap": {LOYALTY: [_known(basket.household)]},
            "commerce": {
                "purchases": {"value": 1},
                "order": {
                    "purchaseID": str(basket.id),
                    "priceTotal": basket.total,
                    "currencyCode": "USD",
                },
            },
            "productListItems": [
                {"SKU": str(sku), "quantity": quantity, "priceTotal": price}
                for sku, quantity, price in lines
            ],
            self._own: {"storeId": str(basket.store)},
        }

    def _web_event(self, visit: Visit) -> dict[str, Any]:
        cookie: dict[str, Any] = {"id": visit.device}
        identities: dict[str, Any] = {COOKIE: [cookie]}
        if visit.signed_in:
            identities[LOYALTY] = [_known(visit.household)]
        else:
            cookie["primary"] = True
        event: dict[str, Any] = {
            "_id": visit.id,
            "timestamp": to_iso(visit.at_ms),
            "eventType": "web.webpagedetails.pageViews",
            "identityMap": identities,
            "web": {"webPageDetails": {"name": visit.kind, "pageViews": {"value": 1}}},
        }
        if visit.kind == "product":
            event["eventType"] = "commerce.productViews"
            event["commerce"] = {"productViews": {"value": 1}}
            event["productListItems"] = [{"SKU": str(visit.sku)}]
        return event


def name_of(household: int) -> tuple[str, str]:
    """First and last name, derived."""
    first = _FIRST_NAMES[number("first name", household) % len(_FIRST_NAMES)]
    return first, _LAST_NAMES[number("last name", household) % len(_LAST_NAMES)]


def address_of(household: int) -> str:
    """Derived; nobody's: `example.test` is reserved.

    >>> address_of(7)
    'h7@example.test'
    """
    return f"h{household}@example.test"


def _known(household: int) -> dict[str, Any]:
    return {"id": str(household), "authenticatedState": "authenticated", "primary": True}
