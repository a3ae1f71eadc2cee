"""What the parts promise one another once they are joined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amity.app.assembly import OtherMergePolicy, Platform, assemble
from amity.app.core import HTTP_WRITER, open_core
from amity.app.folder import DataFolder
from amity.kernel.scope import Scope

SCOPE = Scope("O@AmityOrg", "prod")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """The platform on an empty folder."""
    folder = DataFolder(tmp_path / "data")
    folder.create()
    core = open_core(folder, clock="", writer=HTTP_WRITER)
    yield assemble(core, tenant="shop", public_url="http://shop.test", append=core.log.append)
    core.close()


def definition(policy: str) -> dict[str, Any]:
    """An audience that names a merge policy."""
    return {
        "name": f"Known by name {policy}",
        "schema": {"name": "_xdm.context.profile"},
        "expression": {"type": "PQL", "format": "pql/text", "value": 'personID = "1"'},
        "mergePolicyId": policy,
    }


def test_other_merge_policies_are_refused(platform: Platform) -> None:
    """An audience is not promised a policy it is not evaluated under; the default may be named."""
    default = platform.policies.default(SCOPE).id
    other = platform.policies.create(
        SCOPE,
        {
            "name": "Each on its own",
            "schema": {"name": "_xdm.context.profile"},
            "identityGraph": {"type": "none"},
            "attributeMerge": {"type": "timestampOrdered"},
        },
    )["id"]
    made = platform.audiences.create(SCOPE, definition(default))

    assert platform.audiences.get(SCOPE, made["id"])["name"].startswith("Known")
    with pytest.raises(OtherMergePolicy):
        platform.audiences.create(SCOPE, definition(other))
