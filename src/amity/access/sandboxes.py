"""Which sandboxes does an organisation have?

`prod` is always there and cannot be deleted; others are development sandboxes. A sandbox is a
scope: nothing is copied into a new one. Behaviour: platform-activation.md §7 (sandboxes).
"""

from __future__ import annotations

from typing import Any

import re2

from amity.access.store import AccessStore
from amity.kernel.clock import SystemClock, to_iso
from amity.kernel.errors import Conflict, Invalid
from amity.kernel.ids import IdSource
from amity.kernel.scope import Scope

KIND = "sandbox"
DEFAULT = "prod"
SANDBOXES_MAX = 75
"""Behaviour: platform-activation.md §7 (5, at most 75)."""

_NAME = re2.compile(r"^[a-z][a-z0-9-]{1,49}$")
_TYPES = ("development", "production")


class SandboxTaken(Conflict):
    """There is a sandbox of that name already."""


class SandboxInvalid(Invalid):
    """The sandbox is not of the form it must have."""


class Sandboxes:
    """Lists and creates sandboxes."""

    def __init__(self, *, store: AccessStore, ids: IdSource, clock: SystemClock) -> None:
        self._store = store
        self._ids = ids
        self._clock = clock

    def exists(self, scope: Scope) -> bool:
        """Whether an organisation has a sandbox of that name."""
        return scope.sandbox == DEFAULT or self._store.get(KIND, scope.key) is not None

    def listed(self, org: str) -> list[dict[str, Any]]:
        """The sandboxes of an organisation as the API shows them, `prod` first."""
        made = (body for body in self._store.find(KIND) if body["org"] == org)
        shown = ({key: value for key, value in body.items() if key != "org"} for body in made)
        return [_default(), *shown]

    def create(self, org: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create a development sandbox; answers it as the API shows it."""
        name, kind = body.get("name"), body.get("type", "development")
        if not isinstance(name, str) or not _NAME.match(name):
            raise SandboxInvalid(
                "name holds 2 to 50 small letters, digits and hyphens and begins with a letter"
            )
        if kind not in _TYPES:
            raise SandboxInvalid(f"type {kind!r} is none of {', '.join(_TYPES)}")
        scope = Scope(org, name)
        if self.exists(scope):
            raise SandboxTaken(f"there is a sandbox {name!r} already", sandbox=name)
        if len(self.listed(org)) >= SANDBOXES_MAX:
            raise Conflict(f"an organisation has at most {SANDBOXES_MAX} sandboxes")
        now = to_iso(self._clock.now_ms())
        made = {
            "id": self._ids.uuid(),
            "name": name,
            "title": str(body.get("title") or name),
            "state": "active",
            "type": kind,
            "region": "local",
            "isDefault": False,
            "eTag": 1,
            "createdDate": now,
            "lastModifiedDate": now,
        }
        self._store.put(KIND, scope.key, {**made, "org": org})
        return made


def _default() -> dict[str, Any]:
    return {
        "id": DEFAULT,
        "name": DEFAULT,
        "title": "Production",
        "state": "active",
        "type": "production",
        "region": "local",
        "isDefault": True,
        "eTag": 1,
    }
