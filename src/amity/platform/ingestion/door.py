"""How do streamed records come in over HTTP?

A raw ASGI application, without a framework in between: XDM messages on `/collection/{inlet}` and
`/collection/batch/{inlet}`, calls of the Segment specification on `/v1/...`. A request is answered
once its records are durable in the log, and not before.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from itertools import count
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

import orjson

from amity.kernel.errors import AmityError, NotSupported, Transient
from amity.kernel.scope import Scope
from amity.platform.ingestion.body import read_body
from amity.platform.ingestion.errors import UnknownInlet, UnknownWriteKey
from amity.platform.ingestion.reception import (
    Inlet,
    Reception,
    Verdict,
    WriteKeySource,
)
from amity.platform.ingestion.segment_spec import CALLS
from amity.platform.ingestion.validation import Violation, parsed
from amity.storage.ports import Entry

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_SYNC_NAMES = ("syncValidation", "synchronousValidation")

INLET_PROBLEM = "http://www.adobe.com/adobecloud/problem/data-collection-service/inlet"
AUTHORIZATION_PROBLEM = (
    "http://www.adobe.com/adobecloud/problem/data-collection-service-authorization"
)
"""Behaviour: platform-collect.md §6."""


class Pressure(NamedTuple):
    """Why nothing more is taken at this moment."""

    status: int
    retry_after_s: int
    reason: str


class Appender(Protocol):
    """Appends to the log; returns once it is durable."""

    async def append(self, entries: list[Entry]) -> None: ...


class Inlets(Protocol):
    """Where streaming connections are found."""

    def find(self, inlet_id: str) -> Inlet | None: ...


class WriteKeys(Protocol):
    """Where write keys are found."""

    def find(self, key: str) -> WriteKeySource | None: ...


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: Any
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Request(NamedTuple):
    """What a door reads of an ASGI scope."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[bytes, bytes]

    @property
    def sync(self) -> bool:
        """Whether the sender wants to be told at once. Behaviour: platform-collect.md §6, §11."""
        if not self.query:
            return False
        asked = (self.query.get(name, [""])[0] for name in _SYNC_NAMES)
        return any(value.lower() == "true" for value in asked)

    @property
    def flow(self) -> str:
        """The flow named by header or query."""
        given = self.headers.get(b"x-adobe-flow-id", b"").decode("latin-1")
        return given or self.query.get("flowId", self.query.get("x-adobe-flow-id", [""]))[0]


