"""How does the audience become answered mail, and the answers an audience?

Campaign 18 of the data set, sent while its days go by: recipients come by SFTP, the audience by the
files of the platform, each delivery is a workflow, and people answer by the links in their letters.
Logs go back to the platform once a day, where who answered becomes an audience.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from amity.app.demo import campaign_graphs as graphs
from amity.app.demo.answers import Answers
from amity.app.demo.campaign_client import CampaignSide, SftpDoor
from amity.app.demo.campaign_data import CampaignData
from amity.app.demo.client import Platform
from amity.app.demo.derive import LOYALTY, address_of
from amity.app.demo.letters import Letter, Reader, read_letter
from amity.app.demo.profile_files import offers_file, recipients_file, stores_file
from amity.kernel.clock import DAY_MS, from_iso, to_iso
from amity.testing.smtp_sink import Rule, SmtpSink

SENT_MS = from_iso("2017-10-31")
"""The first delivery leaves at the end of the campaign's first day."""

REMINDER_MS = from_iso("2017-12-04")
"""The second delivery, to the same list."""

FIRST, SECOND = "A coupon for you", "Your coupon is still good"

TARGETS = "Target of campaign 18"
ANSWERED = "Answered campaign 18"
CAMPAIGN_CODE = "18"

Say = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """What the campaign side speaks with.

    Attributes:
        sink: The mail server of the recipients.
        door: Where files are put.
        reader: The recipients, with their browsers and providers.
    """

    sink: SmtpSink
    door: SftpDoor
    reader: Reader


@dataclass(slots=True)
class Sent:
    """What one delivery came to."""

    subject: str
    workflow: int = 0
    letters: dict[str, Letter] = field(default_factory=dict)
    """Address → what lies in its mailbox."""


