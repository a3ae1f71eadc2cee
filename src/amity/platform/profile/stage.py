"""How do identified records become profiles?

The stage keeps events and fragments under each record's own primary identity, and tells
segmentation what is new of whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from amity.flow.step import Outcome, Timer
from amity.kernel.errors import Corrupt
from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.identity.model import IDENTIFIED_TOPIC, Identified, Identity, Regrouped
from amity.platform.identity.store import components_of, members_of
from amity.platform.profile.fragment import Fragment, ReceiptStamp
from amity.platform.profile.merge import Policy
from amity.platform.profile.model import ERASURES_TOPIC, EraseProfile, ProfileChanged
from amity.platform.profile.step import (
    Counted,
    Delivery,
    Person,
    Slot,
    Work,
    outputs,
    settle,
    take_entity,
    take_erasure,
    take_event,
    take_record,
    take_regrouped,
)
from amity.platform.profile.store import (
    COUNT,
    ENCODE,
    ENTITY,
    EVENT,
    EVENT_ID,
    FRAGMENT,
    INDEX,
    KEY,
    NOTHING,
    EventIdRow,
    EventRow,
    KeyRow,
    count,
    digest_of_key,
    event_digest,
    event_ids,
    event_key,
    event_keys_of,
    fragments,
    fragments_of,
    indexed,
    key_rows,
    slot_key,
)
from amity.storage.keys import unpack
from amity.storage.ports import LogRecord, Reader, Writer

Message = Identified | Regrouped | EraseProfile

ENCODER = msgspec.msgpack.Encoder()
_IDENTIFIED: msgspec.msgpack.Decoder[Identified | Regrouped] = msgspec.msgpack.Decoder(
    Identified | Regrouped
)
_ERASURE = msgspec.msgpack.Decoder(EraseProfile)


class DefaultPolicy(Protocol):
    """Tells the default merge policy of a sandbox."""

    def default(self, scope: Scope) -> Policy: ...


@dataclass(slots=True, kw_only=True)
class Batch:
    """One scope's messages, sorted by what they are, and the work they make."""

    work: Work
    erasures: list[EraseProfile] = field(default_factory=list)
    regrouped: list[Regrouped] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    records: list[Identified] = field(default_factory=list)
    entities: list[Identified] = field(default_factory=list)


ProfileState = dict[Scope, Batch]


class ProfileStage:
    """Stage 5 of the river.

    Args:
        policies: Tells the default merge policy.
        fused: The identity stage runs in the same transaction: whose a record is, is as its message
            says. Otherwise the graph may have moved on since and is asked again.
    """

    name = "profile"
    consumes = (IDENTIFIED_TOPIC, ERASURES_TOPIC)

    def __init__(self, *, policies: DefaultPolicy, fused: bool = False) -> None:
        self._policies = policies
        self._fused = fused

    def decode(self, record: LogRecord) -> Sequence[Message]:
        """The message of one log record."""
        try:
            if record.topic == ERASURES_TOPIC:
                return [_ERASURE.decode(record.body)]
            return [_IDENTIFIED.decode(record.body)]
        except msgspec.DecodeError as error:
            raise Corrupt(
                f"{record.topic} {record.partition}/{record.offset} is none of ours: {error}"
            ) from error

    def encode(self, message: ProfileChanged) -> bytes:
        """The log body of a `ProfileChanged`."""
        return ENCODER.encode(message)

    def load(
        self, reader: Reader, messages: Sequence[Message], fired: Sequence[Timer]
    ) -> ProfileState:
        """Sort the messages and read what is known of those they are about."""
        del fired
        state: ProfileState = {}
        batches: dict[str, Batch] = {}
        for message in messages:
            batch = batches.get(message.scope)
            if batch is None:
                scope = Scope.parse(message.scope)
                batch = Batch(work=Work(policy=self._policies.default(scope)))
                batches[message.scope] = state[scope] = batch
            _sort_in(batch, message)
        for scope, batch in state.items():
            _load(reader, scope, batch, fused=self._fused)
        return state

    def step(
        self,
        state: ProfileState,
        messages: Sequence[Message],
        fired: Sequence[Timer],
        now_ms: int,
    ) -> Outcome[ProfileState]:
        """Take everything in; who is erased first, so that nothing older comes back."""
        del messages, fired, now_ms
        outcome = Outcome(state=state)
        for scope, batch in state.items():
            work = batch.work
            for erasure in batch.erasures:
                take_erasure(work, erasure)
            for regrouped in batch.regrouped:
                take_regrouped(work, regrouped)
            for delivery in sorted(batch.deliveries, key=lambda one: one.stamp):
                take_event(work, delivery)
            for record in batch.records:
                take_record(work, record)
            for entity in batch.entities:
                take_entity(work, entity)
            settle(work)
            outcome.outputs += outputs(scope, work)
        return outcome

    def save(self, writer: Writer, state: ProfileState) -> None:
        """Write what the step has changed."""
        for scope, batch in state.items():
            _save(writer, scope, batch.work)


