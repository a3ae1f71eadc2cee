"""What is special to flows that lead to destinations?

Their documented bodies are checked and completed, governance is asked before they are saved, and
the worker is told once they are. Behaviour: platform-activation.md §4.2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from amity.kernel.clock import BusinessClock, to_iso
from amity.kernel.scope import Scope
from amity.platform.activation.destination import DestinationSpec
from amity.platform.activation.errors import BadConnection, BadFlow
from amity.platform.activation.flow_body import (
    DEFAULT_SCHEDULE,
    DestinationFlow,
    params_of,
    read_column,
    read_flow,
    selectors_of,
)
from amity.platform.activation.model import (
    ENCODER,
    EVALUATIONS_TOPIC,
    FLOWS_TOPIC,
    Evaluated,
    FlowChanged,
)
from amity.platform.activation.targets import (
    Plugins,
    Target,
    find_target,
    read_auth,
    spec_of,
    specs_of,
    target_name,
)
from amity.platform.catalog.flow_service import PROFILE_STORE_SPEC
from amity.platform.governance.lineage import Activation
from amity.platform.governance.service import Governance
from amity.storage.keys import pack
from amity.storage.ports import Documents, Entry

Append = Callable[[Sequence[Entry]], object]


class StoredConnections:
    """Connections as they are stored: secrets sealed."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def target(self, scope: Scope, id: str) -> Mapping[str, Any] | None:
        """A target connection."""
        return self._body(scope, "target_connection", id)

    def base(self, scope: Scope, id: str) -> Mapping[str, Any] | None:
        """A base connection."""
        return self._body(scope, "connection", id)

    def _body(self, scope: Scope, kind: str, id: str) -> Mapping[str, Any] | None:
        found = self._documents.get(scope, kind, id)
        return None if found is None else found.body


class StoredActivations:
    """Every audience mapped in an enabled flow; answers as `governance.Activations`."""

    def __init__(self, *, documents: Documents, specs: Plugins) -> None:
        self._documents = documents
        self._specs = specs_of(specs)
        self._connections = StoredConnections(documents)

    def active(self, scope: Scope) -> Sequence[Activation]:
        """In order of the flows' creation."""
        found: list[Activation] = []
        for body in self.flows(scope):
            if body.get("state") == "enabled":
                name = target_name(scope, body, self._connections)
                found += read_flow(body).activations(name)
        return found

    def audience_used(self, scope: Scope, audience: str) -> str | None:
        """The flow that maps an audience, for a reader (`segmentation.AudienceUse`)."""
        for body in self.flows(scope):
            if read_flow(body).audience(audience) is not None:
                return f"destination flow {body.get('name')!r} ({body['id']})"
        return None

    def flows(self, scope: Scope) -> list[dict[str, Any]]:
        """The flows that lead to destinations, sources' flows left out."""
        return [
            document.body
            for document in self._documents.find(scope, "flow")
            if self._leads_out(scope, document.body)
        ]

    def target(self, scope: Scope, flow: Mapping[str, Any]) -> Target:
        """Where a flow leads."""
        return find_target(scope, flow, self._specs, self._connections)

    def _leads_out(self, scope: Scope, flow: Mapping[str, Any]) -> bool:
        for id in flow.get("targetConnectionIds") or ():
            target = self._connections.target(scope, str(id)) or {}
            spec = str((target.get("connectionSpec") or {}).get("id", ""))
            if spec_of(self._specs, spec) is not None:
                return True
        return False


