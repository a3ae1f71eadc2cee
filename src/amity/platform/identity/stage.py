"""How do frames become records with a person?

The stage takes frames apart, finds each record's identities, keeps the graph and tells the profile
stage whose each record is, after telling who was merged or split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from amity.flow.step import Failure, Outcome, Output, Position, Timer
from amity.kernel.errors import Corrupt, NotFound
from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.catalog.model import Dataset
from amity.platform.identity.graph import sighting
from amity.platform.identity.history import load_history
from amity.platform.identity.model import (
    IDENTIFIED_TOPIC,
    Identified,
    Identity,
    IdentityMessage,
    Regrouped,
)
from amity.platform.identity.records import Context, Incoming, Record, read_record
from amity.platform.identity.rules import Rules
from amity.platform.identity.step import Group, Known, plan, regroup
from amity.platform.identity.store import Changes, Row, are_stored, know, members_of, write
from amity.platform.ingestion.identities import RecordIdentities, identities_of
from amity.platform.ingestion.model import FRAME_DECODER, INGEST_TOPIC
from amity.platform.schema.model import ResolvedSchema
from amity.storage.ports import LogRecord, Reader, Writer

ENCODER = msgspec.msgpack.Encoder()
DECODER: msgspec.msgpack.Decoder[IdentityMessage] = msgspec.msgpack.Decoder(IdentityMessage)

IdentitiesOf = Callable[[dict[str, Any], ResolvedSchema], RecordIdentities]


class Schemas(Protocol):
    """Finds schemas; raises `NotFound`."""

    def resolved(self, scope: Scope, id: str) -> ResolvedSchema: ...


class Datasets(Protocol):
    """Finds datasets; raises `NotFound`."""

    def dataset(self, scope: Scope, id: str) -> Dataset: ...


class LinkingRules(Protocol):
    """Tells the linking rules in force."""

    def rules(self, scope: Scope) -> Rules: ...


@dataclass(slots=True, kw_only=True)
class Work:
    """One scope's part of a batch."""

    rules: Rules
    records: list[Record] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    known: Known = field(default_factory=Known)
    groups: list[Group] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)


@dataclass(slots=True, kw_only=True)
class IdentityState:
    """What a batch needs, and what it changes."""

    works: dict[Scope, Work] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


class _Source(NamedTuple):
    """Where a record comes from, as far as frames of one kind share it."""

    scope: str
    dataset: str
    schema: str


class IdentityStage:
    """Stage 4 of the river."""

    name = "identity"
    consumes = (INGEST_TOPIC,)

    def __init__(
        self,
        *,
        schemas: Schemas,
        datasets: Datasets,
        settings: LinkingRules,
        identities: IdentitiesOf = identities_of,
    ) -> None:
        self._schemas = schemas
        self._datasets = datasets
        self._settings = settings
        self._identities = identities

    def decode(self, record: LogRecord) -> Sequence[Incoming]:
        """One message a record of the frame."""
        try:
            frame = FRAME_DECODER.decode(record.body)
        except msgspec.DecodeError as error:
            raise Corrupt(
                f"{record.topic} {record.partition}/{record.offset} is no frame: {error}"
            ) from error
        source = _Source(frame.scope, frame.dataset, frame.schema)
        return [
            Incoming(
                source,
                frame.behavior,
                frame.received_ms,
                Position(record.partition, record.offset, n),
                raw,
                frame.said_ms[n] if frame.said_ms else 0,
            )
            for n, raw in enumerate(frame.records)
        ]

    def encode(self, message: IdentityMessage) -> bytes:
        """The log body of an `Identified` or `Regrouped`."""
        return ENCODER.encode(message)

    def load(
        self, reader: Reader, messages: Sequence[Incoming], fired: Sequence[Timer]
    ) -> IdentityState:
        """Read the records, then what is known of their identities, then the past it takes."""
        del fired
        state = IdentityState()
        contexts: dict[Any, Context | Failure | None] = {}
        for message in messages:
            if message.source not in contexts:
                contexts[message.source] = self._context(message)
            self._take(state, message, contexts[message.source])
        for scope, work in state.works.items():
            _load_graph(reader, scope, work)
        return state

    def step(
        self,
        state: IdentityState,
        messages: Sequence[Incoming],
        fired: Sequence[Timer],
        now_ms: int,
    ) -> Outcome[IdentityState]:
        """Regroup whom the sightings change, then tell whose each record is."""
        del messages, fired, now_ms
        outcome = Outcome(state=state, failures=state.failures)
        for scope, work in state.works.items():
            outcome.outputs += _regrouped(scope, work)
            outcome.outputs += [_identified(scope, work, record) for record in work.records]
        return outcome

    def save(self, writer: Writer, state: IdentityState) -> None:
        """Write what the step has changed."""
        for scope, work in state.works.items():
            write(writer, scope, work.changes)

    def _context(self, message: Incoming) -> Context | Failure | None:
        """What records of this source share; None when they only go to the lake."""
        scope = Scope.parse(message.source.scope)
        try:
            dataset = self._datasets.dataset(scope, message.source.dataset)
            if not dataset.profile_enabled:
                return None
            resolved = self._schemas.resolved(scope, message.source.schema or dataset.schema_id)
        except NotFound as error:
            return message.refused(scope, "unknown_source", error.message)
        return Context(scope, self._settings.rules(scope), resolved, self._identities)

    def _take(
        self, state: IdentityState, message: Incoming, context: Context | Failure | None
    ) -> None:
        if context is None:
            return
        if isinstance(context, Failure):
            state.failures.append(context._replace(raw=message.raw, position=message.position))
            return
        record = read_record(message, context)
        if isinstance(record, Failure):
            state.failures.append(record)
            return
        work = state.works.get(context.scope)
        if work is None:
            work = state.works[context.scope] = Work(rules=context.rules)
        work.records.append(record)
        if len(record.linking) > 1:
            seen = sighting(record.timestamp_ms, record.id, record.linking)
            work.rows.append(Row(seen, message.source.dataset))


