"""Which identities does a record count with, and which one is it kept under?

With linking rules, an event is kept under its identity of the highest-ranking namespace; a record
keeps the primary identity its schema or map says. Behaviour: platform-audiences.md §1.4, §2.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import orjson

from amity.flow.step import Failure, Position
from amity.kernel.clock import from_iso
from amity.kernel.errors import Invalid
from amity.kernel.limits import (
    EVENT_ID_CHARS_MAX,
    IDENTITY_VALUE_CHARS_MAX,
    RECORD_IDENTITIES_MAX,
)
from amity.kernel.scope import Scope
from amity.platform.identity.model import Identity
from amity.platform.identity.rules import Rules
from amity.platform.ingestion.identities import ECID, ECID_DIGITS, RecordIdentities
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS, ResolvedSchema

_PEOPLE = frozenset({PROFILE_CLASS, EVENT_CLASS})


class Source(Protocol):
    """Where a record comes from."""

    @property
    def scope(self) -> str: ...
    @property
    def dataset(self) -> str: ...
    @property
    def schema(self) -> str: ...


class Incoming(NamedTuple):
    """A record of a frame, as bytes."""

    source: Source
    behavior: Literal["record", "time-series"]
    received_ms: int
    position: Position
    raw: bytes
    said_ms: int = 0

    def refused(self, scope: Scope, code: str, reason: str, path: str = "") -> Failure:
        """This record as a failed one."""
        return Failure(
            scope, self.source.dataset, f"identity.{code}", reason, path, self.raw, self.position
        )


class Context(NamedTuple):
    """What the records of one source share."""

    scope: Scope
    rules: Rules
    resolved: ResolvedSchema
    identities: Callable[[dict[str, Any], ResolvedSchema], RecordIdentities]


class Record(NamedTuple):
    """A record that may go on: its identities are sound and one of them is primary."""

    dataset: str
    behavior: Literal["record", "time-series"]
    received_ms: int
    position: Position
    body: dict[str, Any]
    linking: tuple[Identity, ...]
    primary: Identity
    id: str
    timestamp_ms: int
    people: bool


class _Refusal(Exception):
    """Why a record cannot go on; never leaves this module."""

    def __init__(self, code: str, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.path = path


def read_record(message: Incoming, context: Context) -> Record | Failure:
    """Parse and judge one record."""
    try:
        return _read(message, context)
    except _Refusal as refusal:
        return message.refused(context.scope, refusal.code, refusal.reason, refusal.path)


def _read(message: Incoming, context: Context) -> Record:
    try:
        body = orjson.loads(message.raw)
    except orjson.JSONDecodeError as error:
        raise _Refusal("malformed", f"the record is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise _Refusal("malformed", "the record is no JSON object")
    found = context.identities(body, context.resolved)
    _check_values(found)
    event = message.behavior == "time-series"
    rules = context.rules
    people = context.resolved.class_id in _PEOPLE or event
    linking = tuple(Identity(*one) for one in found.all if people and rules.links(one.ns))
    if len(linking) > 1 and rules.clashes(linking):
        raise _Refusal("two_of_unique", _two_of_unique(linking, rules), "/identityMap")
    if event:
        primary = _event_primary(linking, rules)
        record_id, at_ms = _event_id(body), _event_time(body)
    else:
        primary = _record_primary(found)
        people = people and rules.links(primary.ns)
        record_id, at_ms = "", message.said_ms or message.received_ms
    return Record(
        message.source.dataset,
        message.behavior,
        message.received_ms,
        message.position,
        body,
        linking,
        primary,
        record_id,
        at_ms,
        people,
    )


def _check_values(found: RecordIdentities) -> None:
    if len(found.all) > RECORD_IDENTITIES_MAX:
        raise _Refusal(
            "too_many_identities",
            f"the record holds {len(found.all)} identities; at most {RECORD_IDENTITIES_MAX} may be",
        )
    for ns, value in found.all:
        if ns == ECID:
            if not (len(value) == ECID_DIGITS and value.isascii() and value.isdigit()):
                raise _Refusal(
                    "ecid_form",
                    f"an ECID has exactly {ECID_DIGITS} digits; {value[:40]!r} has not",
                )
        elif len(value) > IDENTITY_VALUE_CHARS_MAX:
            raise _Refusal(
                "identity_too_long",
                f"the {ns[:40]} identity has {len(value)} characters; at most "
                f"{IDENTITY_VALUE_CHARS_MAX} may be",
            )
        if "\x00" in value or "\x00" in ns:
            raise _Refusal("nul_character", f"an identity of {ns[:40]!r} holds a NUL character")


def event_home(found: RecordIdentities, rules: Rules) -> Identity | None:
    """The identity under which an event is filed: the highest-ranking one; None when it is refused.

    Behaviour: platform-audiences.md §2.3 (`primary: true` of an event is ignored).
    """
    linking = tuple(Identity(*one) for one in found.all if rules.links(one.ns))
    try:
        return _event_primary(linking, rules)
    except _Refusal:
        return None


def _event_primary(linking: tuple[Identity, ...], rules: Rules) -> Identity:
    if len(linking) == 1:
        return linking[0]
    if not linking:
        raise _Refusal(
            "no_identity",
            "the event holds no usable identity of a person or device: fill identityMap or a field "
            "with an identity descriptor",
        )
    first = min(linking, key=lambda one: rules.priority(one.ns))
    if sum(one.ns == first.ns for one in linking) > 1:
        raise _Refusal(
            "two_of_highest",
            f"the event holds two identities of {first.ns}, the highest-ranking namespace in it: "
            "send one event for each",
            "/identityMap",
        )
    return first


def _record_primary(found: RecordIdentities) -> Identity:
    if found.primary is None:
        raise _Refusal(
            "no_primary_identity",
            "the record has no primary identity: fill the field with the primary identity "
            "descriptor, or mark one entry of identityMap with primary: true",
        )
    return Identity(*found.primary)


def _two_of_unique(linking: tuple[Identity, ...], rules: Rules) -> str:
    held: dict[str, str] = {}
    for ns, value in linking:
        if ns in rules.unique and held.setdefault(ns, value) != value:
            return (
                f"the record holds two values of the unique namespace {ns}: {held[ns][:40]!r} and "
                f"{value[:40]!r}"
            )
    return "the record holds two values of a unique namespace"


def _event_id(body: dict[str, Any]) -> str:
    value = body.get("_id")
    if not isinstance(value, str) or not 0 < len(value) <= EVENT_ID_CHARS_MAX or "\x00" in value:
        raise _Refusal(
            "event_id", f"an event needs an _id of 1 to {EVENT_ID_CHARS_MAX} characters", "/_id"
        )
    return value


def _event_time(body: dict[str, Any]) -> int:
    value = body.get("timestamp")
    if not isinstance(value, str):
        raise _Refusal("event_time", "an event needs a timestamp", "/timestamp")
    try:
        return from_iso(value)
    except Invalid as error:
        raise _Refusal("event_time", error.message, "/timestamp") from error