def _sort_in(batch: Batch, message: Message) -> None:
    if isinstance(message, EraseProfile):
        batch.erasures.append(message)
    elif isinstance(message, Regrouped):
        batch.regrouped.append(message)
    elif not message.people:
        batch.entities.append(message)
    elif message.behavior == "time-series":
        batch.deliveries.append(
            Delivery(
                message=message,
                digest=event_digest(message.dataset, message.id),
                key=event_key(message.primary, message.timestamp_ms, message.id, message.dataset),
                stamp=ReceiptStamp.of(message.received_ms, message.position),
            )
        )
    else:
        batch.records.append(message)


def _load(reader: Reader, scope: Scope, batch: Batch, *, fused: bool) -> None:
    work = batch.work
    _load_deliveries(reader, scope, batch)
    identities, told = _concerned(batch)
    if fused:
        work.homes = _homes_told(batch)
    work.homes |= members_of(reader, scope, identities - work.homes.keys())
    homes = {work.home(one): one for one in told}
    components = components_of(reader, scope, homes)
    members = {
        profile: components[profile].members if profile in components else (identity,)
        for profile, identity in homes.items()
    }
    for profile, held in members.items():
        identities.update(held)
        if profile in components:
            work.homes.update(dict.fromkeys(held, profile))
    _load_keys(reader, scope, work, identities)
    before = {profile for regrouped in batch.regrouped for profile in regrouped.before}
    work.indexed = indexed(reader, scope, before)
    _load_people(reader, scope, work, members)
    _load_rare(reader, scope, batch)


def _load_people(
    reader: Reader, scope: Scope, work: Work, members: dict[ProfileId, tuple[Identity, ...]]
) -> None:
    for profile, held in members.items():
        found: dict[Slot, Fragment] = {}
        for identity in held:
            if identity in work.recorded:
                found.update(fragments_of(reader, scope, identity))
        work.people[profile] = Person(members=held, fragments=found)


def _load_rare(reader: Reader, scope: Scope, batch: Batch) -> None:
    """What only things, erasures and events delivered out of order need."""
    work = batch.work
    for identity in work.held:
        work.held[identity] = len(event_keys_of(reader, scope, identity, len(batch.deliveries) + 1))
    if batch.entities:
        slots = {(one.primary, one.dataset) for one in batch.entities}
        work.entities = fragments(reader, scope, ENTITY, slots)
    for erasure in batch.erasures:
        for identity in work.people[work.home(Identity(erasure.ns, erasure.id))].members:
            keys = event_keys_of(reader, scope, identity)
            work.stored[identity] = {digest_of_key(key): key for key in keys}


def _homes_told(batch: Batch) -> dict[Identity, ProfileId]:
    """Whose the records are, as their messages say."""
    homes = {one.message.primary: one.message.profile for one in batch.deliveries}
    homes.update((one.primary, one.profile) for one in batch.records)
    for regrouped in batch.regrouped:
        for profile, held in regrouped.groups.items():
            homes.update(dict.fromkeys(held, profile))
    return homes