def _load_graph(reader: Reader, scope: Scope, work: Work) -> None:
    together = {identity for row in work.rows for identity in row.seen.identities}
    alone = {record.linking[0] for record in work.records if len(record.linking) == 1}
    know(reader, scope, work.known, together)
    # Who comes alone changes nobody: whose it is, is all there is to know.
    work.known.members.update(members_of(reader, scope, alone - together))
    groups = plan(work.known, [row.seen for row in work.rows], work.rules)
    late = [group for group in groups if group.need == "all"]
    if late:
        # What comes again from long ago is known already: it must not cost a replay.
        again = are_stored(reader, scope, [row for row in work.rows if _is_in(row, late)])
        if again:
            work.rows = [row for row in work.rows if row not in again]
            groups = plan(work.known, [row.seen for row in work.rows], work.rules)
    work.groups = load_history(reader, scope, work.known, groups)
    work.changes.rows = work.rows


def _is_in(row: Row, groups: list[Group]) -> bool:
    return any(row.seen in group.sightings for group in groups)


def _regrouped(scope: Scope, work: Work) -> list[Output]:
    outputs = []
    newest = {row.seen.stamp: at for at, row in enumerate(work.rows)}
    linking = [record for record in work.records if len(record.linking) > 1]
    for group in work.groups:
        changes = work.changes
        for seen in group.sightings:
            changes.sets.setdefault(seen.stamp.set, seen.identities)
        change = regroup(work.known, group, work.rules)
        if not change.after:
            continue
        changes.gone |= change.before.keys() - change.after.keys()
        changes.components.update(change.after)
        for name, component in change.after.items():
            changes.members.update(dict.fromkeys(component.members, name))
        last = max(newest.get(seen.stamp, 0) for seen in group.sightings)
        message = Regrouped(
            scope=scope.key,
            before=tuple(sorted(change.before)),
            groups={name: list(held.members) for name, held in change.after.items()},
            cause=change.cause,
            position=linking[last].position,
            at_ms=linking[last].received_ms,
        )
        if set(change.before) != set(change.after) or _moved(change.before, message.groups):
            outputs.append(Output(IDENTIFIED_TOPIC, scope, message.before[0].encode(), message))
    return outputs


def _moved(
    before: dict[ProfileId, tuple[Identity, ...]], groups: dict[ProfileId, list[Identity]]
) -> bool:
    """Whether anybody holds other identities than before: new links alone change nobody."""
    return any(set(before[name]) != set(held) for name, held in groups.items())


def _identified(scope: Scope, work: Work, record: Record) -> Output:
    profile = work.changes.members.get(record.primary) or work.known.members.get(record.primary)
    name = profile or ProfileId(record.primary.xid)
    message = Identified(
        scope=scope.key,
        dataset=record.dataset,
        behavior=record.behavior,
        received_ms=record.received_ms,
        position=record.position,
        profile=name,
        primary=record.primary,
        id=record.id,
        timestamp_ms=record.timestamp_ms,
        body=record.body,
        people=record.people,
    )
    return Output(IDENTIFIED_TOPIC, scope, name.encode(), message)
