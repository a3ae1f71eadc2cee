"""What returned mails do to logs, addresses and people: the corpus against its table, and attacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from answered import MAILS, SCOPE, Answered
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity.campaign.recipients.builtin import FAILURE_REASON, FAILURE_TYPE, LOG_STATUS
from amity.campaign.recipients.enumerations import name_of
from amity.campaign.tracking import returns
from amity.campaign.tracking.errors import BadReturn, NoReport
from amity.campaign.tracking.model import RETURNS_TOPIC
from amity.campaign.tracking.store import RETURN
from amity.flow import failed
from amity.flow.failed import FAILED_TOPIC
from amity.kernel.clock import DAY_MS
from amity.storage.ports import LogRecord

pytestmark = pytest.mark.thorough


def told(raw: bytes) -> object:
    """What is read in a mail, or why nothing is."""
    try:
        return returns.read(raw).verdicts
    except (BadReturn, NoReport) as error:
        return error.message


class Expected(NamedTuple):
    mail: str
    kind: str
    code: str
    enhanced: str
    failure: str
    address: str


def table() -> Iterator[Expected]:
    """The expectation table beside the corpus."""
    for line in (MAILS / "expected.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield Expected(*(cell.strip() for cell in line.split("|")))


def kinds(answered: Answered) -> list[str]:
    with answered.tables.connect() as connection:
        return list(connection.execute(sa.select(RETURN.c.kind)).scalars())


def status(answered: Answered, address: str) -> str:
    with answered.tables.connect() as connection:
        return answered.quarantine.status(connection, address)


def refusals(answered: Answered) -> list[failed.FailedRecord]:
    return [failed.DECODER.decode(one.body) for one in answered.log.poll(FAILED_TOPIC, {}, 100)]


def test_the_table_is_about_the_whole_corpus() -> None:
    """No mail lies there without an expectation."""
    assert {one.mail for one in table()} == {path.stem for path in MAILS.glob("*.eml")}


@pytest.mark.parametrize("expected", tuple(table()), ids=lambda one: one.mail)
def test_corpus(answered: Answered, expected: Expected) -> None:
    """Each mail of the corpus is read as the table says, and does that and no more."""
    raw = answered.mail(expected.mail)
    answered.come_back(raw, to="fbl" if b"To: fbl@" in raw else "")
    answered.settle()

    log = answered.log_of("ann")
    with answered.tables.connect() as connection:
        row = connection.execute(sa.select(RETURN)).one()
    assert expected.kind == row.kind
    assert (expected.code, expected.enhanced) == (str(row.code or ""), row.enhanced)
    failure = f"{name_of(FAILURE_TYPE, log['failureType'])} {name_of(FAILURE_REASON, log['failureReason'])}"
    assert (expected.failure or "none undefined") == failure
    assert ("failed" if expected.failure else "sent") == name_of(LOG_STATUS, log["status"])
    assert expected.address == status(answered, "ann@example.net")
    assert [] == [one for one in answered.rows("nms:address") if one["address"][:3] != "ann"]
    assert (expected.kind == "refused") == bool(refusals(answered))


def test_a_complaint_ends_all_email_and_is_told_of(answered: Answered) -> None:
    """Who complains is closed for e-mail, under the origin that says why; the address is denylisted."""
    answered.come_back(answered.mail("arf_yahoo"), to="fbl")
    answered.settle()

    assert [True, False, False] == [
        answered.row("nms:recipient", id=id)["blackListEmail"] for id in answered.people.values()
    ]


def test_a_forged_report_harms_nobody(answered: Answered) -> None:
    """A report that names another address than the message's is kept with the reason, and does nothing."""
    before = answered.snapshot()
    answered.come_back(answered.mail("gmail_names_another"))
    answered.settle()

    (filed,) = refusals(answered)
    assert before == answered.snapshot()
    assert "mallory.victim@example.net" in filed.reason
    assert (SCOPE.key, "campaign.returns", "foreign-return") == (
        filed.scope,
        filed.source,
        filed.code,
    )
    assert answered.mail("gmail_names_another") == filed.raw


def test_a_report_of_another_sender_is_kept(answered: Answered) -> None:
    """A complaint about somebody else's message, and one whose signature was altered, do nothing."""
    before = answered.snapshot()
    raw = answered.mail("arf_yahoo")
    verp, token = answered.verp(), answered.path("u").rpartition("/")[2]
    other = verp[:-1] + ("a" if verp[-1] != "a" else "b")
    answered.come_back(answered.mail("arf_foreign"), to="fbl")
    answered.come_back(
        raw.replace(verp.encode(), other.encode()).replace(token.encode(), token[::-1].encode()),
        to="fbl",
    )
    answered.settle()

    assert ["foreign-return"] * 2 == [one.code for one in refusals(answered)]
    assert before == answered.snapshot()


def test_a_message_that_was_not_sent_cannot_bounce(answered: Answered) -> None:
    """A report about a pending message is foreign."""
    answered.change("nms:broadLogRcp", answered.logs["ann"], status=6)
    answered.come_back(answered.mail("postfix_user_unknown"))
    answered.settle()

    assert 6 == answered.log_of("ann")["status"]
    assert ["foreign-return"] == [one.code for one in refusals(answered)]


