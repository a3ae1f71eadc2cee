"""May this record enter that dataset?

The dataset's schema is compiled once; a record that passes costs one compiled check and a few rules
that a JSON schema cannot say: no null or empty values, an event's time, size, usable identities.
Only a record that fails pays for finding out where and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol

import jsonschema_rs
import orjson

from amity.kernel.clock import BusinessClock, to_iso
from amity.kernel.depth import NO_BRACKETS, deeper_than
from amity.kernel.limits import (
    EVENT_BYTES_MAX,
    EVENT_FUTURE_MS_MAX,
    EVENT_ID_CHARS_MAX,
    JSON_DEPTH_MAX,
    RECORD_BYTES_MAX,
    RECORD_IDENTITIES_MAX,
)
from amity.kernel.scope import Scope
from amity.platform.catalog.model import Dataset
from amity.platform.ingestion.errors import UnusableSchema
from amity.platform.ingestion.identities import (
    RecordIdentities,
    identities_of,
    identity_faults,
    plainly_usable,
)
from amity.platform.schema.model import ResolvedSchema

VIOLATIONS_MAX = 5
"""Errors told for one message. Behaviour: platform-collect.md §6."""

MESSAGE_CHARS_MAX = 300
VALIDATORS_KEPT_MAX = 2_000

CORRUPT = "INGEST-1401-400"
MISSING = "INGEST-1555-400"
_ENVELOPE_DEPTH_MAX = JSON_DEPTH_MAX + 8
"""A record, and what a door's message wraps it in."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CODES = {"json": CORRUPT, "required": MISSING, "null": MISSING}


class Violation(NamedTuple):
    """One thing wrong with a record: JSON pointer, keyword of the rule, sentence."""

    path: str
    keyword: str
    message: str

    @property
    def code(self) -> str:
        """The documented code where there is one, else ours.

        >>> Violation("/_id", "required", "…").code
        'INGEST-1555-400'
        >>> Violation("/_id", "type", "…").code
        'AMITY-INGEST-TYPE'
        """
        return _CODES.get(self.keyword, f"AMITY-INGEST-{self.keyword.upper()}")


class Datasets(Protocol):
    """Where datasets are found."""

    def dataset(self, scope: Scope, id: str) -> Dataset: ...


class Schemas(Protocol):
    """Where schemas are found, put together."""

    def resolved(self, scope: Scope, id: str) -> ResolvedSchema: ...


