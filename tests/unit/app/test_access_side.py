"""Who may send to an inlet that asks for a token."""

from __future__ import annotations

from pathlib import Path

import pytest

from amity.app.access_side import Access
from amity.app.core import HTTP_WRITER, open_core
from amity.app.folder import DataFolder
from amity.kernel.scope import Scope

OURS = Scope("A@AmityOrg", "prod")


@pytest.fixture
def access(tmp_path: Path) -> Access:
    """The parts of access of a fresh folder."""
    folder = DataFolder(tmp_path / "data")
    folder.create()
    return Access.of(open_core(folder, clock="", writer=HTTP_WRITER))


def test_a_client_that_may_ingest_sends_to_its_own_organisation_only(access: Access) -> None:
    """Its token is good for inlets of its organisation, and for no other's."""
    client, _ = access.clients.create(OURS.org, "loader", frozenset({"ingest-data"}))
    token, _ = access.tokens.issue(client, OURS.org)
    assert access.may_ingest(token, OURS)
    assert not access.may_ingest(token, Scope("B@AmityOrg", "prod"))


def test_a_good_token_without_the_permission_is_not_enough(access: Access) -> None:
    """A client that may only look cannot write through an inlet, nor can one that is gone."""
    client, _ = access.clients.create(OURS.org, "reader", frozenset({"view-profiles"}))
    token, _ = access.tokens.issue(client, OURS.org)
    gone, _ = access.tokens.issue("0" * 32, OURS.org)
    assert not access.may_ingest(token, OURS)
    assert not access.may_ingest(gone, OURS)
    assert not access.may_ingest("x.y.z", OURS)
