"""Whose data is it?

A `Scope` is asked for by every store method and leads every key, topic key and lake path.
"""

from __future__ import annotations

from dataclasses import dataclass

from amity.kernel.errors import Invalid


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """One sandbox of one organisation."""

    org: str
    sandbox: str

    @property
    def key(self) -> str:
        """The form that leads keys.

        >>> Scope("A@AmityOrg", "prod").key
        'A@AmityOrg/prod'
        """
        return f"{self.org}/{self.sandbox}"

    @classmethod
    def parse(cls, key: str) -> Scope:
        """The scope a key names.

        >>> Scope.parse("A@AmityOrg/prod").sandbox
        'prod'
        """
        org, slash, sandbox = key.partition("/")
        if not (org and slash and sandbox):
            raise Invalid(f"{key!r} names no scope; write ORG/SANDBOX")
        return cls(org, sandbox)