class RecordValidator:
    """Checks records of one dataset of one scope."""

    def __init__(
        self, scope: Scope, dataset: Dataset, resolved: ResolvedSchema, clock: BusinessClock
    ) -> None:
        self.scope = scope
        self.dataset = dataset
        self.resolved = resolved
        self.behavior: Literal["record", "time-series"] = (
            "time-series" if resolved.behavior == "time-series" else "record"
        )
        self._clock = clock
        self._schema = _compiled(resolved)
        self._bytes_max = EVENT_BYTES_MAX if self.behavior == "time-series" else RECORD_BYTES_MAX
        self._horizon_of = -1
        self._horizon_at = _EPOCH
        self._identified = dataset.profile_enabled or dataset.identity_enabled

    def check(self, body: Any, raw: bytes, now_ms: int | None = None) -> list[Violation]:
        """What is wrong with a record, at most `VIOLATIONS_MAX` things; empty when it may enter.

        `raw` is the record's JSON text, `now_ms` the business time it is judged by.
        """
        if not isinstance(body, dict):
            kind = _kind(body)
            return [Violation("", "type", f"a record is a JSON object; this is {kind}")]
        if not self._schema.is_valid(body):
            return list(islice(self._schema_violations(body), VIOLATIONS_MAX))
        violations: list[Violation] = []
        if b'""' in raw or b"null" in raw:
            violations += islice(_empty_values(body), VIOLATIONS_MAX)
        if deeper_than(JSON_DEPTH_MAX, body, raw):
            message = f"the record is nested deeper than {JSON_DEPTH_MAX} levels"
            violations.append(Violation("", "depth", message))
        if self.behavior == "time-series" and not self._plainly_happened(body, now_ms):
            violations += self._event_violations(body, now_ms)
        # No backslash, no NUL: looking for one character was measured at a tenth of looking for six.
        nul = b"\\" in raw and b"\\u0000" in raw
        if nul and "\x00" in str(body.get("_id", "")):
            violations.append(Violation("/_id", "pattern", "_id holds a NUL character"))
        if len(raw) > self._bytes_max and self.dataset.profile_enabled:
            violations.append(self._too_large(len(raw)))
        if self._identified and (nul or not plainly_usable(body, self.resolved)):
            violations += self._identity_violations(body)
        return violations[:VIOLATIONS_MAX] if violations else violations

    def _schema_violations(self, body: dict[str, Any]) -> Iterator[Violation]:
        empty = list(islice(_empty_values(body), VIOLATIONS_MAX))
        yield from empty
        told = {violation.path for violation in empty}
        for error in self._schema.iter_errors(body):
            violation = _violation(error)
            if violation.path not in told:
                yield violation

    def _plainly_happened(self, body: dict[str, Any], now_ms: int | None) -> bool:
        """Whether id and time are beyond doubt; else `_event_violations` tells what is wrong."""
        id, text = body.get("_id"), body.get("timestamp")
        if not (isinstance(id, str) and isinstance(text, str) and len(id) <= EVENT_ID_CHARS_MAX):
            return False
        now_ms = self._clock.now_ms() if now_ms is None else now_ms
        try:
            return datetime.fromisoformat(text) <= self._horizon(now_ms)
        except (ValueError, TypeError):
            return False

    def _event_violations(self, body: dict[str, Any], now_ms: int | None) -> Iterator[Violation]:
        id = body.get("_id")
        if not isinstance(id, str):
            yield Violation("/_id", "required", '"_id" is a required property of an event')
        elif len(id) > EVENT_ID_CHARS_MAX:
            message = f"_id has {len(id)} characters; at most {EVENT_ID_CHARS_MAX} are taken"
            yield Violation("/_id", "maxLength", message)
        text = body.get("timestamp")
        if not isinstance(text, str):
            yield Violation("/timestamp", "required", '"timestamp" is a required property')
            return
        now_ms = self._clock.now_ms() if now_ms is None else now_ms
        try:
            future = datetime.fromisoformat(text) > self._horizon(now_ms)
        except (ValueError, TypeError):
            message = f"{text[:40]!r} is no date-time with a zone; write 2017-10-30T00:00:00Z"
            yield Violation("/timestamp", "format", message)
            return
        if future:
            message = f"an event lies in the past; {text} is later than {to_iso(now_ms)}"
            yield Violation("/timestamp", "future", message)

    def _horizon(self, now_ms: int) -> datetime:
        if self._horizon_of != now_ms:
            self._horizon_of = now_ms
            self._horizon_at = _EPOCH + timedelta(milliseconds=now_ms + EVENT_FUTURE_MS_MAX)
        return self._horizon_at

    def _too_large(self, size: int) -> Violation:
        noun = "an event" if self.behavior == "time-series" else "a record"
        message = f"{noun} of a profile dataset has at most {self._bytes_max} bytes; "
        return Violation("", "size", f"{message}this one has {size}")

    def _identity_violations(self, body: dict[str, Any]) -> Iterator[Violation]:
        for fault in identity_faults(body, self.resolved):
            yield Violation(*fault)
        found = identities_of(body, self.resolved)
        if len(found.all) > RECORD_IDENTITIES_MAX:
            yield Violation(
                "/identityMap",
                "identities",
                f"a record has at most {RECORD_IDENTITIES_MAX} identities; "
                f"this one has {len(found.all)}",
            )
        if self.dataset.profile_enabled and not self._has_home(found):
            yield Violation("", "identity", _no_primary(len(found.all), self.resolved))

    def _has_home(self, found: RecordIdentities) -> bool:
        """Whether it can be filed: for events the linking rules choose among the identities.

        Behaviour: platform-audiences.md §2.3.
        """
        if self.resolved.behavior == "time-series":
            return bool(found.all)
        return found.primary is not None


