"""How many people would an audience have, before it is made?

Every person is looked at (no sample), by the meaning of the language. Behaviour:
platform-audiences.md §5.3.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from amity.expression.errors import ExpressionError
from amity.expression.evaluators.rows import evaluate
from amity.expression.syntax import pql, pql_json
from amity.expression.tree import Node
from amity.expression.values import truth
from amity.kernel.clock import BusinessClock
from amity.kernel.errors import Invalid
from amity.kernel.ids import IdSource, ProfileId
from amity.kernel.scope import Scope
from amity.platform.segmentation.errors import UnknownPreview
from amity.platform.segmentation.service import Audiences
from amity.platform.segmentation.stage import ProfileStore
from amity.platform.segmentation.store import Members
from amity.storage.ports import Documents, State

Json = dict[str, Any]
KIND = "segment_preview"
SAMPLE = 100
PAGE = 1_000


class People(ProfileStore, Protocol):
    """What a preview needs of the profile stage."""

    def iterate(self, scope: Scope, start: str = "", limit: int = 1_000) -> list[ProfileId]: ...


class Previews:
    """Previews and estimates of every sandbox."""

    def __init__(  # noqa: PLR0913 - the ports it is wired with
        self,
        *,
        documents: Documents,
        ids: IdSource,
        clock: BusinessClock,
        audiences: Audiences,
        people: People,
        members: Members,
        state: State,
        submit: Callable[[Callable[[], None]], None],
    ) -> None:
        self._documents = documents
        self._ids = ids
        self._clock = clock
        self._audiences = audiences
        self._people = people
        self._members = members
        self._state = state
        self._submit = submit

    def create(self, scope: Scope, body: Mapping[str, Any]) -> Json:
        """Take a preview and have it counted."""
        rule = _rule(body)
        self._audiences.check_rule(scope, rule)
        query, execution = self._ids.uuid(), len(self._documents.find(scope, KIND))
        id = base64.urlsafe_b64encode(f"{query}:{execution}".encode()).decode().rstrip("=")
        made: Json = {
            "state": "NEW",
            "previewQueryId": query,
            "previewQueryStatus": "NEW",
            "previewId": id,
            "previewExecutionId": execution,
            "matched": 0,
            "read": 0,
            "results": [],
        }
        self._documents.put(scope, KIND, id, made, if_version=0)
        self._submit(lambda: self._run(scope, id, rule))
        return {key: made[key] for key in made if key not in {"matched", "read", "results"}}

    def results(self, scope: Scope, id: str) -> Json:
        """A sample of the people found."""
        body = self._body(scope, id)
        return {
            "results": body["results"],
            "page": {"offset": 0, "size": len(body["results"])},
            "state": body["state"],
            "link": {},
        }

    def estimate(self, scope: Scope, id: str) -> Json:
        """How many people were found."""
        body = self._body(scope, id)
        return {
            "estimatedSize": body["matched"],
            "numRowsToRead": str(body["read"]),
            "profilesReadSoFar": body["read"],
            "profilesMatchedSoFar": body["matched"],
            "totalRows": str(body["read"]),
            "standardError": 0.0,
            "confidenceInterval": "95%",
            "state": body["state"],
            "error": body.get("error", {"description": "", "traceback": ""}),
        }

    def delete(self, scope: Scope, id: str) -> None:
        """Forget a preview."""
        self._body(scope, id)
        self._documents.delete(scope, KIND, id)

    def _body(self, scope: Scope, id: str) -> Json:
        document = self._documents.get(scope, KIND, id)
        if document is None:
            raise UnknownPreview(f"preview {id} not found; make one by POST /preview", id=id)
        return document.body

    def _run(self, scope: Scope, id: str, rule: Node) -> None:
        now_ms, matched, read = self._clock.now_ms(), 0, 0
        sample: list[Json] = []
        for profile in self._everyone(scope):
            read += 1
            if self._matches(scope, profile, rule, now_ms):
                matched += 1
                sample += [{"XID_PROFILE_ID": profile}] if len(sample) < SAMPLE else []
        body = self._documents.get(scope, KIND, id)
        if body is not None:
            found = {"matched": matched, "read": read, "results": sample}
            ready = {"state": "RESULT_READY", "previewQueryStatus": "RESULT_READY"}
            self._documents.put(scope, KIND, id, body.body | found | ready)

    def _everyone(self, scope: Scope) -> Iterable[ProfileId]:
        start = ""
        while page := self._people.iterate(scope, start, PAGE):
            yield from (profile for profile in page if profile != start)
            if len(page) < PAGE:
                return
            start = page[-1]

    def _matches(self, scope: Scope, profile: ProfileId, rule: Node, now_ms: int) -> bool:
        with self._state.read() as reader:
            view = self._people.view(reader, scope, profile)
            events = [{**e.body, "_id": e.id} for e in self._people.events(reader, scope, profile)]
            known = self._members.state_of(reader, scope, profile)
        inside = {id for id, one in known.standings.items() if one.inside} if known else set()
        return truth(evaluate(rule, view, events, now_ms, audiences=inside).value)


def _rule(body: Mapping[str, Any]) -> Node:
    text = body.get("predicateExpression")
    if not isinstance(text, str):
        raise Invalid("predicateExpression: a query text is needed")
    form = body.get("predicateType", "pql/text")
    if form not in ("pql/text", "pql/json"):
        raise Invalid(f"predicateType {form!r} is not pql/text or pql/json")
    try:
        return pql_json.parse(text) if form == "pql/json" else pql.parse(text)
    except ExpressionError as error:
        error.data.setdefault("field", "predicateExpression")
        raise
