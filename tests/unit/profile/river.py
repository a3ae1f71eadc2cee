"""Identity and profile, joined in memory, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from amity.flow.step import Position
from amity.kernel.clock import VirtualBusinessClock, to_iso
from amity.kernel.ids import RandomIds
from amity.kernel.scope import Scope
from amity.platform.catalog.model import Dataset
from amity.platform.identity.model import Identified, Identity, Regrouped
from amity.platform.identity.records import Incoming
from amity.platform.identity.rules import Rules
from amity.platform.identity.stage import IdentityStage
from amity.platform.profile.model import EraseProfile, ProfileChanged
from amity.platform.profile.policies import MergePolicies
from amity.platform.profile.service import Profiles
from amity.platform.profile.stage import ProfileStage
from amity.platform.schema.model import (
    EVENT_CLASS,
    PRODUCT_CLASS,
    PROFILE_CLASS,
    IdentityField,
    ResolvedSchema,
)
from amity.storage.ports import State
from amity.testing.memory import MemoryDocuments, MemoryState

SCOPE = Scope("A@AmityOrg", "prod")
OTHER = Scope("A@AmityOrg", "dev")
RULES = Rules(
    types={"CRM": "CROSS_DEVICE", "Web": "COOKIE", "SKU": "NON_PEOPLE"},
    priorities={"CRM": 1.0, "Web": 2.0},
    unique=frozenset({"CRM"}),
)
CLASSES = {
    "people": PROFILE_CLASS,
    "visits": EVENT_CLASS,
    "crm": PROFILE_CLASS,
    "goods": PRODUCT_CLASS,
}


class Source(NamedTuple):
    scope: str
    dataset: str
    schema: str


class Stamped(NamedTuple):
    """A record with its receipt, the same at every delivery."""

    dataset: str
    received_ms: int
    n: int
    body: dict[str, Any]
    scope: Scope = SCOPE

    def message(self) -> Incoming:
        event = CLASSES[self.dataset] == EVENT_CLASS
        return Incoming(
            Source(self.scope.key, self.dataset, self.dataset),
            "time-series" if event else "record",
            self.received_ms,
            Position(0, 0, self.n),
            orjson.dumps(self.body),
        )


class River:
    """Two fused stages over one state."""

    def __init__(self, state: State | None = None, *, fused: bool = True) -> None:
        self.state: State = state or MemoryState()
        self.clock = VirtualBusinessClock(0)
        self.documents = MemoryDocuments(self.clock)
        self.policies = MergePolicies(documents=self.documents, ids=RandomIds())
        self.identity = IdentityStage(schemas=self, datasets=self, settings=self)
        self.profile = ProfileStage(policies=self.policies, fused=fused)
        self.profiles = Profiles(state=self.state, policies=self.policies)
        self.failures: list[Any] = []

    def resolved(self, scope: Scope, id: str) -> ResolvedSchema:
        namespace = "SKU" if id == "goods" else "CRM"
        field = IdentityField(path=("key",), namespace=namespace, primary=id != "visits")
        return ResolvedSchema(
            id=id,
            alt_id=id,
            title=id,
            version="1.0",
            class_id=CLASSES[id],
            behavior="time-series" if id == "visits" else "record",
            json_schema={},
            identities=(field,),
        )

    def dataset(self, scope: Scope, id: str) -> Dataset:
        return Dataset(id=id, name=id, schema_id=id, profile_enabled=id != "lake")

    def rules(self, scope: Scope) -> Rules:
        return RULES

    def run(
        self, records: Sequence[Stamped], erasures: Sequence[EraseProfile] = ()
    ) -> list[ProfileChanged]:
        """One batch in one transaction."""
        messages = [record.message() for record in records]
        with self.state.write() as writer:
            identity = self.identity.load(writer, messages, [])
            first = self.identity.step(identity, messages, [], 0)
            self.identity.save(writer, first.state)
            said: list[Identified | Regrouped | EraseProfile] = [
                *erasures,
                *(output.message for output in first.outputs),
            ]
            profile = self.profile.load(writer, said, [])
            second = self.profile.step(profile, said, [], 0)
            self.profile.save(writer, second.state)
        self.failures += first.failures
        return [output.message for output in second.outputs]

    def everything(self, scope: Scope = SCOPE) -> dict[str, Any]:
        """All people with their view and their events."""
        found: dict[str, Any] = {}
        for profile in self.profiles.iterate(scope):
            with self.state.read() as reader:
                found[profile] = (
                    self.profiles.view(reader, scope, profile),
                    [event[:4] for event in self.profiles.events(reader, scope, profile)],
                )
        return found


def visit(n: int, at_ms: int, *ids: Identity, received_ms: int = 100, **body: Any) -> Stamped:
    """An event."""
    entries: dict[str, list[dict[str, str]]] = {}
    for ns, value in ids:
        entries.setdefault(ns, []).append({"id": value})
    held = {"_id": f"e{n}", "timestamp": to_iso(at_ms), "identityMap": entries, **body}
    return Stamped("visits", received_ms, n, held)


def customer(
    n: int, key: str, received_ms: int = 100, dataset: str = "people", **body: Any
) -> Stamped:
    """A record of a person."""
    return Stamped(dataset, received_ms, n, {"key": key, **body})
