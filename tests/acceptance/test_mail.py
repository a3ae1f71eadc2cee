"""The mail in the mailbox: strict, signed, and answered by POST alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import parseaddr

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from small_campaign import BOUNCES, SmallCampaign, running_campaign
from strict_mail import SIGNED, signed_fields, signed_well, strict

from amity.app.demo.letters import Letter
from amity.testing.smtp_sink import Mail, Rule

# As a recipient's name is kept: each word begins with a capital.
NAMES = [
    "Ada",
    "Grüße 李 🙂",
    'Quo"Ted "Twice"',
    "<B>Bold</B> & Co",
    "Comma, Semi; Colon:",
    "A" + "a" * 89,
    ".Leading Dot",
    "=?Utf-8?Q?Fake?=",
]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCampaign]:
    """A server and its mail server."""
    with running_campaign(tmp_path_factory.mktemp("mail")) as running:
        yield running


@pytest.fixture(scope="module")
def letters(campaign: SmallCampaign) -> dict[str, Letter]:
    """One delivery to people whose names are hard to write."""
    ids = [campaign.recipient(n, firstName=name) for n, name in enumerate(NAMES)]
    campaign.send("names", ids)
    campaign.settle()
    return campaign.letters()


def record_of(campaign: SmallCampaign) -> str:
    """The TXT record that belongs to the installation's key, made without our own code."""
    key = load_pem_private_key((campaign.server.data / "keys/dkim.pem").read_bytes(), None)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return "v=DKIM1; k=rsa; p=" + "".join(pem.splitlines()[1:-1])


def test_every_message_is_strict(letters: dict[str, Letter]) -> None:
    """Each is parsed without a defect, names its recipient once and holds the name unharmed."""
    assert len(letters) == len(NAMES)
    for number, name in enumerate(NAMES):
        letter = letters[f"p{number}@example.test"]
        message = strict(letter.raw)

        assert parseaddr(str(message["To"]))[1] == letter.to
        assert letter.subject == f"Something for {name}"
        assert letter.raw.count(b"example.test") < 40
        plain = message.get_body(("plain",))
        assert plain is not None
        assert name in " ".join(plain.get_content().split())


def test_messages_can_be_told_apart(letters: dict[str, Letter]) -> None:
    """Message id, envelope sender and links are one recipient's own."""
    everybody = list(letters.values())
    messages = [strict(letter.raw) for letter in everybody]
    distinct = (
        {str(message["Message-ID"]) for message in messages},
        {letter.sender for letter in everybody},
        {letter.one_click for letter in everybody},
        {letter.pixel for letter in everybody},
    )

    assert [len(found) for found in distinct] == [len(NAMES)] * 4
    for letter in everybody:
        local, _, domain = letter.sender.rpartition("@")
        assert domain == BOUNCES
        assert len(local) <= 64
        assert local == local.lower()


def test_signature_is_found_right_by_another_program(
    campaign: SmallCampaign, letters: dict[str, Letter]
) -> None:
    """Each is verified by dkimpy; one-click headers are covered; a changed byte is noticed."""
    record = record_of(campaign)
    for letter in letters.values():
        assert signed_well(letter.raw, record)
        assert signed_fields(strict(letter.raw)) >= SIGNED
        assert not signed_well(letter.raw.replace(b"/r/", b"/R/", 1), record)
        assert not signed_well(b"Subject: other\r\n" + letter.raw, record)


def test_get_and_head_change_nothing(campaign: SmallCampaign, letters: dict[str, Letter]) -> None:
    """Whoever looks at the unsubscribe page unsubscribes nobody; a HEAD is no hit at all."""
    letter = letters["p1@example.test"]
    before = state_of(campaign, letter.to)
    everything = (*letter.links, letter.pixel, letter.one_click, mirror_of(letter))
    for url in everything:
        assert httpx.head(url).status_code in {200, 302}
    for _ in range(3):
        page = httpx.get(letter.one_click)
        assert page.status_code == 200
        assert "<form" in page.text
        assert httpx.get(letter.one_click + "?List-Unsubscribe=One-Click").status_code == 200
    for body in (b"", b"List-Unsubscribe=Two-Clicks", b"List-Unsubscribe=One-Click2"):
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert httpx.post(letter.one_click, content=body, headers=form).status_code == 400
    campaign.settle()

    assert state_of(campaign, letter.to) == before