class CampaignPart:
    """One run of the campaign.

    Args:
        platform: The platform's client.
        campaign: The campaign side's client.
        peers: Everybody else.
        data: Campaign 18 as the data set knows it.
        answers: Who does what.
        say: Tells what was done, and how many of it.
    """

    def __init__(
        self,
        *,
        platform: Platform,
        campaign: CampaignSide,
        peers: Peers,
        data: CampaignData,
        answers: Answers,
        say: Say,
    ) -> None:
        self._platform = platform
        self.campaign = campaign
        self._peers = peers
        self._data = data
        self.answers = answers
        self._say = say
        self.audiences: dict[str, str] = {}
        self.workflows: dict[str, int] = {}
        self.datasets: dict[str, str] = {}
        """Kind of log → the dataset its rows become events of."""

        self.first, self.second = Sent(subject=FIRST), Sent(subject=SECOND)
        self.unknown = 0
        """Rows of the audience's first file that no recipient has."""

        self.answered: dict[int, tuple[str, str]] = {}
        """Household → where its click has led, and the business time of its answer."""

    def prepare(self, customer_schema: str) -> None:
        """Before the first record comes: what both sides must know."""
        self._platform.descriptor(
            "descriptorIdentity",
            customer_schema,
            "/personalEmail/address",
            namespace="Email",
            property="xdm:code",
            isPrimary=False,
        )
        set_up = self._platform.post(
            "/data/core/exchange/setup",
            {"externalNamespace": LOYALTY, "frequency": "day", "interval": 1},
        )
        self.datasets = set_up["datasets"]
        own = f"_{self._platform.tenant}"
        self.audiences = {
            "campaign_targets": self._platform.audience(
                TARGETS, TARGETS, f'{own}.campaign = "{CAMPAIGN_CODE}"'
            ),
            "campaign_answered": self._platform.audience(
                ANSWERED,
                ANSWERED,
                'xEvent[eventType = "directMarketing.emailClicked"].count() >= 1',
            ),
        }
        for schema in graphs.SCHEMAS:
            self.campaign.post("schemas", schema)
        self.campaign.put("exports/preferences", {"enabled": True})
        self._say("schemas, datasets and audiences of the campaign made over both APIs", 0)

    def import_people(self) -> None:
        """Recipients and what they are offered come by SFTP; audiences and logs run by schedule."""
        door, answers = self._peers.door, self.answers
        self.campaign.sftp_account(door.account, door.password)
        door.put(
            {
                graphs.STORES_FILE: stores_file(self._data),
                graphs.RECIPIENTS_FILE: recipients_file(answers, self._data),
                graphs.OFFERS_FILE: offers_file(answers, self._data),
            }
        )
        for name, graph in graphs.imports(door.account).items():
            self.workflows[name] = self.campaign.workflow(graph)
            self.campaign.run(self.workflows[name])
        for name, (template, config) in graphs.exports().items():
            self.workflows[name] = self.campaign.from_template(template, config)
            self.campaign.command(self.workflows[name], "start")
        self._peers.sink.obey(*self._rules())
        self._say("recipients and offers imported from the SFTP server", len(answers.recipients))

    def end_of(self, day_ms: int) -> None:
        """What happens at the end of a day; the business clock stands at the next midnight."""
        now_ms = day_ms + DAY_MS
        if now_ms == SENT_MS:
            self._import_audience()
            self._send("campaign-18", self.first)
        if now_ms == REMINDER_MS:
            self._send("campaign-18-reminder", self.second)
        for household in self.answers.days.get(day_ms, ()):
            self.answered[household] = (self._answer(household), to_iso(now_ms))

    def _import_audience(self) -> None:
        """Its first file is complete; whom nobody knows is counted as long as it is remembered."""
        template, config = graphs.audience_import(
            self.audiences["campaign_targets"], self._platform.tenant
        )
        workflow = self.campaign.from_template(template, config)
        self.campaign.command(workflow, "start")
        self._settle()
        passed = self.campaign.transitions(workflow)
        self.unknown = sum(one["count"] for one in passed if one["output"] == "unreconciled")

    def mails(self, sent: Sent) -> int:
        """Mails of a delivery, all mailboxes together: who got two counts twice."""
        return sum(
            1 for mail in self._peers.sink.mails() if mail.message["Subject"] == sent.subject
        )

    def history(self, loyalty: str) -> dict[str, Any]:
        """What the campaign side knows of one recipient."""
        (recipient,) = self.campaign.get("recipients", externalId=loyalty)["recipients"]
        found: dict[str, Any] = self.campaign.get(f"recipients/{recipient['id']}/history")
        return found

    def opted_out(self) -> set[str]:
        """Loyalty ids of those who unsubscribed or complained."""
        return {str(one) for one in self.answers.of("unsubscribes", "complains")}

    def export_again(self) -> str:
        """What the second of two exports is refused with; "" when it is let through."""
        self.campaign.export_refusal("broadLog")
        self._settle()
        refused = self.campaign.export_refusal("broadLog")
        return str(refused["detail"]) if refused else ""

    def _send(self, name: str, sent: Sent) -> None:
        taken = self._peers.sink.count()
        sent.workflow = self.campaign.workflow(graphs.delivery(name, sent.subject))
        self.campaign.run(sent.workflow)
        self._settle()
        for mail in self._peers.sink.mails(after=taken):
            letter = read_letter(mail)
            sent.letters[letter.to] = letter
        self._say(f"delivery {name!r} handed over by SMTP", len(sent.letters))

    def _settle(self) -> None:
        """An advance answers once all that is due has been done, also one to where time stands."""
        self._platform.advance(self._platform.get("/admin/clock")["now"])

    def _answer(self, household: int) -> str:
        """Do what a household does; where its click has led, "" without one."""
        letter = self.first.letters[address_of(household)]
        reader = self._peers.reader
        match self.answers.conducts[household]:
            case "redeems":
                reader.open(letter)
                return reader.click(letter)
            case "opens":
                reader.open(letter)
            case "unsubscribes":
                reader.unsubscribe(letter)
            case "complains":
                reader.complain(letter)
            case "bounces":
                reader.bounce(letter)
            case _:
                pass
        return ""

    def _rules(self) -> list[Rule]:
        """What the mail server of the recipients answers."""
        gone = [Rule(to=address_of(one), answer="unknown") for one in self.answers.of("unknown")]
        full = [Rule(to=address_of(one), answer="full", times=1) for one in self.answers.of("full")]
        return [*gone, *full]
