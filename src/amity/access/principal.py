"""Who is asking, and what may they do?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from amity.kernel.scope import Scope

Permission = Literal[
    "manage-schemas", "view-schemas", "manage-datasets", "view-datasets", "ingest-data",
    "manage-identity-namespaces", "view-identity-namespaces", "view-identity-graph",
    "manage-profiles", "view-profiles", "manage-merge-policies", "view-merge-policies",
    "manage-segments", "view-segments", "evaluate-segments",
    "manage-sources", "view-sources", "manage-destinations", "view-destinations",
    "activate-destinations", "manage-policies", "view-policies", "apply-labels",
    "view-failed-records", "manage-failed-records", "view-audit-log", "manage-clock", "manage-sandboxes",
    "manage-recipients", "view-recipients", "manage-workflows", "view-workflows",
    "manage-deliveries", "view-deliveries", "start-deliveries", "export-logs",
]  # fmt: skip
"""What a route may ask for. Behaviour: platform-activation.md §7 (names in kebab-case)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A caller whose credentials were checked, acting in one scope."""

    id: str
    kind: Literal["api_client", "write_key", "inlet", "local"]
    scope: Scope
    permissions: frozenset[str]
