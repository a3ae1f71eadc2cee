"""Which schemas, datasets and flows does the way back from the campaign side need?

The followed product leaves them to its customers; here they are ready-made, created once for a
sandbox by one call that may be repeated. Behaviour: campaign.md §2, platform-collect.md §3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from amity.kernel.errors import Invalid
from amity.kernel.scope import Scope
from amity.platform.catalog.flow_service import FlowService
from amity.platform.catalog.service import Catalog
from amity.platform.ingestion.campaign_records import Naming
from amity.platform.ingestion.inlets import LAKE_TARGET_SPEC
from amity.platform.ingestion.ready_made import ReadyMade, dataset_of, own_group
from amity.platform.ingestion.sources.campaign_logs import SPEC
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS
from amity.platform.schema.service import SchemaRegistry
from amity.storage.ports import Documents

SETTING = "campaign_source"
_CONTEXT = "https://ns.adobe.com/xdm/context"
_CAMPAIGN = "https://ns.adobe.com/experience/campaign/experienceevent-campaign"
_IDENTITY_MAP = f"{_CONTEXT}/identitymap"
_DIRECT = f"{_CONTEXT}/experienceevent-directmarketing"
NON_DELIVERABLE = "Campaign non-deliverables"
_WHAT = "What the campaign side's log files become."


(SOURCE_SPEC,) = SPEC.connection_specs
FLOW_SPEC, _ = SPEC.flow_spec


WANTED: Mapping[str, ReadyMade] = {
    "broadLog": ReadyMade(
        "Campaign delivery logs",
        (EVENT_CLASS, _IDENTITY_MAP, f"{_CAMPAIGN}-delivery-log", _DIRECT),
        _WHAT,
    ),
    "trackingLog": ReadyMade(
        "Campaign tracking logs",
        (
            EVENT_CLASS,
            _IDENTITY_MAP,
            f"{_CAMPAIGN}-tracking-log",
            _DIRECT,
            f"{_CONTEXT}/experienceevent-environment-details",
        ),
        _WHAT,
    ),
    "nonDeliverable": ReadyMade(NON_DELIVERABLE, (EVENT_CLASS, _IDENTITY_MAP, _DIRECT), _WHAT),
    "preferences": ReadyMade(
        "Campaign preferences",
        (
            PROFILE_CLASS,
            _IDENTITY_MAP,
            "https://ns.adobe.com/xdm/mixins/profile-consents",
            f"{_CONTEXT}/profile-preferences-details",
        ),
        _WHAT,
    ),
}
"""Kind of log → its schema and dataset, both by this title."""


class Namespaces(Protocol):
    """Where identity namespaces are found."""

    def by_code(self, scope: Scope, code: str) -> dict[str, Any] | None: ...


class SetupOrder(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How the way back is to be set up.

    `auth` and `container` say where the exports lie, as in a connection of the source; by default in
    the folder of this installation. `logs` names the kinds that are read.
    """

    external_namespace: str = ""
    email_namespace: str = "Email"
    auth: dict[str, Any] = msgspec.field(default_factory=lambda: {"specName": "Local"})
    path: str = "campaign-logs"
    container: str = ""
    logs: tuple[str, ...] = tuple(WANTED)
    frequency: str = "minute"
    interval: int = 15


