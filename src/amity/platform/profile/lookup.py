"""Which entity is asked for, and what is the answer?

Joins identities, profiles and the shapes of the entities API.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from amity.kernel.errors import AmityError
from amity.kernel.scope import Scope
from amity.platform.identity.model import Identity
from amity.platform.profile.entities import (
    EVENTS_MAX,
    Asked,
    only,
    page_of,
    read_cursor,
    shown_events,
    shown_nobody,
    shown_profile,
    write_cursor,
)
from amity.platform.profile.errors import InvalidEntityRequest, NoSuchEntity
from amity.platform.profile.policies import PROFILE_SCHEMA, MergePolicies
from amity.platform.profile.service import Profiles
from amity.platform.profile.store import FOREVER_MS, events_of
from amity.storage.ports import State

PROFILE = PROFILE_SCHEMA
EVENTS = "_xdm.context.experienceevent"
_IDENTITIES_MAX = 1_000
"""Identities in one request. Ours."""


class Codes(Protocol):
    """Knows how a namespace code is really written (samples write `ecid`)."""

    def written(self, scope: Scope, code: str) -> str: ...


class Span(NamedTuple):
    """From `start_ms` to before `end_ms`."""

    start_ms: int = -FOREVER_MS
    end_ms: int = FOREVER_MS

    @classmethod
    def between(cls, start_ms: int | None, end_ms: int | None) -> Span:
        """A span that may be open on either side."""
        return cls(
            -FOREVER_MS if start_ms is None else max(start_ms, -FOREVER_MS),
            FOREVER_MS if end_ms is None else min(end_ms, FOREVER_MS),
        )

    @property
    def is_from(self) -> bool:
        """Whether it begins somewhere."""
        return self.start_ms != -FOREVER_MS

    @property
    def is_to(self) -> bool:
        """Whether it ends somewhere."""
        return self.end_ms != FOREVER_MS


class Lookup:
    """Answers the entities API."""

    def __init__(
        self, *, state: State, profiles: Profiles, policies: MergePolicies, codes: Codes
    ) -> None:
        self._state = state
        self._profiles = profiles
        self._policies = policies
        self._codes = codes

    def identity(self, scope: Scope, id: str, ns: str) -> Identity:
        """The identity named by value and namespace code, or by xid alone."""
        if not id:
            raise InvalidEntityRequest("entityId is required: an XID, or a value with entityIdNS")
        if ns:
            return Identity(self._codes.written(scope, ns), id)
        with self._state.read() as reader:
            found = self._profiles.identity_of(reader, scope, id)
        if found is None:
            raise NoSuchEntity(
                f"{id!r} is no XID known here; give entityIdNS when it is a value", xid=id
            )
        return found

    def profile(
        self, scope: Scope, identity: Identity, policy: str, fields: tuple[str, ...]
    ) -> dict[str, Any]:
        """One profile, keyed by the xid asked for."""
        shown = self._profile(scope, identity, policy, fields)
        if shown is None:
            raise NoSuchEntity(
                f"there is no profile with {identity.ns} {identity.id!r}", xid=identity.xid
            )
        return {identity.xid: shown}

    def events(self, scope: Scope, identity: Identity, asked: Asked, span: Span) -> dict[str, Any]:
        """A page of the events of the person who holds an identity."""
        with self._state.read() as reader:
            policy = self._policies.default(scope)
            found = self._profiles.of_identity(reader, scope, identity, policy)
            members = () if found is None else found.members
            events = events_of(
                reader,
                scope,
                members,
                start_ms=span.start_ms,
                end_ms=span.end_ms,
                reverse=asked.reverse,
            )
            page = page_of(events, asked)
        children = shown_events(asked, page)
        return {
            "_page": {"count": len(children), "next": write_cursor(page.next)},
            "children": children,
        }

    def entity(self, scope: Scope, identity: Identity, fields: tuple[str, ...]) -> dict[str, Any]:
        """One thing, keyed by its xid."""
        with self._state.read() as reader:
            found = self._profiles.entity(reader, scope, identity)
        if found is None:
            raise NoSuchEntity(
                f"there is no entity with {identity.ns} {identity.id!r}", xid=identity.xid
            )
        return {identity.xid: {"entityId": identity.xid, "entity": only(found, fields)}}

    def many(self, scope: Scope, body: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The answers to a list of identities, keyed by xid; whether any of them failed."""
        _check_form(body)
        schema = (body.get("schema") or {}).get("name", PROFILE)
        asked = body.get("identities")
        if not isinstance(asked, list) or not 0 < len(asked) <= _IDENTITIES_MAX:
            raise InvalidEntityRequest(
                f"identities must be a list of 1 to {_IDENTITIES_MAX} of "
                '{"entityId", "entityIdNS": {"code"}}'
            )
        answers: dict[str, Any] = {}
        failed = False
        for one in asked:
            id, ns = _named(one)
            try:
                identity = self.identity(scope, id, ns)
                answers[identity.xid] = self._one(scope, schema, identity, body)
            except AmityError as error:
                failed = True
                answers[id] = {"statusCode": error.status, "message": error.message}
        return answers, failed

    def _one(
        self, scope: Scope, schema: str, identity: Identity, body: dict[str, Any]
    ) -> dict[str, Any]:
        fields = tuple(body.get("fields") or ())
        if schema == PROFILE:
            policy = str(body.get("mergePolicyId") or "")
            return self._profile(scope, identity, policy, fields) or shown_nobody()
        if schema == EVENTS:
            return self._event_list(scope, identity, body, fields)
        return dict(self.entity(scope, identity, fields)[identity.xid])

    def _event_list(
        self, scope: Scope, identity: Identity, body: dict[str, Any], fields: tuple[str, ...]
    ) -> dict[str, Any]:
        times = body.get("timeFilter") or {}
        order = str(body.get("orderby") or body.get("orderBy") or "+timestamp")
        asked = Asked(
            identity.xid,
            min(int(body.get("limit") or EVENTS_MAX), EVENTS_MAX),
            order.startswith("-"),
            fields,
            (),
            read_cursor(str(body.get("start") or "")),
        )
        span = Span.between(times.get("startTime"), times.get("endTime"))
        found = self.events(scope, identity, asked, span)
        cursor = found["_page"]["next"]
        payload = (
            {
                **body,
                "start": cursor,
                "identities": [
                    {"entityId": identity.id, "entityIdNS": {"code": identity.ns}},
                ],
            }
            if cursor
            else {}
        )
        page = {**found["_page"], "orderby": order, "start": str(body.get("start") or "")}
        return {
            "relatedEntityId": identity.xid,
            **found,
            "_page": page,
            "_links": {"next": {"href": "", "payload": payload}},
        }

    def _profile(
        self, scope: Scope, identity: Identity, policy: str, fields: tuple[str, ...]
    ) -> dict[str, Any] | None:
        chosen = self._policies.policy(scope, policy or None)
        with self._state.read() as reader:
            found = self._profiles.of_identity(reader, scope, identity, chosen)
        if found is None:
            return None
        shown = shown_profile(identity.xid, found, fields)
        named = {"id": identity.id, "namespace": {"code": identity.ns}}
        return {**shown, "requestedIdentity": named}


