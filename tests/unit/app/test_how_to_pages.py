"""What the how-to pages show is code that works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from amity.expression.check import check
from amity.expression.syntax.pql import parse
from amity.kernel.registry import Registry
from amity.platform.activation.destination import Job, Means
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


def test_the_shown_destination_writes_a_file(tmp_path: Path) -> None:
    """The plug-in of the page can be registered and publishes what it is given."""
    (code,) = blocks("add-a-destination.md", "python")
    names: dict[str, Any] = {"__name__": "partner_drop"}
    exec(compile(code, "add-a-destination.md", "exec"), names)  # noqa: S102 - our own page
    registry = Registry("test.destinations", (names["SPEC"],))
    means = Means(tmp_path / "exports", tmp_path / "work", Outbound())
    config = names["PartnerDropConfig"](path="drop")
    files = registry["partner_drop"].make(config, means=means).open(JOB)
    files.write(pa.record_batch([pa.array(["1"])], names=["shop_id"]))
    published = files.publish()

    (written,) = published.files
    assert (tmp_path / "exports" / written).read_text() == '{"shop_id":"1"}\n'
    assert written.endswith(".jsonl")


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
