"""Whatever JSON is posted, catalog and flow service take it whole or refuse it with a reason."""

from __future__ import annotations

import copy
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.errors import AmityError
from amity.kernel.ids import SeededIds
from amity.kernel.scope import Scope
from amity.platform.catalog.flow_service import FlowService, Noun
from amity.platform.catalog.render import shown_dataset
from amity.platform.catalog.service import Catalog
from amity.platform.schema.model import PROFILE_CLASS
from amity.platform.schema.service import SchemaRegistry
from amity.testing.memory import MemoryDocuments

SCOPE = Scope("O@AmityOrg", "prod")
SPEC = "3f2a6a0e-0000-4000-8000-000000000001"
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "enc:a", SPEC]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["id", "tags", "enabled", "auth", "params", "password", "rowExpiration"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)


class OpenSecrets:
    """Secrets marked, not hidden."""

    def encrypt(self, plain: str) -> str:
        return f"enc:{plain}"

    def decrypt(self, sealed: str) -> str:
        return sealed.removeprefix("enc:")


class AnyKind:
    """A kind that takes every flow."""

    spec_ids = frozenset({SPEC})

    def specs(self) -> list[dict[str, Any]]:
        return [{"kind": "connectionSpec", "id": SPEC, "name": "Any", "version": "1.0"}]

    def connection_created(self, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
        return body

    def flow_changing(
        self, scope: Scope, before: dict[str, Any] | None, after: dict[str, Any]
    ) -> dict[str, Any]:
        return after

    def flow_changed(self, scope: Scope, flow: dict[str, Any]) -> None:
        return None


class Shelf:
    """A catalog and a flow service."""

    def __init__(self) -> None:
        clock = VirtualBusinessClock(1_500_000_000_000)
        documents, ids = MemoryDocuments(clock), SeededIds(random.Random(3))
        self.registry = SchemaRegistry(documents=documents, ids=ids, clock=clock, tenant="shop")
        self.catalog = Catalog(documents=documents, ids=ids, clock=clock, registry=self.registry)
        self.flows = FlowService(
            documents=documents, ids=ids, clock=clock, kinds=[AnyKind()], secrets=OpenSecrets()
        )
        self.schema = self.registry.create_schema(
            SCOPE, {"title": "Customers", "allOf": [{"$ref": PROFILE_CLASS}]}
        )

    def flow_parts(self) -> dict[str, Any]:
        """A connection with a secret, its ends, and the body of a flow between them."""
        spec = {"id": SPEC, "version": "1.0"}
        connection = {
            "name": "c",
            "connectionSpec": spec,
            "auth": {"specName": "s", "params": {"password": "pw", "host": "h"}},
        }
        made = self.flows.create(SCOPE, "connections", connection).body
        end = {"name": "e", "baseConnectionId": made["id"], "connectionSpec": spec, "params": {}}
        source = self.flows.create(SCOPE, "sourceConnections", end).body
        target = self.flows.create(SCOPE, "targetConnections", end).body
        return {
            "name": "f",
            "flowSpec": {"id": SPEC, "version": "1.0"},
            "sourceConnectionIds": [source["id"]],
            "targetConnectionIds": [target["id"]],
            "transformations": [{"name": "GeneralTransform", "params": {}}],
        }


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [at] if at else []
    if isinstance(value, dict):
        children: Any = value.items()
    else:
        children = enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        found += places(child, (*at, key))
    return found


def spoiled(draw: Any, body: dict[str, Any]) -> dict[str, Any]:
    """A body with junk in one or two places."""
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 2))):
        where = draw(st.sampled_from(places(body)))
        target: Any = body
        for part in where[:-1]:
            target = target[part]
        target[where[-1]] = draw(JUNK)
    return body


def refused_well(error: AmityError) -> None:
    """A refusal is the sender's to mend, and says how."""
    assert error.status in (400, 404, 409)
    assert error.message


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_dataset_is_taken_or_refused(data: st.DataObject) -> None:
    """A dataset that is taken can be read, shown and changed."""
    shelf = Shelf()
    body = {
        "name": "Shop",
        "schemaRef": {"id": shelf.schema.id, "contentType": "x"},
        "tags": {"unifiedProfile": ["enabled:false"], "team": ["a"]},
        "extensions": {"adobe_lakeHouse": {"a": 1}},
        "fileDescription": {"format": "parquet"},
    }
    try:
        made = shelf.catalog.create_dataset(SCOPE, spoiled(data.draw, body))
        shelf.catalog.change_dataset(SCOPE, made.id, spoiled(data.draw, body))
    except AmityError as error:
        refused_well(error)
    for document in shelf.catalog.documents(SCOPE):
        dataset = shelf.catalog.dataset(SCOPE, document.id)
        shown_dataset(SCOPE, document, shelf.catalog.schema_of(SCOPE, dataset.id), None)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(["connections", "sourceConnections", "targetConnections"]))
def test_connection_is_taken_or_refused(data: st.DataObject, noun: Noun) -> None:
    """A connection that is taken is listed; a secret text in it is never shown."""
    shelf = Shelf()
    body = {
        "name": "c",
        "connectionSpec": {"id": SPEC, "version": "1.0"},
        "auth": {"specName": "s", "params": {"password": "secret-pw", "host": "h"}},
        "params": {"path": "/"},
    }
    try:
        made = shelf.flows.create(SCOPE, noun, spoiled(data.draw, body))
        shelf.flows.opened(SCOPE, noun, made.body["id"])
    except AmityError as error:
        refused_well(error)
    for shown in shelf.flows.find(SCOPE, noun):
        assert "secret-pw" not in str(shown.body)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_flow_is_taken_or_refused(data: st.DataObject) -> None:
    """A flow that is taken is shown with its ends, patched and deleted."""
    shelf = Shelf()
    body = shelf.flow_parts()
    try:
        made = shelf.flows.create(SCOPE, "flows", spoiled(data.draw, body))
        patch = [
            {
                "op": "replace",
                "path": data.draw(st.sampled_from(["/name", "/transformations", "/state", ""])),
                "value": data.draw(JUNK),
            }
        ]
        id = made.body["id"]
        shelf.flows.patch(SCOPE, "flows", id, patch, if_match=f'"{made.etag}"')
    except AmityError as error:
        refused_well(error)
    for shown in shelf.flows.find(SCOPE, "flows"):
        shelf.flows.delete(SCOPE, "flows", shown.body["id"])


def test_secrets_are_sealed_and_opened() -> None:
    """A password lies sealed, is shown as stars, and opens for who connects; a patch keeps it."""
    shelf = Shelf()
    shelf.flow_parts()
    (shown,) = shelf.flows.find(SCOPE, "connections")
    id = shown.body["id"]
    patch = [{"op": "replace", "path": "/name", "value": "other"}]
    shelf.flows.patch(SCOPE, "connections", id, patch, if_match=f'"{shown.etag}"')

    assert shown.body["auth"]["params"] == {"password": "********", "host": "h"}
    assert shelf.flows.opened(SCOPE, "connections", id)["auth"]["params"]["password"] == "pw"