def _load_deliveries(reader: Reader, scope: Scope, batch: Batch) -> None:
    rows = event_ids(reader, scope, {one.digest for one in batch.deliveries})
    for digest, row in rows.items():
        ns, value, *_ = unpack(row.key, "ssi")
        batch.work.deliveries[digest] = Counted(row.stamp, row.key, Identity(str(ns), str(value)))


def _concerned(batch: Batch) -> tuple[set[Identity], set[Identity]]:
    """All identities of the batch, and those whose attributes may have to be told."""
    told = {record.primary for record in batch.records}
    told.update(Identity(one.ns, one.id) for one in batch.erasures)
    for regrouped in batch.regrouped:
        for held in regrouped.groups.values():
            told.update(held)
    counted = batch.work.deliveries
    for delivery in batch.deliveries:
        known = counted.get(delivery.digest)
        if known is not None and delivery.stamp < known.stamp:
            told.update((delivery.message.primary, known.identity))
            batch.work.held[known.identity] = 0
    identities = told | {delivery.message.primary for delivery in batch.deliveries}
    return identities, told


def _load_keys(reader: Reader, scope: Scope, work: Work, identities: set[Identity]) -> None:
    for identity, row in key_rows(reader, scope, identities).items():
        if row.live:
            work.live.add(identity)
        if row.recorded:
            work.recorded.add(identity)
        if row.erased_ms >= 0:
            work.erased[identity] = row.erased_ms


def _save(writer: Writer, scope: Scope, work: Work) -> None:
    _save_events(writer, scope, work)
    gone = work.fragments_gone - work.fragments_put.keys()
    if gone:
        writer.delete_many(FRAGMENT, scope, [slot_key(slot) for slot in gone])
    for table, put in ((FRAGMENT, work.fragments_put), (ENTITY, work.entities_put)):
        if put:
            writer.put_many(
                table, scope, sorted((slot_key(slot), ENCODE(held)) for slot, held in put.items())
            )
    if work.keys_put:
        writer.put_many(KEY, scope, sorted(_key_rows(work)))
    _save_index(writer, scope, work.index)
    _count(writer, scope, "events", work.events_more)
    _count(writer, scope, "fragments", work.fragments_more)


def _save_events(writer: Writer, scope: Scope, work: Work) -> None:
    gone = work.events_gone - work.events_put.keys()
    if gone:
        writer.delete_many(EVENT, scope, gone)
    if work.events_put:
        rows = [(key, ENCODE(EventRow(*held))) for key, held in work.events_put.items()]
        rows.sort()
        writer.put_many(EVENT, scope, rows)
    forgotten = [digest for digest, held in work.delivered.items() if held is None]
    if forgotten:
        writer.delete_many(EVENT_ID, scope, forgotten)
    ids = [
        (digest, ENCODE(EventIdRow(held.stamp, held.key)))
        for digest, held in work.delivered.items()
        if held is not None
    ]
    if ids:
        ids.sort()
        writer.put_many(EVENT_ID, scope, ids)


def _key_rows(work: Work) -> Iterable[tuple[bytes, bytes]]:
    for identity in work.keys_put:
        row = KeyRow(
            *identity,
            work.erased.get(identity, -1),
            identity in work.live,
            identity in work.recorded,
        )
        yield identity.xid.encode(), ENCODE(row)


def _save_index(writer: Writer, scope: Scope, index: dict[ProfileId, bool]) -> None:
    gone = [profile.encode() for profile, held in index.items() if not held]
    put = sorted((profile.encode(), NOTHING) for profile, held in index.items() if held)
    if gone:
        writer.delete_many(INDEX, scope, gone)
    if put:
        writer.put_many(INDEX, scope, put)


def _count(writer: Writer, scope: Scope, noun: str, more: int) -> None:
    if more:
        total = count(writer, scope, noun) + more
        writer.put_many(COUNT, scope, [(noun.encode(), ENCODE(total))])
