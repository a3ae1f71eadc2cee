"""How is activation's step joined to its state?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from amity.flow.step import Outcome, Timer
from amity.kernel.errors import Corrupt
from amity.kernel.scope import Scope
from amity.platform.activation import store
from amity.platform.activation.model import (
    ENCODER,
    EVALUATIONS_TOPIC,
    FLOW_DECODER,
    FLOWS_TOPIC,
    Evaluated,
    FlowChanged,
)
from amity.platform.activation.step import (
    ActivationState,
    MemberKey,
    Message,
    slot_key,
    step,
)
from amity.platform.segmentation.model import MEMBERSHIPS_TOPIC, MembershipChanged
from amity.storage.keys import after, pack, unpack
from amity.storage.ports import LogRecord, Reader, Writer

_MEMBERSHIP = msgspec.msgpack.Decoder(MembershipChanged)


class ActivationStage:
    """Keeps the members of every audience and gives the orders to export."""

    name = "activation"
    consumes = (MEMBERSHIPS_TOPIC, FLOWS_TOPIC, EVALUATIONS_TOPIC)

    def decode(self, record: LogRecord) -> Sequence[Message]:
        """One message a record."""
        try:
            if record.topic == MEMBERSHIPS_TOPIC:
                return [_MEMBERSHIP.decode(record.body)]
            return [FLOW_DECODER.decode(record.body)]
        except msgspec.DecodeError as error:
            raise Corrupt(f"no message of {record.topic}: {error}") from error

    def encode(self, message: Any) -> bytes:
        """The log body of an order."""
        return ENCODER.encode(message)

    def load(
        self, reader: Reader, messages: Sequence[Message], fired: Sequence[Timer]
    ) -> ActivationState:
        """The members, heads and slots that the messages touch."""
        state = ActivationState()
        _load_members(reader, state, messages)
        for message in messages:
            if isinstance(message, FlowChanged):
                _load_slots(reader, state, Scope.parse(message.scope), pack(message.flow))
            elif isinstance(message, Evaluated):
                _load_slots(reader, state, Scope.parse(message.scope), b"")
        for timer in fired:
            scope, flow, audience = slot_key(timer)
            _load_slots(reader, state, scope, pack(flow, audience))
        return state

    def step(
        self,
        state: ActivationState,
        messages: Sequence[Message],
        fired: Sequence[Timer],
        now_ms: int,
    ) -> Outcome[ActivationState]:
        """The pure step."""
        return step(state, messages, fired, now_ms)

    def save(self, writer: Writer, state: ActivationState) -> None:
        """Write what has changed; a profile keeps one change row, its newest."""
        for scope in sorted({key[0] for key in state.changed_members}):
            _save_members(writer, state, scope)
        for scope, flow, audience in sorted(state.changed_slots):
            value = store.encode(state.slots[scope, flow, audience])
            writer.put_many(store.SLOTS, scope, [(pack(flow, audience), value)])


def _save_members(writer: Writer, state: ActivationState, scope: Scope) -> None:
    members = {key: state.members[key] for key in state.changed_members if key[0] == scope}
    old = [pack(key[1], state.old_revisions[key]) for key in members if key in state.old_revisions]
    writer.delete_many(store.CHANGES, scope, old)
    changes = [
        (pack(audience, member.revision), profile.encode())
        for (_, audience, profile), member in members.items()
    ]
    writer.put_many(store.CHANGES, scope, changes)
    rows = [
        (pack(audience, profile), store.encode(member))
        for (_, audience, profile), member in members.items()
    ]
    writer.put_many(store.MEMBERS, scope, rows)
    heads = [
        (pack(audience), store.encode(state.heads[scope, audience]))
        for audience in {key[1] for key in members}
    ]
    writer.put_many(store.HEADS, scope, heads)


def _load_members(reader: Reader, state: ActivationState, messages: Sequence[Message]) -> None:
    wanted: dict[Scope, dict[bytes, MemberKey]] = {}
    for message in messages:
        if isinstance(message, MembershipChanged):
            scope = Scope.parse(message.scope)
            key = pack(message.audience, message.profile)
            wanted.setdefault(scope, {})[key] = (scope, message.audience, message.profile)
    for scope, keys in wanted.items():
        found = reader.get_many(store.MEMBERS, scope, keys)
        for key, value in found.items():
            state.members[keys[key]] = store.decode_member(value)
        for audience in {key[1] for key in keys.values()}:
            state.heads[scope, audience] = store.head(reader, scope, audience)


def _load_slots(reader: Reader, state: ActivationState, scope: Scope, prefix: bytes) -> None:
    end = after(prefix) if prefix else None
    for key, value in reader.scan(store.SLOTS, scope, start=prefix, end=end):
        flow, audience = unpack(key, "ss")
        state.slots[scope, str(flow), str(audience)] = store.decode_slot(value)
