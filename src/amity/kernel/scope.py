"""Whose data is it?

A `Scope` is asked for by every store method and leads every key, topic key and lake path.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from amity.kernel.errors import Invalid


class Scope(NamedTuple):
    """One sandbox of one organisation. A tuple: it is part of most keys, and hashed all the time."""

    org: str
    sandbox: str

    @property
    def key(self) -> str:
        """The form that leads keys.

        >>> Scope("A@AmityOrg", "prod").key
        'A@AmityOrg/prod'
        """
        return f"{self.org}/{self.sandbox}"

    @property
    def shown(self) -> dict[str, str | bool]:
        """The sandbox as objects in answers tell of it; `prod` is the one that needs no header.

        >>> Scope("A@AmityOrg", "dev").shown
        {'sandboxName': 'dev', 'type': 'development', 'default': False}
        """
        default = self.sandbox == "prod"
        kind = "production" if default else "development"
        return {"sandboxName": self.sandbox, "type": kind, "default": default}

    @classmethod
    def parse(cls, key: str) -> Scope:
        """The scope a key names.

        >>> Scope.parse("A@AmityOrg/prod").sandbox
        'prod'
        """
        return _parsed(key)


@lru_cache(maxsize=1024)
def _parsed(key: str) -> Scope:
    """One object a scope, so that comparing two of them mostly ends at once."""
    org, slash, sandbox = key.partition("/")
    if not (org and slash and sandbox):
        raise Invalid(f"{key!r} names no scope; write ORG/SANDBOX")
    return Scope(org, sandbox)
