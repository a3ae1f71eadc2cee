"""What the how-to pages show is code that works."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from amity.campaign.recipients.conditions import Conditions
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.workflow.activity import Column, Done, Task, WorkTable
from amity.campaign.workflow.population import made_rows, rows_table
from amity.expression.check import check
from amity.expression.syntax.pql import parse
from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.registry import Registry
from amity.platform.activation.destination import Job, Means
from amity.storage.sqlite.tables import SqliteTables
from amity.storage.sqlite.work_files import SqliteWorkFiles
from amity.transports.outbound import Outbound

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"


def blocks(page: str, kind: str) -> list[str]:
    """The blocks of one kind on a page."""
    return re.findall(
        rf"^```{kind}\n(.*?)^```$", (HOW_TO / page).read_text(), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("rule", blocks("write-a-query.md", "pql"))
def test_every_rule_is_read(rule: str) -> None:
    """Each rule of the page parses, and its values go together."""
    tree = parse(rule)

    check(tree)


def test_the_page_has_rules() -> None:
    """The test above looks at something."""
    assert len(blocks("write-a-query.md", "pql")) > 10


def shown(page: str, module: str) -> dict[str, Any]:
    """What the only Python block of a page defines."""
    (code,) = blocks(page, "python")
    names: dict[str, Any] = {"__name__": module}
    exec(compile(code, page, "exec"), names)  # noqa: S102 - our own page
    return names


def test_the_shown_destination_writes_a_file(tmp_path: Path) -> None:
    """The plug-in of the page can be registered and publishes what it is given."""
    names = shown("add-a-destination.md", "partner_drop")
    registry = Registry("test.destinations", (names["SPEC"],))
    means = Means(tmp_path / "exports", tmp_path / "work", Outbound())
    config = names["PartnerDropConfig"](path="drop")
    files = registry["partner_drop"].make(config, means=means).open(JOB)
    files.write(pa.record_batch([pa.array(["1"])], names=["shop_id"]))
    published = files.publish()

    (written,) = published.files
    assert (tmp_path / "exports" / written).read_text() == '{"shop_id":"1"}\n'
    assert written.endswith(".jsonl")


def test_the_shown_activity_keeps_the_first(tmp_path: Path) -> None:
    """It can be registered; of the rows that agree the first goes on, the others with a reason."""
    names = shown("add-an-activity.md", "one_of_each")
    registry = Registry("test.activities", (names["SPEC"],))
    tables = SqliteTables(tmp_path / "campaign.db")
    schemas = CampaignSchemas(tables, VirtualBusinessClock(0))
    schemas.install()
    work = SqliteWorkFiles(tmp_path / "work", tables, tmp_path / "campaign.db")
    before = WorkTable(name="given", columns=(Column(name="house"),), count=4, origin="segment")
    with work.build(before.name) as connection:
        given = [{"house": house} for house in ("a", "b", "a", "a")]
        connection.execute(sa.insert(made_rows(connection, before.columns)), given)
    means: Any = SimpleNamespace(conditions=Conditions(schemas))
    activity = registry["one_of_each"].make(names["OneOfEachConfig"](by="@house"), means)
    done = activity.run(task(work, before))

    assert isinstance(done, Done)
    (made,) = (out.table for out in done.outputs.values())
    assert made is not None
    assert (made.count, made.origin, [one.count for one in done.excluded]) == (2, "segment", [2])
    source = rows_table(made.columns)
    with work.read(made.name) as connection:
        kept = connection.execute(sa.select(source.c.n, source.c.house)).all()
    assert [tuple(row) for row in kept] == [(1, "a"), (2, "b")]


def task(work: SqliteWorkFiles, before: WorkTable) -> Task:
    """A task over one population."""
    return Task(
        workflow=1,
        id=1,
        activity="one",
        inputs={"given": before},
        vars={},
        instance_vars={},
        memory={},
        now_ms=0,
        attempt=1,
        work=work,
        journal=lambda _level, _text: None,
        stopped=lambda: False,
    )


JOB = Job(
    org="A@AmityOrg",
    sandbox="prod",
    destination="Partner",
    flow="flow1",
    flow_name="To the partner",
    audience="aud1",
    audience_name="Regulars",
    merge_policy="mp",
    merge_policy_name="Default",
    run="run1",
    scheduled_ms=1_509_321_600_000,
    mode="full",
    since_revision=0,
    until_revision=1,
    filename="",
    columns=("shop_id",),
)
