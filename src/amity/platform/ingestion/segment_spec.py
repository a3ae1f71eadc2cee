"""What does a call of the Segment specification say in XDM?

`identify`, `group` and `alias` become profile records, `track`, `page` and `screen` become events.
What the specification names goes to its XDM field; everything else is kept as text under the
tenant's namespace, so nothing a sender says is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, Literal, NamedTuple

import orjson

from amity.kernel.clock import DAY_MS, from_iso, to_iso
from amity.kernel.errors import Invalid
from amity.kernel.ids import digest
from amity.platform.ingestion.validation import Violation

CALLS = frozenset({"track", "identify", "page", "screen", "group", "alias"})

USER_NAMESPACE = "userId"
"""CROSS_DEVICE."""

ANONYMOUS_NAMESPACE = "anonymousId"
"""COOKIE."""

EMAIL_NAMESPACE = "Email"

_INTEGER_END = 2**63
_AGE_MS_MAX = 36_525 * DAY_MS

_COMMERCE = {
    "product list viewed": "productListViews",
    "product viewed": "productViews",
    "product added": "productListAdds",
    "product removed": "productListRemovals",
    "cart viewed": "productListViews",
    "checkout started": "checkouts",
    "order completed": "purchases",
    "product added to wishlist": "saveForLaters",
}
_OTHER_TYPES = {
    "application opened": "application.launch",
    "application backgrounded": "application.close",
    "link clicked": "web.webinteraction.linkClicks",
}
_GENDERS = frozenset({"male", "female", "not_specified", "non_specific"})
_ORDER_FIELDS = {
    "tax": "taxAmount",
    "discount": "discountAmount",
}


class Mapped(NamedTuple):
    """A call as a record: which of the write key's two datasets it goes to, and its body."""

    to: Literal["profile", "event"]
    body: dict[str, Any]
    at_ms: int = 0


