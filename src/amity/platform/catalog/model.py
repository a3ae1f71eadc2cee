"""What is a dataset, and what may be done with it?"""

from __future__ import annotations

import msgspec


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A collection of records of one schema. Behaviour: platform-collect.md §4."""

    id: str
    name: str
    schema_id: str
    profile_enabled: bool = False
    identity_enabled: bool = False
    upsert: bool = False
    labels: tuple[str, ...] = ()
    created_ms: int = 0
