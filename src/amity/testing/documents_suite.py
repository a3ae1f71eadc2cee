"""What must every `Documents` do? Subclass and give it `documents` and `clock` fixtures."""

from __future__ import annotations

from typing import Any

import pytest

from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.errors import Outdated
from amity.kernel.scope import Scope
from amity.storage.ports import Document, Documents

_PROD, _DEV = Scope("A@Org", "prod"), Scope("A@Org", "dev")


class DocumentsSuite:
    """The contract of the port."""

    def test_create_replace_delete(self, documents: Documents, clock: VirtualBusinessClock) -> None:
        """A document has its body, a rising version, and the business time of both changes."""
        start = clock.now_ms()
        assert documents.get(_PROD, "schema", "a") is None
        first = documents.put(_PROD, "schema", "a", {"title": "One", "deep": {"ü": [1, None]}})
        clock.advance_to(start + 5)
        second = documents.put(_PROD, "schema", "a", {"title": "Two"})

        assert first == Document("a", {"title": "One", "deep": {"ü": [1, None]}}, 1, start, start)
        assert second == Document("a", {"title": "Two"}, 2, start, start + 5)
        assert documents.get(_PROD, "schema", "a") == second
        assert first.etag != second.etag
        assert documents.delete(_PROD, "schema", "a") is True
        assert documents.delete(_PROD, "schema", "a") is False
        assert documents.get(_PROD, "schema", "a") is None

    def test_found_in_order_of_creation(self, documents: Documents) -> None:
        """A replacement keeps its place; kinds and scopes are apart."""
        for name in ("c", "a", "b"):
            documents.put(_PROD, "schema", name, {})
        documents.put(_PROD, "schema", "c", {"new": True})
        documents.put(_PROD, "dataset", "a", {"other": "kind"})
        documents.put(_DEV, "schema", "a", {"other": "scope"})

        assert [document.id for document in documents.find(_PROD, "schema")] == ["c", "a", "b"]
        assert documents.find(_PROD, "schem") == []
        assert documents.delete(_DEV, "schema", "a") is True
        assert len(documents.find(_PROD, "schema")) == 3

    @pytest.mark.parametrize(("present", "asked"), [(0, 1), (1, 0), (2, 1), (1, 2)])
    def test_the_version_asked_for_must_be_there(
        self, documents: Documents, present: int, asked: int
    ) -> None:
        """0 asks for none; a wrong one changes nothing and says where it stands."""
        for _ in range(present):
            documents.put(_PROD, "schema", "a", {"kept": True})
        with pytest.raises(Outdated) as raised:
            documents.put(_PROD, "schema", "a", {"kept": False}, if_version=asked)

        assert raised.value.data == {"version": present}
        found = documents.get(_PROD, "schema", "a")
        assert (found.body if found else None) == ({"kept": True} if present else None)
        assert documents.put(_PROD, "schema", "a", {}, if_version=present).version == present + 1

    def test_bodies_are_copies(self, documents: Documents) -> None:
        """Changing what was put or got changes nothing that is stored."""
        body: dict[str, Any] = {"list": [1]}
        put = documents.put(_PROD, "schema", "a", body)
        body["list"].append(2)
        put.body["list"].append(3)
        got = documents.get(_PROD, "schema", "a")
        assert got is not None
        got.body["list"].append(4)
        documents.find(_PROD, "schema")[0].body["list"].append(5)

        found = documents.get(_PROD, "schema", "a")
        assert found is not None
        assert found.body == {"list": [1]}

    def test_the_version_moves_with_every_write(self, documents: Documents) -> None:
        """And only then."""
        versions = [documents.version()]
        documents.put(_PROD, "schema", "a", {})
        versions.append(documents.version())
        documents.put(_PROD, "schema", "a", {})
        versions.append(documents.version())
        documents.delete(_PROD, "schema", "a")
        versions.append(documents.version())
        documents.get(_PROD, "schema", "a")
        documents.find(_PROD, "schema")

        assert len(set(versions)) == 4
        assert documents.version() == versions[-1]
