"""How do the platform's parts fit together? The same in both processes of a server.

Each part takes ports and, as small Protocols of its own, what it needs of other stages; this is the
one place that knows which class serves which Protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from amity.access.secrets import SecretBox
from amity.app.core import Core
from amity.kernel.errors import NotFound, Unprocessable
from amity.kernel.scope import Scope
from amity.platform.activation.destinations import DESTINATIONS
from amity.platform.activation.flow_kind import DestinationKind, StoredActivations
from amity.platform.catalog.flow_service import FlowService
from amity.platform.catalog.service import Catalog
from amity.platform.governance.book import PolicyBook
from amity.platform.governance.estate import AudienceRule, PlatformEstate
from amity.platform.governance.service import Governance
from amity.platform.identity.namespaces import Namespaces
from amity.platform.identity.settings import IdentitySettings
from amity.platform.ingestion.campaign_setup import CampaignSetup
from amity.platform.ingestion.datastreams import DataStreams
from amity.platform.ingestion.inlets import Inlets
from amity.platform.ingestion.source_flows import SourceKind
from amity.platform.ingestion.sources import SOURCES
from amity.platform.ingestion.validation import Validators
from amity.platform.profile.policies import MergePolicies
from amity.platform.profile.service import Profiles
from amity.platform.schema.service import SchemaRegistry
from amity.platform.segmentation.model import DEFINITIONS_TOPIC, DefinitionChanged
from amity.platform.segmentation.service import Audiences, parsed
from amity.platform.segmentation.store import Members
from amity.storage.ports import Entry

Append = Callable[[Sequence[Entry]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The platform's services on one core."""

    tenant: str
    registry: SchemaRegistry
    catalog: Catalog
    validators: Validators
    inlets: Inlets
    datastreams: DataStreams
    namespaces: Namespaces
    settings: IdentitySettings
    policies: MergePolicies
    profiles: Profiles
    members: Members
    audiences: Audiences
    book: PolicyBook
    estate: PlatformEstate
    governance: Governance
    activations: StoredActivations
    destinations: DestinationKind
    sources: SourceKind
    setup: CampaignSetup
    flows: FlowService


class AudienceRules:
    """`governance.Rules` over the audiences."""

    def __init__(self, audiences: Audiences) -> None:
        self._audiences = audiences

    def rule(self, scope: Scope, id: str) -> AudienceRule | None:
        try:
            body = self._audiences.get(scope, id)
        except NotFound:
            return None
        return audience_rule(body)


class DefinitionGuard:
    """`segmentation.AudienceGuard`: no rule under which a running activation breaks a policy."""

    def __init__(self, estate: PlatformEstate, governance: Governance) -> None:
        self._estate = estate
        self._governance = governance

    def check_definition(
        self,
        scope: Scope,
        body: Mapping[str, Any],
        fields: Sequence[tuple[str, ...]],  # noqa: ARG002 - governance reads the rule itself
    ) -> None:
        facts = self._estate.facts(scope, str(body.get("id", "")), audience_rule(body))
        self._governance.check_audience(scope, facts)


class OtherMergePolicy(Unprocessable):
    """Audiences are evaluated under the default merge policy; the definition names another."""


class PolicyOfEvaluation:
    """`segmentation.AudienceGuard`: a definition may not promise what is not evaluated."""

    def __init__(self, policies: MergePolicies) -> None:
        self._policies = policies

    def check_definition(
        self,
        scope: Scope,
        body: Mapping[str, Any],
        fields: Sequence[tuple[str, ...]],  # noqa: ARG002 - every field is read under one policy
    ) -> None:
        asked = str(body.get("mergePolicyId") or "")
        default = self._policies.default(scope).id
        if asked not in {"", default}:
            raise OtherMergePolicy(
                f"mergePolicyId {asked} is not the default policy {default}, and audiences are "
                "evaluated under that one: leave mergePolicyId out, or make the policy the default",
                path="/mergePolicyId",
            )


def audience_rule(body: Mapping[str, Any]) -> AudienceRule:
    """What governance reads of an audience definition.

    No merge policy of its own: it is the default one under which members are found, and so the one
    whose datasets count.
    """
    return AudienceRule(
        name=str(body["name"]),
        rule=parsed(body["expression"]),
        labels=tuple(body.get("labels") or ()),
    )


def definition_entry(changed: DefinitionChanged) -> Entry:
    """The log entry that tells segmentation of a change of definitions."""
    body = msgspec.msgpack.encode(changed)
    return Entry(DEFINITIONS_TOPIC, f"{changed.scope}/{changed.audience}".encode(), body)


def assemble(core: Core, *, tenant: str, public_url: str, append: Append) -> Platform:
    """Put the platform together.

    Args:
        core: The open ports.
        tenant: The organisation's tenant name, without underscore.
        public_url: Base of inlet and answer URLs.
        append: Puts entries on this process's log, durable on return.
    """
    documents, ids, clock = core.documents, core.ids, core.clock
    registry = SchemaRegistry(documents=documents, ids=ids, clock=clock, tenant=tenant)
    catalog = Catalog(documents=documents, ids=ids, clock=clock, registry=registry)
    registry.add_dependents(catalog)
    namespaces = Namespaces(documents=documents)
    settings = IdentitySettings(documents=documents, namespaces=namespaces)
    policies = MergePolicies(documents=documents, ids=ids)
    members = Members(core.state)
    profiles = Profiles(state=core.state, policies=policies, memberships=members)

    def announce(changed: DefinitionChanged) -> None:
        append([definition_entry(changed)])

    audiences = Audiences(
        documents=documents,
        ids=ids,
        clock=clock,
        announce=announce,
        schemas=registry,
    )
    book = PolicyBook(documents=documents, ids=ids, clock=clock)
    estate = PlatformEstate(
        catalog=catalog, merge_policies=policies, rules=AudienceRules(audiences)
    )
    activations = StoredActivations(documents=documents, specs=DESTINATIONS)
    governance = Governance(book=book, estate=estate, activations=activations)
    registry.namespaces = namespaces
    catalog.guard = governance
    audiences.add_use(activations)
    audiences.add_guard(PolicyOfEvaluation(policies))
    audiences.add_guard(DefinitionGuard(estate, governance))
    destinations = DestinationKind(
        specs=DESTINATIONS,
        activations=activations,
        governance=governance,
        clock=clock,
        append=append,
    )
    inlets = Inlets(documents=documents, catalog=catalog, ids=ids, public_url=public_url)
    sources = SourceKind(
        specs=SOURCES, documents=documents, catalog=catalog, clock=clock, append=append
    )
    flows = FlowService(
        documents=documents,
        ids=ids,
        clock=clock,
        kinds=[inlets, destinations, sources],
        secrets=SecretBox(core.folder.keys / "secrets.key"),
    )
    validators = Validators(
        registry=registry, catalog=catalog, clock=clock, version=documents.version
    )
    return Platform(
        tenant=tenant,
        registry=registry,
        catalog=catalog,
        validators=validators,
        inlets=inlets,
        datastreams=DataStreams(documents=documents, validators=validators, ids=ids, clock=clock),
        namespaces=namespaces,
        settings=settings,
        policies=policies,
        profiles=profiles,
        members=members,
        audiences=audiences,
        book=book,
        estate=estate,
        governance=governance,
        activations=activations,
        destinations=destinations,
        sources=sources,
        setup=CampaignSetup(
            registry=registry, catalog=catalog, namespaces=namespaces, documents=documents
        ),
        flows=flows,
    )
