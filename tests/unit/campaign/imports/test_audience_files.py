"""Audience files of the platform: checked before they are believed, read in order, never more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity.campaign.imports.errors import BadFile
from amity.campaign.workflow.activity import Done
from amity.campaign.workflow.errors import BadOptions
from amity.exchange.audience_file import manifest_path
from amity.exchange.errors import ManifestDiffers, NoManifest
from amity.exchange.formats import CAMPAIGN_STANDARD, CAMPAIGN_V7, CLOUD_STORAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from amity.exchange.manifest import Manifest
    from conftest import Ground

TRANSFER: dict[str, Any] = {
    "account": "exchange",
    "path": "campaign/manifest-*.json",
    "manifest": True,
    "missing": "transition",
}
LOAD: dict[str, Any] = {
    "audience": True,
    "columns": [
        {"name": "externalId", "source": "crm_id"},
        {"name": "email", "source": "personalEmail_address", "case": "lower"},
    ],
    "keys": ["externalId", "email"],
}


class Import:
    """The two activities, with what they remember from run to run."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.seen: Any = {}
        self.known: Any = {}

    def run(self, transfer: dict[str, Any] = TRANSFER, load: dict[str, Any] = LOAD) -> Done | None:
        taken = self.ground.run("file_transfer", transfer, memory=self.seen)
        assert isinstance(taken, Done)
        if "out" not in taken.outputs:
            return None
        done = self.ground.run("load_file", load, vars=taken.outputs["out"].vars, memory=self.known)
        assert isinstance(done, Done)
        self.seen = self.seen if taken.memory is None else taken.memory
        self.known = self.known if done.memory is None else done.memory
        return done


def people(ground: Ground, done: Done | None) -> dict[str, str]:
    assert done is not None
    return {row["externalId"]: row["segmentStatus"] for row in ground.rows(done.outputs["out"])}


def rewrite(ground: Ground, manifest: Manifest, **changes: Any) -> None:
    """A manifest that says something else."""
    path = manifest_path(manifest)
    body = orjson.loads(ground.exchange.get(path))
    body["exportResults"][0] |= {
        name: value for name, value in changes.items() if name in body["exportResults"][0]
    }
    body |= {name: value for name, value in changes.items() if name in body}
    ground.exchange.put(path, orjson.dumps(body))


@pytest.mark.parametrize("file", [CAMPAIGN_V7, CAMPAIGN_STANDARD, CLOUD_STORAGE])
def test_members_and_leavers_are_told_apart(ground: Ground, file: Any) -> None:
    """In each form, whatever word it has for one who left; the rows are a segment file's."""
    ground.audience([("1", "Ann@x.org", file.realized), ("2", "b@x.org", file.exited)], file=file)

    done = Import(ground).run()

    assert people(ground, done) == {"1": "active", "2": "expired"}
    assert done is not None
    assert done.outputs["out"].table.origin == "segment"
    assert ground.rows(done.outputs["out"])[0]["email"] == "ann@x.org"
    assert done.outputs["out"].vars["audienceName"] == "Rich"


def test_of_several_files_the_last_word_counts(ground: Ground) -> None:
    """In the order in which they were exported, whatever their names; and no file twice."""
    ground.audience(
        [("1", "a@x", "active"), ("2", "b@x", "active"), ("3", "c@x", "active")],
        run="r9", mode="full", until_revision=5,
    )  # fmt: skip
    ground.audience(
        [("2", "b@x", "expired"), ("3", "c@x", "expired")],
        run="r1", at="2017-10-30T03:00:00Z", since_revision=5, until_revision=8,
    )  # fmt: skip
    ground.audience(
        [("3", "c@x", "active"), ("", "4@x", "active")],
        run="r0", at="2017-10-30T06:00:00Z", since_revision=8, until_revision=9,
    )  # fmt: skip
    daily = Import(ground)

    done = daily.run()

    assert done is not None
    found = {
        row["externalId"] or row["email"]: row["segmentStatus"]
        for row in ground.rows(done.outputs["out"])
    }
    assert found == {"1": "active", "2": "expired", "3": "active", "4@x": "active"}
    assert "info: 4 rows loaded, 0 rejected, 3 replaced by a later word" in ground.journal[-1]
    assert daily.run() is None


