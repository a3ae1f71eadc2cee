"""Which destination does a flow lead to, and with what parameters?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from amity.kernel.registry import PluginError, Spec
from amity.kernel.scope import Scope
from amity.platform.activation.destination import Auth, Destination, DestinationSpec, Means
from amity.platform.activation.errors import BadConnection, BadFlow

Specs = Mapping[str, DestinationSpec]
Plugins = Mapping[str, Spec[Destination]]
"""A registry of destinations as it comes in; `specs_of` makes sure of its specs."""


class Connections(Protocol):
    """Reads base and target connections, by their documented nouns."""

    def target(self, scope: Scope, id: str) -> Mapping[str, Any] | None: ...

    def base(self, scope: Scope, id: str) -> Mapping[str, Any] | None: ...


class Target(NamedTuple):
    """Where a flow leads: the name people gave it, the plug-in, and all parameters in one."""

    name: str
    spec: DestinationSpec
    config: Any

    def open(self, means: Means) -> Destination:
        """The destination itself."""
        return self.spec.make(self.config, means=means)


def specs_of(registry: Plugins) -> Specs:
    """The specs of a registry, all of which must be specs of destinations."""
    found: dict[str, DestinationSpec] = {}
    for name, spec in registry.items():
        if not isinstance(spec, DestinationSpec):
            raise PluginError(f"destination {name!r} must be described by a DestinationSpec")
        found[name] = spec
    return found


def spec_of(specs: Specs, connection_spec: str) -> DestinationSpec | None:
    """The plug-in that serves a connection spec."""
    return next((spec for spec in specs.values() if connection_spec in spec.connection_specs), None)


def find_target(
    scope: Scope, flow: Mapping[str, Any], specs: Specs, connections: Connections
) -> Target:
    """Follow a flow to its destination; says what is missing on the way."""
    id = str((flow.get("targetConnectionIds") or [""])[0])
    target = connections.target(scope, id)
    if target is None:
        raise BadFlow(f"target connection {id!r} is not there")
    base_id = str(target.get("baseConnectionId", ""))
    base = connections.base(scope, base_id)
    if base is None:
        raise BadFlow(f"connection {base_id!r} of target connection {id!r} is not there")
    spec_id = str((base.get("connectionSpec") or {}).get("id", ""))
    spec = spec_of(specs, spec_id)
    if spec is None:
        raise BadFlow(f"connection spec {spec_id!r} is no destination that is served")
    name = str(target.get("name") or base.get("name") or spec.connection_specs[spec_id])
    return Target(name, spec, read_config(spec, base, target))


def target_name(scope: Scope, flow: Mapping[str, Any], connections: Connections) -> str:
    """The name people gave a destination; its id when the connections are gone."""
    id = str((flow.get("targetConnectionIds") or [""])[0])
    target = connections.target(scope, id) or {}
    base = connections.base(scope, str(target.get("baseConnectionId", ""))) or {}
    return str(target.get("name") or base.get("name") or id)


def read_config(spec: DestinationSpec, base: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
    """Authentication and target parameters as the plug-in's own configuration."""
    auth = base.get("auth") or {}
    params = {**read_auth(spec, auth), **(target.get("params") or {})}
    given = {**params, "authentication": auth.get("specName", "")}
    try:
        return msgspec.convert(given, spec.config, strict=False)
    except msgspec.ValidationError as error:
        raise BadConnection(f"{spec.name}: {error}") from error


def read_auth(spec: DestinationSpec, auth: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of a way to sign in, all that it requires."""
    way = _way(spec, str(auth.get("specName", "")))
    params = auth.get("params") or {}
    missing = [name for name in way.required if not params.get(name)]
    if missing:
        raise BadConnection(f"auth/params of {way.name!r} lacks {', '.join(missing)}")
    unknown = sorted(set(params) - {*way.required, *way.optional})
    if unknown:
        known = ", ".join((*way.required, *way.optional)) or "none"
        raise BadConnection(
            f"auth/params of {way.name!r} does not know {', '.join(unknown)}; known: {known}"
        )
    return dict(params)


def _way(spec: DestinationSpec, name: str) -> Auth:
    for way in spec.auths:
        if way.name == name:
            return way
    known = ", ".join(repr(way.name) for way in spec.auths)
    raise BadConnection(f"auth/specName {name!r} is none of {spec.name}'s: {known}")
