"""Which identities does a record carry, and which of them is it kept under?

One answer for the doors, the batch loader and the identity stage: the values of fields that an
identity descriptor names, then the entries of `identityMap`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from amity.kernel.limits import IDENTITY_VALUE_CHARS_MAX, RECORD_IDENTITIES_MAX
from amity.platform.schema.model import IdentityField

ECID = "ECID"
ECID_DIGITS = 38
"""Behaviour: platform-audiences.md §1.1."""

BLOCKED_VALUES = frozenset({"null", "anonymous", "invalid"})
"""Values that name nobody. Behaviour: platform-audiences.md §1.4."""

_NOBODY = BLOCKED_VALUES | {""}


class RecordIdentity(NamedTuple):
    """One identity of a record: a namespace code and a value, as the identity stage keeps them."""

    ns: str
    id: str


class RecordIdentities(NamedTuple):
    """The identities of one record. `primary` is None when none can be told."""

    primary: RecordIdentity | None
    all: tuple[RecordIdentity, ...]


class IdentityFields(Protocol):
    """What is needed of a `ResolvedSchema`."""

    @property
    def identities(self) -> tuple[IdentityField, ...]: ...


class _Found(NamedTuple):
    identity: RecordIdentity
    primary: bool
    pointer: str


def identities_of(body: dict[str, Any], resolved: IdentityFields) -> RecordIdentities:
    """The usable identities of a record, each once, and its primary one.

    A primary descriptor's value comes first, then the entry of `identityMap` marked primary; a
    record of one identity has it as primary. Blocked values are left out.
    Behaviour: platform-audiences.md §1.2, §1.4.
    """
    seen: dict[RecordIdentity, bool] = {}
    for namespace, value, primary in _pairs(body, resolved):
        bare = value.strip().lower()
        if bare not in _NOBODY or (bare and namespace == ECID):
            identity = RecordIdentity(namespace, value)
            seen[identity] = seen.get(identity, False) or primary
    marked = next((identity for identity, primary in seen.items() if primary), None)
    if marked is None and len(seen) == 1:
        marked = next(iter(seen))
    return RecordIdentities(marked, tuple(seen))


def plainly_usable(body: dict[str, Any], resolved: IdentityFields) -> bool:
    """Whether a record's identities are beyond doubt: few, of ordinary form, one of them primary.

    The short way for the many; False only says that `identities_of` and `identity_faults` decide.
    """
    count, marked = 0, False
    for namespace, value, primary in _pairs(body, resolved):
        if namespace == ECID or len(value) > IDENTITY_VALUE_CHARS_MAX:
            return False
        if value.strip().lower() not in _NOBODY:
            count += 1
            marked = marked or primary
    return count == 1 or (marked and count <= RECORD_IDENTITIES_MAX)


def identity_faults(
    body: dict[str, Any], resolved: IdentityFields
) -> Iterator[tuple[str, str, str]]:
    """What makes a record with these identities unusable: (pointer, keyword, message)."""
    for identity, _, pointer in _found(body, resolved):
        message = _fault(identity)
        if message:
            yield pointer, "identity", message


def _fault(identity: RecordIdentity) -> str:
    if identity.ns == ECID:
        if _is_ecid(identity.id):
            return ""
        return f"an ECID has exactly {ECID_DIGITS} digits; {identity.id[:40]!r} has not"
    if len(identity.id) > IDENTITY_VALUE_CHARS_MAX:
        return (
            f"an identity value has at most {IDENTITY_VALUE_CHARS_MAX} characters; "
            f"{identity.ns} {identity.id[:40]!r}… has {len(identity.id)}"
        )
    if "\x00" in identity.id or "\x00" in identity.ns:
        return f"an identity of {identity.ns[:40]!r} holds a NUL character"
    return ""


def _found(body: dict[str, Any], resolved: IdentityFields) -> Iterator[_Found]:
    for field in resolved.identities:
        value: Any = body
        for part in field.path:
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str):
            identity = RecordIdentity(field.namespace, value)
            yield _Found(identity, field.primary, "/" + "/".join(field.path))
    entries = body.get("identityMap")
    if isinstance(entries, dict):
        yield from _mapped(entries)


def _pairs(body: dict[str, Any], resolved: IdentityFields) -> list[tuple[str, str, bool]]:
    pairs = []
    for field in resolved.identities:
        value: Any = body
        for part in field.path:
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str):
            pairs.append((field.namespace, value, field.primary))
    entries = body.get("identityMap")
    if isinstance(entries, dict):
        for namespace, items in entries.items():
            for item in items if isinstance(items, list) else ():
                value = item.get("id") if isinstance(item, dict) else None
                if isinstance(value, str):
                    pairs.append((namespace, value, item.get("primary") is True))
    return pairs


def _mapped(entries: dict[str, Any]) -> Iterator[_Found]:
    for namespace, items in entries.items():
        for at, item in enumerate(items if isinstance(items, list) else ()):
            value = item.get("id") if isinstance(item, dict) else None
            if isinstance(value, str):
                identity = RecordIdentity(namespace, value)
                pointer = f"/identityMap/{namespace}/{at}/id"
                yield _Found(identity, item.get("primary") is True, pointer)


def _is_ecid(value: str) -> bool:
    return len(value) == ECID_DIGITS and value.isascii() and value.isdigit()