class BadCall(Invalid):
    """The call is not one of the Segment specification."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.message)
        self.violation = violation


def mapped(
    call: dict[str, Any], *, tenant: str, received_ms: int, sent_at: object = None
) -> Mapped:
    """The XDM record of one call; raises `BadCall` with place and reason.

    `call` carries its `type`; `sent_at` is the batch's, used where the call has none of its own.
    Time is receipt - (sentAt - timestamp): a wrong clock of the sender does not matter.
    """
    make = _MAKERS.get(str(call.get("type")))
    if make is None:
        known = ", ".join(sorted(CALLS))
        raise _bad("/type", "enum", f"{str(call.get('type'))[:40]!r} is no call; known: {known}")
    at_ms = _time_ms(call, received_ms, sent_at)
    return make(call, f"_{tenant}", at_ms)._replace(at_ms=at_ms)


def _identify(call: dict[str, Any], tenant: str, _: int) -> Mapped:
    traits = _object(call, "traits") or _object(_object(call, "context"), "traits")
    body: dict[str, Any] = {"identityMap": _identity_map(call, email=_text(traits, "email"))}
    rest = dict(traits)
    for take in (_take_email, _take_name, _take_birth, _take_phone, _take_address):
        take(rest, body)
    _keep(body, tenant, "traits", _texts(rest))
    return Mapped("profile", body)


def _group(call: dict[str, Any], tenant: str, _: int) -> Mapped:
    body: dict[str, Any] = {"identityMap": _identity_map(call)}
    group = _text(call, "groupId")
    if not group:
        raise _bad("/groupId", "required", "a group call needs groupId")
    _keep(body, tenant, "groupId", group)
    _keep(body, tenant, "groupTraits", _texts(_object(call, "traits")))
    return Mapped("profile", body)


def _alias(call: dict[str, Any], _: str, __: int) -> Mapped:
    user, previous = _text(call, "userId"), _text(call, "previousId")
    if not (user and previous):
        place = "/previousId" if user else "/userId"
        raise _bad(place, "required", "an alias call needs userId and previousId")
    return Mapped(
        "profile",
        {
            "identityMap": {
                USER_NAMESPACE: [{"id": user, "primary": True}],
                ANONYMOUS_NAMESPACE: [{"id": previous}],
            }
        },
    )


def _track(call: dict[str, Any], tenant: str, at_ms: int) -> Mapped:
    name = _text(call, "event")
    if not name:
        raise _bad("/event", "required", "a track call needs the name of its event")
    rest = dict(_object(call, "properties"))
    body = _event(call, at_ms)
    measure = _COMMERCE.get(name.lower())
    if measure:
        body["eventType"] = f"commerce.{measure}"
        body["commerce"] = {measure: {"value": 1}, **_order(rest)}
        items = _products(rest)
        if items:
            body["productListItems"] = items
    else:
        body["eventType"] = _OTHER_TYPES.get(name.lower(), name)
    _web(call, rest, body)
    _keep(body, tenant, "eventName", name)
    _keep(body, tenant, "properties", _texts(rest))
    return Mapped("event", body)


def _page(call: dict[str, Any], tenant: str, at_ms: int) -> Mapped:
    rest = dict(_object(call, "properties"))
    body = _event(call, at_ms)
    body["eventType"] = "web.webpagedetails.pageViews"
    _web(call, rest, body)
    details = body.setdefault("web", {}).setdefault("webPageDetails", {})
    details["pageViews"] = {"value": 1}
    _put(details, "name", _text(call, "name") or details.get("name", ""))
    _put(details, "siteSection", _text(call, "category"))
    _keep(body, tenant, "properties", _texts(rest))
    return Mapped("event", body)


def _screen(call: dict[str, Any], tenant: str, at_ms: int) -> Mapped:
    body = _event(call, at_ms)
    body["eventType"] = "application.screenViews"
    _web(call, {}, body)
    _keep(body, tenant, "eventName", _text(call, "name") or _text(call, "event"))
    _keep(body, tenant, "properties", _texts(_object(call, "properties")))
    return Mapped("event", body)


_MAKERS: dict[str, Callable[[dict[str, Any], str, int], Mapped]] = {
    "identify": _identify,
    "group": _group,
    "alias": _alias,
    "track": _track,
    "page": _page,
    "screen": _screen,
}


def _event(call: dict[str, Any], at_ms: int) -> dict[str, Any]:
    message = _text(call, "messageId")
    return {
        "_id": message or digest(orjson.dumps(call, option=orjson.OPT_SORT_KEYS).decode()),
        "timestamp": to_iso(at_ms),
        "identityMap": _identity_map(call),
    }


def _identity_map(call: dict[str, Any], email: str = "") -> dict[str, Any]:
    user, anonymous = _text(call, "userId"), _text(call, "anonymousId")
    found: dict[str, Any] = {}
    if user:
        found[USER_NAMESPACE] = [{"id": user, "primary": True}]
    if anonymous:
        found[ANONYMOUS_NAMESPACE] = [{"id": anonymous, "primary": not user}]
    if not found:
        raise _bad("", "identity", "a call needs userId or anonymousId")
    if email:
        found[EMAIL_NAMESPACE] = [{"id": email}]
    return found


def _time_ms(call: dict[str, Any], received_ms: int, sent_at: object) -> int:
    stamp = _moment(call, "timestamp", call.get("timestamp") or call.get("originalTimestamp"))
    if stamp is None:
        return received_ms
    sent = _moment(call, "sentAt", call.get("sentAt") or sent_at)
    at_ms = stamp if sent is None else received_ms - (sent - stamp)
    if abs(received_ms - at_ms) > _AGE_MS_MAX:
        raise _bad("/timestamp", "range", "the time of the call is more than a century away")
    return at_ms


def _moment(call: dict[str, Any], key: str, value: object) -> int | None:
    if value is None:
        return None
    try:
        return from_iso(str(value))
    except Invalid as error:
        raise _bad(f"/{key}" if key in call else "/sentAt", "format", error.message) from error


def _take_email(traits: dict[str, Any], body: dict[str, Any]) -> None:
    address = _text(traits, "email")
    if address:
        body["personalEmail"] = {"address": address}
        del traits["email"]


def _take_name(traits: dict[str, Any], body: dict[str, Any]) -> None:
    name: dict[str, Any] = {}
    for field, keys in (
        ("firstName", ("firstName", "first_name", "firstname")),
        ("lastName", ("lastName", "last_name", "lastname")),
        ("fullName", ("name",)),
    ):
        for key in keys:
            if field not in name and _text(traits, key):
                name[field] = _text(traits, key)
                del traits[key]
    if name:
        body.setdefault("person", {})["name"] = name


def _take_birth(traits: dict[str, Any], body: dict[str, Any]) -> None:
    gender = _text(traits, "gender").lower()
    if gender in _GENDERS:
        body.setdefault("person", {})["gender"] = gender
        del traits["gender"]
    birthday = _text(traits, "birthday")
    if birthday:
        try:
            day = to_iso(from_iso(birthday))[:10]
        except Invalid:
            return  # kept as a trait, as it came
        body.setdefault("person", {})["birthDate"] = day
        del traits["birthday"]


def _take_phone(traits: dict[str, Any], body: dict[str, Any]) -> None:
    number = _text(traits, "phone")
    if number:
        body["mobilePhone"] = {"number": number}
        del traits["phone"]


def _take_address(traits: dict[str, Any], body: dict[str, Any]) -> None:
    address = dict(_object(traits, "address"))
    home: dict[str, Any] = {}
    for field, key in (
        ("street1", "street"),
        ("city", "city"),
        ("state", "state"),
        ("postalCode", "postalCode"),
        ("country", "country"),
    ):
        if _text(address, key):
            home[field] = _text(address, key)
            del address[key]
    if home:
        body["homeAddress"] = home
        traits["address"] = address


def _order(rest: dict[str, Any]) -> dict[str, Any]:
    order: dict[str, Any] = {}
    _put(order, "purchaseID", _text(rest, "order_id"))
    for key in ("total", "revenue", "value"):
        if "priceTotal" not in order and _number(rest, key) is not None:
            order["priceTotal"] = _number(rest, key)
    for key, field in _ORDER_FIELDS.items():
        if _number(rest, key) is not None:
            order[field] = _number(rest, key)
    _put(order, "currencyCode", _currency(rest))
    found: dict[str, Any] = {"order": order} if order.keys() - {"currencyCode"} else {}
    if _text(rest, "cart_id"):
        found["cart"] = {"cartID": _text(rest, "cart_id")}
    return found


def _products(rest: dict[str, Any]) -> list[dict[str, Any]]:
    listed = rest.get("products")
    if isinstance(listed, list):
        products = [one for one in listed if isinstance(one, dict)]
        if len(products) == len(listed):
            del rest["products"]
    else:
        products = [rest] if rest.keys() & {"product_id", "sku"} else []
    currency = _currency(rest)
    items = [_product(one, currency) for one in products]
    return [item for item in items if item]


def _product(product: dict[str, Any], currency: str) -> dict[str, Any]:
    item: dict[str, Any] = {}
    _put(item, "SKU", _text(product, "sku") or _text(product, "product_id"))
    _put(item, "name", _text(product, "name"))
    quantity, price = _number(product, "quantity"), _number(product, "price")
    if quantity is not None and quantity == int(quantity):
        # One beyond 64 bits stays as it came, for the schema to refuse.
        item["quantity"] = int(quantity) if abs(quantity) < _INTEGER_END else quantity
    if price is not None:
        total = price * item.get("quantity", 1)
        if not isfinite(total):
            message = "price times quantity is no number any more; send what was really bought"
            raise BadCall(Violation("/properties/products", "maximum", message))
        item["priceTotal"] = round(total, 6)
        _put(item, "currencyCode", _currency(product) or currency)
    return item


def _web(call: dict[str, Any], rest: dict[str, Any], body: dict[str, Any]) -> None:
    context = _object(call, "context")
    page = _object(context, "page")
    details: dict[str, Any] = {}
    _put(details, "URL", _url(rest.get("url")) or _url(page.get("url")))
    _put(details, "name", _text(rest, "title") or _text(page, "title"))
    web: dict[str, Any] = {"webPageDetails": details} if details else {}
    referrer = _url(rest.get("referrer")) or _url(page.get("referrer"))
    if referrer:
        web["webReferrer"] = {"URL": referrer}
    if web:
        body["web"] = web
    browser: dict[str, Any] = {}
    _put(browser, "userAgent", _text(context, "userAgent"))
    if browser:
        body["environment"] = {"browserDetails": browser}
    campaign = _text(_object(context, "campaign"), "name")
    if campaign:
        body["marketing"] = {"campaignName": campaign}


def _url(value: object) -> str:
    return value if isinstance(value, str) and "://" in value and " " not in value else ""


def _currency(source: dict[str, Any]) -> str:
    code = _text(source, "currency").upper()
    return code if len(code) == 3 and code.isascii() and code.isalpha() else ""


def _text(source: dict[str, Any], key: str) -> str:
    value = source.get(key)
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


def _number(source: dict[str, Any], key: str) -> float | int | None:
    value = source.get(key)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
        return value if value - value == 0 else None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _object(source: dict[str, Any], key: str) -> dict[str, Any]:
    value = source.get(key)
    return value if isinstance(value, dict) else {}


def _texts(rest: dict[str, Any]) -> dict[str, str]:
    """Values as texts; nested ones as JSON text; what is null or empty is left out."""
    found: dict[str, str] = {}
    for key, value in rest.items():
        if value is None or value in ("", {}, []) or not key:
            continue
        found[key] = value if isinstance(value, str) else orjson.dumps(value).decode()
    return found


def _put(target: dict[str, Any], key: str, value: str) -> None:
    if value:
        target[key] = value


def _keep(body: dict[str, Any], tenant: str, key: str, value: Any) -> None:
    if value:
        body.setdefault(tenant, {})[key] = value


def _bad(path: str, keyword: str, message: str) -> BadCall:
    return BadCall(Violation(path, keyword, message))
