"""How does the demo talk to the server? Over HTTP alone, by the documented calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from amity.kernel.clock import SystemClock
from amity.kernel.errors import AmityError

REGISTRY = "/data/foundation/schemaregistry/tenant"
CATALOG = "/data/foundation/catalog"
IMPORT = "/data/foundation/import"
FLOWS = "/data/foundation/flowservice"
IDENTITY = "/data/core/identity"
POLICY = "/data/foundation/dulepolicy"
UPS = "/data/core/ups"

_TRIES_MAX = 60
_WAIT_S_MAX = 600.0
_LOOKUP_IDENTITIES = 500


class Refused(AmityError):
    """The server refused a call of the demo."""


class BatchFailed(AmityError):
    """A batch of the demo was not taken in."""


class Platform:
    """A thin client of one server, with the credentials that `amity init` printed.

    Args:
        url: Base of the server.
        credentials: The object `amity init` prints.
        system: For waiting, never for business time.
    """

    def __init__(self, url: str, credentials: Mapping[str, str], system: SystemClock) -> None:
        self.org: str = credentials["org_id"]
        self.tenant: str = credentials["tenant"]
        self._system = system
        self._http = httpx.Client(base_url=url, timeout=600)
        self._http.headers.update(
            {
                "Authorization": f"Bearer {self._token(credentials)}",
                "x-api-key": credentials["client_id"],
                "x-gw-ims-org-id": self.org,
                "x-sandbox-name": credentials["sandbox"],
            }
        )

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON answer; waits and repeats on 429 and 503, raises `Refused` on other errors."""
        raw = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        sent = {**({"Content-Type": kind} if body is not None else {}), **(headers or {})}
        for _ in range(_TRIES_MAX):
            try:
                reply = self._http.request(method, path, content=raw, params=params, headers=sent)
            except httpx.TransportError as error:
                raise Refused(f"{method} {path}: the server does not answer: {error}") from error
            if reply.status_code not in {429, 503}:
                break
            self._system.sleep(float(reply.headers.get("Retry-After", "1")))
        else:
            raise Refused(f"{method} {path}: still busy after {_TRIES_MAX} tries", status=503)
        if reply.is_error:
            raise Refused(
                f"{method} {path} answered {reply.status_code}: {reply.text[:2000]}",
                status=reply.status_code,
                body=_json(reply),
            )
        return _json(reply)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def post(self, path: str, body: Any, **options: Any) -> Any:
        """POST a JSON body."""
        return self.call("POST", path, body=body, **options)

    def get(self, path: str, **params: Any) -> Any:
        """GET with query parameters."""
        return self.call("GET", path, params=params)

    # -- control plane ----------------------------------------------------------------------

    def namespace(self, code: str, kind: str, name: str) -> None:
        """Create an identity namespace."""
        body = {"code": code, "idType": kind, "name": name, "description": name}
        self.post("/data/core/idnamespace/identities", body)

    def linking_rules(self, namespaces: Sequence[Mapping[str, Any]]) -> None:
        """Save the identity settings."""
        self.call("PUT", f"{IDENTITY}/settings", body={"namespaces": list(namespaces)})

    def field_group(self, body: Mapping[str, Any]) -> str:
        """Create a field group; its `$id`."""
        return str(self.post(f"{REGISTRY}/fieldgroups", body)["$id"])

    def schema(self, title: str, parts: Iterable[str]) -> str:
        """Create a schema of a class and field groups; its `$id`."""
        body = {
            "title": title,
            "type": "object",
            "description": title,
            "allOf": [{"$ref": part} for part in parts],
        }
        return str(self.post(f"{REGISTRY}/schemas", body)["$id"])

    def descriptor(self, kind: str, schema: str, path: str, **more: Any) -> str:
        """Create a descriptor of a schema's field; its `@id`."""
        body = {
            "@type": f"xdm:{kind}",
            "xdm:sourceSchema": schema,
            "xdm:sourceVersion": 1,
            "xdm:sourceProperty": path,
            **{f"xdm:{name}": value for name, value in more.items()},
        }
        return str(self.post(f"{REGISTRY}/descriptors", body)["@id"])

    def enable_for_profile(self, schema: str) -> None:
        """Let a schema take part in the union schema."""
        change = [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
        self.call("PATCH", f"{REGISTRY}/schemas/{quote(schema, safe='')}", body=change)

    def dataset(self, name: str, schema: str) -> str:
        """Create a dataset that feeds identity and profile; its id."""
        body = {
            "name": name,
            "schemaRef": {
                "id": schema,
                "contentType": "application/vnd.adobe.xed+json;version=1",
            },
            "tags": {
                "unifiedProfile": ["enabled:true"],
                "unifiedIdentity": ["enabled:true"],
            },
        }
        (reference,) = self.post(f"{CATALOG}/dataSets", body)
        return str(reference).rpartition("/")[2]

    def audience(self, name: str, description: str, pql: str) -> str:
        """Publish a streaming audience; its id."""
        body = {
            "name": name,
            "description": description,
            "schema": {"name": "_xdm.context.profile"},
            "expression": {"type": "PQL", "format": "pql/text", "value": pql},
            "evaluationInfo": {
                "batch": {"enabled": False},
                "continuous": {"enabled": True},
                "synchronous": {"enabled": False},
            },
        }
        return str(self.post(f"{UPS}/segment/definitions", body)["id"])

    def create(self, noun: str, body: Mapping[str, Any]) -> str:
        """Create a flow service resource; its id."""
        return str(self.post(f"{FLOWS}/{noun}", body)["id"])

    def item(self, noun: str, id: str) -> dict[str, Any]:
        """One flow service resource."""
        answer: dict[str, Any] = self.get(f"{FLOWS}/{noun}/{id}")["items"][0]
        return answer

    def change_flow(self, flow: str, operations: Sequence[Mapping[str, Any]]) -> None:
        """Change a flow by JSON Patch, on the etag it has now."""
        etag = self.item("flows", flow)["etag"]
        bare = str(etag).strip('"')
        self.call(
            "PATCH",
            f"{FLOWS}/flows/{flow}",
            body=list(operations),
            headers={"If-Match": f'"{bare}"'},
        )

    def enable_core_policies(self, ids: Sequence[str]) -> None:
        """Switch core policies on."""
        self.call("PUT", f"{POLICY}/enabledCorePolicies", body={"policyIds": list(ids)})

    # -- doors ------------------------------------------------------------------------------

    def batch(self, dataset: str, form: str) -> str:
        """Open a batch; its id."""
        body = {"datasetId": dataset, "inputFormat": {"format": form}}
        return str(self.post(f"{IMPORT}/batches", body)["id"])

    def put_file(self, batch: str, dataset: str, name: str, content: bytes) -> None:
        """Put one file into a batch."""
        self.call("PUT", f"{IMPORT}/batches/{batch}/datasets/{dataset}/files/{name}", body=content)

    def complete(self, batch: str) -> dict[str, Any]:
        """Declare a batch complete and wait until it is taken in; the batch as catalogued."""
        self.call("POST", f"{IMPORT}/batches/{batch}", params={"action": "COMPLETE"})
        until = self._system.monotonic_s() + _WAIT_S_MAX
        while True:
            seen: dict[str, Any] = self.get(f"{CATALOG}/batches/{batch}")[batch]
            if seen["status"] in {"success", "active"}:
                return seen
            if seen["status"] in {"failed", "failure", "aborted", "abandoned"}:
                raise BatchFailed(f"batch {batch} ended as {seen['status']}: {seen.get('errors')}")
            if self._system.monotonic_s() > until:
                raise BatchFailed(f"batch {batch} is still {seen['status']} after {_WAIT_S_MAX} s")
            self._system.sleep(0.1)

    def inlet(self, name: str) -> str:
        """Open a streaming connection; the path of its inlet."""
        body = {
            "name": name,
            "connectionSpec": {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "version": "1.0"},
            "auth": {
                "specName": "Streaming Connection",
                "params": {"dataType": "xdm", "name": name, "authenticationRequired": False},
            },
        }
        made = self.item("connections", self.create("connections", body))
        return f"/collection/batch/{made['auth']['params']['inletId']}"

    def send(self, inlet: str, messages: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
        """Stream messages; how many were accepted, and why the others were not."""
        responses = self.post(inlet, {"messages": list(messages)})["responses"]
        refused = [str(one.get("message")) for one in responses if "xactionId" not in one]
        return len(responses) - len(refused), refused

    def advance(self, to: str) -> None:
        """Move the business clock; returns when the effects can be seen."""
        self.post("/admin/clock", {"to": to})

    # -- looking ----------------------------------------------------------------------------

    def profiles(self, namespace: str, values: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Identity value → its profile, for those that have one."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(values), _LOOKUP_IDENTITIES):
            part = values[start : start + _LOOKUP_IDENTITIES]
            identities = [{"entityId": one, "entityIdNS": {"code": namespace}} for one in part]
            body = {"schema": {"name": "_xdm.context.profile"}, "identities": identities}
            answer = self.post(f"{UPS}/access/entities", body)
            for one in answer.values():
                if "statusCode" in one:
                    raise Refused(f"looking up {namespace}: {one}", status=one["statusCode"])
                if one["sources"] != [""]:
                    found[one["requestedIdentity"]["id"]] = one
        return found

    def events(self, namespace: str, value: str) -> list[dict[str, Any]]:
        """The events of one profile, in order of time."""
        query: dict[str, Any] = {
            "schema.name": "_xdm.context.experienceevent",
            "relatedSchema.name": "_xdm.context.profile",
            "relatedEntityId": value,
            "relatedEntityIdNS": namespace,
            "limit": 1000,
        }
        answer = self.get(f"{UPS}/access/entities", **query)
        found: list[dict[str, Any]] = answer["children"]
        return found

    def doctor(self) -> dict[str, Any]:
        """What the stores hold, counted there: `GET /admin/doctor`."""
        found: dict[str, Any] = self.get("/admin/doctor")
        return found

    def _token(self, credentials: Mapping[str, str]) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": credentials["client_id"],
            "client_secret": credentials["client_secret"],
            "scope": "openid",
        }
        reply = self._http.post("/ims/token/v3", data=form)
        if reply.is_error:
            raise Refused(f"no access token: {reply.status_code} {reply.text[:500]}")
        return str(reply.json()["access_token"])


def _json(reply: httpx.Response) -> Any:
    try:
        return reply.json() if reply.content else {}
    except ValueError:
        return {}