class Door:
    """The ASGI application of the streaming doors.

    Args:
        inlets: Finds streaming connections.
        write_keys: Finds write keys.
        reception: Judges messages.
        appender: The log, group commit.
        bearer: Whether a bearer token lets its sender write into a scope.
        pressure: Why nothing more may be taken now, or None.
    """

    def __init__(
        self,
        *,
        inlets: Inlets,
        write_keys: WriteKeys,
        reception: Reception,
        appender: Appender,
        bearer: Callable[[str, Scope], bool],
        pressure: Callable[[], Pressure | None],
    ) -> None:
        self._inlets = inlets
        self._write_keys = write_keys
        self._reception = reception
        self._appender = appender
        self._bearer = bearer
        self._pressure = pressure
        self._numbers = count()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        request = Request(
            scope["method"],
            scope["path"].rstrip("/"),
            parse_qs(scope["query_string"].decode("latin-1")) if scope["query_string"] else {},
            dict(scope["headers"]),
        )
        try:
            answer = await self._answer(request, receive)
        except AmityError as error:
            answer = _problem(error)
        await _send(send, answer, request.headers.get(b"origin", b"*"))

    async def _answer(self, request: Request, receive: Receive) -> Answer:
        if request.method == "OPTIONS":
            return Answer(204, None, _PREFLIGHT)
        if request.method != "POST":
            return _plain(405, "Method Not Allowed", f"{request.path} takes POST only")
        pressure = self._pressure()
        if pressure is not None:
            retry = (b"retry-after", str(pressure.retry_after_s).encode())
            body = _plain(pressure.status, "Busy", pressure.reason)
            return body._replace(headers=(retry,))
        return await self._taken(request, receive)

    async def _taken(self, request: Request, receive: Receive) -> Answer:
        match request.path.split("/")[1:]:
            case ["collection", "batch", inlet_id]:
                return await self._collection_batch(request, receive, inlet_id)
            case ["collection", inlet_id]:
                return await self._collection(request, receive, inlet_id)
            case ["v1", "batch" | "import"]:
                return await self._segment_batch(request, receive)
            case ["v1", call] if call in CALLS:
                return await self._segment_call(request, receive, call)
        return _plain(404, "Not Found", f"there is no door at {request.path}")

    async def _collection(self, request: Request, receive: Receive, inlet_id: str) -> Answer:
        inlet = self._inlet(request, inlet_id)
        if inlet is None:
            return _UNAUTHORIZED
        raw = await read_body(request.headers, receive)
        now_ms = self._reception.now_ms()
        message, broken = parsed(raw)
        action = f"{now_ms}:{next(self._numbers)}:0"
        if broken:
            await self._keep(
                Verdict(inlet.scope, inlet.id, raw, violations=(broken,)), now_ms, action
            )
            return _invalid_message(inlet, (broken,))
        (verdict,) = self._reception.xdm(inlet, [message], request.flow)
        if request.sync and not verdict.accepted:
            return _invalid_message(inlet, verdict.violations, verdict)
        await self._keep(verdict, now_ms, action)
        if verdict.malformed:
            return _invalid_message(inlet, verdict.violations)
        told = {"status": "pass"} if request.sync else {"skipped": True}
        return Answer(
            200,
            {
                "inletId": inlet.id,
                "xactionId": action,
                "receivedTimeMs": now_ms,
                "syncValidation": told,
            },
        )

    async def _collection_batch(self, request: Request, receive: Receive, inlet_id: str) -> Answer:
        inlet = self._inlet(request, inlet_id)
        if inlet is None:
            return _UNAUTHORIZED
        if request.sync:
            raise NotSupported(
                "batches of messages have no synchronous validation: send the message alone to "
                f"/collection/{inlet_id}?syncValidation=true"
            )
        raw = await read_body(request.headers, receive)
        now_ms, batch = self._reception.receipt()
        body, broken = parsed(raw)
        messages = body.get("messages") if isinstance(body, dict) else None
        if broken or not isinstance(messages, list):
            broken = broken or Violation("/messages", "required", "the body has no list `messages`")
            await self._keep(
                Verdict(inlet.scope, inlet.id, raw, violations=(broken,)), now_ms, batch
            )
            return _invalid_message(inlet, (broken,))
        verdicts = self._reception.xdm(inlet, messages, request.flow)
        await self._append(verdicts, now_ms, f"batch {batch}")
        return Answer(
            207,
            {
                "inletId": inlet.id,
                "batchId": batch,
                "receivedTimeMs": now_ms,
                "responses": [
                    {"statusCode": 400, "message": verdict.violations[0].message}
                    if verdict.malformed
                    else {"xactionId": f"{batch}:{at}"}
                    for at, verdict in enumerate(verdicts)
                ],
            },
        )

    async def _segment_call(self, request: Request, receive: Receive, call: str) -> Answer:
        raw = await read_body(request.headers, receive)
        body, broken = parsed(raw)
        key = self._write_key(request, body)
        now_ms = self._reception.now_ms()
        if isinstance(body, dict):
            (verdict,) = self._reception.segment(key, [{**body, "type": call}], now_ms)
        else:
            broken = broken or Violation("", "type", "a call is a JSON object")
            verdict = Verdict(key.scope, f"write_key:{key.id}", raw, violations=(broken,))
        await self._keep(verdict, now_ms, f"/v1/{call}")
        if not verdict.accepted:
            return _refused(verdict.violations[0])
        return Answer(200, {"success": True})

    async def _segment_batch(self, request: Request, receive: Receive) -> Answer:
        raw = await read_body(request.headers, receive)
        body, broken = parsed(raw)
        key = self._write_key(request, body)
        now_ms = self._reception.now_ms()
        calls = body.get("batch") if isinstance(body, dict) else None
        if broken or not isinstance(calls, list):
            broken = broken or Violation("/batch", "required", "the body has no list `batch`")
            verdict = Verdict(key.scope, f"write_key:{key.id}", raw, violations=(broken,))
            await self._keep(verdict, now_ms, "/v1/batch")
            return _refused(broken)
        sent_at = body.get("sentAt")
        verdicts = self._reception.segment(key, calls, now_ms, sent_at)
        await self._append(verdicts, now_ms, "/v1/batch")
        errors = [
            {"index": at, "code": one.code, "path": one.path, "message": one.message}
            for at, verdict in enumerate(verdicts)
            for one in verdict.violations[:1]
        ]
        return Answer(200, {"success": True, **({"errors": errors} if errors else {})})

    def _inlet(self, request: Request, inlet_id: str) -> Inlet | None:
        inlet = self._inlets.find(inlet_id)
        if inlet is None:
            raise UnknownInlet(
                f"there is no inlet {inlet_id[:80]!r}: create a streaming connection and take "
                "inletId from its auth.params"
            )
        if inlet.authenticated:
            token = _after(b"bearer", request.headers.get(b"authorization", b""))
            return inlet if token and self._bearer(token, inlet.scope) else None
        return inlet

    def _write_key(self, request: Request, body: Any) -> WriteKeySource:
        in_body = body.get("writeKey") if isinstance(body, dict) else None
        for key in (_basic_user(request.headers.get(b"authorization", b"")), in_body):
            found = self._write_keys.find(key) if isinstance(key, str) and key else None
            if found is not None:
                return found
        raise UnknownWriteKey(
            "no known write key: send it as the user name of Basic authentication, without password"
        )

    async def _keep(self, verdict: Verdict, now_ms: int, where: str) -> None:
        await self._append([verdict], now_ms, where)

    async def _append(self, verdicts: Iterable[Verdict], now_ms: int, where: str) -> None:
        entries = self._reception.entries(verdicts, now_ms, where)
        if entries:
            await self._appender.append(entries)