def test_one_click_works_by_post_alone(campaign: SmallCampaign, letters: dict[str, Letter]) -> None:
    """One POST as RFC 8058 has it, without cookies, redirects or login; once more changes nothing."""
    letter = letters["p2@example.test"]
    message = strict(letter.raw)
    listed = str(message["List-Unsubscribe"])
    with httpx.Client(follow_redirects=False) as client:
        reply = client.post(letter.one_click, data={"List-Unsubscribe": "One-Click"})
        again = client.post(letter.one_click, files={"List-Unsubscribe": (None, "One-Click")})
    campaign.settle()
    found = campaign.side.get("recipients", email=letter.to)["recipients"][0]
    hits = [one["type"] for one in campaign.rows("trackingLogs", recipientId=found["id"])]

    assert str(message["List-Unsubscribe-Post"]) == "List-Unsubscribe=One-Click"
    assert f"<{letter.one_click}>" in listed
    assert "<mailto:" in listed
    assert (reply.status_code, again.status_code) == (200, 200)
    assert not reply.cookies
    assert found["blackListEmail"] is True
    assert hits == ["optOut"]


def test_links_are_hits_when_they_are_followed(
    campaign: SmallCampaign, letters: dict[str, Letter]
) -> None:
    """An open and a click are recorded for the person whose letter it was, and nobody else."""
    letter = letters["p3@example.test"]
    campaign.reader.open(letter)
    target = campaign.reader.click(letter)
    campaign.settle()
    found = campaign.side.get("recipients", email=letter.to)["recipients"][0]
    hits = campaign.rows("trackingLogs", recipientId=found["id"])

    assert target == "https://shop.example.test/offer?for=p3"
    assert sorted(one["type"] for one in hits) == ["click", "open"]
    assert not any(one["machine"] for one in hits)


def test_tampered_links_lead_nowhere(campaign: SmallCampaign, letters: dict[str, Letter]) -> None:
    """A changed character, a link of another kind, a foreign target: 404, and nothing is recorded."""
    letter = letters["p4@example.test"]
    before = state_of(campaign, letter.to)
    base, _, token = letter.links[0].rpartition("/")
    for at in range(0, len(token), 7):
        changed = token[:at] + ("B" if token[at] == "A" else "A") + token[at + 1 :]
        assert httpx.get(f"{base}/{changed}").status_code == 404
    unsubscribe = letter.one_click.rpartition("/")[0]
    one_click = {"List-Unsubscribe": "One-Click"}
    assert httpx.post(f"{unsubscribe}/{token}", data=one_click).status_code == 404
    assert httpx.get(f"{base}/{letter.one_click.rpartition('/')[2]}").status_code == 404
    foreign = httpx.head(f"{letter.links[0]}?url=https://evil.test").headers["Location"]
    assert foreign == "https://shop.example.test/offer?for=p4"
    campaign.settle()

    assert state_of(campaign, letter.to) == before


def test_refusals_are_what_the_mail_server_said(campaign: SmallCampaign) -> None:
    """An unknown user is failed and in quarantine at once; a full mailbox is tried again later."""
    gone, full = campaign.recipient(101), campaign.recipient(102)
    campaign.sink.obey(
        Rule(to="p101@*", answer="unknown"), Rule(to="p102@*", answer="full", times=1)
    )
    delivery = campaign.send("refused", [gone, full])
    campaign.settle()
    logs = campaign.logs(delivery)
    campaign.platform.post("/admin/clock", {"advance": "PT2H"})
    later = campaign.logs(delivery)
    quarantined = campaign.side.get("quarantine", status="quarantine")["addresses"]
    campaign.sink.obey()

    assert (logs[gone]["status"], logs[gone]["failureReason"]) == ("failed", "userUnknown")
    assert (logs[full]["status"], logs[full]["failureReason"]) == ("pending", "mailboxFull")
    assert (later[full]["status"], later[full]["tries"]) == ("sent", 2)
    assert [one["address"] for one in quarantined] == ["p101@example.test"]
    assert len(campaign.sink.to("p102@example.test")) == 1
    assert campaign.sink.to("p101@example.test") == []


