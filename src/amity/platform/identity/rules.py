"""Which namespaces link, which are unique, and which comes first?

The linking rules of a sandbox as the graph algorithm reads them.
Behaviour: platform-audiences.md §1.1, §2.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from amity.platform.identity.model import Identity

CROSS_DEVICE = "CROSS_DEVICE"
PERSON_TYPES = frozenset({CROSS_DEVICE, "EMAIL", "PHONE"})
DEVICE_TYPES = frozenset({"DEVICE", "MOBILE"})
COOKIE_TYPE = "COOKIE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The linking rules in force.

    Attributes:
        types: Namespace code → type in upper case; a code not listed is CROSS_DEVICE.
        priorities: Namespace code → priority, 1 on top.
        unique: Codes of which a graph holds at most one value.
        unlisted: Priority of a code that `priorities` does not hold.
    """

    types: dict[str, str] = field(default_factory=dict)
    priorities: dict[str, float] = field(default_factory=dict)
    unique: frozenset[str] = frozenset()
    unlisted: float = 1_000.0

    def type_of(self, code: str) -> str:
        """The type of a namespace."""
        return self.types.get(code, CROSS_DEVICE)

    def links(self, code: str) -> bool:
        """Whether identities of this namespace link at all.

        >>> Rules(types={"productId": "NON_PEOPLE"}).links("productId")
        False
        """
        kind = self.types.get(code, CROSS_DEVICE)
        return kind in PERSON_TYPES or kind == COOKIE_TYPE or kind in DEVICE_TYPES

    def priority(self, code: str) -> float:
        """The priority of a namespace; the lower number comes first."""
        return self.priorities.get(code, self.unlisted)

    def clashes(self, identities: Iterable[Identity]) -> bool:
        """Whether two different values of a unique namespace stand here.

        >>> Rules(unique=frozenset({"A"})).clashes([Identity("A", "1"), Identity("A", "2")])
        True
        """
        held: dict[str, str] = {}
        for ns, value in identities:
            if ns in self.unique and held.setdefault(ns, value) != value:
                return True
        return False

    def leaves_first(self, identity: Identity) -> int:
        """Rank of an identity's type when a full graph must lose one: cookies leave first."""
        kind = self.type_of(identity.ns)
        if kind == COOKIE_TYPE:
            return 0
        return 1 if kind in DEVICE_TYPES else 2
