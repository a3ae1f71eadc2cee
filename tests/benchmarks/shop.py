"""Which shop is measured?

A data folder as `amity init` leaves it, with one schema of people and one of events, their datasets,
a unique loyalty id above cookies, an authenticated inlet, and deterministic records: profiles of
1.5 kB, events of 400 bytes in ten categories.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from amity.access.tokens import Tokens
from amity.app.assembly import Platform, assemble
from amity.app.core import HTTP_WRITER, Core, open_core
from amity.app.folder import DataFolder
from amity.app.init import create_organisation
from amity.kernel.clock import DAY_MS, from_iso, to_iso
from amity.kernel.scope import Scope
from amity.platform.ingestion.inlets import STREAMING_SPEC
from amity.platform.ingestion.model import ENCODER, INGEST_TOPIC, Frame
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS, Behavior
from amity.storage.ports import Entry

START_MS = from_iso("2026-03-02T00:00:00Z")
CATEGORIES = [f"category-{n}" for n in range(10)]
VIEW, ADD, PURCHASE = "commerce.productViews", "commerce.productListAdds", "commerce.purchases"
TYPES = [VIEW, ADD, PURCHASE]
TIERS = ["bronze", "silver", "gold", "platinum"]
CITIES = [f"City {n}" for n in range(40)]
_GROUPS = "https://ns.adobe.com/xdm/context"
_FRAME_RECORDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What was set up: ids, and the token and inlet that a sender needs."""

    folder: DataFolder
    scope: Scope
    tenant: str
    people_schema: str
    event_schema: str
    people: str
    events: str
    inlet: str
    token: str

    def open(self, writer: int = HTTP_WRITER) -> tuple[Core, Platform]:
        """The ports and services over the folder."""
        return opened(self.folder, writer)


def opened(folder: DataFolder, writer: int = HTTP_WRITER) -> tuple[Core, Platform]:
    """The ports and services over a data folder, the business clock at the start."""
    core = open_core(folder, clock=to_iso(START_MS), writer=writer)
    tenant = folder.organisation()["tenant"]
    return core, assemble(core, tenant=tenant, public_url="", append=core.log.append)


def set_up(root: Path) -> Shop:
    """Make the shop in an empty folder."""
    folder = DataFolder(root)
    told = create_organisation(folder, "Bench", "bench@example.test")
    core, platform = opened(folder)
    scope = Scope(told["org_id"], told["sandbox"])
    own = f"_{told['tenant']}"
    for code, kind in (("Loyalty", "CROSS_DEVICE"), ("Device", "COOKIE")):
        body = {"code": code, "name": code, "idType": kind, "description": code}
        platform.namespaces.create(scope, body)
    listed = [
        {"code": "Loyalty", "unique": True, "priority": 1},
        {"code": "Device", "unique": False, "priority": 2},
    ]
    platform.settings.put(scope, {"namespaces": listed})
    people_schema = _schema(platform, scope, "People", PROFILE_CLASS, _people_fields(own))
    event_schema = _schema(platform, scope, "Events", EVENT_CLASS, _event_fields(own))
    descriptor: dict[str, Any] = {
        "@type": "xdm:descriptorIdentity",
        "xdm:sourceSchema": people_schema,
        "xdm:sourceVersion": 1,
        "xdm:sourceProperty": f"/{own}/loyaltyId",
        "xdm:namespace": "Loyalty",
        "xdm:property": "xdm:code",
        "xdm:isPrimary": True,
    }
    platform.registry.create_descriptor(scope, descriptor)
    params = {"dataType": "xdm", "name": "bench", "authenticationRequired": True}
    connection: dict[str, Any] = {
        "name": "bench",
        "auth": {"specName": "Streaming Connection", "params": params},
        "connectionSpec": {"id": STREAMING_SPEC, "version": "1.0"},
    }
    made = platform.flows.create(scope, "connections", connection)
    tokens = Tokens(key_file=folder.keys / "tokens.key", clock=core.system)
    shop = Shop(
        folder=folder,
        scope=scope,
        tenant=told["tenant"],
        people_schema=people_schema,
        event_schema=event_schema,
        people=_dataset(platform, scope, "People", people_schema),
        events=_dataset(platform, scope, "Events", event_schema),
        inlet=made.body["auth"]["params"]["inletId"],
        token=tokens.issue(told["client_id"], scope.org)[0],
    )
    core.close()
    return shop


