"""How is segmentation's step joined to its state, its rules and the profile store?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from amity.flow.step import Outcome, Timer
from amity.kernel.errors import Corrupt
from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.profile.model import CHANGES_TOPIC, ProfileChanged
from amity.platform.segmentation import store
from amity.platform.segmentation.model import DEFINITIONS_TOPIC, DefinitionChanged
from amity.platform.segmentation.ruleset import RuleSet
from amity.platform.segmentation.step import (
    BACKFILL_KEY,
    BACKFILL_PROFILES,
    KeptEvent,
    Key,
    Message,
    SegmentationState,
    Source,
    step,
)
from amity.storage.ports import LogRecord, Reader, Writer

_DECODERS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    CHANGES_TOPIC: msgspec.msgpack.Decoder(ProfileChanged),
    DEFINITIONS_TOPIC: msgspec.msgpack.Decoder(DefinitionChanged),
}
_ENCODER = msgspec.msgpack.Encoder()


class ProfileStore(Protocol):
    """What the profile stage offers to those who derive from it, within a transaction."""

    def view(self, reader: Reader, scope: Scope, profile: ProfileId, /) -> Mapping[str, Any]:
        """The merged attributes under the default merge policy; empty when there are none."""

    def events(self, reader: Reader, scope: Scope, profile: ProfileId, /) -> Iterable[KeptEvent]:
        """All events of the profile."""


class RuleSource(Protocol):
    """Where the compiled audiences of a scope come from."""

    def rules(self, scope: Scope) -> RuleSet:
        """The audiences at their newest definitions."""


class SegmentationStage:
    """Keeps for every profile which audiences it is in, exact in time."""

    name = "segmentation"
    consumes = (CHANGES_TOPIC, DEFINITIONS_TOPIC)

    def __init__(self, *, rules: RuleSource, profiles: ProfileStore) -> None:
        self._rules = rules
        self._profiles = profiles

    def decode(self, record: LogRecord) -> Sequence[Message]:
        """One message a record."""
        try:
            return [_DECODERS[record.topic].decode(record.body)]
        except msgspec.DecodeError as error:
            raise Corrupt(f"no message of {record.topic}: {error}") from error

    def encode(self, message: Any) -> bytes:
        """The log body of a membership change."""
        return _ENCODER.encode(message)

    def load(
        self, reader: Reader, messages: Sequence[Message], fired: Sequence[Timer]
    ) -> SegmentationState:
        """The touched profiles; for those that must be made anew, the profile store's content."""
        state = SegmentationState()
        for scope in {_scope(one) for one in (*messages, *fired)}:
            state.rules[scope] = self._rules.rules(scope)
        changes = [message for message in messages if isinstance(message, ProfileChanged)]
        keys = {(Scope.parse(m.scope), m.profile) for m in changes}
        keys |= {
            (timer.scope, ProfileId(timer.key.decode()))
            for timer in fired
            if timer.key != BACKFILL_KEY
        }
        keys |= self._load_backfills(reader, state, messages, fired)
        state.profiles.update(store.load_profiles(reader, keys))
        anew = {(Scope.parse(m.scope), m.profile) for m in changes if m.rebuild and not m.gone}
        anew |= {key for key in keys if self._outdated(state, key)}
        for key in sorted(anew, key=lambda one: (one[0].key, one[1])):
            state.sources[key] = Source(
                self._profiles.view(reader, *key), list(self._profiles.events(reader, *key))
            )
        return state

    def step(
        self,
        state: SegmentationState,
        messages: Sequence[Message],
        fired: Sequence[Timer],
        now_ms: int,
    ) -> Outcome[SegmentationState]:
        """The pure step."""
        return step(state, messages, fired, now_ms)

    def save(self, writer: Writer, state: SegmentationState) -> None:
        """Write the profiles, members and backfills that have changed."""
        store.save(writer, state)

    def _load_backfills(
        self,
        reader: Reader,
        state: SegmentationState,
        messages: Sequence[Message],
        fired: Sequence[Timer],
    ) -> set[Key]:
        scopes = {Scope.parse(m.scope) for m in messages if isinstance(m, DefinitionChanged)}
        woken = {timer.scope for timer in fired if timer.key == BACKFILL_KEY}
        for scope in scopes | woken:
            state.backfills[scope] = store.load_backfill(reader, scope)
        for scope in scopes | woken:
            after = "" if scope in scopes else state.backfills[scope].after
            state.pages[scope] = store.profile_ids(reader, scope, after, BACKFILL_PROFILES)
        return {(scope, profile) for scope, page in state.pages.items() for profile in page}

    @staticmethod
    def _outdated(state: SegmentationState, key: Key) -> bool:
        known = state.profiles.get(key)
        return known is not None and known.rules != state.rules[key[0]].version


def _scope(one: Message | Timer) -> Scope:
    return one.scope if isinstance(one.scope, Scope) else Scope.parse(one.scope)
