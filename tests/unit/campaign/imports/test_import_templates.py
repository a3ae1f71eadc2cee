"""The two imports, whole: what the files say is in the tables, and nothing else is."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import sqlalchemy as sa

from amity.campaign.recipients.conditions import Conditions
from amity.campaign.recipients.model import Attribute, Key, Link, Schema
from amity.campaign.workflow.activities import ACTIVITIES
from amity.campaign.workflow.engine import Engine
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.service import Workflows
from amity.campaign.workflow.templates import TEMPLATES
from amity.exchange.guardrails import check_creates_no_recipient
from amity.kernel.clock import HOUR_MS, RealSystemClock, from_iso
from amity.testing.simulator import Crash
from amity.testing.workflow_simulator import Moments, MortalFiles, MortalTables

pytestmark = pytest.mark.thorough

if TYPE_CHECKING:
    from conftest import Ground

AUDIENCE: dict[str, Any] = {
    "name": "rich",
    "list": "Rich",
    "folder": "campaign",
    "keys": {"externalId": "crm_id", "email": "personalEmail_address"},
    "rejectsFolder": "shop/rejects",
}
PROFILES: dict[str, Any] = {
    "name": "people",
    "profiles": {
        "path": "shop/profiles_*.csv",
        "columns": [
            {"name": "externalId", "source": "crm_id"},
            {"name": "email"},
            {"name": "firstName", "source": "first"},
        ],
    },
    "personalisation": {
        "path": "shop/offers_*.csv",
        "schema": "shop:offer",
        "columns": [{"name": "externalId", "source": "crm_id"}, {"name": "text"}],
        "keys": ["externalId"],
    },
    "rejectsFolder": "shop/rejects",
}
OFFER = Schema(
    namespace="shop",
    name="offer",
    kind="personalisation",
    attributes=(Attribute(name="externalId"), Attribute(name="text")),
    links=(Link(name="recipient", target="nms:recipient"),),
    keys=(Key(name="externalId", fields=("externalId",)),),
)


class Town:
    """A ground with an engine that may die."""

    def __init__(self, ground: Ground, moments: Moments | None = None) -> None:
        self.ground = ground
        self.moments = moments or Moments()
        ground.schemas.install()
        self.workflows = Workflows(
            tables=ground.tables,
            work=ground.work,
            activities=ACTIVITIES,
            templates=TEMPLATES,
            means=self.means(),
            clock=ground.clock,
        )

    def means(self) -> Means:
        given = {
            "conditions": Conditions(self.ground.schemas),
            "check_creates_no_recipient": check_creates_no_recipient,
        }
        return dataclasses.replace(self.ground.means(), **given)

    def start(self, template: str, options: dict[str, Any]) -> int:
        made = self.workflows.from_template(template, options)
        self.workflows.command(made["id"], "start")
        self.live()
        return int(made["id"])

    def advance(self, hours: int) -> None:
        self.ground.clock.advance_to(self.ground.clock.now_ms() + hours * HOUR_MS)
        self.live()

    def live(self) -> None:
        """Until nothing is left to do, however often it takes."""
        while True:
            engine = Engine(
                tables=MortalTables(self.ground.tables, self.moments),
                work=MortalFiles(self.ground.work, self.moments),
                activities=ACTIVITIES,
                means=self.means(),
                clock=self.ground.clock,
                system=RealSystemClock(),
            )
            try:
                with closing(engine):
                    engine.fire_due(self.ground.clock.now_ms())
                    while engine.run_once(self.ground.clock.now_ms()):
                        pass
            except Crash:
                self.moments.live_again()
            else:
                return

    def recipients(self) -> dict[str, tuple[Any, ...]]:
        table = self.ground.schemas.table("nms:recipient")
        with self.ground.tables.connect() as connection:
            rows = connection.execute(
                sa.select(table.c.externalId, table.c.email, table.c.firstName)
            )
            return {row.externalId or row.email: tuple(row) for row in rows}

    def add(self, *people: tuple[str, str]) -> None:
        table = self.ground.schemas.table("nms:recipient")
        with self.ground.tables.begin() as connection:
            for external, email in people:
                connection.execute(sa.insert(table).values(externalId=external, email=email))

    def members(self) -> list[str]:
        recipient = self.ground.schemas.table("nms:recipient")
        member = self.ground.schemas.table("nms:rcpGrpRel")
        query = sa.select(recipient.c.externalId).join(
            member, member.c.recipient_id == recipient.c.id
        )
        with self.ground.tables.connect() as connection:
            return sorted(connection.execute(query).scalars())

    def told(self, workflow: int) -> str:
        return "\n".join(line["text"] for line in self.workflows.journal(workflow))

    def kept(self) -> dict[str, str]:
        found = self.ground.sftp.list("shop/rejects/")
        return {stat.path[13:]: self.ground.sftp.get(stat.path).decode() for stat in found}


def publish(ground: Ground) -> None:
    """A first, full file, then changes."""
    ground.audience(
        [("1", "a@x", "active"), ("", "B@x ", "active"), ("9", "nobody@x", "active")],
        run="r1", mode="full", until_revision=3,
    )  # fmt: skip
    ground.audience(
        [("1", "a@x", "expired"), ("3", "c@x", "active"), ("4", "d@x", "sleeping")],
        run="r2", at="2017-10-30T03:00:00Z", since_revision=3, until_revision=5,
    )  # fmt: skip


def test_an_audience_becomes_a_list(ground: Ground) -> None:
    """Members get on it, who left goes off it and stays a recipient, nobody is created."""
    town = Town(ground)
    town.add(("1", "a@x"), ("2", "b@x"), ("3", "c@x"))
    before = town.recipients()
    publish(ground)

    id = town.start("import_audiences", AUDIENCE)

    assert town.members() == ["2", "3"], town.told(id)
    assert town.recipients() == before
    kept = town.kept()
    (unknown,) = [text for name, text in kept.items() if name.startswith("rich_unknown_")]
    assert "nobody@x" in unknown
    (rejects,) = [text for name, text in kept.items() if name.startswith("load_rejects_")]
    assert "'sleeping' is none of" in rejects

    ground.audience([("2", "b@x", "expired")], run="r3", at="2017-10-30T06:00:00Z",
                    since_revision=5, until_revision=6)  # fmt: skip
    town.advance(3)
    assert town.members() == ["3"]
    ground.audience([("1", "a@x", "active")], run="r4", at="2017-10-31T00:00:00Z", mode="full",
                    until_revision=9)  # fmt: skip
    town.advance(3)
    assert town.members() == ["1"]
    town.advance(3)
    assert town.members() == ["1"]
    assert town.recipients() == before


def test_a_lying_manifest_changes_nobody(ground: Ground) -> None:
    """The workflow stops and says why; the list is as it was."""
    town = Town(ground)
    town.add(("1", "a@x"), ("2", "b@x"))
    manifest = ground.audience([("1", "a@x", "active"), ("2", "b@x", "active")])
    path = manifest.export_results[0].path
    ground.exchange.put(path, ground.exchange.get(path).replace(b"2\t", b"1\t"))

    id = town.start("import_audiences", AUDIENCE)

    assert town.members() == []
    assert "its manifest says" in town.told(id)


@pytest.mark.parametrize("first", range(2))
def test_killed_anywhere_the_list_is_the_same(ground: Ground, first: int) -> None:
    """No recipient is created, nobody is on the list twice or missing, one file of each kind."""
    town = Town(ground, Moments(range(8 + 21 * first, 1_000, 37)))
    town.add(("1", "a@x"), ("2", "b@x"), ("3", "c@x"))
    before = town.recipients()
    publish(ground)

    town.start("import_audiences", AUDIENCE)

    assert town.moments.deaths > 0
    assert town.members() == ["2", "3"]
    assert town.recipients() == before
    assert len(town.kept()) == 2


def test_profiles_and_personalisation_come_in(ground: Ground) -> None:
    """New people are made, known ones changed, offers are linked; what cannot be is kept apart."""
    ground.schemas.install()
    ground.schemas.save(OFFER)
    town = Town(ground)
    town.add(("1", "a@x"))
    ground.sftp.put("shop/profiles_1.csv",
                    b"crm_id,email,first\n1,A@x.org,ann\n2,b@x.org,Bo\n,,Cy\n3,no address,Di\n")  # fmt: skip
    ground.sftp.put("shop/offers_1.csv", b"crm_id,text\n1,Bread\n2,Wine\n8,Cheese\n")

    id = town.start("import_recipients", PROFILES)

    found = town.recipients()
    assert found["1"] == ("1", "a@x.org", "Ann"), town.told(id)
    assert found["2"] == ("2", "b@x.org", "Bo")
    assert set(found) == {"1", "2"}
    offer, recipient = ground.schemas.table("shop:offer"), ground.schemas.table("nms:recipient")
    query = sa.select(recipient.c.externalId, offer.c.text).join(
        recipient, recipient.c.id == offer.c.recipient_id
    )
    with ground.tables.connect() as connection:
        assert sorted(map(tuple, connection.execute(query))) == [("1", "Bread"), ("2", "Wine")]
    kept = "\n".join(town.kept().values())
    assert "no key: externalId, email are all empty" in kept
    assert "no address" in kept
    assert "Cheese" in kept

    ground.sftp.put("shop/offers_2.csv", b"crm_id,text\n1,Cake\n")
    ground.clock.advance_to(from_iso("2017-10-31T08:00:00Z"))
    town.live()
    with ground.tables.connect() as connection:
        assert sorted(map(tuple, connection.execute(query))) == [("1", "Cake"), ("2", "Wine")]


@pytest.mark.parametrize("disguise", ["as it is", "renamed"])
def test_a_segment_file_makes_no_recipient_by_this_way(ground: Ground, disguise: str) -> None:
    """Put where profiles are expected, it changes nobody and is refused with the reason."""
    town = Town(ground)
    manifest = ground.audience(
        [("7", "new@x.org", "active")],
        columns=("crm_id", "email", "segmentMembership.status"),
    )
    content = ground.exchange.get(manifest.export_results[0].path)
    name = "profiles_9.csv" if disguise == "renamed" else manifest.export_results[0].name
    ground.sftp.put(f"shop/{name}", content)
    profiles = {
        "path": f"shop/{name}",
        "format": {"kind": "tab"},
        "columns": [{"name": "externalId", "source": "crm_id"}, {"name": "email"}],
    }

    id = town.start("import_recipients", {"name": "people", "profiles": profiles})

    assert town.recipients() == {}
    assert "never creates" in town.told(id) or "segment" in "".join(town.kept().values())


@pytest.mark.parametrize("template", ["import_recipients", "import_audiences"])
def test_the_page_shows_options_that_work(ground: Ground, template: str) -> None:
    """What docs/how-to/bring-files-in.md shows makes a workflow."""
    page = Path(__file__).parents[4] / "docs" / "how-to" / "bring-files-in.md"
    text = page.read_text().partition(f"```json {template}\n")[2].partition("```")[0]
    ground.schemas.install()
    ground.schemas.save(OFFER)

    made = Town(ground).workflows.from_template(template, orjson.loads(text))

    assert made["id"]
