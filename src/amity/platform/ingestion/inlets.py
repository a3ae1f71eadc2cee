"""What is a streaming connection, and which one does an inlet id name?

A base connection of the streaming spec gets an inlet: an id and a URL to post to. The flow service
keeps the connection; an index document says whose it is. Behaviour: platform-collect.md §6.
"""

from __future__ import annotations

from typing import Any

from amity.kernel.errors import Invalid, NotSupported
from amity.kernel.ids import IdSource
from amity.kernel.scope import Scope
from amity.platform.ingestion.reception import Inlet
from amity.platform.ingestion.validation import Datasets
from amity.storage.ports import Documents

STREAMING_SPEC = "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb"
PLAIN_FLOW_SPEC = "d8a6f005-7eaf-4153-983e-e8574508b877"
MAPPED_FLOW_SPEC = "c1a19761-d2c7-4702-b9fa-fe91f0613e81"
LAKE_TARGET_SPEC = "c604ff05-7f1a-43c0-8e18-33bf874cb11c"

INLET_KIND = "inlet"
INLET_ID_CHARS = 64
DATA_TYPES = frozenset({"xdm", "raw"})
_EVERYWHERE = Scope("amity", "system")
"""Whose keys the index lies under: an inlet id alone names organisation and sandbox."""


class Inlets:
    """The flow kind of streaming connections, and the doors' directory of them.

    Args:
        documents: Where the flow service keeps connections and flows, and this its index.
        catalog: Checks the datasets that flows lead to.
        ids: Makes inlet ids: unguessable, for an open inlet's id is all it takes to send.
        public_url: Base of inlet URLs, without a slash at its end.
    """

    spec_ids = frozenset({STREAMING_SPEC})

    def __init__(
        self, *, documents: Documents, catalog: Datasets, ids: IdSource, public_url: str
    ) -> None:
        self._documents = documents
        self._catalog = catalog
        self._ids = ids
        self._public_url = public_url.rstrip("/")
        self._known: dict[str, Inlet | None] = {}
        self._version = -1

    def specs(self) -> list[dict[str, Any]]:
        """The documented spec objects of streaming."""
        params = {
            "sourceId": {"type": "string", "description": "A name of the source, for people."},
            "dataType": {"type": "string", "enum": sorted(DATA_TYPES), "default": "xdm"},
            "name": {"type": "string", "description": "Name of the connection."},
            "authenticationRequired": {"type": "boolean", "default": False},
        }
        auth = {
            "name": "Streaming Connection",
            "type": "StreamingConnection",
            "spec": {"type": "object", "properties": params},
        }
        return [
            {
                "kind": "connectionSpec",
                "id": STREAMING_SPEC,
                "name": "Streaming Connection",
                "version": "1.0",
                "attributes": {"category": "streaming", "isSource": True},
                "authSpec": [auth],
            },
            {
                "kind": "connectionSpec",
                "id": LAKE_TARGET_SPEC,
                "name": "datalake",
                "version": "1.0",
                "attributes": {"isSource": False},
                "authSpec": [],
            },
            *(_flow_spec(id, name) for id, name in _FLOW_SPECS.items()),
        ]

    def connection_created(self, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
        """Give a new connection its inlet."""
        auth = body.get("auth") or {}
        params = auth.get("params") if isinstance(auth, dict) else None
        if not isinstance(params, dict):
            raise Invalid(
                'auth.params is missing: send {"sourceId": …, "dataType": "xdm", "name": …}',
                path="/auth/params",
            )
        kind = params.get("dataType", "xdm")
        if not isinstance(kind, str) or kind not in DATA_TYPES:
            raise Invalid(
                f"auth.params.dataType {kind!r} is not known: take xdm or raw",
                path="/auth/params/dataType",
            )
        if not isinstance(params.get("authenticationRequired", False), bool):
            raise Invalid(
                "auth.params.authenticationRequired is true or false",
                path="/auth/params/authenticationRequired",
            )
        inlet = self._ids.hex(INLET_ID_CHARS)
        index = {"org": scope.org, "sandbox": scope.sandbox, "connection": body["id"]}
        self._documents.put(_EVERYWHERE, INLET_KIND, inlet, index, if_version=0)
        filled = {
            **params,
            "dataType": kind,
            "inletId": inlet,
            "inletUrl": f"{self._public_url}/collection/{inlet}",
        }
        return {**body, "auth": {**auth, "params": filled}}

    def flow_changing(
        self,
        scope: Scope,
        before: dict[str, Any] | None,  # noqa: ARG002 - the flow service's own signature
        after: dict[str, Any],
    ) -> dict[str, Any]:
        """A streaming flow leads to a dataset that exists."""
        spec = (after.get("flowSpec") or {}).get("id")
        if spec == MAPPED_FLOW_SPEC or after.get("transformations"):
            raise NotSupported(
                "mapping sets are not served: send XDM and take flow spec " + PLAIN_FLOW_SPEC
            )
        if spec != PLAIN_FLOW_SPEC:
            raise Invalid(
                f"flowSpec.id {spec!r} is no streaming flow: take {PLAIN_FLOW_SPEC}",
                path="/flowSpec/id",
            )
        dataset = self._target(scope, after)
        if not dataset:
            raise Invalid("the target connection has no params.dataSetId", path="/params/dataSetId")
        self._catalog.dataset(scope, dataset)
        return after

    def flow_changed(self, scope: Scope, flow: dict[str, Any]) -> None:
        """Nothing to start or stop: doors read the flow's document."""

    def find(self, inlet_id: str) -> Inlet | None:
        """The inlet of that id, as its connection stands now."""
        version = self._documents.version()
        if version != self._version:
            self._known = {}
            self._version = version
        if inlet_id not in self._known:
            if len(inlet_id) != INLET_ID_CHARS or len(self._known) >= _KNOWN_MAX:
                return self._look_up(inlet_id)
            self._known[inlet_id] = self._look_up(inlet_id)
        return self._known[inlet_id]

    def _look_up(self, inlet_id: str) -> Inlet | None:
        index = self._documents.get(_EVERYWHERE, INLET_KIND, inlet_id)
        if index is None:
            return None
        scope = Scope(index.body["org"], index.body["sandbox"])
        connection = self._documents.get(scope, "connection", index.body["connection"])
        if connection is None or connection.body.get("state") == "disabled":
            return None
        params = connection.body["auth"]["params"]
        return Inlet(
            id=inlet_id,
            scope=scope,
            authenticated=params.get("authenticationRequired") is True,
            flows=self._flows(scope, connection.id),
        )

    def _flows(self, scope: Scope, connection: str) -> dict[str, str]:
        sources = {
            one.id
            for one in self._documents.find(scope, "source_connection")
            if one.body.get("baseConnectionId") == connection
        }
        return {
            one.id: dataset
            for one in self._documents.find(scope, "flow")
            if one.body.get("state") != "disabled"
            and sources & set(one.body.get("sourceConnectionIds") or ())
            and (dataset := self._target(scope, one.body))
        }

    def _target(self, scope: Scope, flow: dict[str, Any]) -> str:
        for id in flow.get("targetConnectionIds") or ():
            target = self._documents.get(scope, "target_connection", id)
            dataset = (target.body.get("params") or {}).get("dataSetId") if target else None
            if isinstance(dataset, str):
                return dataset
        return ""


_KNOWN_MAX = 10_000
_FLOW_SPECS = {
    PLAIN_FLOW_SPEC: "Stream data without transformation",
    MAPPED_FLOW_SPEC: "Stream data with transformation",
}


def _flow_spec(id: str, name: str) -> dict[str, Any]:
    return {
        "kind": "flowSpec",
        "id": id,
        "name": name,
        "version": "1.0",
        "sourceConnectionSpecIds": [STREAMING_SPEC],
        "targetConnectionSpecIds": [LAKE_TARGET_SPEC],
    }