def person(shop: Shop, n: int) -> dict[str, Any]:
    """A profile record of 1.5 kB."""
    rng = random.Random(n)
    own: dict[str, Any] = {
        "loyaltyId": loyalty(n),
        "tier": TIERS[n % 7 % 4],
        "score": rng.randint(0, 999),
        "since": to_iso(START_MS - rng.randint(1, 2_000) * DAY_MS),
        "interests": {
            f"interest{k}": f"{rng.choice(CATEGORIES)} {rng.random():.6f}" for k in range(16)
        },
        "notes": " ".join(f"{rng.getrandbits(32):08x}" for _ in range(72)),
    }
    return {
        "person": {"name": {"firstName": f"First{n}", "lastName": f"Last{n % 997}"}},
        "personalEmail": {"address": f"person{n}@example.test"},
        "homeAddress": {
            "city": CITIES[n % 40],
            "postalCode": f"{n % 100_000:05}",
            "countryCode": "DE",
        },
        f"_{shop.tenant}": own,
    }


def event(shop: Shop, n: int, at_ms: int, ids: dict[str, str]) -> dict[str, Any]:
    """An event of 400 bytes."""
    kind, category = TYPES[n * 7 % 10 // 4], CATEGORIES[n * 13 % 10]
    price = 5 + n * 31 % 400 / 4
    return {
        "_id": f"event-{n:012}",
        "timestamp": to_iso(at_ms),
        "eventType": kind,
        "identityMap": {code: [{"id": value}] for code, value in ids.items()},
        "commerce": {
            kind.rpartition(".")[2]: {"value": 1},
            "order": {"priceTotal": price, "currencyCode": "EUR"},
        },
        "web": {"webPageDetails": {"URL": f"https://shop.example.test/{category}/{n % 5000}"}},
        f"_{shop.tenant}": {"category": category, "store": f"store-{n % 90:03}"},
    }


def loyalty(n: int) -> str:
    """The loyalty id of a person."""
    return f"L{n:09}"


def device(n: int) -> str:
    """A cookie; the first one of person `n` has the same number."""
    return f"5f0c{n:024x}"


def message(shop: Shop, record: dict[str, Any]) -> dict[str, Any]:
    """An event as a sender posts it to the inlet."""
    ref = {"id": shop.event_schema, "contentType": "application/vnd.adobe.xed-full+json;version=1"}
    return {
        "header": {
            "schemaRef": ref,
            "imsOrgId": shop.scope.org,
            "datasetId": shop.events,
            "source": {"name": "bench"},
        },
        "body": {"xdmMeta": {"schemaRef": ref}, "xdmEntity": record},
    }


def people_frames(shop: Shop, count: int) -> Iterator[Entry]:
    """The profiles, as the batch loader puts them on the log."""
    for first in range(0, count, _FRAME_RECORDS):
        rows = [orjson.dumps(person(shop, n)) for n in range(first, first + _FRAME_RECORDS)]
        yield _frame(shop, START_MS, rows, behavior="record")


def past_frames(shop: Shop, people: int) -> Iterator[Entry]:
    """Forty days ago everybody looked around on a device and signed in on it."""
    for first in range(0, people, _FRAME_RECORDS):
        numbers = range(first, first + _FRAME_RECORDS)
        at_ms = START_MS - 40 * DAY_MS
        rows = [event(shop, n - people, at_ms, {"Device": device(n)}) for n in numbers]
        rows += [event(shop, n, at_ms + 1, _both(n, n)) for n in numbers]
        yield _frame(shop, START_MS, [orjson.dumps(row) for row in rows])


class Draw(NamedTuple):
    """Who does something, and what tells it."""

    who: int
    ids: dict[str, str]
    known: bool


def draws(people: int, count: int) -> Iterator[Draw]:
    """A known device or person mostly; one in twenty an unknown device, one a new sign-in."""
    rng = random.Random(7)
    for n in range(people, people + count):
        who, draw = rng.randrange(people), rng.random()
        if draw < 0.55:
            yield Draw(who, {"Device": device(who)}, known=True)
        elif draw < 0.9:
            yield Draw(who, {"Loyalty": loyalty(who)}, known=True)
        elif draw < 0.95:
            yield Draw(n, {"Device": device(n)}, known=False)
        else:
            yield Draw(who, _both(who, n), known=True)


def event_frames(shop: Shop, people: int, count: int) -> Iterator[Entry]:
    """A stream of requests of 100 events, 10 ms apart."""
    drawn = enumerate(draws(people, count))
    while part := list(islice(drawn, _FRAME_RECORDS)):
        at_ms = START_MS + 1 + part[0][0] // 10
        rows = [orjson.dumps(event(shop, people + n, at_ms, one.ids)) for n, one in part]
        yield _frame(shop, at_ms, rows)


def _both(person: int, on: int) -> dict[str, str]:
    return {"Loyalty": loyalty(person), "Device": device(on)}


def _frame(shop: Shop, at_ms: int, rows: list[bytes], behavior: Behavior = "time-series") -> Entry:
    record = behavior == "record"
    frame = Frame(
        scope=shop.scope.key,
        dataset=shop.people if record else shop.events,
        schema=shop.people_schema if record else shop.event_schema,
        behavior="record" if record else "time-series",
        received_ms=at_ms,
        source=shop.inlet,
        records=rows,
    )
    return Entry(INGEST_TOPIC, shop.inlet.encode(), ENCODER.encode(frame))


def _schema(platform: Platform, scope: Scope, title: str, of: str, fields: dict[str, Any]) -> str:
    group = {
        "title": f"{title} of the bench",
        "type": "object",
        "meta:intendedToExtend": [of],
        "definitions": {"own": {"properties": fields}},
        "allOf": [{"$ref": "#/definitions/own"}],
    }
    own = platform.registry.create_field_group(scope, group).id
    standard = {
        PROFILE_CLASS: ("profile-person-details", "profile-personal-details"),
        EVENT_CLASS: ("identitymap", "experienceevent-commerce", "experienceevent-web"),
    }[of]
    parts = [of, *(f"{_GROUPS}/{name}" for name in standard), own]
    body = {
        "title": title,
        "type": "object",
        "description": title,
        "allOf": [{"$ref": part} for part in parts],
        "meta:immutableTags": ["union"],
    }
    return platform.registry.create_schema(scope, body).id


def _dataset(platform: Platform, scope: Scope, name: str, schema: str) -> str:
    enabled = ["enabled:true"]
    body = {
        "name": name,
        "schemaRef": {"id": schema, "contentType": "application/vnd.adobe.xed+json;version=1"},
        "tags": {"unifiedProfile": enabled, "unifiedIdentity": enabled},
    }
    return platform.catalog.create_dataset(scope, body).id


def _people_fields(own: str) -> dict[str, Any]:
    texts: dict[str, Any] = {
        "type": "object",
        "meta:xdmType": "map",
        "additionalProperties": {"type": "string"},
    }
    fields: dict[str, Any] = {
        **_strings("loyaltyId", "tier", "notes"),
        "score": {"type": "integer"},
        "since": {"type": "string", "format": "date-time"},
        "interests": texts,
    }
    return {own: {"type": "object", "properties": fields}}


def _event_fields(own: str) -> dict[str, Any]:
    return {own: {"type": "object", "properties": _strings("category", "store")}}


def _strings(*names: str) -> dict[str, Any]:
    return {name: {"type": "string", "title": name} for name in names}