def test_who_is_not_in_a_full_export_has_left(ground: Ground) -> None:
    """Of those that files before it named; the mode goes on for the list."""
    ground.audience([("1", "a@x", "active"), ("2", "b@x", "active")], run="r1", until_revision=3)
    ground.audience([("2", "b@x", "active"), ("3", "c@x", "active")], run="r2", mode="full",
                    at="2017-10-31T00:00:00Z", until_revision=9)  # fmt: skip

    done = Import(ground).run()

    assert people(ground, done) == {"1": "expired", "2": "active", "3": "active"}
    assert done is not None
    assert done.outputs["out"].vars["exportMode"] == "full"


@pytest.mark.thorough
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    exports=st.lists(
        st.dictionaries(st.sampled_from("123"), st.sampled_from(["active", "expired"])),
        min_size=1, max_size=5,
    ),
    cuts=st.sets(st.integers(1, 4)),
)  # fmt: skip
def test_reading_at_once_or_one_by_one_is_the_same(
    make_ground: Callable[[], Ground], exports: list[dict[str, str]], cuts: set[int]
) -> None:
    """Whenever the import runs, the last word about each person is the same in the end."""
    ground = make_ground()
    daily, found = Import(ground), dict[str, str]()
    for at, rows in enumerate(exports):
        if at in cuts and (done := daily.run()):
            found |= people(ground, done)
        ground.audience(
            [(name, f"{name}@x", word) for name, word in rows.items()],
            run=f"r{9 - at}", at=f"2017-10-30T0{at}:00:00Z", since_revision=at, until_revision=at + 1,
        )  # fmt: skip
    if done := daily.run():
        found |= people(ground, done)

    expected: dict[str, str] = {}
    for rows in exports:
        expected |= rows
    assert expected == found


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lie",
    [
        {"rows": 3},
        {"sha256": "0" * 64},
        {"size": 1},
        {"bytes": 7},
        {"name": "other.txt"},
        {"columns": ["crm_id"]},
    ],
)
def test_a_manifest_that_lies_gives_nothing(ground: Ground, lie: dict[str, Any]) -> None:
    """Whatever it lies about: not a row is taken, nothing is left behind."""
    manifest = ground.audience([("1", "a@x", "active"), ("2", "b@x", "expired")])
    rewrite(ground, manifest, **lie)

    with pytest.raises((ManifestDiffers, BadFile)):
        Import(ground).run()
    assert ground.work.names() == []


def test_a_truncated_part_gives_nothing(ground: Ground) -> None:
    """Cut at the end of a line or within one."""
    manifest = ground.audience([("1", "a@x", "active"), ("2", "b@x", "expired")])
    path = manifest.export_results[0].path
    whole = ground.exchange.get(path)
    for cut in (len(whole) - 3, whole.rindex(b"2\t")):
        ground.exchange.put(path, whole[:cut])
        with pytest.raises(ManifestDiffers):
            Import(ground).run()
        assert ground.work.names() == []
    ground.exchange.put(path, whole)
    assert people(ground, Import(ground).run()) == {"1": "active", "2": "expired"}


def test_a_part_without_its_manifest_is_not_there_yet(ground: Ground) -> None:
    """The manifest comes last: before it nothing is taken."""
    manifest = ground.audience([("1", "a@x", "active")])
    path = manifest_path(manifest)
    content = ground.exchange.get(path)
    ground.exchange.delete(path)
    daily = Import(ground)
    assert daily.run() is None

    ground.exchange.put(path, content)
    assert people(ground, daily.run()) == {"1": "active"}


def test_what_is_no_manifest_is_refused(ground: Ground) -> None:
    """By name, with the reason."""
    ground.exchange.put("campaign/manifest-x.json", b'{"flowRunId": 1}')
    with pytest.raises(NoManifest, match=r"manifest-x\.json"):
        Import(ground).run()


def test_a_manifest_names_nothing_outside(ground: Ground) -> None:
    """Neither of the store nor of the machine."""
    manifest = ground.audience([("1", "a@x", "active")])
    for name in ("../../etc/passwd", "/etc/passwd", "../keys/secrets.key"):
        rewrite(ground, manifest, name=name)
        with pytest.raises(Exception, match=r"path|not there"):
            Import(ground).run()


def test_an_unknown_word_or_no_key_is_rejected(ground: Ground) -> None:
    """A row alone, with its line; the others are taken."""
    ground.audience(
        [("1", "a@x", "active"), ("2", "b@x", "sleeping"), ("", "", "active"), ("4", "d@x", "")]
    )

    done = Import(ground).run()

    assert people(ground, done) == {"1": "active"}
    assert done is not None
    reasons = [row["reason"] for row in ground.rows(done.outputs["rejects"])]
    assert [reason.split(":")[0] for reason in reasons] == [
        "segmentMembership_status",
        "no key",
        "segmentMembership_status",
    ]


