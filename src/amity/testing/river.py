"""Does the platform's river come out the same whatever goes wrong on the way?

The simulator's scenario of the real stages: frames of people, visits and purchases in, with devices
that sign in, change hands and are shared; identity, profile, segmentation and failed records out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import orjson

from amity.expression.syntax.pql import parse
from amity.flow.failures import RECORD_TABLE, FailuresStage, Filed
from amity.flow.stage import Stage
from amity.kernel.clock import DAY_MS, HOUR_MS, VirtualBusinessClock, from_iso, to_iso
from amity.kernel.ids import ProfileId, SeededIds
from amity.kernel.scope import Scope
from amity.platform.catalog.model import Dataset
from amity.platform.identity.rules import Rules
from amity.platform.identity.stage import IdentityStage
from amity.platform.identity.store import MEMBER
from amity.platform.ingestion.model import ENCODER, INGEST_TOPIC, Frame
from amity.platform.profile.model import EventRef
from amity.platform.profile.policies import MergePolicies
from amity.platform.profile.service import Profiles
from amity.platform.profile.stage import ProfileStage
from amity.platform.profile.store import INDEX
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS, IdentityField, ResolvedSchema
from amity.platform.segmentation.model import MEMBERSHIPS_TOPIC
from amity.platform.segmentation.ruleset import Definition, RuleSet
from amity.platform.segmentation.stage import SegmentationStage
from amity.platform.segmentation.step import MemberRow
from amity.platform.segmentation.store import MEMBERS
from amity.storage.keys import unpack
from amity.storage.ports import Entry, Reader
from amity.testing.memory import MemoryDocuments, MemoryState
from amity.testing.simulator import Dump, Input

START_MS = from_iso("2017-10-30T00:00:00Z")
SCOPES = (Scope("O", "prod"), Scope("O", "dev"))
RULES = Rules(
    types={"CRM": "CROSS_DEVICE", "Web": "COOKIE"},
    priorities={"CRM": 1.0, "Web": 2.0},
    unique=frozenset({"CRM"}),
)
AUDIENCES = {
    "gold": 'tier = "gold"',
    "buyers": (
        '(select E from xEvent where E.eventType = "commerce.purchases" '
        "and E.timestamp occurs <= 7 days before now).count() >= 2"
    ),
    "looked_then_bought": (
        'exists V from xEvent where V.eventType = "commerce.productViews" '
        "and V.timestamp occurs <= 14 days before now, "
        'P from xEvent where P.eventType = "commerce.purchases" '
        "and P.timestamp occurs <= 24 hours after V.timestamp "
        "and P.timestamp occurs <= 14 days before now"
    ),
}


class _ControlPlane:
    """The schemas, datasets and rules of both sandboxes."""

    def __init__(self) -> None:
        self._rules = RuleSet(Definition(id, parse(pql)) for id, pql in AUDIENCES.items())
        self.settings = _Settings()

    def resolved(self, scope: Scope, id: str) -> ResolvedSchema:  # noqa: ARG002 - port
        """People are records with a key, visits are events."""
        people = id == "people"
        field = IdentityField(path=("key",), namespace="CRM", primary=people)
        return ResolvedSchema(
            id=id,
            alt_id=id,
            title=id,
            version="1.0",
            class_id=PROFILE_CLASS if people else EVENT_CLASS,
            behavior="record" if people else "time-series",
            json_schema={},
            identities=(field,),
        )

    def dataset(self, scope: Scope, id: str) -> Dataset:  # noqa: ARG002 - port
        """Every dataset feeds profiles."""
        return Dataset(id=id, name=id, schema_id=id, profile_enabled=True)

    def rules(self, scope: Scope) -> RuleSet:  # noqa: ARG002 - port
        """The audiences."""
        return self._rules


class _Settings:
    """The linking rules of both sandboxes."""

    def rules(self, scope: Scope) -> Rules:  # noqa: ARG002 - port
        """The loyalty id is unique."""
        return RULES


class _Reading:
    """The profile store as segmentation reads it."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    def view(self, reader: Reader, scope: Scope, profile_id: ProfileId) -> dict[str, Any]:
        """The merged attributes."""
        return self._profiles.view(reader, scope, profile_id)

    def events(self, reader: Reader, scope: Scope, profile_id: ProfileId) -> Iterator[EventRef]:
        """All events."""
        for event in self._profiles.events(reader, scope, profile_id):
            yield EventRef(event.id, event.timestamp_ms, event.dataset, event.body)


