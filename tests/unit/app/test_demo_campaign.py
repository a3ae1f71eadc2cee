"""The demo's campaign: what the data set says of it, who answers how, and how letters are answered."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from amity.app.demo.answers import Answers, derive_answers
from amity.app.demo.campaign_data import CampaignData, Coupon, campaign_data
from amity.app.demo.dataset import RawFiles
from amity.app.demo.letters import Letter, complaint, late_bounce, read_letter
from amity.app.demo.raw import RawData
from amity.campaign.tracking.returns import read
from amity.kernel.clock import from_iso
from amity.testing.smtp_sink import Mail

SENT_MS = from_iso("2017-10-31")
HOUSEHOLDS = 400
RAW = (
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nTo: h7@example.test\r\n"
    b"List-Unsubscribe: <http://amity.test/u/abc>, <mailto:unsubscribe-x@bounces.example.test>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b'<p><a href="http://amity.test/m/t0">as a page</a> <a href="http://amity.test/r/t1">offer</a>'
    b'<img src="http://amity.test/o/t2.gif"></p>\r\n'
)


def day(year: int, month: int, of_month: int) -> datetime:
    """Midnight, without a zone, as the data set has it."""
    return datetime(year, month, of_month, tzinfo=UTC).replace(tzinfo=None)


def write(folder: Path, name: str, **columns: list[object]) -> None:
    """A Parquet file of the data set."""
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CampaignData:
    """Half of the households are targets; every tenth target redeemed."""
    folder = tmp_path_factory.mktemp("shop")
    everybody = list(range(1, HOUSEHOLDS + 1))
    targets = everybody[::2]
    redeemers = targets[::10]
    before, late = day(2017, 10, 1), day(2017, 12, 1)
    bought = [
        (one, 7, sku, at) for one in everybody for sku, at in ((1, before), (2, before), (1, late))
    ]
    write(
        folder,
        "transactions",
        household_id=[row[0] for row in bought],
        store_id=[row[1] for row in bought],
        basket_id=list(range(len(bought))),
        product_id=[row[2] for row in bought],
        quantity=[1] * len(bought),
        sales_value=[1.0] * len(bought),
        transaction_timestamp=[row[3] for row in bought],
    )
    write(folder, "demographics", household_id=[1], income=["250K+"])
    write(folder, "products", product_id=[1, 2], product_type=["RYE", None])
    write(folder, "campaigns", campaign_id=[18] * len(targets) + [3], household_id=[*targets, 2])
    write(
        folder,
        "campaign_descriptions",
        campaign_id=[3, 18],
        campaign_type=["Type B", "Type A"],
        start_date=[day(2017, 3, 1), day(2017, 10, 30)],
        end_date=[day(2017, 4, 1), day(2017, 12, 24)],
    )
    write(folder, "coupons", coupon_upc=[91, 90, 93], product_id=[1, 1, 2], campaign_id=[18, 18, 3])
    write(
        folder,
        "coupon_redemptions",
        household_id=[*redeemers, *redeemers, 2],
        coupon_upc=[90] * (2 * len(redeemers) + 1),
        campaign_id=[18] * (2 * len(redeemers)) + [3],
        redemption_date=[late] * len(redeemers) + [day(2017, 11, 5)] * (len(redeemers) + 1),
    )
    files = RawFiles(folder=folder)
    return campaign_data(RawData(files), files)


@pytest.fixture(scope="module")
def answers(data: CampaignData) -> Answers:
    """What everybody does."""
    return derive_answers(data, range(1, HOUSEHOLDS + 1), sent_ms=SENT_MS)


def test_campaign_is_what_the_data_set_says(data: CampaignData) -> None:
    """Its days, its targets, first redemptions, and a coupon for something bought before."""
    assert (data.kind, data.start_ms, data.end_ms) == (
        "Type A",
        from_iso("2017-10-30"),
        from_iso("2017-12-24"),
    )
    assert data.targets == set(range(1, HOUSEHOLDS, 2))
    assert data.redeemed == dict.fromkeys(range(1, HOUSEHOLDS, 20), from_iso("2017-11-05"))
    assert data.coupons == dict.fromkeys(range(1, HOUSEHOLDS, 2), Coupon(90, "RYE"))
    assert set(data.stores.values()) == {7}


def test_everybody_answers_in_one_way(data: CampaignData, answers: Answers) -> None:
    """Who redeemed opens and clicks; some are no recipients; each answers once, after the mail."""
    conducts = answers.conducts
    answering = [household for those in answers.days.values() for household in those]

    assert conducts.keys() == data.targets
    assert answers.of("redeems") == set(data.redeemed)
    assert 0.9 < len(answers.recipients) / HOUSEHOLDS < 0.98
    assert len(answering) == len(set(answering))
    assert set(answering) == answers.of("redeems", "opens", "unsubscribes", "complains", "bounces")
    assert min(answers.days) >= SENT_MS
    assert set(data.redeemed) <= set(answers.days[from_iso("2017-11-05")])
    assert set(conducts.values()) >= {"silent", "opens", "unsubscribes"}


def test_letter_is_read_as_a_mail_program_reads_it() -> None:
    """Subject decoded, the tracked link, the pixel and the one-click address found."""
    mail = Mail(
        number=1, sender="bx@bounces.example.test", recipients=("h7@example.test",), raw=RAW
    )

    assert read_letter(mail) == Letter(
        to="h7@example.test",
        sender="bx@bounces.example.test",
        subject="Grüße",
        pixel="http://amity.test/o/t2.gif",
        links=("http://amity.test/r/t1",),
        one_click="http://amity.test/u/abc",
        raw=RAW,
    )


def test_reports_are_what_providers_send() -> None:
    """A complaint and a late bounce are read as such, with the address they are about."""
    verp = "b" + "a" * 40
    mail = Mail(number=1, sender=f"{verp}@bounces.test", recipients=("h7@example.test",), raw=RAW)
    letter = read_letter(mail)
    (complained,) = read(complaint(letter)).verdicts
    (bounced,) = read(late_bounce(letter)).verdicts

    assert (complained.kind, complained.addresses) == ("complaint", ("h7@example.test",))
    assert (bounced.kind, bounced.code, bounced.enhanced) == ("failed", 550, "5.1.1")
    assert read(late_bounce(letter)).references == (verp,)
