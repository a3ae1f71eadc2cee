"""What the parts promise one another once they are joined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amity.app.assembly import OtherMergePolicy, Platform, assemble
from amity.app.core import HTTP_WRITER, open_core
from amity.app.folder import DataFolder
from amity.app.worker_side import lake_primary
from amity.kernel.clock import VirtualBusinessClock, from_iso
from amity.kernel.scope import Scope
from amity.platform.catalog.model import Dataset
from amity.platform.ingestion.identities import identities_of
from amity.platform.ingestion.validation import RecordValidator
from amity.platform.schema.model import EVENT_CLASS, PROFILE_CLASS, ResolvedSchema

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


EVENTS = ResolvedSchema(
    id="s",
    alt_id="s",
    title="Events",
    version="1.0",
    class_id=EVENT_CLASS,
    behavior="time-series",
    json_schema={"type": "object"},
)


def test_events_are_filed_by_rank_everywhere(platform: Platform) -> None:
    """An event whose map marks the device is filed under the person, in the lake as in the profile."""
    for code, kind in (("device", "COOKIE"), ("login", "CROSS_DEVICE")):
        platform.namespaces.create(SCOPE, {"code": code, "idType": kind, "name": code})
    body = {"identityMap": {"device": [{"id": "d", "primary": True}], "login": [{"id": "l"}]}}
    found = identities_of(body, EVENTS)

    assert found.primary == ("device", "d")
    assert lake_primary(platform.settings)(SCOPE, found, EVENTS) == ("login", "l")


def test_an_event_needs_no_marked_identity(platform: Platform) -> None:
    """The linking rules choose among an event's identities; a record must say which is primary."""
    unmarked = {"identityMap": {"device": [{"id": "d"}], "login": [{"id": "l"}]}}
    event = {"_id": "e", "timestamp": "2020-01-01T00:00:00Z", **unmarked}
    dataset = Dataset(id="d", name="d", schema_id="s", profile_enabled=True)
    records = msgspec.structs.replace(EVENTS, class_id=PROFILE_CLASS, behavior="record")
    clock = VirtualBusinessClock(from_iso("2021-01-01T00:00:00Z"))

    assert RecordValidator(SCOPE, dataset, EVENTS, clock).check(event, b"{}") == []
    refused = RecordValidator(SCOPE, dataset, records, clock).check(unmarked, b"{}")
    assert [violation.keyword for violation in refused] == ["identity"]