def test_broken_connections_write_to_nobody_twice(campaign: SmallCampaign) -> None:
    """Broken after the last dot: unknown, listed, never sent again.

    Broken before it: sent again if the last dot had certainly not left, else as above.
    """
    cut, vanished, fine = (campaign.recipient(number) for number in (301, 302, 303))
    campaign.sink.obey(
        Rule(to="p301@*", answer="cut", times=1), Rule(to="p302@*", answer="vanish", times=1)
    )
    delivery = campaign.send("broken-connections", [cut, vanished, fine])
    campaign.settle()
    for _ in range(8):
        campaign.platform.post("/admin/clock", {"advance": "PT12H"})
    logs = campaign.logs(delivery)
    listed = campaign.side.get(f"deliveries/{delivery}/unknown")["logs"]
    campaign.sink.obey()

    states = [logs[one]["status"] for one in (cut, vanished, fine)]
    mails = [len(to(campaign, number)) for number in (301, 302, 303)]

    assert states[1:] == ["unknown", "sent"]
    assert mails[1:] == [1, 1]
    assert (states[0], mails[0]) in {("sent", 1), ("unknown", 0)}
    unknown = {one for one in (cut, vanished) if logs[one]["status"] == "unknown"}
    assert {one["recipientId"] for one in listed} == unknown


def test_an_hour_of_come_back_later_loses_nobody(campaign: SmallCampaign) -> None:
    """A server that answers 4xx for an hour gets every message afterwards, each once."""
    people = [campaign.recipient(number) for number in range(401, 406)]
    campaign.sink.obey(Rule(to="p40*@*", answer="later"))
    delivery = campaign.send("later", people)
    campaign.settle()
    campaign.platform.post("/admin/clock", {"advance": "PT59M"})
    held = {one["status"] for one in campaign.logs(delivery).values()}
    none_yet = [mail for number in range(401, 406) for mail in to(campaign, number)]
    campaign.sink.obey()
    campaign.platform.post("/admin/clock", {"advance": "PT6H"})
    sent = {one["status"] for one in campaign.logs(delivery).values()}

    assert (held, none_yet) == ({"pending"}, [])
    assert sent == {"sent"}
    assert [len(to(campaign, number)) for number in range(401, 406)] == [1] * 5
    assert campaign.side.get("quarantine", status="quarantine", domain="later")["total"] == 0


def test_broken_template_of_one_person_stops_nobody_else(campaign: SmallCampaign) -> None:
    """Who lacks what the content asks for fails with the reason; the others get their mail."""
    whole, broken = campaign.recipient(201, zipCode="5"), campaign.recipient(202, zipCode="0")
    html = '<p>{{ 10 | divided_by: recipient.zipCode }} <a href="{{ unsubscribeUrl }}">no</a></p>'
    delivery = campaign.send("broken", [whole, broken], html=html)
    campaign.settle()
    logs = campaign.logs(delivery)

    assert logs[whole]["status"] == "sent"
    assert logs[broken]["status"] == "failed"
    assert "divi" in logs[broken]["failureText"]
    assert campaign.sink.to("p202@example.test") == []


def to(campaign: SmallCampaign, number: int) -> list[Mail]:
    """The mails of one recipient."""
    return campaign.sink.to(f"p{number}@example.test")


def mirror_of(letter: Letter) -> str:
    """Address of the mirror page in a letter."""
    page = strict(letter.raw).get_body(("html",))
    assert page is not None
    return str(re.findall(r'href="([^"]*/m/[^"]*)"', page.get_content())[0])


def state_of(campaign: SmallCampaign, address: str) -> tuple[object, ...]:
    """What is known of a recipient and its answers."""
    found = campaign.side.get("recipients", email=address)["recipients"][0]
    hits = campaign.rows("trackingLogs", recipientId=found["id"])
    return (found["blackListEmail"], found["blackList"], len(hits))
