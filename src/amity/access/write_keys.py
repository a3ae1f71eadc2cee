"""Which write keys are there, and where do their calls go?

A write key is no secret of the strongest kind (it stands in web pages): it may only write, into the
two datasets it names.
"""

from __future__ import annotations

import msgspec

from amity.access.store import AccessStore
from amity.kernel.ids import IdSource
from amity.kernel.scope import Scope

KIND = "write_key"


class WriteKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key for Segment-spec calls and the datasets they feed."""

    id: str
    org: str
    sandbox: str
    profile_dataset: str
    event_dataset: str
    enabled: bool = True

    @property
    def scope(self) -> Scope:
        """Where its calls go."""
        return Scope(self.org, self.sandbox)


class WriteKeys:
    """Creates and finds write keys; look-ups are cached until any process writes."""

    def __init__(self, *, store: AccessStore, ids: IdSource) -> None:
        self._store = store
        self._ids = ids
        self._known: dict[str, WriteKey] = {}
        self._version = -1

    def create(self, scope: Scope, *, profile_dataset: str, event_dataset: str) -> WriteKey:
        """A new key that feeds these datasets."""
        key = WriteKey(
            id=self._ids.hex(32),
            org=scope.org,
            sandbox=scope.sandbox,
            profile_dataset=profile_dataset,
            event_dataset=event_dataset,
        )
        self._store.put(KIND, key.id, msgspec.to_builtins(key))
        return key

    def find(self, key: str) -> WriteKey | None:
        """The enabled key of that value."""
        version = self._store.version()
        if version != self._version:
            self._known = {
                body["id"]: msgspec.convert(body, WriteKey) for body in self._store.find(KIND)
            }
            self._version = version
        found = self._known.get(key)
        return found if found is not None and found.enabled else None
