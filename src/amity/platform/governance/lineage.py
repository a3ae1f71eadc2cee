"""Which labels reach an activation, and by which way?

A dataset's own labels reach every audience whose merge policy reads the dataset. A field's label is
enforced only where the field is used: in the audience's rule, or mapped to the destination.
Behaviour: platform-activation.md §1 (inheritance), §2 (lineage).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from amity.kernel.scope import Scope
from amity.platform.governance.labels import STITCHED

Means = Literal["dataset", "audience", "rule", "mapping"]

_MEANS_ORDER: dict[Means, int] = {"dataset": 0, "audience": 1, "rule": 2, "mapping": 3}


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset that a merge policy reads, with the labels on it and on its schema's fields.

    `fields` maps a path to labels; `identities` maps a namespace to the paths that hold it. Rules
    read `events` too, and name their fields as the schemas do; mapped are attributes, and the
    identities that any dataset has brought.
    """

    dataset: str
    name: str
    labels: frozenset[str]
    fields: Mapping[tuple[str, ...], frozenset[str]]
    identities: Mapping[str, tuple[tuple[str, ...], ...]] = {}
    events: bool = False


class AudienceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What governance must know of an audience.

    `fields` are the paths its rule reads, itself or through the audiences that it `asks` for.
    """

    id: str
    name: str
    merge_policy: str
    merge_policy_name: str
    stitched: bool = False
    labels: frozenset[str] = frozenset()
    fields: tuple[tuple[str, ...], ...] = ()
    asks: frozenset[str] = frozenset()


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """One audience mapped to one destination for some marketing actions (short references)."""

    flow: str
    destination: str
    audience: str
    actions: tuple[str, ...]
    fields: tuple[tuple[str, ...], ...]
    namespaces: tuple[str, ...] = ()


class Carrier(msgspec.Struct, frozen=True, kw_only=True):
    """A label with the place it sits on and the means by which it got here."""

    label: str
    means: Means
    dataset: str = ""
    dataset_name: str = ""
    field: str = ""


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """One activation with every label that reaches it."""

    activation: Activation
    audience: AudienceFacts
    carriers: tuple[Carrier, ...]

    @property
    def labels(self) -> frozenset[str]:
        """The labels alone."""
        return frozenset(carrier.label for carrier in self.carriers)

    def path(self, carrier: Carrier) -> str:
        """The way dataset → merge policy → audience → destination, for a reader."""
        start = [f"dataset {carrier.dataset_name!r}"] if carrier.dataset else []
        return " → ".join(
            [
                *start,
                f"merge policy {self.audience.merge_policy_name!r}",
                f"audience {self.audience.name!r}",
                f"destination {self.activation.destination!r}",
            ]
        )


class Estate(Protocol):
    """What governance asks of the stages before it."""

    def sources(self, scope: Scope, merge_policy: str) -> Sequence[Source]:
        """The datasets a merge policy reads."""

    def source(self, scope: Scope, dataset: str) -> Source | None:
        """One dataset, when there is one."""

    def audience(self, scope: Scope, id: str) -> AudienceFacts | None:
        """The audience, when there is one."""


def path_of(text: str) -> tuple[str, ...]:
    """A field's path, however it is written.

    >>> path_of("/properties/person/properties/name")
    ('person', 'name')
    >>> path_of("xdm: productListItems[*].SKU")
    ('productListItems', 'SKU')
    """
    text = text.strip().removeprefix("xdm:").strip()
    pointer = text.startswith("/")
    parts = [part.split("[")[0] for part in text.strip("/").replace("/", ".").split(".")]
    if pointer and parts[0] == "properties":
        parts = _without_schema_words(parts)
    return tuple(part for part in parts if part and part != "*")


def trace(activation: Activation, audience: AudienceFacts, sources: Iterable[Source]) -> Lineage:
    """Collect the labels that reach an activation, in a stable order."""
    carriers = [
        Carrier(label=label, means="audience")
        for label in audience.labels | ({STITCHED} if audience.stitched else set())
    ]
    for source in sources:
        carriers += [
            Carrier(label=label, means="dataset", dataset=source.dataset, dataset_name=source.name)
            for label in source.labels
        ]
        carriers += _on_fields(source, audience.fields, "rule")
        attributes = () if source.events else activation.fields
        carriers += _on_fields(source, (*attributes, *_held(source, activation)), "mapping")
    return Lineage(
        activation=activation,
        audience=audience,
        carriers=tuple(sorted(set(carriers), key=_order)),
    )


def _held(source: Source, activation: Activation) -> list[tuple[str, ...]]:
    """The fields whose values leave when a namespace is mapped."""
    return [
        path for namespace in activation.namespaces for path in source.identities.get(namespace, ())
    ]


def _on_fields(source: Source, used: Iterable[tuple[str, ...]], means: Means) -> list[Carrier]:
    return [
        Carrier(
            label=label,
            means=means,
            dataset=source.dataset,
            dataset_name=source.name,
            field=".".join(labelled),
        )
        for path in used
        for labelled, labels in source.fields.items()
        if _touch(path, labelled)
        for label in labels
    ]


def _touch(used: tuple[str, ...], labelled: tuple[str, ...]) -> bool:
    """A label on an object covers its parts; using an object uses its labelled parts."""
    shorter = min(len(used), len(labelled))
    return shorter > 0 and used[:shorter] == labelled[:shorter]


def _order(carrier: Carrier) -> tuple[int, str, str, str]:
    return (_MEANS_ORDER[carrier.means], carrier.label, carrier.dataset, carrier.field)


def _without_schema_words(parts: list[str]) -> list[str]:
    """Drop the words of JSON Schema that stand between the names of a pointer."""
    names = []
    at = 0
    while at < len(parts):
        if parts[at] == "properties" and at + 1 < len(parts):
            names.append(parts[at + 1])
            at += 2
        elif parts[at] in ("items", "additionalProperties"):
            at += 1
        else:
            names.append(parts[at])
            at += 1
    return names
