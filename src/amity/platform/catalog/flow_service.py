"""How are connections and flows kept, whatever they lead to?

One store for sources and destinations alike; what is special to a connection spec lies with its
`FlowKind`, which `amity.app` hands in. Behaviour: platform-collect.md §8, platform-activation.md §4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

from amity.kernel.clock import BusinessClock
from amity.kernel.errors import Conflict, Invalid, NotFound, Outdated
from amity.kernel.ids import IdSource
from amity.kernel.json_patch import apply_patch
from amity.kernel.scope import Scope
from amity.storage.ports import Document, Documents

Noun = Literal["connections", "sourceConnections", "targetConnections", "flows"]

_KINDS: dict[Noun, str] = {
    "connections": "connection",
    "sourceConnections": "source_connection",
    "targetConnections": "target_connection",
    "flows": "flow",
}
RUN_KIND = "flow_run"

SECRET_NAMES = frozenset(
    {
        "password", "secretKey", "s3SecretKey", "connectionString", "sshKey", "accessToken",
        "clientSecret", "sasUri", "sasToken", "accountKey", "refreshToken",
    }
)  # fmt: skip
"""Members of `auth.params` that are encrypted at rest and never shown."""

SHOWN_SECRET = "********"  # noqa: S105 - what is shown instead


PROFILE_STORE_SPEC = "8a9c3494-9708-43d7-ae3f-cda01e5030e1"
"""The connection spec of the profile store: flows out of it lead to destinations. Behaviour:
platform-activation.md §4.2."""


class UnknownSpec(Invalid):
    """There is no such connection or flow spec."""


class NoSuchFlowThing(NotFound):
    """There is no such connection, flow or run."""


class StaleEtag(Outdated):
    """The etag is not the current one: read the object again and send its etag, quoted."""


class FlowThingInUse(Conflict):
    """A flow still uses it: delete the flow first."""


class Secrets(Protocol):
    """Encrypts what must not lie in clear."""

    def encrypt(self, plain: str) -> str: ...

    def decrypt(self, sealed: str) -> str: ...


class FlowKind(Protocol):
    """What is special to a family of connection specs.

    `specs` lists documented spec objects; each has ``"kind": "connectionSpec"`` or ``"flowSpec"``
    beside ``id``, ``name``, ``version``.
    """

    spec_ids: frozenset[str]
    """Ids of the connection specs it serves."""

    def specs(self) -> list[dict[str, Any]]: ...

    def connection_created(self, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
        """Check a new base connection; may fill `auth.params`. Raises to refuse."""

    def flow_changing(
        self, scope: Scope, before: dict[str, Any] | None, after: dict[str, Any]
    ) -> dict[str, Any]:
        """Check (and complete) a new or changed flow before it is saved. Raises to refuse."""

    def flow_changed(self, scope: Scope, flow: dict[str, Any]) -> None:
        """Act on a flow that was saved; `state` is "deleted" after a deletion."""


class Shown(NamedTuple):
    """An object as it is answered, with the etag for `If-Match`."""

    body: dict[str, Any]
    etag: str


class FlowService:
    """Connections, source and target connections, flows and runs of a scope."""

    def __init__(
        self,
        *,
        documents: Documents,
        ids: IdSource,
        clock: BusinessClock,
        kinds: Sequence[FlowKind],
        secrets: Secrets,
    ) -> None:
        self._documents = documents
        self._ids = ids
        self._clock = clock
        self._secrets = secrets
        self._kinds = {spec: kind for kind in kinds for spec in kind.spec_ids}
        self._specs = [spec for kind in kinds for spec in kind.specs()]

    def specs(self, kind: Literal["connectionSpec", "flowSpec"]) -> list[dict[str, Any]]:
        """The documented spec objects of a kind."""
        return [
            {name: value for name, value in spec.items() if name != "kind"}
            for spec in self._specs
            if spec["kind"] == kind
        ]

    def create(self, scope: Scope, noun: Noun, body: dict[str, Any]) -> Shown:
        """Create an object of a noun; flows are checked by the kind of their target."""
        made = {"name": "", **_checked(body), "id": self._ids.uuid()}
        if noun == "connections":
            made = self._kind(made).connection_created(scope, made)
        elif noun == "flows":
            self._check_parts(scope, made)
            made.setdefault("state", "enabled")
            made = self._flow_kind(scope, made).flow_changing(scope, None, made)
        elif "connectionSpec" not in made:
            made["connectionSpec"] = self._base(scope, made)["connectionSpec"]
        sealed = self._sealed(made, {})
        stored = self._documents.put(scope, _KINDS[noun], made["id"], sealed, if_version=0)
        if noun == "flows":
            self._flow_kind(scope, made).flow_changed(scope, made)
        return self._shown(scope, stored)

    def get(self, scope: Scope, noun: Noun, id: str) -> Shown:
        """One object, secrets hidden."""
        return self._shown(scope, self._document(scope, noun, id))

    def opened(self, scope: Scope, noun: Noun, id: str) -> dict[str, Any]:
        """One object with its secrets in clear, for whoever connects; never answered over HTTP."""
        body = self._document(scope, noun, id).body
        params = _params(body)
        if params is None:
            return body
        clear = {
            name: self._secrets.decrypt(value) if name in SECRET_NAMES else value
            for name, value in params.items()
        }
        return {**body, "auth": {**body["auth"], "params": clear}}

    def find(self, scope: Scope, noun: Noun) -> list[Shown]:
        """All objects of a noun, in order of creation."""
        return [self._shown(scope, one) for one in self._documents.find(scope, _KINDS[noun])]

    def patch(self, scope: Scope, noun: Noun, id: str, operations: Any, *, if_match: str) -> Shown:
        """Apply a JSON Patch; the etag must be the current one, quoted."""
        document = self._document(scope, noun, id)
        if if_match != f'"{document.etag}"':
            raise StaleEtag(
                f"If-Match is {if_match!r}, the current etag is {document.etag!r}: read the object "
                "again and send its etag in double quotes"
            )
        after = {**_checked(apply_patch(document.body, operations)), "id": id}
        return self._save(scope, noun, document, after)

    def set_state(self, scope: Scope, id: str, state: Literal["enabled", "disabled"]) -> Shown:
        """Enable or disable a flow."""
        document = self._document(scope, "flows", id)
        return self._save(scope, "flows", document, {**document.body, "state": state})

    def delete(self, scope: Scope, noun: Noun, id: str) -> None:
        """Delete an object that no flow uses."""
        document = self._document(scope, noun, id)
        if noun != "flows":
            self._check_unused(scope, id)
        self._documents.delete(scope, _KINDS[noun], id)
        if noun == "flows":
            kind = self._flow_kind(scope, document.body)
            kind.flow_changed(scope, {**document.body, "state": "deleted"})

    def put_run(self, scope: Scope, run: dict[str, Any]) -> None:
        """File a run under its own id: filing it again replaces it."""
        self._documents.put(scope, RUN_KIND, run["id"], run)

    def run(self, scope: Scope, id: str) -> dict[str, Any]:
        """One run."""
        found = self._documents.get(scope, RUN_KIND, id)
        if found is None:
            raise NoSuchFlowThing(f"there is no run {id}")
        return self._run_shown(found)

    def runs(self, scope: Scope, flow_id: str = "") -> list[dict[str, Any]]:
        """Runs, oldest first; of one flow when named."""
        return [
            self._run_shown(one)
            for one in self._documents.find(scope, RUN_KIND)
            if not flow_id or one.body.get("flowId") == flow_id
        ]

    def _save(self, scope: Scope, noun: Noun, document: Document, after: dict[str, Any]) -> Shown:
        kind = None
        if noun == "flows":
            self._check_parts(scope, after)
            kind = self._flow_kind(scope, after)
            after = kind.flow_changing(scope, document.body, after)
        stored = self._documents.put(
            scope,
            _KINDS[noun],
            document.id,
            self._sealed(after, document.body),
            if_version=document.version,
        )
        if kind is not None:
            kind.flow_changed(scope, after)
        return self._shown(scope, stored)

    def _document(self, scope: Scope, noun: Noun, id: str) -> Document:
        found = self._documents.get(scope, _KINDS[noun], id)
        if found is None:
            raise NoSuchFlowThing(f"there is no {_KINDS[noun].replace('_', ' ')} {id}")
        return found

    def _kind(self, body: dict[str, Any]) -> FlowKind:
        spec = body.get("connectionSpec", {}).get("id", "")
        kind = self._kinds.get(spec)
        if kind is None:
            raise UnknownSpec(
                f"connectionSpec/id {spec!r} is not served; GET /connectionSpecs lists those that are"
            )
        return kind

    def _flow_kind(self, scope: Scope, flow: dict[str, Any]) -> FlowKind:
        """The kind of the flow: of its target when that is served, else of its source."""
        for noun, name in (
            ("targetConnections", "targetConnectionIds"),
            ("sourceConnections", "sourceConnectionIds"),
        ):
            for part in flow.get(name) or ():
                body = self._document(scope, noun, part).body  # type: ignore[arg-type]
                kind = self._kinds.get(body.get("connectionSpec", {}).get("id", ""))
                if kind is not None:
                    return kind
        raise UnknownSpec("none of the flow's connections is of a spec that is served")

    def _base(self, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
        base = body.get("baseConnectionId", "")
        if not base:
            raise Invalid("send connectionSpec or baseConnectionId: without them it leads nowhere")
        return self._document(scope, "connections", base).body

    def _check_parts(self, scope: Scope, flow: dict[str, Any]) -> None:
        for name, noun in (
            ("sourceConnectionIds", "sourceConnections"),
            ("targetConnectionIds", "targetConnections"),
        ):
            ids = flow.get(name)
            if not isinstance(ids, list) or len(ids) != 1:
                raise Invalid(f"{name} must be a list of one id", path=f"/{name}")
            self._document(scope, noun, ids[0])  # type: ignore[arg-type]

    def _check_unused(self, scope: Scope, id: str) -> None:
        for flow in self._documents.find(scope, "flow"):
            used = flow.body.get("sourceConnectionIds", []) + flow.body.get(
                "targetConnectionIds", []
            )
            if id in used:
                raise FlowThingInUse(f"flow {flow.id} uses it: delete the flow first", flow=flow.id)

    def _sealed(self, body: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
        """The body as it is kept: new secrets encrypted, those sent back as shown kept."""
        params = _params(body)
        if params is None:
            return body
        kept = _params(before) or {}
        sealed = {
            name: self._seal(name, value, kept.get(name)) if name in SECRET_NAMES else value
            for name, value in params.items()
        }
        return {**body, "auth": {**body["auth"], "params": sealed}}

    def _seal(self, name: str, value: Any, kept: str | None) -> str:
        if kept is not None and value in (kept, SHOWN_SECRET):
            return kept
        if not isinstance(value, str):
            raise Invalid(f"auth.params.{name} is a text", path=f"/auth/params/{name}")
        return self._secrets.encrypt(value)

    def _shown(self, scope: Scope, document: Document) -> Shown:
        body = document.body
        params = _params(body)
        if params is not None:
            hidden = {
                name: SHOWN_SECRET if name in SECRET_NAMES else value
                for name, value in params.items()
            }
            body = {**body, "auth": {**body["auth"], "params": hidden}}
        stamped = {
            **body,
            "createdAt": document.created_ms,
            "updatedAt": document.updated_ms,
            "sandboxName": scope.sandbox,
            "imsOrgId": scope.org,
            "etag": f'"{document.etag}"',
        }
        if "sourceConnectionIds" in body:
            stamped["inheritedAttributes"] = self._inherited(scope, body)
        return Shown(stamped, document.etag)

    def _inherited(self, scope: Scope, flow: dict[str, Any]) -> dict[str, Any]:
        """What a flow has from its connections: their specs, and which way it runs."""
        sources = self._ends(scope, "sourceConnections", flow["sourceConnectionIds"])
        targets = self._ends(scope, "targetConnections", flow["targetConnectionIds"])
        out = any(one["connectionSpec"].get("id") == PROFILE_STORE_SPEC for one in sources)
        return {
            "sourceConnections": sources,
            "targetConnections": targets,
            "properties": {"isSourceFlow": not out, "isDestinationFlow": out},
        }

    def _ends(self, scope: Scope, noun: Noun, ids: list[str]) -> list[dict[str, Any]]:
        found = [self._documents.get(scope, _KINDS[noun], id) for id in ids]
        return [
            {"id": one.id, "connectionSpec": one.body.get("connectionSpec", {})} | _based(one.body)
            for one in found
            if one is not None
        ]

    @staticmethod
    def _run_shown(document: Document) -> dict[str, Any]:
        stamps = {"createdAt": document.created_ms, "updatedAt": document.updated_ms}
        return {**document.body, **stamps, "etag": f'"{document.etag}"'}


def _based(body: dict[str, Any]) -> dict[str, Any]:
    base = body.get("baseConnectionId")
    return {"baseConnection": {"id": base}} if base else {}


def _params(body: dict[str, Any]) -> dict[str, Any] | None:
    params = body.get("auth", {}).get("params")
    return params if isinstance(params, dict) else None


def _check_secrets(body: dict[str, Any]) -> None:
    """A secret anywhere but in `auth.params` would lie and be shown in clear."""
    auth = {key: value for key, value in body.get("auth", {}).items() if key != "params"}
    level: list[Any] = [{**body, "auth": auth}]
    while level:
        for one in level:
            named = SECRET_NAMES.intersection(one) if isinstance(one, dict) else ()
            for name in named:
                raise Invalid(f"{name} is a secret: send it in auth.params of a base connection")
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]


_FORMS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("name", "description", "baseConnectionId", "state"), (str, "a text")),
    **dict.fromkeys(("connectionSpec", "flowSpec", "auth", "params", "data"), (dict, "an object")),
    **dict.fromkeys(("sourceConnectionIds", "targetConnectionIds"), (list, "a list of ids")),
    "scheduleParams": (dict, "an object"),
    "transformations": (list, "a list of objects"),
}


def _checked(body: Any) -> dict[str, Any]:
    """A body whose known members are of the form they must have; null members are left out."""
    if not isinstance(body, dict):
        raise Invalid("the body is an object that describes a connection or flow")
    given: dict[str, Any] = {key: value for key, value in body.items() if value is not None}
    for key, (form, words) in _FORMS.items():
        if key in given and not isinstance(given[key], form):
            raise Invalid(f"{key} is {words}, not {given[key]!r}", path=f"/{key}")
    for key in ("connectionSpec", "flowSpec"):
        if key in given and not isinstance(given[key].get("id"), str):
            raise Invalid(f"{key} needs an id", path=f"/{key}/id")
    if not isinstance(given.get("auth", {}).get("params", {}), dict):
        raise Invalid("auth.params is an object", path="/auth/params")
    _check_secrets(given)
    for key, form in (
        ("sourceConnectionIds", str),
        ("targetConnectionIds", str),
        ("transformations", dict),
    ):
        if not all(isinstance(each, form) for each in given.get(key, ())):
            raise Invalid(f"{key} is {_FORMS[key][1]}", path=f"/{key}")
    return given
