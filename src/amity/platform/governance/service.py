"""May this data go there?

Asked in three moments (docs/adr/0008-enforcement-points.md): when a flow, an audience, a dataset's
labels or a policy is about to change, and the answer no refuses the change, nothing saved; when
bytes are about to be written, and the answer no holds them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from amity.kernel.scope import Scope
from amity.platform.governance.book import PolicyBook
from amity.platform.governance.errors import LabelsViolation, UnknownResource, ViolationsError
from amity.platform.governance.evaluation import Violation, explain, violation_body, violations
from amity.platform.governance.lineage import (
    Activation,
    AudienceFacts,
    Estate,
    Lineage,
    Source,
    trace,
)
from amity.platform.governance.policies import Policy


class Activations(Protocol):
    """What is being sent where; told by the activation stage."""

    def active(self, scope: Scope) -> Sequence[Activation]:
        """Every audience mapped in an enabled flow."""


class Governance:
    """Enforces policies along the lineage dataset → merge policy → audience → destination."""

    def __init__(self, *, book: PolicyBook, estate: Estate, activations: Activations) -> None:
        self._book = book
        self._estate = estate
        self._activations = activations

    def audience(self, scope: Scope, id: str) -> AudienceFacts | None:
        """What is known of an audience."""
        return self._estate.audience(scope, id)

    def verify(self, scope: Scope, activation: Activation) -> tuple[Violation, ...]:
        """What holds this activation back now; asked right before bytes are written."""
        return self._found(scope, [activation], self._book.policies(scope), self._estate)

    def check_activations(
        self, scope: Scope, after: Sequence[Activation], before: Sequence[Activation] = ()
    ) -> None:
        """Refuse a flow change that would send data where a policy forbids it."""
        policies = self._book.policies(scope)
        _refuse(
            self._found(scope, after, policies, self._estate),
            self._found(scope, before, policies, self._estate),
            ViolationsError,
        )

    def check_labels(self, scope: Scope, entity: str, labels: Sequence[str]) -> None:
        """Refuse dataset labels under which a running activation would break a policy."""
        dataset = entity.removeprefix("AEP:dataset:")
        changed = _Relabelled(self._estate, dataset, frozenset(labels))
        self._check_estate(scope, changed, LabelsViolation)

    def check_audience(self, scope: Scope, facts: AudienceFacts) -> None:
        """Refuse an audience rule under which a running activation would break a policy."""
        self._check_estate(scope, _Redefined(self._estate, facts), ViolationsError)

    def check_policies(self, scope: Scope, after: Sequence[Policy]) -> None:
        """Refuse policies that a running activation breaks."""
        active = self._activations.active(scope)
        _refuse(
            self._found(scope, active, after, self._estate),
            self._found(scope, active, self._book.policies(scope), self._estate),
            ViolationsError,
        )

    def paused(self, scope: Scope) -> tuple[Violation, ...]:
        """What holds running activations back now."""
        active = self._activations.active(scope)
        return self._found(scope, active, self._book.policies(scope), self._estate)

    def purposes(self, scope: Scope, actions: Iterable[str]) -> tuple[str, ...]:
        """The consents that these marketing actions ask for."""
        found = set()
        for reference in actions:
            try:
                found.add(self._book.action(scope, reference).consent)
            except UnknownResource:
                continue
        return tuple(sorted(found - {""}))

    def _check_estate(self, scope: Scope, changed: Estate, error: type[ViolationsError]) -> None:
        active = self._activations.active(scope)
        policies = self._book.policies(scope)
        _refuse(
            self._found(scope, active, policies, changed),
            self._found(scope, active, policies, self._estate),
            error,
        )

    def _found(
        self,
        scope: Scope,
        activations: Iterable[Activation],
        policies: Sequence[Policy],
        estate: Estate,
    ) -> tuple[Violation, ...]:
        enabled = [policy for policy in policies if policy.status == "ENABLED"]
        found: list[Violation] = []
        sources: dict[str, Sequence[Source]] = {}
        for activation in activations:
            if not any(
                action in policy.actions for policy in enabled for action in activation.actions
            ):
                continue
            lineage = _lineage(scope, activation, estate, sources)
            if lineage is not None:
                found += violations(lineage, enabled)
        return tuple(found)


class _Relabelled:
    """The estate as it would be with other labels on one dataset."""

    def __init__(self, estate: Estate, dataset: str, labels: frozenset[str]) -> None:
        self._estate = estate
        self._dataset = dataset
        self._labels = labels

    def sources(self, scope: Scope, merge_policy: str) -> Sequence[Source]:
        return [self._changed(source) for source in self._estate.sources(scope, merge_policy)]

    def source(self, scope: Scope, dataset: str) -> Source | None:
        found = self._estate.source(scope, dataset)
        return None if found is None else self._changed(found)

    def audience(self, scope: Scope, id: str) -> AudienceFacts | None:
        return self._estate.audience(scope, id)

    def _changed(self, source: Source) -> Source:
        if source.dataset != self._dataset:
            return source
        return msgspec.structs.replace(source, labels=self._labels)


class _Redefined:
    """The estate as it would be with one audience defined otherwise."""

    def __init__(self, estate: Estate, facts: AudienceFacts) -> None:
        self._estate = estate
        self._facts = facts

    def sources(self, scope: Scope, merge_policy: str) -> Sequence[Source]:
        return self._estate.sources(scope, merge_policy)

    def source(self, scope: Scope, dataset: str) -> Source | None:
        return self._estate.source(scope, dataset)

    def audience(self, scope: Scope, id: str) -> AudienceFacts | None:
        """Also an audience that asks for the changed one reads what that will read."""
        if id == self._facts.id:
            return self._facts
        found = self._estate.audience(scope, id)
        if found is None or self._facts.id not in found.asks:
            return found
        fields = tuple(sorted({*found.fields, *self._facts.fields}))
        return msgspec.structs.replace(found, fields=fields)


def _lineage(
    scope: Scope,
    activation: Activation,
    estate: Estate,
    sources: dict[str, Sequence[Source]],
) -> Lineage | None:
    facts = estate.audience(scope, activation.audience)
    if facts is None:
        return None
    if facts.merge_policy not in sources:
        sources[facts.merge_policy] = estate.sources(scope, facts.merge_policy)
    return trace(activation, facts, sources[facts.merge_policy])


def _refuse(
    after: Sequence[Violation],
    before: Sequence[Violation],
    error: type[ViolationsError],
) -> None:
    """Raise for what is new: what is held back already is no reason to forbid a repair."""
    known: Mapping[tuple[str, str, str, str], Violation] = {one.key: one for one in before}
    new = [one for one in after if one.key not in known]
    if not new:
        return
    detail = "\n\n".join(explain(one) for one in new)
    bodies = [violation_body(one) for one in new]
    if error is LabelsViolation:
        refusal: ViolationsError = LabelsViolation(detail, violations=bodies, count=len(bodies))
        refusal.data |= {"code": LabelsViolation.code, "message": detail}
        raise refusal
    raise error(detail, title="Violations Error", violations=bodies)
