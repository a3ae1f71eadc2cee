"""How do the requests of Edge clients come in?

A raw ASGI application for `/ee/v1/{interact,collect}`, `/ee/v2/{interact,collect}`,
`/ee/v1/privacy/set-consent` and `/ee/v1/identity/acquire`, with or without a region in the path. An
answer goes out once the events are durable in the log. Behaviour: platform-collect.md §7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

import orjson
import re2

from amity.kernel.clock import SystemClock
from amity.kernel.errors import (
    AmityError,
    NotFound,
    Terminal,
    TooLarge,
    TooMany,
    WrongMediaType,
)
from amity.kernel.ids import IdSource, digest
from amity.kernel.limits import (
    EDGE_COLLECT_UNITS_MAX,
    EDGE_EVENTS_MAX,
    EDGE_INTERACT_UNITS_MAX,
    EDGE_REQUEST_BYTES_MAX,
    EDGE_UNIT_BYTES,
)
from amity.kernel.scope import Scope
from amity.platform.ingestion.body import read_body
from amity.platform.ingestion.datastreams import DataStream
from amity.platform.ingestion.door import Appender, Message, Pressure, Receive, Request, Send
from amity.platform.ingestion.edge_answers import (
    CLUSTER_S,
    CONSENT_S,
    IDENTITY_S,
    PREFLIGHT,
    REGIONS,
    Reply,
    Report,
    Stored,
    cross_origin,
    first_party_domain,
    handles,
    ignored,
    prefix,
    problem,
    state_of,
    with_refusals,
)
from amity.platform.ingestion.edge_consent import asked_namespaces, consents_of
from amity.platform.ingestion.edge_events import Client, Sent, pruned, records_of
from amity.platform.ingestion.edge_identity import (
    EdgeIdentities,
    Known,
    Visitor,
    has_primary,
    with_ecid,
)
from amity.platform.ingestion.errors import EdgeRefused, NoConsentDataset
from amity.platform.ingestion.identities import ECID
from amity.platform.ingestion.reception import Reception, Verdict
from amity.platform.ingestion.validation import Violation, parsed

OUR_REGION = "or2"
"""The location hint of this server where the client has none: clients keep and send it back."""

_REQUEST_ID = re2.compile(r"[A-Za-z0-9-]{1,64}")
_STREAM_NAMES = ("configId", "datastreamId", "dataStreamId")
_MEDIA_TYPES = frozenset({"", "text/plain", "application/json"})


class DataStreams(Protocol):
    """Where data streams are found."""

    def find(self, id: str) -> DataStream | None: ...


class Units:
    """Counts what a data stream takes in a second; more is put off."""

    def __init__(self, system: SystemClock) -> None:
        self._system = system
        self._second = -1
        self._taken: dict[tuple[str, str], int] = {}

    def take(self, stream: str, call: str, size: int) -> None:
        """Count a request; raises `TooMany` when this second is full."""
        second = int(self._system.monotonic_s())
        if second != self._second:
            self._second = second
            self._taken = {}
        limit = EDGE_COLLECT_UNITS_MAX if call == "collect" else EDGE_INTERACT_UNITS_MAX
        taken = self._taken.get((stream, call), 0) + 1 + max(size - 1, 0) // EDGE_UNIT_BYTES
        if taken > limit:
            raise TooMany(
                f"a data stream takes {limit} units of {EDGE_UNIT_BYTES} bytes a second at {call}"
            )
        self._taken[stream, call] = taken


class _Call(NamedTuple):
    """A request whose data stream is known and that may use it."""

    request: Request
    stream: DataStream
    version: str
    verb: str
    region: str
    served: bool
    """Whether a server sends it, with a token, and not a device."""

    client: Client
    report: Report
    raw: bytes
    body: dict[str, Any] = {}  # noqa: RUF012 - a default of a tuple, never changed
    state: dict[str, str] = {}  # noqa: RUF012 - the same

    @property
    def org(self) -> str:
        return self.stream.scope.org

    @property
    def source(self) -> str:
        return f"datastream:{self.stream.id}"

    @property
    def mapped(self) -> tuple[dict[str, Any], ...]:
        """The identity maps of the request: of its whole, then of its first event."""
        event = self.body.get("event")
        events = self.body.get("events")
        if isinstance(events, list) and events:
            event = events[0]
        outer = (_member(self.body, "xdm"), self.body, _member(event, "xdm"))
        return tuple(_member(one, "identityMap") for one in outer)


class EdgeDoor:
    """The ASGI application of Edge clients.

    Args:
        streams: Finds data streams.
        reception: Judges records.
        appender: The log, group commit.
        identities: Tells devices apart.
        ids: Names requests.
        bearer: Whether a bearer token lets its sender write into a scope.
        pressure: Why nothing more may be taken now, or None.
        units: Counts what each data stream takes.
    """

    def __init__(  # noqa: PLR0913 - one argument a port
        self,
        *,
        streams: DataStreams,
        reception: Reception,
        appender: Appender,
        identities: EdgeIdentities,
        ids: IdSource,
        bearer: Callable[[str, Scope], bool],
        pressure: Callable[[], Pressure | None],
        units: Units,
    ) -> None:
        self._streams = streams
        self._reception = reception
        self._appender = appender
        self._identities = identities
        self._ids = ids
        self._bearer = bearer
        self._pressure = pressure
        self._units = units

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        request = Request(
            scope["method"],
            scope["path"].rstrip("/"),
            parse_qs(scope["query_string"].decode("latin-1")) if scope["query_string"] else {},
            dict(scope["headers"]),
        )
        report = Report(_answered_id(request, self._ids))
        try:
            reply = await self._answer(request, report, (scope.get("client"), receive))
        except AmityError as error:
            reply = problem(error, report)
        await _send(send, reply, report, request.headers.get(b"origin", b""))

    async def _answer(self, request: Request, report: Report, rest: tuple[Any, Receive]) -> Reply:
        region, version, verb = _place(request.path)
        if request.method == "OPTIONS":
            return PREFLIGHT
        if request.method != "POST":
            return problem(_NotAllowed(f"{request.path[:80]} takes POST only"), report)
        pressure = self._pressure()
        if pressure is not None:
            raise _busy(pressure)
        _check_media_type(request)
        stream = self._stream(request)
        report = report._replace(config_id=stream.id, org_id=stream.scope.org)
        try:
            served = self._served(request, stream)
            client, receive = rest
            raw = await _whole(request, receive)
            self._units.take(stream.id, verb, len(raw))
        except AmityError as error:
            return problem(error, report)
        who = _client(request, client)
        return await self._read(
            _Call(request, stream, version, verb, region, served, who, report, raw)
        )

    async def _read(self, call: _Call) -> Reply:
        try:
            body = _object(call.raw)
            cookies = call.request.headers.get(b"cookie", b"")
            call = call._replace(body=body, state=state_of(body.get("meta"), cookies))
            return await self._taken(call)
        except Terminal as error:
            said = f"{error.code}: {error.message}" if error.code else error.message
            refused = Verdict(
                call.stream.scope, call.source, call.raw, violations=(Violation("", "edge", said),)
            )
            await self._keep(call, [refused])
            return problem(error, call.report)

    async def _taken(self, call: _Call) -> Reply:
        match call.verb:
            case "interact":
                return await self._interact(call)
            case "collect":
                return await self._collect(call)
            case "set-consent":
                return await self._set_consent(call)
            case _:
                return self._handles(call, self._visitor(call), told=True)

    async def _interact(self, call: _Call) -> Reply:
        events = _events(call)
        visitor = self._visitor(call, mint=not call.served)
        if _refused_consent(call):
            return ignored(self._handles(call, visitor))
        verdicts = await self._judged(call, visitor, events)
        return with_refusals(self._handles(call, visitor), verdicts)

    async def _collect(self, call: _Call) -> Reply:
        events = _events(call)
        silent = call.version == "v1" or call.request.query.get("silent", [""])[0] == "true"
        reply = Reply(204) if silent else Reply(202, {"requestId": call.report.request_id})
        visitor = self._visitor(call, mint=False)
        if _refused_consent(call):
            return reply
        verdicts = await self._judged(call, visitor, events)
        if all(verdict.accepted for verdict in verdicts):
            return reply
        return with_refusals(Reply(207, {"requestId": call.report.request_id}), verdicts)

    async def _set_consent(self, call: _Call) -> Reply:
        dataset = call.stream.settings.profile_dataset
        if not dataset:
            raise NoConsentDataset(
                f"data stream {call.stream.id} names no profileDataset: set one whose schema has the "
                "consents field group"
            )
        now_ms = self._reception.now_ms()
        consents = consents_of(call.body.get("consent"), now_ms)
        visitor = self._visitor(call)
        identities: dict[str, Any] = {}
        for one in call.mapped:
            identities.update(one)
        record = {
            "identityMap": with_ecid(pruned(identities), visitor.ecid),
            "consents": consents.xdm,
        }
        verdict = self._reception.record(call.stream.scope, call.source, dataset, record)
        await self._keep(call, [verdict], now_ms)
        more = (
            [Stored(f"{prefix(call.org)}consent", f"general={consents.general}", CONSENT_S)]
            if consents.general and verdict.accepted
            else []
        )
        reply = self._handles(call, visitor, stored=more)
        collect = consents.xdm.get("collect")
        if isinstance(collect, dict) and verdict.accepted:
            handle = {"type": "consent:preferences", "payload": [{"collect": collect}]}
            reply.body["handle"].append(handle)
        return with_refusals(reply, [verdict])

    async def _judged(
        self, call: _Call, visitor: Visitor, events: Sequence[dict[str, Any]]
    ) -> list[Verdict]:
        now_ms = self._reception.now_ms()
        sent = Sent(
            call.stream,
            _member(call.body, "xdm"),
            visitor.ecid,
            call.client,
            self._name(call),
            now_ms,
        )
        scope, dataset = call.stream.scope, call.stream.settings.event_dataset
        verdicts = [
            self._reception.record(scope, call.source, dataset, record)
            for record in records_of(sent, events)
        ]
        await self._keep(call, verdicts, now_ms)
        return verdicts

    async def _keep(
        self, call: _Call, verdicts: Sequence[Verdict], now_ms: int | None = None
    ) -> None:
        received_ms = self._reception.now_ms() if now_ms is None else now_ms
        entries = self._reception.entries(verdicts, received_ms, call.request.path)
        if entries:
            await self._appender.append(entries)

    def _stream(self, request: Request) -> DataStream:
        given = next(
            (request.query[name][0] for name in _STREAM_NAMES if name in request.query), ""
        )
        if not given:
            raise EdgeRefused(
                "0002-400",
                "Missing datastream ID",
                "name the data stream in the query: configId at /ee/v1, datastreamId at /ee/v2",
            )
        stream = self._streams.find(given)
        if stream is None:
            raise EdgeRefused(
                "0003-400", "Invalid datastream ID", f"there is no data stream {given[:64]!r}"
            )
        if not stream.settings.enabled:
            raise EdgeRefused(
                "0004-422", "Disabled datastream", f"data stream {stream.id} is disabled"
            )
        return stream

    def _served(self, request: Request, stream: DataStream) -> bool:
        header = request.headers.get(b"authorization", b"")
        if not header and stream.settings.access == "mixed":
            return False
        scheme, _, token = header.partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            raise EdgeRefused(
                "0500-401",
                "Missing token",
                "this data stream asks for a token: get one at /ims/token/v3 and send it as "
                "`Authorization: Bearer …`",
            )
        if not self._bearer(token.strip().decode("latin-1"), stream.scope):
            raise EdgeRefused(
                "0501-401", "Invalid token", "the token is not valid here: get a new one"
            )
        return True

    def _visitor(self, call: _Call, *, mint: bool = True) -> Visitor:
        cookie = call.stream.settings.first_party_id_cookie
        known = Known(
            call.mapped,
            call.state.get(f"{prefix(call.org)}identity", ""),
            call.state.get(cookie, "") if cookie else "",
        )
        return self._identities.visitor(call.org, known, mint=mint)

    def _handles(
        self,
        call: _Call,
        visitor: Visitor,
        *,
        stored: Sequence[Stored] = (),
        told: bool = False,
    ) -> Reply:
        payloads: dict[str, Sequence[Any]] = {}
        kept = list(stored)
        if visitor.ecid:
            asked = ECID in asked_namespaces(call.body.get("query"))
            if told or asked or visitor.minted:
                payloads["identity:result"] = [{"id": visitor.ecid, "namespace": {"code": ECID}}]
            sealed = self._identities.sealed(call.org, visitor.ecid)
            kept.append(Stored(f"{prefix(call.org)}identity", sealed, IDENTITY_S))
        kept.append(Stored(f"{prefix(call.org)}cluster", call.region, CLUSTER_S))
        payloads["locationHint:result"] = [
            {"scope": "EdgeNetwork", "hint": call.region, "ttlSeconds": CLUSTER_S}
        ]
        state = _member(call.body, "meta").get("state")
        domain = first_party_domain(state, call.request.headers.get(b"host", b""))
        return handles(call.report.request_id, payloads, kept, domain)

    def _name(self, call: _Call) -> str:
        """What names a request: the same when it is sent again, unless its client names none."""
        given = _given_id(call.request)
        if not given:
            return self._ids.uuid()
        return digest(given, call.raw.decode("utf-8", "replace"))


class _NotAllowed(NotFound):
    """The path takes another method."""

    status = 405


def _place(path: str) -> tuple[str, str, str]:
    parts = path.split("/")[2:]
    region = OUR_REGION
    if parts and parts[0] in REGIONS:
        region, *parts = parts
    match parts:
        case [("v1" | "v2") as version, ("interact" | "collect") as verb]:
            return region, version, verb
        case ["v1", "privacy", "set-consent"] | ["v1", "identity", "acquire"]:
            return region, "v1", parts[2]
        case _:
            raise NotFound(f"there is no door at {path[:80]}; regions are {', '.join(REGIONS)}")


def _object(raw: bytes) -> dict[str, Any]:
    body, broken = parsed(raw)
    if broken is not None:
        raise EdgeRefused("0101-400", "Invalid JSON", broken.message)
    if not isinstance(body, dict):
        raise _wrong_type("the body", "an object")
    return body


def _events(call: _Call) -> list[dict[str, Any]]:
    if not isinstance(call.body.get("xdm"), dict | None):
        raise _wrong_type("xdm", "an object")
    single = call.version == "v2" and call.verb == "interact"
    name = "event" if single else "events"
    found = call.body.get(name)
    if found is None or found == []:
        raise EdgeRefused("0103-400", "Missing required field", f"the body has no {name}")
    events: list[Any] = [found] if single else found
    if not isinstance(events, list):
        raise _wrong_type(name, "a list")
    if len(events) > EDGE_EVENTS_MAX:
        raise EdgeRefused(
            "0112-413",
            "Request too large",
            f"a request has at most {EDGE_EVENTS_MAX} events; this one has {len(events)}",
        )
    for at, event in enumerate(events):
        if not isinstance(event, dict):
            raise _wrong_type(f"{name}[{at}]", "an object")
        if not isinstance(event.get("xdm"), dict | None):
            raise _wrong_type(f"{name}[{at}].xdm", "an object")
    if call.served:
        _check_primary(call, events)
    return events


def _check_primary(call: _Call, events: Sequence[dict[str, Any]]) -> None:
    shared = has_primary(_member(_member(call.body, "xdm"), "identityMap"))
    for event in events:
        if not shared and not has_primary(_member(_member(event, "xdm"), "identityMap")):
            raise EdgeRefused(
                "0306-400",
                "No primary identity set in request (event)",
                "an event that a server sends marks one identity of its identityMap as primary",
            )


def _refused_consent(call: _Call) -> bool:
    return call.state.get(f"{prefix(call.org)}consent", "").lower() == "general=out"


def _member(value: Any, key: str) -> dict[str, Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _wrong_type(name: str, wanted: str) -> EdgeRefused:
    return EdgeRefused("0102-400", "Invalid field type", f"{name} is not {wanted}")


def _busy(pressure: Pressure) -> AmityError:
    error = TooMany(pressure.reason, retry_after_s=pressure.retry_after_s)
    error.status = pressure.status
    return error


def _check_media_type(request: Request) -> None:
    given = request.headers.get(b"content-type", b"").decode("latin-1")
    bare = given.partition(";")[0].strip().lower()
    if bare not in _MEDIA_TYPES and not bare.endswith("+json"):
        raise WrongMediaType(
            f"content-type {bare[:80]!r} is not taken: send JSON as application/json or text/plain"
        )


async def _whole(request: Request, receive: Receive) -> bytes:
    try:
        return await read_body(request.headers, receive, EDGE_REQUEST_BYTES_MAX)
    except TooLarge as error:
        raise EdgeRefused("0112-413", "Request too large", error.message) from error


def _client(request: Request, client: Any) -> Client:
    headers = request.headers
    return Client(
        str(client[0]) if client else "",
        headers.get(b"user-agent", b"").decode("latin-1"),
        headers.get(b"accept-language", b"").decode("latin-1"),
    )


def _given_id(request: Request) -> str:
    given = request.query.get("requestId", [""])[0]
    given = given or request.headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else ""


def _answered_id(request: Request, ids: IdSource) -> str:
    """Never equal to the one supplied. Behaviour: platform-collect.md §7."""
    return f"{_given_id(request) or ids.uuid()}-{ids.hex(16)}"


async def _send(send: Send, reply: Reply, report: Report, origin: bytes) -> None:
    content = b"" if reply.body is None else orjson.dumps(reply.body)
    headers = [
        *reply.headers,
        *cross_origin(origin),
        (b"content-length", str(len(content)).encode()),
        (b"x-request-id", report.request_id.encode()),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