def test_a_missing_file_between_two_is_told(ground: Ground) -> None:
    """The changes in it are not known: the journal says what to do."""
    daily = Import(ground)
    ground.audience([("1", "a@x", "active")], run="r1", until_revision=3)
    daily.run()
    ground.audience([("2", "b@x", "active")], run="r3", at="2017-10-30T06:00:00Z",
                    since_revision=7, until_revision=9)  # fmt: skip

    daily.run()

    assert any("a file between them is missing" in line for line in ground.journal)


def test_an_older_file_found_later_changes_nothing(ground: Ground) -> None:
    """Membership does not go back in time."""
    daily = Import(ground)
    ground.audience([("1", "a@x", "expired")], run="r2", at="2017-10-30T06:00:00Z",
                    since_revision=4, until_revision=9)  # fmt: skip
    daily.run()
    ground.audience([("1", "a@x", "active")], run="r1", until_revision=4)

    done = daily.run()

    assert done is not None
    assert done.outputs == {}
    assert any("is older than what was read before" in line for line in ground.journal)


def test_a_file_overwritten_before_it_was_read_is_missed_aloud(ground: Ground) -> None:
    """A full export that was replaced is simply older; lost changes stop the import."""
    template = "%DESTINATION_NAME%_%SEGMENT_ID%"
    ground.audience([("1", "a@x", "active")], run="r1", mode="full", template=template,
                    until_revision=1)  # fmt: skip
    ground.audience([("2", "b@x", "active")], run="r2", mode="full", template=template,
                    at="2017-10-31T00:00:00Z", until_revision=2)  # fmt: skip
    daily = Import(ground)
    assert people(ground, daily.run()) == {"2": "active"}

    for run, since in (("r3", 2), ("r4", 3)):
        ground.audience([("3", "c@x", "expired")], run=run, template=template,
                        at=f"2017-11-0{since}T00:00:00Z", since_revision=since,
                        until_revision=since + 1)  # fmt: skip
    with pytest.raises(ManifestDiffers, match="lost"):
        daily.run()


def test_files_of_two_audiences_are_not_mixed(ground: Ground) -> None:
    """One import is of one audience; the transfer chooses it by id or name."""
    ground.audience([("1", "a@x", "active")], run="r1")
    ground.audience([("2", "b@x", "active")], run="r2", destination_id="flow2")
    with pytest.raises(BadFile, match="several audiences"):
        Import(ground).run()
    with pytest.raises(BadOptions, match="keys"):
        ground.run("load_file", {"audience": True})
    assert Import(ground).run({**TRANSFER, "audience": "Poor"}) is None


# --- a segment file by another way --------------------------------------------------------------


@pytest.mark.parametrize("disguise", ["as it is", "renamed", "by name alone", "copied beside"])
def test_a_segment_file_is_known_as_one(ground: Ground, disguise: str) -> None:
    """However it comes in, its rows may not create a recipient: they carry where they are from."""
    columns = ("crm_id", "personalEmail.address")
    if disguise == "renamed":
        columns = (*columns, "segmentMembership.status")
    rows = [("1", "a@x", "active")[: len(columns)]]
    manifest = ground.audience(rows, columns=columns)
    path = manifest.export_results[0].path
    content = ground.exchange.get(path)
    if disguise in {"renamed", "by name alone"}:
        ground.exchange.delete(manifest_path(manifest))
        ground.exchange.delete(path)
        path = "in/new_customers.txt" if disguise == "renamed" else path
        ground.exchange.put(path, content)
    if disguise == "copied beside":
        path = "campaign/new_customers.txt"
        ground.exchange.put(path, content)

    taken = ground.run("file_transfer", {"account": "exchange", "path": path})
    assert isinstance(taken, Done)
    load = {"format": {"kind": "tab"}}
    done = ground.run("load_file", load, vars=taken.outputs["out"].vars)

    assert isinstance(done, Done)
    assert done.outputs["out"].table is not None
    assert done.outputs["out"].table.origin == "segment"


def test_a_file_of_customers_is_none(ground: Ground) -> None:
    """Beside segment files too."""
    ground.audience([("1", "a@x", "active")])
    ground.exchange.put("campaign/customers.csv", b"crm_id\n9\n")
    taken = ground.run("file_transfer", {"account": "exchange", "path": "campaign/customers.csv"})
    assert isinstance(taken, Done)
    done = ground.run("load_file", {}, vars=taken.outputs["out"].vars)
    assert isinstance(done, Done)
    assert done.outputs["out"].table == msgspec.structs.replace(
        done.outputs["out"].table, origin=""
    )