class CampaignSetup:
    """Sets the way back up.

    Args:
        registry: Schemas.
        catalog: Datasets.
        namespaces: Checks the names people go by.
        documents: Keeps what was decided.
    """

    def __init__(
        self,
        *,
        registry: SchemaRegistry,
        catalog: Catalog,
        namespaces: Namespaces,
        documents: Documents,
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._namespaces = namespaces
        self._documents = documents

    def datasets(self, scope: Scope) -> dict[str, str]:
        """Kind of log → dataset; creates what is missing of schemas and datasets."""
        return {
            kind: dataset_of(self._registry, self._catalog, scope, self._wanted(kind))
            for kind in WANTED
        }

    def preferences(self, scope: Scope) -> tuple[str, Naming]:
        """The dataset of preferences and how people are called; as `preferences.Place`."""
        kept = self._documents.get(scope, SETTING, SETTING)
        body = self._keep(scope, SetupOrder()) if kept is None else kept.body
        naming = Naming(body["externalNamespace"], body["emailNamespace"], self._registry.tenant)
        return str(body["datasets"]["preferences"]), naming

    def set_up(self, flows: FlowService, scope: Scope, order: SetupOrder) -> dict[str, Any]:
        """Create what is missing: schemas, datasets, a connection and a flow for each kind of log.

        Called again it finds what is there; a changed order changes the names people go by and adds
        flows that lead elsewhere.
        """
        self._check(scope, order)
        kept = self._keep(scope, order)
        made = {kind: _flow(flows, scope, order, (kind, kept["datasets"][kind]))
                for kind in order.logs}  # fmt: skip
        return {**kept, "flows": made}

    def _check(self, scope: Scope, order: SetupOrder) -> None:
        for code in filter(None, (order.external_namespace, order.email_namespace)):
            if self._namespaces.by_code(scope, code) is None:
                raise Invalid(
                    f"there is no identity namespace {code[:40]!r}: create it at "
                    "/data/core/idnamespace/identities, or name another"
                )
        if not (order.external_namespace or order.email_namespace):
            raise Invalid("name a namespace for external ids, or for e-mail addresses, or both")
        unknown = [kind for kind in order.logs if kind not in WANTED]
        if unknown:
            raise Invalid(f"{unknown[0][:40]!r} is no log; there are {', '.join(WANTED)}")

    def _keep(self, scope: Scope, order: SetupOrder) -> dict[str, Any]:
        body = {
            "externalNamespace": order.external_namespace,
            "emailNamespace": order.email_namespace,
            "datasets": self.datasets(scope),
        }
        self._documents.put(scope, SETTING, SETTING, body)
        return body

    def _wanted(self, kind: str) -> ReadyMade:
        wanted = WANTED[kind]
        if kind != "nonDeliverable":
            return wanted
        return wanted._replace(group=_non_deliverable(self._registry.tenant))


def _flow(flows: FlowService, scope: Scope, order: SetupOrder, what: tuple[str, str]) -> str:
    """The flow of one kind of log into its dataset; the one that is there, if it is the same."""
    kind, dataset = what
    params = {
        "logs": kind,
        "path": order.path,
        "externalNamespace": order.external_namespace,
        "emailNamespace": order.email_namespace,
        **({"container": order.container} if order.container else {}),
    }
    spec = {"id": SOURCE_SPEC, "version": "1.0"}
    name = f"{WANTED[kind].title} of the campaign side"
    for one in flows.find(scope, "flows"):
        source = _source_of(flows, scope, one.body)
        if (
            source.get("params") == params
            and source.get("connectionSpec", {}).get("id") == SOURCE_SPEC
        ):
            return str(one.body["id"])
    base = flows.create(
        scope, "connections", {"name": name, "connectionSpec": spec, "auth": order.auth}
    )
    source = flows.create(
        scope,
        "sourceConnections",
        {
            "name": name,
            "baseConnectionId": base.body["id"],
            "connectionSpec": spec,
            "data": {"format": "delimited"},
            "params": params,
        },
    ).body
    target = flows.create(
        scope,
        "targetConnections",
        {
            "name": name,
            "connectionSpec": {"id": LAKE_TARGET_SPEC, "version": "1.0"},
            "params": {"dataSetId": dataset},
        },
    )
    body = {
        "name": name,
        "flowSpec": {"id": FLOW_SPEC, "version": "1.0"},
        "sourceConnectionIds": [source["id"]],
        "targetConnectionIds": [target.body["id"]],
        "scheduleParams": {"frequency": order.frequency, "interval": order.interval},
    }
    return str(flows.create(scope, "flows", body).body["id"])


def _source_of(flows: FlowService, scope: Scope, flow: Mapping[str, Any]) -> dict[str, Any]:
    (id,) = flow["sourceConnectionIds"]
    return flows.get(scope, "sourceConnections", id).body


def _non_deliverable(tenant: str) -> dict[str, Any]:
    """The tenant's own fields of a bad address: no standard group has them."""
    texts = {
        "addressId": "Number of the address in the campaign database",
        "address": "Address",
        "channel": "Channel",
        "status": "Status: errors, valid, quarantine, denylisted",
        "failureReason": "Reason of the last failure",
        "failureText": "What the last failure said",
        "deliveryId": "Delivery that failed last",
        "domain": "Domain",
    }
    properties: dict[str, Any] = {
        name: {"type": "string", "title": title} for name, title in texts.items()
    }
    properties["errorCount"] = {"type": "integer", "title": "Failures that count"}
    for name, title in (("firstError", "First failure"), ("lastError", "Last failure")):
        properties[name] = {"type": "string", "format": "date-time", "title": title}
    own = {"type": "object", "title": "Non-deliverable", "properties": properties}
    return own_group(tenant, NON_DELIVERABLE, EVENT_CLASS, {"nonDeliverable": own})
