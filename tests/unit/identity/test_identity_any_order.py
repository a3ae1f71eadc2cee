"""The incremental graph equals the naive fold over the sorted records, in whatever order they come."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identity_oracle import Record, naive_graphs

from amity.kernel.clock import to_iso
from amity.kernel.scope import Scope
from amity.platform.catalog.model import Dataset
from amity.platform.identity.model import Identified, Identity, Regrouped
from amity.platform.identity.rules import Rules
from amity.platform.identity.stage import IdentityStage
from amity.platform.identity.store import COMPONENT, MEMBER, SIGHTING, members_of
from amity.platform.ingestion.identities import RecordIdentities, RecordIdentity
from amity.platform.ingestion.model import ENCODER, INGEST_TOPIC, Frame
from amity.platform.schema.model import EVENT_CLASS, ResolvedSchema
from amity.storage.keys import unpack
from amity.storage.ports import LogRecord
from amity.testing.memory import MemoryState

SCOPE = Scope("A@AmityOrg", "prod")
TYPES = {
    "CRM": "CROSS_DEVICE",
    "Mail": "EMAIL",
    "Dev": "DEVICE",
    "Web": "COOKIE",
    "SKU": "NON_PEOPLE",
}
PRIORITIES = {"CRM": 1.0, "Mail": 2.0, "Dev": 3.0, "Web": 4.0}
RULES = [
    Rules(types=TYPES, priorities=PRIORITIES),
    Rules(types=TYPES, priorities=PRIORITIES, unique=frozenset({"CRM"})),
    Rules(types=TYPES, priorities=PRIORITIES, unique=frozenset({"CRM", "Mail"})),
]


class World:
    """A stage with schemas, datasets and rules of its own."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.state = MemoryState()
        self.stage = IdentityStage(
            schemas=self, datasets=self, settings=self, identities=self.identities
        )
        self.said: list[Any] = []
        self.failures: list[Any] = []
        self._offset = 0

    def resolved(self, scope: Scope, id: str) -> ResolvedSchema:
        return ResolvedSchema(
            id=id,
            alt_id=id,
            title=id,
            version="1.0",
            class_id=EVENT_CLASS,
            behavior="time-series",
            json_schema={},
        )

    def dataset(self, scope: Scope, id: str) -> Dataset:
        return Dataset(id=id, name=id, schema_id="s", profile_enabled=True)

    def rules(self, scope: Scope) -> Rules:
        return self._rules

    def identities(self, body: dict[str, Any], resolved: ResolvedSchema) -> RecordIdentities:
        return RecordIdentities(None, tuple(RecordIdentity(*one) for one in body["ids"]))

    def run(self, records: list[Record]) -> None:
        """One batch."""
        bodies = [
            orjson.dumps({"_id": name, "timestamp": to_iso(at_ms), "ids": list(map(list, ids))})
            for at_ms, name, ids in records
        ]
        frame = Frame(SCOPE.key, "d", "s", "time-series", 7, "x", bodies)
        self._offset += 1
        record = LogRecord(INGEST_TOPIC, 0, self._offset, b"k", ENCODER.encode(frame), "", 0)
        messages = self.stage.decode(record)
        with self.state.write() as writer:
            loaded = self.stage.load(writer, messages, [])
            outcome = self.stage.step(loaded, messages, [], 7)
            self.stage.save(writer, outcome.state)
        self.said += [output.message for output in outcome.outputs]
        self.failures += outcome.failures

    def graphs(self) -> list[list[Identity]]:
        """The graphs of two and more, as stored."""
        homes: dict[str, list[Identity]] = {}
        with self.state.read() as reader:
            for key, value in reader.scan(MEMBER, SCOPE):
                homes.setdefault(value.decode(), []).append(Identity(*map(str, unpack(key, "ss"))))
        return sorted(sorted(graph) for graph in homes.values() if len(graph) > 1)

    def names(self) -> dict[bytes, bytes]:
        """Identity → profile id, without those that are alone again."""
        with self.state.read() as reader:
            return {
                key: value
                for key, value in reader.scan(MEMBER, SCOPE)
                if value.decode() != Identity(*map(str, unpack(key, "ss"))).xid
            }

    def stored(self) -> int:
        with self.state.read() as reader:
            return reader.count(COMPONENT, SCOPE)


IDENTITIES = st.sampled_from(
    [Identity(ns, value) for ns in ("CRM", "Mail", "Dev", "Web") for value in "abc"]
    + [Identity("SKU", "a")]
)
RECORDS = st.tuples(
    st.integers(0, 12),
    st.sampled_from("xyz"),
    st.lists(IDENTITIES, min_size=1, max_size=3, unique=True).map(lambda ids: tuple(sorted(ids))),
)


def accepted(records: list[Record], rules: Rules) -> set[Record]:
    """The records the stage takes: no event with two identities of its highest namespace."""
    kept = set()
    for record in records:
        linking = [one for one in record[2] if rules.links(one.ns)]
        top = min((rules.priority(one.ns) for one in linking), default=0.0)
        if sum(rules.priority(one.ns) == top for one in linking) == 1:
            kept.add(record)
    return kept