def test_one_message_counts_once(answered: Answered) -> None:
    """Two reports about one message, and the same mail handed over twice, are one failure."""
    for name in ("postfix_mailbox_full", "postfix_mailbox_full", "exchange_quota"):
        answered.come_back(answered.mail(name))
    answered.clock.advance_to(answered.clock.now_ms() + 2 * DAY_MS)
    answered.settle()

    assert ["bounce", "repeated"] == sorted(kinds(answered))
    assert 1 == answered.row("nms:address")["errorCount"]
    assert 1 == answered.row("nms:broadLogMsg")["count"]


def test_a_record_seen_again_changes_nothing(answered: Answered) -> None:
    """After a crash between the commit and the progress, the sinks see records again."""
    for name in ("postfix_mailbox_full", "person_answers", "unsubscribe_by_mail"):
        answered.come_back(answered.mail(name))
    answered.settle()
    before, filed = answered.snapshot(), refusals(answered)
    records: list[LogRecord] = answered.log.poll(RETURNS_TOPIC, {}, 100)
    answered.returns.handle(records, answered.clock.now_ms() + DAY_MS)

    assert before == answered.snapshot()
    assert filed == refusals(answered)


def test_soft_errors_quarantine_on_the_sixth(answered: Answered) -> None:
    """Full mailboxes on six days quarantine, on five they do not."""
    found = []
    for _ in range(6):
        answered.logs["ann"] = answered.add_log("ann@example.net", recipient=None, seed=False)
        answered.come_back(answered.mail("postfix_mailbox_full"))
        answered.settle()
        found.append(status(answered, "ann@example.net"))
        answered.clock.advance_to(answered.clock.now_ms() + DAY_MS)

    assert ["errors"] * 5 + ["quarantine"] == found


def test_proofs_and_seeds_say_nothing_of_people(answered: Answered) -> None:
    """What comes back from a proof or a seed stands in its log alone."""
    for who, address in (("seed", "seed@amity.example"), ("proof", "proof@amity.example")):
        for name in ("postfix_user_unknown", "unsubscribe_by_mail"):
            raw = answered.mail(name, who).replace(f"{who}@example.net".encode(), address.encode())
            answered.come_back(raw, who)
    answered.settle()

    assert [] == answered.rows("nms:address")
    assert not any(one["blackListEmail"] for one in answered.rows("nms:recipient"))
    assert [2, 2] == [answered.log_of(who)["status"] for who in ("seed", "proof")]


def test_mailto_leaves_the_service(answered: Answered) -> None:
    """A mail to unsubscribe ends the delivery's service, and the person stays reachable otherwise."""
    answered.subscribe("ann", "news")
    answered.come_back(answered.mail("unsubscribe_by_mail"))
    answered.settle()

    assert [] == answered.rows("nms:subscription")
    assert not answered.row("nms:recipient", id=answered.people["ann"])["blackListEmail"]


def test_an_operator_overrules_a_text(answered: Answered) -> None:
    """A text marked as no failure changes neither log nor address from then on."""
    answered.come_back(answered.mail("gmail_unsolicited"))
    answered.settle()
    with answered.tables.begin() as connection:
        text = answered.row("nms:broadLogMsg")["id"]
        answered.qualifier.overrule(connection, text, changes={"status": 2}, now_ms=1)
    answered.come_back(answered.mail("gmail_unsolicited", "bob"), "bob")
    answered.settle()

    assert 1 == answered.log_of("bob")["status"]
    assert ["bounce", "ignored"] == sorted(kinds(answered))


NESTED = b"".join(
    b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(5_000)
)


@pytest.mark.parametrize(
    "raw",
    [
        b"X-A: " + b"a" * 70_000 + b"\r\n\r\n",
        b"".join(b"X-%d: a\r\n" % n for n in range(20_000)) + b"\r\nhello",
        b"a:b" * 30_000,
        NESTED,
        b"Content-Type: message/rfc822\r\n\r\n" * 3_000,
    ],
    ids=["one long header", "header bomb", "no end of headers", "nested parts", "nested mails"],
)
def test_bombs_are_refused(answered: Answered, raw: bytes) -> None:
    """A mail that is made to hurt is kept with the reason; the next one is read."""
    answered.come_back(raw)
    answered.come_back(answered.mail("postfix_user_unknown"))
    answered.settle()

    assert ["bad-return"] == [one.code for one in refusals(answered)]
    assert ["bounce", "refused"] == sorted(kinds(answered))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400), st.sampled_from(sorted(MAILS.glob("*.eml"))), st.data())
def test_nonsense_is_refused_in_words(noise: bytes, path: object, data: st.DataObject) -> None:
    """Whatever the bytes, reading ends in a report or in a reason."""
    whole = path.read_bytes()  # type: ignore[attr-defined]
    at = data.draw(st.integers(0, len(whole)))
    for raw in (noise, whole[:at] + noise + whole[at:], whole[:at]):
        assert told(raw)