class Validators:
    """The validators of all datasets, each compiled once for a state of its schema and dataset.

    Args:
        registry: Puts schemas together.
        catalog: Knows datasets.
        clock: What "in the past" is judged by.
        version: Changes whenever registry or catalog do: while it stays, nothing is looked up.
    """

    def __init__(
        self,
        *,
        registry: Schemas,
        catalog: Datasets,
        clock: BusinessClock,
        version: Callable[[], int] | None = None,
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._clock = clock
        self._current = version
        self._version = -1
        self._kept: dict[tuple[Scope, str], RecordValidator] = {}
        self._fresh: dict[tuple[Scope, str], RecordValidator] = {}

    def of(self, scope: Scope, dataset_id: str) -> RecordValidator:
        """The validator of a dataset; raises the catalog's error when there is none."""
        if self._current is None:
            return self._looked_up(scope, dataset_id)
        version = self._current()
        if version != self._version:
            self._fresh = {}
            self._version = version
        found = self._fresh.get((scope, dataset_id))
        if found is None:
            found = self._fresh[scope, dataset_id] = self._looked_up(scope, dataset_id)
        return found

    def _looked_up(self, scope: Scope, dataset_id: str) -> RecordValidator:
        dataset = self._catalog.dataset(scope, dataset_id)
        resolved = self._registry.resolved(scope, dataset.schema_id)
        kept = self._kept.get((scope, dataset_id))
        if kept is not None and _same(kept, dataset, resolved):
            return kept
        if len(self._kept) >= VALIDATORS_KEPT_MAX:
            self._kept.clear()
        fresh = RecordValidator(scope, dataset, resolved, self._clock)
        self._kept[scope, dataset_id] = fresh
        return fresh


def parsed(raw: bytes) -> tuple[Any, Violation | None]:
    """The value of a JSON text, or why it is none that we take."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return None, Violation("", "json", f"not JSON: {error}")
    if not _plainly_shallow(raw) and deeper_than(_ENVELOPE_DEPTH_MAX, value):
        message = f"the message is nested deeper than {_ENVELOPE_DEPTH_MAX} levels"
        return None, Violation("", "depth", message)
    return value, None


def _plainly_shallow(raw: bytes) -> bool:
    """Whether taking innermost pairs of brackets away empties the text soon; else look closely."""
    brackets = raw.translate(None, NO_BRACKETS)
    if len(brackets) <= 2 * JSON_DEPTH_MAX:
        return True
    for _ in range(JSON_DEPTH_MAX // 2):
        if not brackets:
            return True
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return False


def _same(kept: RecordValidator, dataset: Dataset, resolved: ResolvedSchema) -> bool:
    return (kept.resolved is resolved or kept.resolved == resolved) and kept.dataset == dataset


def _compiled(resolved: ResolvedSchema) -> jsonschema_rs.Draft7Validator:
    try:
        return jsonschema_rs.Draft7Validator(
            resolved.json_schema,
            validate_formats=True,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        reason = str(error)[:MESSAGE_CHARS_MAX]
        raise UnusableSchema(
            f"records cannot be checked against schema {resolved.title!r} ({resolved.id}): "
            f"{reason}; patterns are RE2 expressions, without look-around",
            schema=resolved.id,
        ) from error


def _violation(error: jsonschema_rs.ValidationError) -> Violation:
    path = [*error.instance_path]
    kind = error.kind
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
        path.append(kind.property)
    elif isinstance(kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties):
        path.append(kind.unexpected[0])
    message = error.message
    if len(message) > MESSAGE_CHARS_MAX:
        message = f"{message[:MESSAGE_CHARS_MAX]}…"
    return Violation(_pointer(path), kind.name, message)


def _pointer(path: list[Any]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def _empty_values(value: Any, path: tuple[Any, ...] = ()) -> Iterator[Violation]:
    if value is None:
        yield Violation(_pointer([*path]), "null", "null is no value: leave the key out")
    elif value == "":
        yield Violation(_pointer([*path]), "empty", "an empty text is no value: leave the key out")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _empty_values(inner, (*path, key))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _empty_values(inner, (*path, at))


def _kind(value: Any) -> str:
    names = {str: "a text", list: "an array", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _no_primary(count: int, resolved: ResolvedSchema) -> str:
    marked = [field for field in resolved.identities if field.primary]
    place = f"a value at /{'/'.join(marked[0].path)}" if marked else "one marked primary"
    if count == 0:
        return f"a record of a profile dataset needs an identity: give {place} or in identityMap"
    return f"none of the {count} identities is the primary one: give {place} or mark one in identityMap"