def batches(records: list[Record], seed: int) -> list[list[Record]]:
    """The records shuffled, some repeated, cut into batches."""
    rng = random.Random(seed)
    shuffled = [*records, *rng.choices(records, k=len(records) // 3)]
    rng.shuffle(shuffled)
    cut = []
    while shuffled:
        size = rng.randint(1, 5)
        cut.append(shuffled[:size])
        shuffled = shuffled[size:]
    return cut


@pytest.mark.thorough
@settings(max_examples=250, deadline=None)
@given(
    records=st.lists(RECORDS, min_size=1, max_size=22),
    seed=st.integers(0, 1 << 30),
    rules=st.sampled_from(RULES),
)
def test_any_order_gives_the_naive_graph(records: list[Record], seed: int, rules: Rules) -> None:
    """Shuffled, repeated and cut at random, the records give the graphs of the naive fold."""
    world = World(rules)
    for batch in batches(records, seed):
        world.run(batch)

    assert naive_graphs(accepted(records, rules), rules) == world.graphs()


@settings(max_examples=60, deadline=None)
@given(
    records=st.lists(RECORDS, min_size=1, max_size=20),
    seed=st.integers(0, 1 << 30),
    rules=st.sampled_from(RULES),
)
def test_any_order_gives_the_same_names(records: list[Record], seed: int, rules: Rules) -> None:
    """A person's name does not depend on the order of arrival."""
    sorted_world, world = World(rules), World(rules)
    for record in sorted(records):
        sorted_world.run([record])
    for batch in batches(records, seed):
        world.run(batch)

    assert sorted_world.names() == world.names()


@pytest.mark.thorough
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_full_graphs_lose_the_same_whatever_the_order(seed: int) -> None:
    """Evictions are those of the naive fold when 120 devices come in any order."""
    rng = random.Random(seed)
    records = [
        (
            rng.randint(0, 200),
            f"{n}",
            tuple(
                sorted(
                    {Identity("CRM", rng.choice("ab")), Identity("Web", f"{rng.randint(0, 90)}")}
                )
            ),
        )
        for n in range(150)
    ]
    world = World(RULES[seed % 2])
    for batch in batches(records, seed):
        world.run(batch)

    assert naive_graphs(set(records), RULES[seed % 2]) == world.graphs()


@settings(max_examples=60, deadline=None)
@given(
    records=st.lists(RECORDS, min_size=1, max_size=20),
    seed=st.integers(0, 1 << 30),
    rules=st.sampled_from(RULES),
)
def test_regroupings_tell_the_whole_story(records: list[Record], seed: int, rules: Rules) -> None:
    """Who only listens to `Regrouped` knows at every `Identified` who holds which identities."""
    world = World(rules)
    home: dict[Identity, str] = {}
    for batch in batches(records, seed):
        at = len(world.said)
        world.run(batch)
        for message in world.said[at:]:
            if isinstance(message, Regrouped):
                for name, held in message.groups.items():
                    home.update(dict.fromkeys(map(Identity._make, held), name))
            elif isinstance(message, Identified):
                assert message.profile == home.get(message.primary, message.primary.xid)
    with world.state.read() as reader:
        everyone = {one for graph in naive_graphs(accepted(records, rules), rules) for one in graph}
        stored = members_of(reader, SCOPE, everyone)

    assert {one: home[one] for one in everyone} == stored


def test_an_identity_shared_by_many_stays_with_the_last() -> None:
    """A kiosk used by 80 people one after the other belongs to the last, in any order."""
    kiosk = Identity("Web", "kiosk")
    records = [(n, f"{n}", (Identity("CRM", f"p{n:03d}"), kiosk)) for n in range(80)]
    world = World(RULES[1])
    for batch in batches(records, 3):
        world.run(batch)

    assert world.graphs() == [[Identity("CRM", "p079"), kiosk]]


def test_the_fast_path_writes_one_sighting() -> None:
    """A set that is known writes its sighting row; a record of one identity writes nothing."""
    world = World(RULES[1])
    pair = (Identity("CRM", "a"), Identity("Web", "b"))
    world.run([(1, "x", pair)])
    with world.state.read() as reader:
        before = {table: dict(reader.scan(table, SCOPE)) for table in (COMPONENT, MEMBER, SIGHTING)}
    world.run([(2, "y", pair), (3, "z", pair[:1]), (4, "z", pair[1:])])
    with world.state.read() as reader:
        after = {table: dict(reader.scan(table, SCOPE)) for table in before}

    assert before[COMPONENT] == after[COMPONENT]
    assert before[MEMBER] == after[MEMBER]
    assert len(after[SIGHTING]) == 2


def test_what_comes_again_from_below_a_floor_is_not_replayed() -> None:
    """A record delivered again after a split changes nothing and tells nothing."""
    world = World(RULES[1])
    web = Identity("Web", "w")
    records = [(1, "x", (Identity("CRM", "a"), web)), (2, "y", (Identity("CRM", "b"), web))]
    world.run(records)
    before = world.names()
    at = len(world.said)
    world.run(records)

    assert before == world.names()
    assert not [one for one in world.said[at:] if isinstance(one, Regrouped)]
