"""The Edge door of a small shop: three data streams on a log in memory."""

from __future__ import annotations

from typing import Any

from ingestion_shop import SCOPE, Shop

from amity.kernel.clock import RealSystemClock
from amity.kernel.errors import NotFound
from amity.kernel.scope import Scope
from amity.platform.catalog.model import Dataset
from amity.platform.ingestion.datastreams import DataStreams
from amity.platform.ingestion.edge_door import EdgeDoor, Units
from amity.platform.ingestion.edge_identity import EdgeIdentities
from amity.testing.memory import MemoryDocuments

ORG_PREFIX = "kndctr_ORG_AmityOrg_"
IDENTITY_MAP = {"type": "object", "additionalProperties": {"type": "array"}}
CONSENT = {"properties": {"val": {"enum": ["y", "n", "p", "u", "LI"]}}}
CONSENTS = {"type": "object", "properties": {"collect": CONSENT, "share": CONSENT}}


class EdgeShop(Shop):
    """The shop with data streams: `mixed`, `locked` (authenticated) and `off` (disabled)."""

    def __init__(self) -> None:
        super().__init__()
        for schema in self.schemas.values():
            schema.json_schema["properties"] |= {"identityMap": IDENTITY_MAP, "consents": CONSENTS}
        self.datastreams = DataStreams(
            documents=MemoryDocuments(self.clock),
            validators=self.validators,
            ids=self.ids,
            clock=self.clock,
        )
        self.system = RealSystemClock()
        self.identities = EdgeIdentities(ids=self.ids, key=b"k" * 32)
        self.edge = EdgeDoor(
            streams=self.datastreams,
            reception=self.reception,
            appender=self.appender,
            identities=self.identities,
            ids=self.ids,
            bearer=lambda token, scope: token == "good" and scope == SCOPE,
            pressure=lambda: self.pressed,
            units=Units(self.system),
        )
        self.mixed = self.stream()
        self.locked = self.stream(access="authenticated")
        self.off = self.stream(enabled=False)

    gone = False
    """Whether the datasets have been deleted."""

    def dataset(self, scope: Scope, id: str) -> Dataset:
        if self.gone:
            raise NotFound(f"there is no dataset {id!r}")
        return super().dataset(scope, id)

    def stream(self, **settings: Any) -> str:
        """A new data stream's id."""
        body = {
            "name": "Shop",
            "eventDataset": "d-event",
            "profileDataset": "d-profile",
            **settings,
        }
        return str(self.datastreams.create(SCOPE, body)["id"])
