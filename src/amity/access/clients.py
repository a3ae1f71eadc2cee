"""Which API clients are there, and is this secret theirs?"""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from amity.access.principal import Permission
from amity.access.store import AccessStore
from amity.kernel.clock import SystemClock
from amity.kernel.errors import Unauthorized
from amity.kernel.ids import IdSource

KIND = "api_client"
ALL_PERMISSIONS: frozenset[Permission] = frozenset(get_args(Permission))


class WrongClient(Unauthorized):
    """The client id or secret is wrong."""


class ApiClient(msgspec.Struct, frozen=True, kw_only=True):
    """An API client of one organisation, with what it may do."""

    id: str
    org: str
    name: str
    secret_hash: str
    permissions: tuple[Permission, ...]


_HELD_MAX = 1_000


class Clients:
    """Creates API clients and checks their secrets (Argon2id)."""

    def __init__(self, *, store: AccessStore, ids: IdSource, clock: SystemClock) -> None:
        self._store = store
        self._ids = ids
        self._clock = clock
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._held: tuple[int, dict[str, ApiClient | None]] = (-1, {})
        # A miss costs as much as a hit, so that timing does not tell which client ids exist.
        self._decoy = self._hasher.hash(ids.hex(32))

    def create(
        self, org: str, name: str, permissions: frozenset[Permission] = ALL_PERMISSIONS
    ) -> tuple[str, str]:
        """A new client: its id and its secret, which is not kept in clear."""
        client_id, secret = self._ids.hex(32), f"s8e-{self._ids.hex(40)}"
        body: dict[str, Any] = {
            "id": client_id,
            "org": org,
            "name": name,
            "secret_hash": self._hasher.hash(secret),
            "permissions": sorted(permissions),
            "created_ms": self._clock.now_ms(),
        }
        self._store.put(KIND, client_id, body)
        return client_id, secret

    def hashed(self, password: str) -> str:
        """A password as it may be kept."""
        return self._hasher.hash(password)

    def find(self, client_id: str) -> ApiClient | None:
        """The client of that id; asked at every request, so it is kept until something changes."""
        version, held = self._store.version(), self._held
        if held[0] != version or len(held[1]) >= _HELD_MAX:
            # A pair: who still reads for an older version must not fill the new one.
            held = self._held = (version, {})
        if client_id not in held[1]:
            body = self._store.get(KIND, client_id)
            held[1][client_id] = None if body is None else msgspec.convert(body, ApiClient)
        return held[1][client_id]

    def verify(self, client_id: str, secret: str) -> ApiClient:
        """The client whose secret this is; raises `WrongClient` without saying which part is wrong."""
        client = self.find(client_id)
        try:
            self._hasher.verify(client.secret_hash if client else self._decoy, secret)
        except (VerifyMismatchError, InvalidHashError) as error:
            raise WrongClient from error
        if client is None:
            raise WrongClient
        return client
