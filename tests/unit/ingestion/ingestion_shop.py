"""A small shop: one scope, a profile and an event dataset, doors on a log in memory."""

from __future__ import annotations

import random
from typing import Any

from amity.flow.appender import GroupAppender
from amity.flow.failed import DECODER, FAILED_TOPIC, FailedRecord
from amity.kernel.clock import VirtualBusinessClock, from_iso
from amity.kernel.errors import NotFound
from amity.kernel.ids import SeededIds
from amity.kernel.scope import Scope
from amity.platform.catalog.model import Dataset
from amity.platform.ingestion.door import Door, Pressure
from amity.platform.ingestion.model import FRAME_DECODER, INGEST_TOPIC, Frame
from amity.platform.ingestion.reception import Inlet, Reception
from amity.platform.ingestion.validation import Validators
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS, ResolvedSchema
from amity.testing.memory import MemoryLog

SCOPE = Scope("ORG@AmityOrg", "prod")
NOW = "2017-10-30T12:00:00Z"
OPEN = {"type": "object"}
TEXT = {"type": "string"}
IDENTITY_MAP = {
    "type": "object",
    "additionalProperties": {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"id": TEXT, "primary": {"type": "boolean"}},
            "required": ["id"],
        },
    },
}


def resolved(name: str) -> ResolvedSchema:
    """The schema of one of the datasets: `profile` or `event`."""
    event = name == "event"
    properties: dict[str, Any] = {"_id": TEXT, "identityMap": IDENTITY_MAP, "_shop": OPEN}
    if event:
        properties |= {
            "timestamp": {"type": "string", "format": "date-time"},
            "eventType": TEXT,
            "commerce": OPEN,
            "web": OPEN,
            "environment": OPEN,
            "marketing": OPEN,
            "productListItems": {"type": "array"},
        }
    else:
        properties |= {
            "person": OPEN,
            "age": {"type": "integer"},
            "personalEmail": {"properties": {"address": {"type": "string", "format": "email"}}},
            "mobilePhone": OPEN,
            "homeAddress": OPEN,
        }
    return ResolvedSchema(
        id=f"https://ns.adobe.com/shop/schemas/{name}",
        alt_id=f"_shop.schemas.{name}",
        title=name,
        version="1.0",
        class_id=EVENT_CLASS if event else PROFILE_CLASS,
        behavior="time-series" if event else "record",
        json_schema={
            "type": "object",
            "additionalProperties": False,
            "properties": properties,
            "required": ["_id", "timestamp"] if event else [],
        },
    )


class Shop:
    """Registry, catalog, inlets, write keys and doors of the shop, and what has come in."""

    id = "WK1"
    scope = SCOPE
    profile_dataset = "d-profile"
    event_dataset = "d-event"

    def __init__(self) -> None:
        self.clock = VirtualBusinessClock(from_iso(NOW))
        self.ids = SeededIds(random.Random(1))
        self.log = MemoryLog()
        self.appender = GroupAppender(self.log)
        self.pressed: Pressure | None = None
        self.inlets = {
            "open": Inlet("open", SCOPE, flows={"flow-1": "d-profile"}),
            "locked": Inlet("locked", SCOPE, authenticated=True),
        }
        self.schemas = {name: resolved(name) for name in ("profile", "event")}
        self.validators = Validators(registry=self, catalog=self, clock=self.clock)
        self.reception = Reception(
            validators=self.validators, clock=self.clock, ids=self.ids, tenant="shop"
        )
        self.door = Door(
            inlets=self,
            write_keys=self,
            reception=self.reception,
            appender=self.appender,
            bearer=lambda token, scope: token == "good" and scope == SCOPE,
            pressure=lambda: self.pressed,
        )

    def find(self, id: str) -> Any:
        """An inlet or the write key of that id."""
        return self if id == self.id else self.inlets.get(id)

    def dataset(self, scope: Scope, id: str) -> Dataset:
        """One of the two datasets."""
        if scope != SCOPE or id not in {"d-profile", "d-event"}:
            raise NotFound(f"there is no dataset {id!r}")
        return Dataset(
            id=id, name=id, schema_id=id[2:], profile_enabled=True, identity_enabled=True
        )

    def resolved(self, scope: Scope, id: str) -> ResolvedSchema:
        """The schema of a dataset."""
        return self.schemas[id]

    def frames(self) -> list[Frame]:
        """The frames on the log."""
        return [FRAME_DECODER.decode(one.body) for one in self.log.poll(INGEST_TOPIC, {}, 10_000)]

    def records(self) -> list[bytes]:
        """The records of all frames."""
        return [record for frame in self.frames() for record in frame.records]

    def failed(self) -> list[FailedRecord]:
        """The failed records on the log."""
        return [DECODER.decode(one.body) for one in self.log.poll(FAILED_TOPIC, {}, 10_000)]
