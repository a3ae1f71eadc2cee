"""What servers' replies mean, and what an operator makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.campaign.delivery.qualification import (
    COUNT_MAX,
    NORMALISED_CHARS_MAX,
    TEXT_CHARS_MAX,
    TYPES,
    Failure,
    Qualifier,
    normalised,
    qualify,
)
from amity.campaign.recipients.builtin import FAILURE_REASON, FAILURE_TYPE
from amity.campaign.recipients.enumerations import name_of
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.clock import VirtualBusinessClock
from amity.storage.sqlite.tables import SqliteTables

REPLIES = [
    tuple(cell.strip() for cell in line.split("|"))
    for line in (Path(__file__).parent / "replies.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


class Texts:
    """The table of qualifications in a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.tables = SqliteTables(folder / "campaign.db")
        self.schemas = CampaignSchemas(self.tables, VirtualBusinessClock(0))
        self.schemas.install()
        self.qualifier = Qualifier(self.schemas)

    def qualify(self, code: int, enhanced: str, text: str, now_ms: int = 1) -> tuple[Failure, int]:
        with self.tables.begin() as connection:
            return self.qualifier.qualify(
                connection, code=code, enhanced=enhanced, text=text, now_ms=now_ms
            )

    def overrule(self, id: int, **changes: int) -> bool:
        with self.tables.begin() as connection:
            return self.qualifier.overrule(connection, id, changes=changes, now_ms=2)

    def rows(self) -> list[dict[str, object]]:
        table = self.schemas.table("nms:broadLogMsg")
        with self.tables.connect() as connection:
            rows = connection.execute(table.select().order_by(table.c.id)).all()
        return [dict(zip(table.c.keys(), row, strict=True)) for row in rows]


@pytest.fixture
def texts(tmp_path: Path) -> Iterator[Texts]:
    made = Texts(tmp_path)
    yield made
    made.tables.close()


@pytest.mark.parametrize(("code", "enhanced", "text", "expected"), REPLIES)
def test_replies(code: str, enhanced: str, text: str, expected: str) -> None:
    """Each reply of the table means what stands beside it."""
    found = qualify(int(code), enhanced, text)

    assert expected == (
        f"{name_of(FAILURE_TYPE, found.type)} {name_of(FAILURE_REASON, found.reason)}"
    )


@settings(max_examples=100, deadline=None)
@given(st.integers(400, 499), st.sampled_from([row[1:3] for row in REPLIES]))
def test_what_may_pass_is_never_hard(code: int, reply: tuple[str, str]) -> None:
    """No code of the 400s gives an address up, whatever the text says."""
    assert TYPES["soft"] == qualify(code, *reply).type


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 599), st.text(max_size=20), st.text(max_size=3_000))
def test_foreign_text_is_bounded(code: int, enhanced: str, text: str) -> None:
    """Whatever a server says becomes one line of bounded length and a documented number."""
    found, said = qualify(code, enhanced, text), normalised(code, enhanced, text)

    assert len(found.text) <= TEXT_CHARS_MAX
    assert not any(ord(one) < 32 or ord(one) == 127 for one in found.text)
    assert 0 < len(said) <= NORMALISED_CHARS_MAX
    assert found.type in {TYPES["soft"], TYPES["hard"]}


def test_texts_that_differ_in_names_are_one(texts: Texts) -> None:
    """Addresses, hosts, queue ids and IPs are taken out; each distinct text is counted."""
    for n, name in enumerate(("ann", "bob.hara", "cyd+x")):
        texts.qualify(
            550,
            "5.1.1",
            f"<{name}@example.net>: user unknown (in reply to RCPT) mx{n}.example.net "
            f"[203.0.113.{n}] id 4T9xYz{n}Q https://example.net/why?{n}",
        )
    texts.qualify(550, "5.1.1", "Something else entirely")

    assert [3, 1] == [row["count"] for row in texts.rows()]
    assert "ann@example.net" not in str(texts.rows()[0]["text"])


def test_what_no_rule_knows_waits_for_an_operator(texts: Texts) -> None:
    """A text of no rule is to be qualified; the operator's word counts from then on."""
    first, id = texts.qualify(554, "", "Das Postfach gibt es nicht")
    assert texts.overrule(id, status=1, failureType=2, failureReason=1)
    second, again = texts.qualify(554, "", "Das Postfach gibt es nicht")
    assert texts.overrule(id, status=2)
    third, _ = texts.qualify(554, "", "Das Postfach gibt es nicht")

    assert [(1, 20), (2, 1), (3, 25)] == [(one.type, one.reason) for one in (first, second, third)]
    assert id == again
    assert second.hard
    assert [3] == [row["count"] for row in texts.rows()]
    assert not texts.overrule(id + 1, status=1)


def test_the_count_ends(texts: Texts) -> None:
    """Occurrences are counted up to the documented number."""
    _, id = texts.qualify(550, "5.1.1", "no")
    assert texts.overrule(id, count=COUNT_MAX)
    texts.qualify(550, "5.1.1", "no")

    assert COUNT_MAX == texts.rows()[0]["count"]