class DestinationKind:
    """The `FlowKind` of all destinations.

    Args:
        specs: The registry of destinations.
        activations: Flows as they are stored.
        governance: Asked before a flow is saved; knows the audiences.
        clock: Stamps changes; "today" of a default start date.
        append: Puts entries on the log, durably.
    """

    def __init__(
        self,
        *,
        specs: Plugins,
        activations: StoredActivations,
        governance: Governance,
        clock: BusinessClock,
        append: Append,
    ) -> None:
        self._specs = specs_of(specs)
        self._activations = activations
        self._governance = governance
        self._clock = clock
        self._append = append
        served = {id for spec in self._specs.values() for id in spec.connection_specs}
        self.spec_ids = frozenset({*served, PROFILE_STORE_SPEC})

    def specs(self) -> list[dict[str, Any]]:
        """Connection and flow specs as they are documented."""
        found: list[dict[str, Any]] = [
            {
                "kind": "connectionSpec",
                "id": PROFILE_STORE_SPEC,
                "name": "activation-datalake",
                "version": "1.0",
                "attributes": {"isSource": True},
            }
        ]
        flow_specs: dict[str, dict[str, Any]] = {}
        for spec in self._specs.values():
            found += _connection_specs(spec)
            flow_specs.setdefault(spec.flow_spec[0], _flow_spec(spec))
        return found + list(flow_specs.values())

    def connection_created(self, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
        """Check that the way to sign in is known and complete."""
        del scope
        spec_id = str((body.get("connectionSpec") or {}).get("id", ""))
        if spec_id == PROFILE_STORE_SPEC:
            return body
        spec = spec_of(self._specs, spec_id)
        if spec is None:
            raise BadConnection(f"connection spec {spec_id!r} is no destination that is served")
        read_auth(spec, body.get("auth") or {})
        return body

    def flow_changing(
        self, scope: Scope, before: dict[str, Any] | None, after: dict[str, Any]
    ) -> dict[str, Any]:
        """Complete and check a flow; nothing is saved when it would break a policy."""
        target = self._activations.target(scope, after)
        completed = self._completed(scope, before, after)
        flow = read_flow(completed, calendar=target.spec.capabilities.calendar)
        self._check_new(scope, before, flow, target.spec)
        if flow.enabled:
            known: list[Activation] = []
            if before is not None and before.get("state") == "enabled":
                known = read_flow(before).activations(target.name)
            self._governance.check_activations(scope, flow.activations(target.name), known)
        return completed

    def flow_changed(self, scope: Scope, flow: dict[str, Any]) -> None:
        """Tell the worker what is to be exported when."""
        self._append([self._entry(scope, flow)])

    def evaluated(self, scope: Scope, audiences: Sequence[str], at_ms: int) -> None:
        """Tell the worker that audiences were evaluated as a batch: some exports wait for it."""
        message = Evaluated(scope.key, tuple(audiences), at_ms)
        entry = Entry(EVALUATIONS_TOPIC, pack(scope.key), ENCODER.encode(message))
        self._append([entry])

    def announce_all(self, scope: Scope) -> None:
        """Tell the worker again; for a start after a crash between saving and telling."""
        entries = [self._entry(scope, flow) for flow in self._activations.flows(scope)]
        if entries:
            self._append(entries)

    def _entry(self, scope: Scope, body: dict[str, Any]) -> Entry:
        gone = body.get("state") == "deleted"
        flow = read_flow(body)
        message = FlowChanged(
            scope.key,
            flow.id,
            self._clock.now_ms(),
            flow.enabled,
            {} if gone else {one.id: one.schedule for one in flow.audiences},
        )
        return Entry(FLOWS_TOPIC, pack(scope.key, flow.id), ENCODER.encode(message))

    def _completed(
        self, scope: Scope, before: dict[str, Any] | None, after: dict[str, Any]
    ) -> dict[str, Any]:
        """Fill in what the server is documented to add."""
        body = copy.deepcopy(after)
        params = params_of(body)
        old = _by_audience(before)
        now_ms = self._clock.now_ms()
        for selector in selectors_of(params, "segmentSelectors"):
            value = selector.get("value")
            if isinstance(value, dict):
                self._complete_audience(scope, value, old, now_ms)
        for selector in selectors_of(params, "profileSelectors"):
            value = selector.get("value")
            if isinstance(value, dict) and isinstance(value.get("path"), str):
                value["mapping"] = _mapping(value["path"], value.get("mapping") or {})
        return body

    def _complete_audience(
        self,
        scope: Scope,
        value: dict[str, Any],
        old: Mapping[str, Mapping[str, Any]],
        now_ms: int,
    ) -> None:
        facts = self._governance.audience(scope, str(value.get("id", "")))
        if facts is not None and not value.get("name"):
            value["name"] = facts.name
        value.setdefault("exportMode", "DAILY_FULL_EXPORT")
        schedule = value.setdefault("schedule", dict(DEFAULT_SCHEDULE))
        if isinstance(schedule, dict):
            schedule.setdefault("frequency", DEFAULT_SCHEDULE["frequency"])
            schedule.setdefault("startDate", to_iso(now_ms)[:10])
        seconds = str(now_ms // 1_000)
        known = old.get(str(value.get("id")))
        value["createTime"] = seconds if known is None else known.get("createTime", seconds)
        if known is None or _without_times(known) != _without_times(value):
            value["updateTime"] = seconds

    def _check_new(
        self,
        scope: Scope,
        before: dict[str, Any] | None,
        flow: DestinationFlow,
        spec: DestinationSpec,
    ) -> None:
        """A newly mapped audience must exist, and a single export must lie ahead."""
        known = {} if before is None else {one.id: one for one in read_flow(before).audiences}
        for audience in flow.audiences:
            if audience == known.get(audience.id):
                continue
            if audience.filename:
                spec.check_filename(audience.filename)
            if self._governance.audience(scope, audience.id) is None:
                raise BadFlow(f"there is no audience {audience.id} in sandbox {scope.sandbox}")
            schedule = audience.schedule
            once = schedule.frequency == "ONCE" and schedule.trigger == "SCHEDULED"
            if once and schedule.start_ms < self._clock.now_ms():
                raise BadFlow(
                    f"audience {audience.id} is to be exported once at "
                    f"{to_iso(schedule.start_ms)}, which is over: give a later start"
                )


def _by_audience(body: dict[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    if body is None:
        return {}
    values: Iterable[Any] = (
        selector.get("value") for selector in selectors_of(params_of(body), "segmentSelectors")
    )
    return {str(value["id"]): value for value in values if isinstance(value, Mapping)}


def _without_times(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value[name] for name in value if name not in ("createTime", "updateTime")}


def _mapping(path: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The documented mapping of a path; what the client gave stays."""
    column = read_column(path, "")
    plain = path.strip().removeprefix("xdm:").strip()
    return {
        "sourceType": "text/x.schema-path",
        "source": plain,
        "destination": plain,
        "identity": column.kind == "identity",
        "primaryIdentity": False,
        "functionVersion": 0,
        "sourceAttribute": plain,
        "destinationXdmPath": plain,
        **given,
    }


def _connection_specs(spec: DestinationSpec) -> list[dict[str, Any]]:
    return [
        {
            "kind": "connectionSpec",
            "id": id,
            "name": name,
            "providerId": "14e34fac-d307-11e9-bb65-2a2ae2dbcce4",
            "version": "1.0",
            "authSpec": [
                {
                    "name": way.name,
                    "type": way.name.replace(" ", ""),
                    "spec": _form(way.required, way.optional),
                }
                for way in spec.auths
            ],
            "targetSpec": {
                "name": "User based target",
                "type": "UserNamespace",
                "spec": _form((), spec.target),
            },
            "attributes": {"isDestination": True, "description": spec.summary},
        }
        for id, name in spec.connection_specs.items()
    ]


def _flow_spec(spec: DestinationSpec) -> dict[str, Any]:
    id, name = spec.flow_spec
    return {
        "kind": "flowSpec",
        "id": id,
        "name": name,
        "version": "1.0",
        "sourceConnectionSpecIds": [PROFILE_STORE_SPEC],
        "targetConnectionSpecIds": list(spec.connection_specs),
        "transformationSpecs": [{"name": "GeneralTransform"}],
    }


def _form(required: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {name: {"type": "string"} for name in (*required, *optional)},
        "required": list(required),
    }
