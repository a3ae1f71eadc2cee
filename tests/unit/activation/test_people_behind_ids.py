"""The people behind profile ids, also after a merge."""

from __future__ import annotations

import orjson

from amity.flow.runner import Runner
from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.ids import ProfileId, RandomIds
from amity.kernel.scope import Scope
from amity.platform.activation.people import ProfilePeople
from amity.platform.catalog.model import Dataset
from amity.platform.identity.model import Identity
from amity.platform.identity.rules import Rules
from amity.platform.identity.stage import IdentityStage
from amity.platform.ingestion.model import ENCODER, INGEST_TOPIC, Frame
from amity.platform.profile.policies import MergePolicies
from amity.platform.profile.service import Profiles
from amity.platform.profile.stage import ProfileStage
from amity.platform.schema.model import PROFILE_CLASS, ResolvedSchema
from amity.storage.ports import Entry
from amity.testing.memory import MemoryDocuments, MemoryLog, MemoryState

SCOPE = Scope("A@AmityOrg", "prod")
RULES = Rules(types={"Web": "COOKIE"}, priorities={"Web": 1.0}, unique=frozenset())


class River:
    """Identity and profile over one state."""

    def __init__(self) -> None:
        self.log, self.state = MemoryLog(), MemoryState()
        documents = MemoryDocuments(VirtualBusinessClock(0))
        policies = MergePolicies(documents=documents, ids=RandomIds())
        stages = [
            IdentityStage(schemas=self, datasets=self, settings=self),
            ProfileStage(policies=policies),
        ]
        self.runner = Runner(stages, log=self.log, state=self.state, name="river")
        self.profiles = Profiles(state=self.state, policies=policies)
        self.people = ProfilePeople(state=self.state, profiles=self.profiles, policies=policies)
        self.received_ms = 0

    def resolved(self, scope: Scope, id: str) -> ResolvedSchema:
        return ResolvedSchema(
            id=id,
            alt_id=id,
            title=id,
            version="1.0",
            class_id=PROFILE_CLASS,
            behavior="record",
            json_schema={},
        )

    def dataset(self, scope: Scope, id: str) -> Dataset:
        return Dataset(id=id, name=id, schema_id=id, profile_enabled=True)

    def rules(self, scope: Scope) -> Rules:
        return RULES

    def record(self, *ids: str, **body: str) -> None:
        """Take in a record of the identities; the first is its primary one."""
        self.received_ms += 1
        listed = [{"id": id, "primary": id == ids[0]} for id in ids]
        raw = orjson.dumps({"identityMap": {"Web": listed}, **body})
        frame = Frame(SCOPE.key, "people", "people", "record", self.received_ms, "test", [raw])
        self.log.append([Entry(INGEST_TOPIC, b"", ENCODER.encode(frame))])
        while self.runner.run_once(self.received_ms):
            pass


def test_a_merged_id_leads_to_the_person_it_went_into() -> None:
    """Before a merge each id is its own home; after it both lead to one, with all attributes."""
    river = River()
    river.record("a", tier="gold")
    river.record("b", city="Ulm")
    ids = [ProfileId(Identity("Web", id).xid) for id in ("a", "b")]
    before = river.people.views(SCOPE, [*ids, ProfileId("nobody")], "")
    river.record("a", "b", tier="gold")
    after = river.people.views(SCOPE, ids, "")

    assert [before[id].home for id in ids] == ids
    assert [before[ids[0]].view.get("tier"), before[ids[1]].view.get("city")] == ["gold", "Ulm"]
    assert ProfileId("nobody") not in before
    assert len({seen.home for seen in after.values()}) == 1
    for id in ids:
        assert (after[id].view["tier"], after[id].view["city"]) == ("gold", "Ulm")
        assert {one["id"] for one in after[id].view["identityMap"]["Web"]} == {"a", "b"}


def test_many_at_once_are_seen_as_one_by_one() -> None:
    """Reading a page of people gives what reading each of them gives."""
    river = River()
    for number in range(12):
        river.record(f"p{number}", tier=str(number))
    for number in range(0, 8, 2):
        river.record(f"p{number}", f"p{number + 1}", f"q{number}", city=str(number))
    ids = river.profiles.iterate(SCOPE)

    assert len(ids) == 8
    assert river.profiles.views(SCOPE, ids) == {
        id: seen.view for id, seen in river.people.views(SCOPE, ids, "").items()
    }
