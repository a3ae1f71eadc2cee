"""What is a flow that brings records in by files, and when is it due?

It leads from a source connection to a dataset, on a schedule. The flow service keeps it; its
`FlowKind` is here. Behaviour: platform-collect.md §8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from amity.kernel.clock import DAY_MS, HOUR_MS, LATEST_MS, MINUTE_MS, BusinessClock
from amity.kernel.errors import Invalid, NotFound
from amity.kernel.registry import PluginError, Spec
from amity.kernel.scope import Scope
from amity.platform.ingestion.errors import BadSourceFlow
from amity.platform.ingestion.source import SignIn, Source, SourceSpec
from amity.platform.ingestion.source_stage import FLOWS_TOPIC, SourceFlowChanged, encode
from amity.platform.ingestion.validation import Datasets
from amity.storage.keys import pack
from amity.storage.ports import Documents, Entry

Append = Callable[[Sequence[Entry]], object]
Plugins = Mapping[str, Spec[Source]]

_UNITS_MS = {"minute": MINUTE_MS, "hour": HOUR_MS, "day": DAY_MS, "week": 7 * DAY_MS, "once": 0}


class SourceFlow(NamedTuple):
    """A flow with all that it leads to."""

    id: str
    name: str
    enabled: bool
    dataset: str
    start_ms: int
    interval_ms: int
    """0: once."""

    spec: SourceSpec
    config: Any


class Opener(Protocol):
    """What reading a flow asks of the flow service."""

    def opened(self, scope: Scope, noun: Any, id: str) -> dict[str, Any]:
        """An object with its secrets in clear; raises `NotFound`."""


class SourceSpecs:
    """The sources that are served, by connection spec."""

    def __init__(self, registry: Plugins) -> None:
        self.all: list[SourceSpec] = []
        for name, spec in registry.items():
            if not isinstance(spec, SourceSpec):
                raise PluginError(f"source {name!r} must be described by a SourceSpec")
            self.all.append(spec)

    def of(self, connection_spec: str) -> SourceSpec | None:
        """The plug-in that serves a connection spec."""
        return next((one for one in self.all if connection_spec in one.connection_specs), None)


def read_flow(
    body: Mapping[str, Any],
    *,
    base: Mapping[str, Any],
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    specs: SourceSpecs,
) -> SourceFlow:
    """A flow from its documents; says what is wrong or missing."""
    spec_id = str((base.get("connectionSpec") or {}).get("id", ""))
    spec = specs.of(spec_id)
    if spec is None:
        raise BadSourceFlow(f"connection spec {spec_id!r} is no source that is served")
    dataset = (target.get("params") or {}).get("dataSetId")
    if not isinstance(dataset, str) or not dataset:
        raise BadSourceFlow("the target connection has no params.dataSetId: name the dataset")
    start_ms, interval_ms = _schedule(body.get("scheduleParams") or {})
    return SourceFlow(
        id=str(body.get("id", "")),
        name=str(body.get("name", "")),
        enabled=body.get("state") == "enabled",
        dataset=dataset,
        start_ms=start_ms,
        interval_ms=interval_ms,
        spec=spec,
        config=_config(spec, base, source),
    )


def find_flow(flows: Opener, scope: Scope, id: str, specs: SourceSpecs) -> SourceFlow | None:
    """A flow with its secrets in clear, to be carried out; None when it is gone."""
    try:
        body = flows.opened(scope, "flows", id)
        source = flows.opened(scope, "sourceConnections", _first(body, "sourceConnectionIds"))
        target = flows.opened(scope, "targetConnections", _first(body, "targetConnectionIds"))
        base = flows.opened(scope, "connections", str(source.get("baseConnectionId", "")))
    except NotFound:
        return None
    return read_flow(body, base=base, source=source, target=target, specs=specs)


class SourceKind:
    """The `FlowKind` of all sources of files.

    Args:
        specs: The registry of sources.
        documents: Where the flow service keeps connections and flows.
        catalog: Knows the datasets.
        clock: When a flow begins that says nothing of it.
        append: Puts entries on the log, durably.
    """

    def __init__(
        self,
        *,
        specs: Plugins,
        documents: Documents,
        catalog: Datasets,
        clock: BusinessClock,
        append: Append,
    ) -> None:
        self._specs = SourceSpecs(specs)
        self._documents = documents
        self._catalog = catalog
        self._clock = clock
        self._append = append
        self.spec_ids = frozenset(id for spec in self._specs.all for id in spec.connection_specs)

    def specs(self) -> list[dict[str, Any]]:
        """Connection and flow specs in the documented form."""
        found: list[dict[str, Any]] = []
        for spec in self._specs.all:
            found += [
                _connection_spec(id, name, spec) for id, name in spec.connection_specs.items()
            ]
            id, name = spec.flow_spec
            found.append(
                {
                    "kind": "flowSpec",
                    "id": id,
                    "name": name,
                    "version": "1.0",
                    "sourceConnectionSpecIds": list(spec.connection_specs),
                    "attributes": {"isSourceFlow": True},
                }
            )
        return found

    def connection_created(self, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
        """Check that the way to sign in is known and complete."""
        del scope
        spec_id = str((body.get("connectionSpec") or {}).get("id", ""))
        spec = self._specs.of(spec_id)
        if spec is None:
            raise BadSourceFlow(f"connection spec {spec_id!r} is no source that is served")
        _auth(spec, body)
        return body

    def flow_changing(
        self,
        scope: Scope,
        before: dict[str, Any] | None,  # noqa: ARG002 - the flow service's own signature
        after: dict[str, Any],
    ) -> dict[str, Any]:
        """A flow of a source leads to a dataset that exists, on a schedule that is understood."""
        if after.get("transformations"):
            raise BadSourceFlow(
                "this source maps its rows itself: leave transformations out",
                path="/transformations",
            )
        schedule = dict(after.get("scheduleParams") or {})
        schedule.setdefault("startTime", str(self._clock.now_ms() // 1_000))
        completed = {**after, "scheduleParams": schedule}
        flow = self._read(scope, completed)
        if (after.get("flowSpec") or {}).get("id") != flow.spec.flow_spec[0]:
            raise BadSourceFlow(
                f"flowSpec.id is not that of {flow.spec.name}: take {flow.spec.flow_spec[0]}",
                path="/flowSpec/id",
            )
        self._catalog.dataset(scope, flow.dataset)
        return completed

    def flow_changed(self, scope: Scope, flow: dict[str, Any]) -> None:
        """Tell the worker when it is to be read."""
        self._append([self._entry(scope, flow)])

    def announce_all(self, scope: Scope) -> None:
        """Tell the worker again; for a start after a crash between saving and telling."""
        entries = [
            self._entry(scope, one.body)
            for one in self._documents.find(scope, "flow")
            if self._is_ours(scope, one.body)
        ]
        if entries:
            self._append(entries)

    def _is_ours(self, scope: Scope, flow: Mapping[str, Any]) -> bool:
        source = self._document(scope, "source_connection", _first(flow, "sourceConnectionIds"))
        return str((source.get("connectionSpec") or {}).get("id", "")) in self.spec_ids

    def _entry(self, scope: Scope, body: Mapping[str, Any]) -> Entry:
        id, active = str(body["id"]), body.get("state") == "enabled"
        start_ms, interval_ms = _schedule(body.get("scheduleParams") or {}) if active else (0, 0)
        message = SourceFlowChanged(
            scope=scope.key, flow=id, active=active, start_ms=start_ms, interval_ms=interval_ms
        )
        return Entry(FLOWS_TOPIC, pack(scope.key, id), encode(message))

    def _read(self, scope: Scope, body: Mapping[str, Any]) -> SourceFlow:
        source = self._document(scope, "source_connection", _first(body, "sourceConnectionIds"))
        base = self._document(scope, "connection", str(source.get("baseConnectionId", "")))
        if not base:
            raise BadSourceFlow("the source connection has no baseConnectionId that exists")
        return read_flow(
            body,
            base=base,
            source=source,
            target=self._document(scope, "target_connection", _first(body, "targetConnectionIds")),
            specs=self._specs,
        )

    def _document(self, scope: Scope, kind: str, id: str) -> Mapping[str, Any]:
        found = self._documents.get(scope, kind, id) if id else None
        return {} if found is None else found.body


def _first(body: Mapping[str, Any], name: str) -> str:
    return str((body.get(name) or [""])[0])


def _schedule(params: Mapping[str, Any]) -> tuple[int, int]:
    """Start and interval in milliseconds. Behaviour: platform-collect.md §8 (startTime in seconds)."""
    frequency = str(params.get("frequency", "minute"))
    if frequency not in _UNITS_MS:
        raise BadSourceFlow(
            f"scheduleParams.frequency {frequency[:20]!r} is none of {', '.join(_UNITS_MS)}",
            path="/scheduleParams/frequency",
        )
    # Without a word: every 15 minutes. Behaviour: campaign.md §2.
    every = _whole(params, "interval", 1 if "frequency" in params else 15)
    start_s = _whole(params, "startTime", 0)
    if every < 1:
        raise BadSourceFlow("scheduleParams.interval is 1 or more", path="/scheduleParams/interval")
    start_ms, interval_ms = start_s * 1_000, every * _UNITS_MS[frequency]
    for name, given_ms in (("startTime", start_ms), ("interval", interval_ms)):
        if not 0 <= given_ms <= LATEST_MS:
            raise BadSourceFlow(
                f"scheduleParams.{name} leads beyond the year 9999, or before 1970",
                path=f"/scheduleParams/{name}",
            )
    return start_ms, interval_ms


def _whole(params: Mapping[str, Any], name: str, default: int) -> int:
    try:
        return int(str(params.get(name, default)))
    except ValueError:
        raise BadSourceFlow(
            f"scheduleParams.{name} is a whole number", path=f"/scheduleParams/{name}"
        ) from None


def _auth(spec: SourceSpec, base: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a way to sign in, all that it requires, and its name."""
    auth = base.get("auth") or {}
    name = str(auth.get("specName", ""))
    way: SignIn | None = spec.auths.get(name)
    if way is None:
        raise BadSourceFlow(
            f"auth.specName {name[:40]!r} is none of {', '.join(spec.auths)}", path="/auth/specName"
        )
    params = dict(auth.get("params") or {})
    missing = [one for one in way.required if not params.get(one)]
    unknown = sorted(set(params) - {*way.required, *way.optional})
    if missing or unknown:
        wrong = f"lacks {missing[0]}" if missing else f"does not know {unknown[0]}"
        raise BadSourceFlow(f"auth.params of {name!r} {wrong}", path="/auth/params")
    return {**params, "authentication": name}


def _config(spec: SourceSpec, base: Mapping[str, Any], source: Mapping[str, Any]) -> Any:
    try:
        given = {**(source.get("params") or {}), **_auth(spec, base)}
        return msgspec.convert(given, spec.config, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"{spec.name}: {error}", path="/params") from None


def _connection_spec(id: str, name: str, spec: SourceSpec) -> dict[str, Any]:
    return {
        "kind": "connectionSpec",
        "id": id,
        "name": name,
        "version": "1.0",
        "attributes": {"category": "cloudStorage", "isSource": True, "description": spec.summary},
        "authSpec": [
            {"name": way, "type": way.replace(" ", ""), "spec": _form(each)}
            for way, each in spec.auths.items()
        ],
        "sourceSpec": {"name": name, "spec": _form(SignIn(optional=spec.params))},
    }


def _form(way: SignIn) -> dict[str, Any]:
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {name: {"type": "string"} for name in (*way.required, *way.optional)},
        "required": list(way.required),
    }
