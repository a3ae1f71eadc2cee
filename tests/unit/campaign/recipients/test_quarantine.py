"""When is an address in quarantine? Held against a naive reading of all it went through."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from amity.campaign.recipients.addresses import key, normalised
from amity.campaign.recipients.builtin import FAILURE_REASON, FAILURE_TYPE
from amity.campaign.recipients.enumerations import number_of
from amity.campaign.recipients.errors import UnknownAddress
from amity.campaign.recipients.quarantine import (
    MAILBOX_FULL_MS,
    RESET_MS,
    SOFT_ERRORS_MAX,
    SPACING_MS_MIN,
    Quarantine,
)
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.service import Recipients
from amity.campaign.recipients.upkeep import Upkeep
from amity.kernel.clock import DAY_MS, HOUR_MS, to_iso
from amity.storage.sqlite.tables import SqliteTables

ADDRESS = "ann@example.com"
TYPE = {one.name: number_of(FAILURE_TYPE, one.name) for one in FAILURE_TYPE.values}
REASON = {one.name: number_of(FAILURE_REASON, one.name) for one in FAILURE_REASON.values}
START = 1_000 * DAY_MS


class Told(NamedTuple):
    """Something that came back, `at_ms` after the last."""

    what: str
    after_ms: int


def fail(
    quarantine: Quarantine,
    connection: sa.Connection,
    at_ms: int,
    kind: str = "soft",
    reason: str = "unreachable",
    address: str = ADDRESS,
) -> str:
    return quarantine.record(
        connection,
        address=address,
        failure_type=TYPE[kind],
        failure_reason=REASON[reason],
        text="no",
        delivery_id=7,
        now_ms=at_ms,
    )


def healed(status: str, full: bool, quiet_ms: int) -> bool:
    """Whether time alone has made the address valid."""
    tried_again = status == "quarantine" and full and quiet_ms >= MAILBOX_FULL_MS
    return tried_again or (status == "errors" and quiet_ms > RESET_MS)


def naive(story: list[Told]) -> tuple[str, int]:
    """The documented rules told over the whole story, by lists and not by counters."""
    status, counted, full, at_ms = "valid", list[int](), False, START
    for told in story:
        at_ms += told.after_ms
        if healed(status, full, at_ms - (counted or [at_ms])[-1]):
            status, counted = "valid", []
        if told.what == "complaint":
            status = "denylisted"
        elif status == "denylisted" or told.what == "ignored":
            continue
        elif told.what == "hard":
            status, full, counted = "quarantine", False, [*counted, at_ms]
        elif told.what == "success":
            if status == "errors":
                status, counted = "valid", []
        elif status != "quarantine":
            if not counted or at_ms - counted[-1] >= SPACING_MS_MIN:
                counted.append(at_ms)
            full = told.what == "full"
            status = "quarantine" if len(counted) > SOFT_ERRORS_MAX else "errors"
    return status, len(counted) if status == "errors" else 0


SPANS = (
    0,
    HOUR_MS,
    DAY_MS - 1,
    DAY_MS,
    DAY_MS + 1,
    3 * DAY_MS,
    RESET_MS,
    RESET_MS + 1,
    MAILBOX_FULL_MS - 1,
    MAILBOX_FULL_MS,
)
TOLD = st.builds(
    Told,
    what=st.sampled_from(["soft"] * 6 + ["full"] * 4 + ["success", "hard", "ignored", "complaint"]),
    after_ms=st.sampled_from(SPANS + (DAY_MS,) * 10),
)
STORIES = st.lists(st.tuples(TOLD, st.integers(1, 7)), max_size=6).map(
    lambda runs: [told for told, times in runs for _ in range(times)]
)


@pytest.mark.thorough
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(story=STORIES)
@example(story=[*([Told("full", DAY_MS)] * 6), Told("ignored", MAILBOX_FULL_MS)])
@example(story=[*([Told("full", DAY_MS)] * 6), Told("ignored", MAILBOX_FULL_MS - 1)])
@example(story=[Told("soft", 0), Told("success", HOUR_MS), Told("soft", HOUR_MS)])
@example(story=[Told("soft", 0), Told("soft", RESET_MS), Told("soft", RESET_MS + 1)])
def test_thresholds(
    tables: SqliteTables, schemas: CampaignSchemas, quarantine: Quarantine, story: list[Told]
) -> None:
    """Whatever comes back in whatever order, the address is what the rules say.

    Time alone heals exactly when the next look is due.
    """
    at_ms = START
    with tables.begin() as connection:
        connection.execute(sa.delete(schemas.table("nms:address")))
        for told in story:
            at_ms += told.after_ms
            due = quarantine.next_clean(connection)
            assert (due is not None and due <= at_ms) == bool(
                quarantine.clean(connection, now_ms=at_ms)
            )
            if told.what == "success":
                quarantine.success(connection, addresses=[ADDRESS], now_ms=at_ms)
            elif told.what == "complaint":
                quarantine.denylist(connection, address=ADDRESS, now_ms=at_ms)
            else:
                kind = "soft" if told.what == "full" else told.what
                reason = {"full": "mailboxFull", "hard": "userUnknown"}.get(told.what, "refused")
                fail(quarantine, connection, at_ms, kind, reason)

        row = quarantine.find(connection, address=ADDRESS)

    status = "valid" if row is None else row["status"]
    errors = row["errorCount"] if row is not None and status == "errors" else 0
    assert naive(story) == (status, errors)


def test_the_sixth_day_in_a_row(tables: SqliteTables, quarantine: Quarantine) -> None:
    """Five significant soft errors are borne, however many come within each day; the sixth is not."""
    with tables.begin() as connection:
        for day in range(SOFT_ERRORS_MAX):
            for hour in range(0, 24, 3):
                at_ms = START + day * DAY_MS + hour * HOUR_MS
                assert "errors" == fail(quarantine, connection, at_ms)
        last = START + SOFT_ERRORS_MAX * DAY_MS
        assert "errors" == fail(quarantine, connection, last - 1)
        assert "quarantine" == fail(quarantine, connection, last)
        row = quarantine.find(connection, address=ADDRESS)

    assert row is not None
    assert (6, "quarantine", "unreachable", 7, "example.com") == tuple(
        row[name] for name in ("errorCount", "status", "failureReason", "deliveryId", "domain")
    )


def test_one_address_however_it_is_typed(tables: SqliteTables, quarantine: Quarantine) -> None:
    """Case and blanks make no second address, in Python and in SQL alike; channels do."""
    with tables.begin() as connection:
        fail(quarantine, connection, START, "hard", "userUnknown", " Ann@EXAMPLE.com ")
        typed = ["ANN@example.COM", "ann@example.com ", "bob@example.com"]
        statuses = quarantine.statuses(connection, typed)
        assert {ADDRESS: "quarantine"} == statuses
        assert {} == quarantine.statuses(connection, typed, "sms")
        for one in (*typed, "ÄNN@example.com", " İ@x.y"):
            in_sql = connection.execute(sa.select(key(sa.literal(one)))).scalar_one()
            assert normalised(one) == in_sql


def test_late_news_count_once(tables: SqliteTables, quarantine: Quarantine) -> None:
    """A bounce that comes after a newer one does not count again; the row is as new as the news."""
    with tables.begin() as connection:
        fail(quarantine, connection, START)
        quarantine.record(
            connection,
            address=ADDRESS,
            failure_type=TYPE["soft"],
            failure_reason=REASON["mailboxFull"],
            at_ms=START - 3 * DAY_MS,
            now_ms=START + HOUR_MS,
        )
        row = quarantine.find(connection, address=ADDRESS)

    assert row is not None
    assert (1, "mailboxFull", to_iso(START), to_iso(START + HOUR_MS)) == tuple(
        row[name] for name in ("errorCount", "failureReason", "lastError", "lastModified")
    )


def test_hard_makes_a_full_mailbox_final(tables: SqliteTables, quarantine: Quarantine) -> None:
    """A full mailbox that turns out to be no mailbox is not tried again after 30 days."""
    with tables.begin() as connection:
        for day in range(SOFT_ERRORS_MAX + 1):
            fail(quarantine, connection, START + day * DAY_MS, reason="mailboxFull")
        fail(quarantine, connection, START + 7 * DAY_MS, "hard", "userUnknown")
        quarantine.clean(connection, now_ms=START + 1_000 * DAY_MS)

        assert "quarantine" == quarantine.status(connection, ADDRESS)


def test_complaint_stays(tables: SqliteTables, quarantine: Quarantine) -> None:
    """Nothing that happens by itself lifts a complaint; only an operator does."""
    with tables.begin() as connection:
        quarantine.denylist(
            connection, address=ADDRESS, at_ms=START - 1, now_ms=START, text="abuse"
        )
        row = quarantine.find(connection, address=ADDRESS)
        assert row is not None
        assert ("refused", "abuse", to_iso(START - 1), to_iso(START)) == tuple(
            row[name] for name in ("failureReason", "failureText", "lastError", "lastModified")
        )
        quarantine.success(connection, addresses=[ADDRESS], now_ms=START)
        fail(quarantine, connection, START, "hard", "userUnknown")
        quarantine.clean(connection, now_ms=START + 1_000 * DAY_MS)
        until = START + 1_000 * DAY_MS
        assert 0 == quarantine.undo_outage(connection, since_ms=0, until_ms=until, now_ms=until)
        assert "denylisted" == quarantine.status(connection, ADDRESS)

        quarantine.release(connection, address="ANN@example.com", now_ms=until)
        assert "valid" == quarantine.status(connection, ADDRESS)
        with pytest.raises(UnknownAddress):
            quarantine.release(connection, address="none@example.com", now_ms=until)


def test_undo_outage(tables: SqliteTables, quarantine: Quarantine) -> None:
    """What a provider broke within a time is valid again: of its domain, and of that time only."""
    stories = {
        "a@down.com": START,
        "b@down.com": START + HOUR_MS,
        "c@down.com": START + HOUR_MS + 1,
        "d@up.com": START,
        "e@down.com.evil.com": START,
    }
    with tables.begin() as connection:
        for address, at_ms in stories.items():
            fail(quarantine, connection, at_ms, "hard", "userUnknown", address)
        fail(quarantine, connection, START, address="f@down.com")
        released = quarantine.undo_outage(
            connection,
            since_ms=START,
            until_ms=START + HOUR_MS,
            domain=" DOWN.com",
            now_ms=START + DAY_MS,
        )
        left = quarantine.statuses(connection, [*stories, "f@down.com"])

    assert 3 == released
    assert ["c@down.com", "d@up.com", "e@down.com.evil.com"] == sorted(
        address for address, status in left.items() if status != "valid"
    )


def test_nothing_to_quarantine(tables: SqliteTables, quarantine: Quarantine) -> None:
    """No address makes no row; a failure that says nothing about the address neither."""
    with tables.begin() as connection:
        fail(quarantine, connection, START, "hard", "addressNotSpecified", "  ")
        quarantine.denylist(connection, address=" ", now_ms=START)
        fail(quarantine, connection, START, "ignored", "notConnected")
        fail(quarantine, connection, START, "none", "undefined")

        assert None is quarantine.find(connection, address=ADDRESS)
        assert None is quarantine.find(connection, address="")


@pytest.mark.thorough
def test_many_addresses(tables: SqliteTables, quarantine: Quarantine) -> None:
    """More addresses than a statement takes are asked for and healed alike; a long text is cut."""
    many = [f"p{number}@x.com" for number in range(1_100)]
    with tables.begin() as connection:
        for one in many:
            fail(quarantine, connection, START, address=one)
        quarantine.record(
            connection,
            address="long@x.com",
            failure_type=TYPE["hard"],
            failure_reason=REASON["refused"],
            text="x" * 1_000_000,
            now_ms=START,
        )
        row = quarantine.find(connection, address="long@x.com")
        assert len(many) == len(quarantine.statuses(connection, many))
        quarantine.success(connection, addresses=many, now_ms=START)
        statuses = quarantine.statuses(connection, many)

    assert {"valid"} == set(statuses.values())
    assert row is not None
    assert 4_000 == len(row["failureText"])


def test_upkeep_is_due_when_something_heals(
    tables: SqliteTables, quarantine: Quarantine, recipients: Recipients
) -> None:
    """Nothing is done before it is due; then addresses are valid and subscriptions have ended."""
    upkeep = Upkeep(tables=tables, quarantine=quarantine, services=recipients.services)
    assert None is upkeep.next_due()
    ann = recipients.create({"email": ADDRESS})["id"]
    with tables.begin() as connection:
        fail(quarantine, connection, START)
        service = recipients.services.create(connection, {"name": "s", "validityDays": 12}, START)
        recipients.services.subscribe(
            connection, service_id=service, recipient_ids=[ann], origin="t", now_ms=START
        )

    due = upkeep.next_due()
    assert START + RESET_MS + 1 == due
    assert (0, 1) == (upkeep.fire_due(START + RESET_MS), upkeep.fire_due(START + RESET_MS + 1))
    assert START + 12 * DAY_MS == upkeep.next_due()
    assert 1 == upkeep.fire_due(START + 12 * DAY_MS)
    assert (None, 0, 0, {}) == (
        upkeep.next_due(),
        upkeep.lag(),
        upkeep.run_once(START),
        upkeep.positions(),
    )
    history = recipients.history(ann)
    assert ["expiration", "t"] == [one["origin"] for one in history["subscriptionHistory"]]
    assert ([], "valid") == (history["subscriptions"], history["address"]["status"])
