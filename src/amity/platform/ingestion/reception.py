"""What becomes of a message at a door, whatever carries it there?

Each message gets a `Verdict`; the verdicts of one request become log entries, appended together:
one frame a dataset for what is accepted, a failed record for what is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import orjson

from amity.flow import failed
from amity.flow.failed import FAILED_TOPIC, FailedRecord
from amity.kernel.clock import BusinessClock
from amity.kernel.errors import NotFound
from amity.kernel.ids import IdSource, digest
from amity.kernel.limits import STEP_BATCH_RECORDS_MAX
from amity.kernel.scope import Scope
from amity.platform.ingestion.model import ENCODER, INGEST_TOPIC, Frame
from amity.platform.ingestion.segment_spec import BadCall, mapped
from amity.platform.ingestion.validation import RecordValidator, Validators, Violation
from amity.storage.ports import Entry

UNKNOWN_FORMAT = "Message has unknown xdm format"
WRONG_ORG = "Message has an absent or wrong ims org in the header"
"""Behaviour: platform-collect.md §6."""


class Inlet(NamedTuple):
    """A streaming connection as its door needs it."""

    id: str
    scope: Scope
    authenticated: bool = False
    flows: dict[str, str] = {}  # noqa: RUF012 - a default of a tuple, never changed
    """Flow id → dataset id, for messages without a header."""


class WriteKeySource(Protocol):
    """A write key: whose it is and which two datasets it feeds."""

    @property
    def id(self) -> str: ...
    @property
    def scope(self) -> Scope: ...
    @property
    def profile_dataset(self) -> str: ...
    @property
    def event_dataset(self) -> str: ...


class Verdict(NamedTuple):
    """What a door decided about one message.

    Attributes:
        message: The message as it came, parsed; for a request that is no JSON, its bytes.
        record: The record's JSON, empty unless accepted.
        malformed: It could not even be assigned to a dataset: told to the sender at once.
        said_ms: When its sender said it, 0 = at receipt.
    """

    scope: Scope
    source: str
    message: Any
    validator: RecordValidator | None = None
    record: bytes = b""
    violations: Sequence[Violation] = ()
    malformed: bool = False
    said_ms: int = 0

    @property
    def accepted(self) -> bool:
        """Whether the record enters its dataset."""
        return not self.violations


class Receipt(NamedTuple):
    """When, in business time, a request came in, and its name."""

    at_ms: int
    id: str


class Reception:
    """Judges messages of both kinds of door.

    Args:
        validators: The validators of the datasets.
        clock: Business time of receipt.
        ids: Names receipts.
        tenant: The tenant's name, without underscore: custom fields of write keys lie under it.
    """

    def __init__(
        self, *, validators: Validators, clock: BusinessClock, ids: IdSource, tenant: str
    ) -> None:
        self._validators = validators
        self._clock = clock
        self._ids = ids
        self._tenant = tenant

    def receipt(self) -> Receipt:
        """The receipt of one request."""
        return Receipt(self._clock.now_ms(), self._ids.uuid())

    def now_ms(self) -> int:
        """The time of receipt alone, for a request that needs no name."""
        return self._clock.now_ms()

    def xdm(self, inlet: Inlet, messages: Sequence[Any], flow: str = "") -> list[Verdict]:
        """The verdicts about messages of a streaming connection."""
        looked_up = _LookUps(self._validators, inlet.scope, self._clock.now_ms())
        return [self._xdm(inlet, message, flow, looked_up) for message in messages]

    def segment(
        self, key: WriteKeySource, calls: Sequence[Any], received_ms: int, sent_at: object = None
    ) -> list[Verdict]:
        """The verdicts about calls of the Segment specification; each carries its `type`."""
        looked_up = _LookUps(self._validators, key.scope, received_ms)
        return [self._segment(key, call, (received_ms, sent_at), looked_up) for call in calls]

    def record(self, scope: Scope, source: str, dataset: str, body: Any) -> Verdict:
        """The verdict about a bare record of a dataset (a row of a batch)."""
        validator = self._validators.of(scope, dataset)
        return _judged(Verdict(scope, source, body, validator), body, self._clock.now_ms())

    def entries(self, verdicts: Iterable[Verdict], received_ms: int, where: str) -> list[Entry]:
        """The log entries of the verdicts of one request; `where` names it for people."""
        accepted: dict[tuple[str, RecordValidator], list[Verdict]] = {}
        refused: list[Entry] = []
        for at, verdict in enumerate(verdicts):
            if verdict.accepted and verdict.validator is not None:
                accepted.setdefault((verdict.source, verdict.validator), []).append(verdict)
            else:
                refused.append(refusal(verdict, received_ms, f"{where}, message {at}"))
        frames = (
            frame_entry(validator, source, received_ms, part)
            for (source, validator), found in accepted.items()
            for part in _slices(found)
        )
        return [*frames, *refused]

    def _xdm(self, inlet: Inlet, message: Any, flow: str, looked_up: _LookUps) -> Verdict:
        try:
            validator, entity = _opened(inlet, message, flow, looked_up)
        except _Malformed as error:
            wrong = (Violation("", "message", str(error)),)
            return Verdict(inlet.scope, inlet.id, message, violations=wrong, malformed=True)
        return _judged(Verdict(inlet.scope, inlet.id, message, validator), entity, looked_up.now_ms)

    def _segment(
        self, key: WriteKeySource, call: Any, times: tuple[int, object], looked_up: _LookUps
    ) -> Verdict:
        verdict = Verdict(key.scope, f"write_key:{key.id}", call, malformed=True)
        if not isinstance(call, dict):
            wrong = Violation("", "type", "a call is a JSON object")
            return verdict._replace(violations=(wrong,))
        received_ms, sent_at = times
        if sent_at is not None and "sentAt" not in call:
            # With it a refused call can be told the right time again when it is replayed.
            verdict = verdict._replace(message={**call, "sentAt": sent_at})
        try:
            record = mapped(call, tenant=self._tenant, received_ms=received_ms, sent_at=sent_at)
        except BadCall as error:
            return verdict._replace(violations=(error.violation,))
        dataset = key.profile_dataset if record.to == "profile" else key.event_dataset
        verdict = verdict._replace(
            validator=looked_up.of(dataset),
            malformed=False,
            said_ms=min(record.at_ms, received_ms),
        )
        return _judged(verdict, record.body, looked_up.now_ms)


class _LookUps:
    """The validators of one request, each dataset looked up once, and the time it came."""

    def __init__(self, validators: Validators, scope: Scope, now_ms: int) -> None:
        self.now_ms = now_ms
        self._validators = validators
        self._scope = scope
        self._found: dict[str, RecordValidator] = {}

    def of(self, dataset: str) -> RecordValidator:
        """The validator of a dataset."""
        found = self._found.get(dataset)
        if found is None:
            found = self._found[dataset] = self._validators.of(self._scope, dataset)
        return found


class _Malformed(Exception):
    """The message cannot be assigned to a dataset."""


def refusal(verdict: Verdict, received_ms: int, where: str, batch: str = "") -> Entry:
    """The failed-record entry of a refused message, whole and with its first reason."""
    message = verdict.message
    raw = message if isinstance(message, bytes) else orjson.dumps(message)
    dataset = verdict.validator.dataset.id if verdict.validator else ""
    first, *others = verdict.violations
    reason = first.message + (f" (and {len(others)} more)" if others else "")
    scope = verdict.scope.key
    content = digest(raw.decode("utf-8", "replace"))
    record = FailedRecord(
        id=digest(scope, verdict.source, dataset, batch, where if batch else "", content),
        scope=scope,
        source=verdict.source,
        dataset=dataset,
        batch=batch,
        code=first.code,
        reason=reason,
        path=first.path,
        where=where,
        received_ms=received_ms,
        raw=raw,
    )
    return Entry(FAILED_TOPIC, record.id.encode(), failed.ENCODER.encode(record))


def frame_entry(
    validator: RecordValidator, source: str, received_ms: int, accepted: Sequence[Verdict]
) -> Entry:
    """The log entry of a frame from a streaming door; frames of one source keep their order."""
    scope, dataset = validator.scope, validator.dataset
    said_ms = [verdict.said_ms for verdict in accepted]
    frame = Frame(
        scope=scope.key,
        dataset=dataset.id,
        schema=validator.resolved.id,
        behavior=validator.behavior,
        received_ms=received_ms,
        source=source,
        records=[verdict.record for verdict in accepted],
        said_ms=said_ms if any(said_ms) else [],
    )
    return Entry(INGEST_TOPIC, f"{scope.key}/{source}".encode(), ENCODER.encode(frame))


def _opened(
    inlet: Inlet, message: Any, flow: str, looked_up: _LookUps
) -> tuple[RecordValidator, Any]:
    if not isinstance(message, dict):
        raise _Malformed(UNKNOWN_FORMAT)
    if "header" not in message or "body" not in message:
        if flow not in inlet.flows:
            raise _Malformed(UNKNOWN_FORMAT)
        return _of(looked_up, inlet.flows[flow]), message
    header, outer = message["header"], message["body"]
    entity = outer.get("xdmEntity") if isinstance(outer, dict) else None
    if not isinstance(header, dict) or not isinstance(entity, dict):
        raise _Malformed(UNKNOWN_FORMAT)
    if (header.get("imsOrgId") or inlet.scope.org) != inlet.scope.org:
        raise _Malformed(WRONG_ORG)
    dataset = header.get("datasetId") or inlet.flows.get(flow)
    if not isinstance(dataset, str):
        raise _Malformed("Message has no datasetId in the header")
    validator = _of(looked_up, dataset)
    _check_schema_ref(message, validator)
    return validator, entity


def _of(looked_up: _LookUps, dataset: str) -> RecordValidator:
    try:
        return looked_up.of(dataset)
    except NotFound as error:
        raise _Malformed(f"Message names dataset {dataset[:64]!r}: {error.message}") from error


def _judged(verdict: Verdict, entity: Any, now_ms: int) -> Verdict:
    validator = verdict.validator
    if validator is None:
        return verdict
    try:
        raw = orjson.dumps(entity)
    except TypeError as error:
        # A number that came as a text or a double, and has no place in 64 bits.
        message = f"the record has no JSON form that can be kept: {error}"
        return verdict._replace(violations=(Violation("", "json", message),))
    violations = validator.check(entity, raw, now_ms)
    if violations:
        return verdict._replace(violations=violations)
    # Made anew: `_replace` takes as long as the schema's check.
    return Verdict(
        verdict.scope,
        verdict.source,
        verdict.message,
        validator,
        raw,
        malformed=verdict.malformed,
        said_ms=verdict.said_ms,
    )


def _check_schema_ref(message: dict[str, Any], validator: RecordValidator) -> None:
    try:
        in_header = message["header"]["schemaRef"]["id"]
        in_body = message["body"]["xdmMeta"]["schemaRef"]["id"]
    except (KeyError, TypeError):
        in_header = in_body = None
    if not isinstance(in_header, str) or not isinstance(in_body, str):
        raise _Malformed("Message has no schemaRef.id in header and body.xdmMeta")
    if in_header != in_body:
        raise _Malformed("Message has different schemaRef.id in header and body.xdmMeta")
    resolved = validator.resolved
    if in_header not in (resolved.id, resolved.alt_id):
        shown = in_header[:200]
        raise _Malformed(
            f"Message has schemaRef.id {shown!r}; dataset {validator.dataset.id} has {resolved.id}"
        )


def _slices(accepted: list[Verdict]) -> Iterator[list[Verdict]]:
    found = iter(accepted)
    while part := list(islice(found, STEP_BATCH_RECORDS_MAX)):
        yield part