def _after(wanted: bytes, header: bytes) -> str:
    scheme, _, rest = header.partition(b" ")
    return rest.strip().decode("latin-1") if scheme.lower() == wanted else ""


def _basic_user(header: bytes) -> str:
    try:
        decoded = base64.b64decode(_after(b"basic", header), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return decoded.partition(":")[0]


def _invalid_message(
    inlet: Inlet, violations: Iterable[Violation], verdict: Verdict | None = None
) -> Answer:
    schema = verdict.validator.resolved.id if verdict and verdict.validator else ""
    found = list(violations)
    place = f"inletId: [{inlet.id}] imsOrgId: [{inlet.scope.org}]"
    told = "Message is invalid" if verdict else found[0].message
    causes = [
        {
            "schemaLocation": schema,
            "pointerToViolation": f"#{one.path}",
            "keyword": one.keyword,
            "message": one.message,
            "causingExceptions": [],
        }
        for one in found
    ]
    return _problem_answer(
        400,
        {
            "type": INLET_PROBLEM,
            "status": 400,
            "title": "Invalid XDM Message Format",
            "detail": found[0].message,
            "report": {
                "message": f"{place} {told}",
                "cause": {"_streamingValidation": causes},
            },
        },
    )


def _refused(violation: Violation) -> Answer:
    return _problem_answer(
        400,
        {
            "type": "urn:amity:problem:refused-record",
            "title": "Refused Record",
            "status": 400,
            "detail": violation.message,
            "path": violation.path,
            "code": violation.code,
        },
    )


def _problem(error: AmityError) -> Answer:
    answer = _plain(error.status, type(error).__name__, error.message)
    if isinstance(error, Transient):
        retry = (b"retry-after", str(error.retry_after_s).encode())
        return answer._replace(headers=(*answer.headers, retry))
    return answer


def _plain(status: int, title: str, detail: str) -> Answer:
    body = {"type": INLET_PROBLEM, "title": title, "status": status, "detail": detail}
    return _problem_answer(status, body)


def _problem_answer(status: int, body: dict[str, Any]) -> Answer:
    return Answer(status, body, ((b"content-type", b"application/problem+json"),))


async def _send(send: Send, answer: Answer, origin: bytes) -> None:
    content = b"" if answer.body is None else orjson.dumps(answer.body)
    headers = [
        (b"content-length", str(len(content)).encode()),
        (b"access-control-allow-origin", origin),
        (b"vary", b"Origin"),
        *answer.headers,
    ]
    if content and not any(name == b"content-type" for name, _ in answer.headers):
        headers.append((b"content-type", b"application/json"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


_PREFLIGHT = (
    (b"access-control-allow-methods", b"POST, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, content-encoding, x-adobe-flow-id",
    ),
    (b"access-control-max-age", b"86400"),
)
_UNAUTHORIZED = Answer(
    401,
    {
        "type": AUTHORIZATION_PROBLEM,
        "status": "401",
        "title": "Authorization",
        "report": {
            "message": "the inlet asks for a bearer token: get one at /ims/token/v3 and send it "
            "as `Authorization: Bearer …`"
        },
    },
    ((b"content-type", b"application/problem+json"),),
)