_FORMS: dict[str, tuple[type, str]] = {
    "schema": (dict, "an object with a name"),
    "timeFilter": (dict, "an object with startTime and endTime, in milliseconds"),
    "fields": (list, "a list of paths"),
    "limit": (int, "a number"),
}


def _check_form(body: dict[str, Any]) -> None:
    for key, (form, words) in _FORMS.items():
        if body.get(key) is not None and not isinstance(body[key], form):
            raise InvalidEntityRequest(f"{key} must be {words}")
    times = (body.get("timeFilter") or {}).values()
    if not all(one is None or isinstance(one, int) for one in times):
        raise InvalidEntityRequest(f"timeFilter must be {_FORMS['timeFilter'][1]}")
    if not all(isinstance(one, str) for one in body.get("fields") or ()):
        raise InvalidEntityRequest(f"fields must be {_FORMS['fields'][1]}")


def _named(one: Any) -> tuple[str, str]:
    if not isinstance(one, dict):
        raise InvalidEntityRequest("an identity is an object with entityId and entityIdNS")
    id = one.get("entityId") or one.get("relatedEntityId") or ""
    ns = one.get("entityIdNS") or one.get("relatedEntityIdNS") or ""
    return str(id), str(ns.get("code", "") if isinstance(ns, dict) else ns)
