"""The JSON that how-to pages show is taken as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from amity.campaign.delivery.qualification import Qualifier
from amity.campaign.delivery.shapes import Preparation
from amity.campaign.imports.accounts import AccountBody
from amity.campaign.imports.sftp_accounts import SftpAccountBody
from amity.campaign.recipients.builtin import FAILURE_REASON, FAILURE_TYPE
from amity.campaign.recipients.conditions import Conditions
from amity.campaign.recipients.enumerations import number_of
from amity.campaign.recipients.model import Schema
from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.workflow.activities import ACTIVITIES
from amity.campaign.workflow.graph import plan
from amity.campaign.workflow.templates import TEMPLATES
from amity.kernel.clock import VirtualBusinessClock, from_iso
from amity.storage.sqlite.tables import SqliteTables

IMPORT, OUTAGE = "import-recipients-and-audiences.md", "undo-a-provider-outage.md"
HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"
BLOCK = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = {
    page: [json.loads(text) for text in BLOCK.findall((HOW_TO / page).read_text())]
    for page in (IMPORT, OUTAGE)
}


class Campaign:
    """A campaign database."""

    def __init__(self, folder: Path) -> None:
        self.tables = SqliteTables(folder / "campaign.db")
        self.schemas = CampaignSchemas(self.tables, VirtualBusinessClock(1))
        self.schemas.install()


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    """With the built-in tables."""
    return Campaign(tmp_path)


def only(page: str, *names: str) -> dict[str, Any]:
    """The one body of a page that has these names."""
    (found,) = (body for body in SHOWN[page] if set(names) <= set(body))
    return dict(found)


def test_accounts_are_of_the_right_form() -> None:
    """Both can be read."""
    mine = msgspec.convert(only(IMPORT, "publicKeys"), SftpAccountBody)
    theirs = msgspec.convert(only(IMPORT, "kind", "params"), AccountBody)

    assert (mine.name, theirs.kind) == ("shop", "sftp")


def test_schemas_make_tables(campaign: Campaign) -> None:
    """In the order of the page; the columns are there."""
    for body in (one for one in SHOWN[IMPORT] if "namespace" in one):
        campaign.schemas.save(msgspec.convert(body, Schema))

    assert {"points", "store_id"} <= set(campaign.schemas.table("nms:recipient").c.keys())
    assert "recipient_id" in campaign.schemas.table("shop:offer").c


@pytest.mark.parametrize(
    ("template", "name"), [("import_recipients", "profiles"), ("import_audiences", "list")]
)
def test_templates_make_workflows(template: str, name: str) -> None:
    """What is told to a template makes a graph that can be run."""
    spec = TEMPLATES[template]
    graph = spec.make(msgspec.convert(only(IMPORT, name), spec.config))

    assert plan(graph, ACTIVITIES).graph.name == only(IMPORT, name)["name"]


def test_an_outage_is_undone(campaign: Campaign) -> None:
    """The calls of the page: released, said to be soft, and the condition finds who got nothing."""
    outage = only(OUTAGE, "since")
    since, until = from_iso(outage["since"]), from_iso(outage["until"])
    quarantine, qualifier = Quarantine(campaign.schemas), Qualifier(campaign.schemas)
    said = only(OUTAGE, "failureType", "status")
    changes = {
        "failureType": number_of(FAILURE_TYPE, said["failureType"]),
        "failureReason": number_of(FAILURE_REASON, said["failureReason"]),
    }
    wanted = msgspec.convert(only(OUTAGE, "target"), Preparation).target
    conditions = Conditions(campaign.schemas)
    refusal: dict[str, Any] = {"code": 550, "enhanced": "5.1.1", "text": "user unknown"}
    with campaign.tables.begin() as connection:
        first = qualifier.qualify(connection, **refusal, now_ms=since)
        quarantine.record(
            connection,
            address=f"ann@{outage['domain']}",
            failure_type=first.failure.type,
            failure_reason=first.failure.reason,
            now_ms=since,
        )
        released = quarantine.undo_outage(
            connection, since_ms=since, until_ms=until, domain=outage["domain"], now_ms=until
        )
        qualifier.overrule(connection, first.message_id, changes=changes, now_ms=until)
        again = qualifier.qualify(connection, **refusal, now_ms=until)
        rows = conditions.of("nms:recipient")
        found = sa.select(sa.func.count()).where(conditions.where(wanted.condition, rows, until))
        nobody = connection.execute(found).scalar_one()

    assert (first.failure.hard, released, again.failure.hard, nobody) == (True, 1, False, 0)
