"""What do the stages before say of datasets and audiences, in governance's own words?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from amity.expression.tree import Node
from amity.kernel.errors import NotFound
from amity.kernel.scope import Scope
from amity.platform.catalog.model import Dataset
from amity.platform.catalog.service import Catalog
from amity.platform.governance.lineage import AudienceFacts, Source
from amity.platform.profile.merge import DATASET_PRECEDENCE
from amity.platform.profile.policies import MergePolicies
from amity.platform.segmentation.slots import audiences_in, fields_in


class AudienceRule(NamedTuple):
    """An audience as segmentation keeps it; `merge_policy` "" stands for the default one."""

    name: str
    rule: Node
    merge_policy: str = ""
    labels: tuple[str, ...] = ()


class Rules(Protocol):
    """Where audiences come from."""

    def rule(self, scope: Scope, id: str) -> AudienceRule | None:
        """The audience, when there is one."""


class PlatformEstate:
    """Answers `Estate` from catalog, merge policies and audiences.

    Datasets enabled for Profile are what a merge policy reads; under dataset precedence only those
    it lists.
    """

    def __init__(self, *, catalog: Catalog, merge_policies: MergePolicies, rules: Rules) -> None:
        self._catalog = catalog
        self._merge_policies = merge_policies
        self._rules = rules

    def sources(self, scope: Scope, merge_policy: str) -> Sequence[Source]:
        """The datasets that a merge policy reads, labels and all."""
        policy = self._merge_policies.policy(scope, merge_policy or None)
        read = [dataset for dataset in self._catalog.datasets(scope) if dataset.profile_enabled]
        if policy.attribute_merge == DATASET_PRECEDENCE:
            read = [dataset for dataset in read if dataset.id in policy.order]
        return [self._source(scope, dataset) for dataset in read]

    def source(self, scope: Scope, dataset: str) -> Source | None:
        """One dataset."""
        try:
            return self._source(scope, self._catalog.dataset(scope, dataset))
        except NotFound:
            return None

    def audience(self, scope: Scope, id: str) -> AudienceFacts | None:
        """An audience, with the fields it reads itself or through audiences it asks for."""
        found = self._rules.rule(scope, id)
        return None if found is None else self.facts(scope, id, found)

    def facts(self, scope: Scope, id: str, found: AudienceRule) -> AudienceFacts:
        """What governance must know of an audience, be it kept or only about to be."""
        policy = self._merge_policies.policy(scope, found.merge_policy or None)
        rules = list(self._reachable(scope, found))
        return AudienceFacts(
            id=id,
            name=found.name,
            merge_policy=policy.id,
            merge_policy_name=str(self._merge_policies.get(scope, policy.id)["name"]),
            stitched=policy.identity_graph == "pdg",
            labels=frozenset(label.removeprefix("core/") for label in found.labels),
            fields=tuple(sorted({path for rule in rules for path in fields_in(rule)})),
            asks=frozenset(id for rule in rules for id in audiences_in(rule)),
        )

    def _reachable(self, scope: Scope, found: AudienceRule) -> Iterator[Node]:
        """The rule and those it asks for by `inSegment`, each once."""
        waiting, seen = [found], set[str]()
        while waiting:
            rule = waiting.pop().rule
            yield rule
            for id in sorted(audiences_in(rule) - seen):
                seen.add(id)
                other = self._rules.rule(scope, id)
                waiting += [] if other is None else [other]

    def _source(self, scope: Scope, dataset: Dataset) -> Source:
        schema = self._catalog.schema_of(scope, dataset.id)
        identities: dict[str, list[tuple[str, ...]]] = {}
        for identity in schema.identities:
            identities.setdefault(identity.namespace, []).append(identity.path)
        return Source(
            dataset=dataset.id,
            name=dataset.name,
            labels=frozenset(dataset.labels),
            fields={
                tuple(path.split("/")): frozenset(labels) for path, labels in schema.labels.items()
            },
            identities={namespace: tuple(paths) for namespace, paths in identities.items()},
            events=schema.behavior == "time-series",
        )