class RiverScenario:
    """Identity, profile and segmentation over a few weeks of a few people."""

    name = "river"
    publish: frozenset[str] = frozenset({MEMBERSHIPS_TOPIC})

    def __init__(self) -> None:
        documents = MemoryDocuments(VirtualBusinessClock(START_MS))
        ids = SeededIds(random.Random(1))  # noqa: S311 - repeatable, no secret
        self._policies = MergePolicies(documents=documents, ids=ids)
        # The methods used here read through the reader handed in; the state is never asked.
        self._profiles = Profiles(state=MemoryState(), policies=self._policies)

    def stages(self) -> Sequence[Stage[Any, Any]]:
        """The three stages that share a database, and the filing of failed records."""
        plane = _ControlPlane()
        return [
            IdentityStage(schemas=plane, datasets=plane, settings=plane.settings),
            ProfileStage(policies=self._policies),
            SegmentationStage(rules=plane, profiles=_Reading(self._profiles)),
            FailuresStage(),
        ]

    def inputs(self, rng: random.Random) -> Sequence[Input]:
        """Frames of one to three records; no two frames are received at the same time."""
        at_ms = START_MS
        found = []
        for n in range(rng.randint(1, 30)):
            at_ms += rng.choice([1, 5_000, HOUR_MS, DAY_MS])
            people = rng.random() < 0.3
            make = _person if people else _visit
            records = [make(rng, f"{n}-{part}", at_ms) for part in range(rng.randint(1, 3))]
            frame = Frame(
                rng.choice(SCOPES).key,
                "people" if people else "visits",
                "people" if people else "visits",
                "record" if people else "time-series",
                at_ms,
                "inlet",
                records,
            )
            found.append(Input(Entry(INGEST_TOPIC, b"%d" % n, ENCODER.encode(frame)), at_ms))
        return found

    def horizon_ms(self, inputs: Sequence[Input], rng: random.Random) -> int:
        """Some windows have run out by then."""
        return max(sent.at_ms for sent in inputs) + rng.randint(0, 16 * DAY_MS)

    def dump(self, reader: Reader) -> Dump:
        """Graph, people with their events, memberships, refusals; of each sandbox."""
        found: Dump = {}
        for scope in SCOPES:
            members = reader.scan(MEMBER, scope)
            found[f"graph {scope.key}"] = {unpack(key, "ss"): value for key, value in members}
            found[f"people {scope.key}"] = {
                profile: self._person(reader, scope, ProfileId(profile))
                for profile in (key.decode() for key, _ in reader.scan(INDEX, scope))
            }
            found[f"audiences {scope.key}"] = {
                unpack(key, "ss"): "realized"
                for key, value in reader.scan(MEMBERS, scope)
                if msgspec.msgpack.decode(value, type=MemberRow).status == "realized"
            }
            refused = (
                msgspec.msgpack.decode(value, type=Filed).record
                for _, value in reader.scan(RECORD_TABLE, scope)
            )
            found[f"refused {scope.key}"] = {(one.code, one.raw): one.reason for one in refused}
        return found

    def _person(self, reader: Reader, scope: Scope, profile: ProfileId) -> Any:
        events = self._profiles.events(reader, scope, profile)
        return (
            self._profiles.view(reader, scope, profile),
            sorted((event.id, event.timestamp_ms) for event in events),
        )


def _person(rng: random.Random, n: str, at_ms: int) -> bytes:
    del n, at_ms
    body = {"key": rng.choice("abc"), "tier": rng.choice(["gold", "none"])}
    return b"no json" if rng.random() < 0.05 else orjson.dumps(body)


def _visit(rng: random.Random, n: str, at_ms: int) -> bytes:
    ids: dict[str, list[dict[str, str]]] = {}
    if rng.random() < 0.9:
        ids["Web"] = [{"id": rng.choice("123")}]
    if rng.random() < 0.4 or not ids:
        ids["CRM"] = [{"id": rng.choice("abc")}]
    body = {
        "_id": n,
        "timestamp": to_iso(at_ms - rng.choice([0, 0, 60_000, DAY_MS])),
        "eventType": rng.choice(["commerce.purchases", "commerce.productViews"]),
        "identityMap": ids,
    }
    return orjson.dumps(body)
