"""A small estate: two datasets, one audience, one destination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from amity.kernel.scope import Scope
from amity.platform.governance.lineage import Activation, AudienceFacts, Source

SCOPE = Scope("A@AmityOrg", "prod")


@dataclass
class Shop:
    """Facts a test may change; answers as `Estate` and as `Activations`."""

    all_sources: dict[str, Source] = field(default_factory=dict)
    audiences: dict[str, AudienceFacts] = field(default_factory=dict)
    activations: list[Activation] = field(default_factory=list)

    def sources(self, scope: Scope, merge_policy: str) -> Sequence[Source]:
        return list(self.all_sources.values()) if scope == SCOPE else []

    def source(self, scope: Scope, dataset: str) -> Source | None:
        return self.all_sources.get(dataset) if scope == SCOPE else None

    def audience(self, scope: Scope, id: str) -> AudienceFacts | None:
        return self.audiences.get(id) if scope == SCOPE else None

    def active(self, scope: Scope) -> Sequence[Activation]:
        return self.activations if scope == SCOPE else []


def source(
    id: str,
    labels: str = "",
    fields: dict[str, str] | None = None,
    identities: dict[str, str] | None = None,
) -> Source:
    return Source(
        dataset=id,
        name=f"{id} dataset",
        labels=frozenset(labels.split()),
        fields={
            tuple(path.split(".")): frozenset(names.split())
            for path, names in (fields or {}).items()
        },
        identities={ns: (tuple(path.split(".")),) for ns, path in (identities or {}).items()},
    )


def audience(id: str = "rich", fields: str = "income", stitched: bool = False) -> AudienceFacts:
    return AudienceFacts(
        id=id,
        name=f"{id} people",
        merge_policy="mp",
        merge_policy_name="Default",
        stitched=stitched,
        fields=tuple(tuple(path.split(".")) for path in fields.split()),
    )


def activation(
    audience: str = "rich",
    actions: str = "core/emailTargeting",
    fields: str = "person.name.firstName",
    namespaces: str = "",
) -> Activation:
    return Activation(
        flow="flow1",
        destination="Campaign",
        audience=audience,
        actions=tuple(actions.split()),
        fields=tuple(tuple(path.split(".")) for path in fields.split()),
        namespaces=tuple(namespaces.split()),
    )


def shop() -> Shop:
    return Shop(
        all_sources={
            "customers": source("customers", identities={"Email": "personalEmail.address"}),
            "orders": source("orders"),
        },
        audiences={"rich": audience()},
    )
