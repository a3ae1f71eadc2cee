"""What does the demo tell, and how does it know that it is true?

A real shop's year: batch history, then a stream with anonymous visitors who later sign in; audiences
that are exact in time; a label that keeps one audience from one destination; files a campaign can
read. Every hop is counted, every audience is checked against a query that shares no code with it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from amity.app.demo import definitions, destinations, river
from amity.app.demo.answers import derive_answers
from amity.app.demo.campaign import (
    ANSWERED,
    CAMPAIGN_CODE,
    SENT_MS,
    TARGETS,
    CampaignPart,
    Peers,
)
from amity.app.demo.campaign_checks import CampaignChecks
from amity.app.demo.campaign_client import CampaignSide, SftpDoor
from amity.app.demo.campaign_data import campaign_data
from amity.app.demo.campaign_facts import Facts
from amity.app.demo.campaign_ledger import Account
from amity.app.demo.checks import Checks
from amity.app.demo.client import Platform
from amity.app.demo.dataset import cache_folder, fetch
from amity.app.demo.definitions import AUDIENCES, Datasets
from amity.app.demo.derive import COOKIE, LOYALTY, Shop
from amity.app.demo.destinations import Destination
from amity.app.demo.ledger import Ledger
from amity.app.demo.letters import Reader
from amity.app.demo.mail_story import tell_mail
from amity.app.demo.person import Person, Told, choose, tell
from amity.app.demo.raw import STREAM_START_MS, RawData
from amity.app.demo.river import Taken
from amity.kernel.clock import RealSystemClock, from_iso, to_iso
from amity.testing.server import RunningServer
from amity.testing.smtp_sink import SinkProcess, SmtpSink

STREAM_END_MS = from_iso("2018-01-01T05:00:00Z")
"""The last basket is of 04:01:20."""

NOW_MS = from_iso("2018-01-01T06:00:00Z")
"""The business time at which everything is checked; the last export fires then."""

BOUNCE_DOMAIN = "bounces.example.test"
SFTP_ACCOUNT, SFTP_PASSWORD = "shop", "only for this demo"

SAMPLE = 5
DAYS_A_LINE = 7
TABLE_COLUMNS = 140

Profiles = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for."""

    data: Path
    households: int | None = None
    keep: bool = False


def run(options: Options, out: Console) -> int:
    """Play the demo on a fresh server; the exit status."""
    mailboxes = options.data.with_name(f"{options.data.name}-mail")
    for folder in (options.data, mailboxes):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    sink = SinkProcess(mailboxes)
    server = RunningServer(
        options.data,
        clock=to_iso(STREAM_START_MS),
        arguments=[
            *("--smtp", sink.address, "--sftp-port", "0"),
            *("--bounce-port", "0", "--bounce-domain", BOUNCE_DOMAIN),
        ],
    )
    try:
        sink.start()
        server.start()
        return Demo(server, sink, options.households, out).play()
    finally:
        if options.keep:
            _say_what_stays(server, sink, out)
        else:
            server.stop()
            sink.stop()


def _say_what_stays(server: RunningServer, sink: SinkProcess, out: Console) -> None:
    out.print(f"\nThe server stays on: {server.url} (process {server.pid}).")
    out.print(f"Its data: {server.data}, its credentials: {server.data / 'test-credentials.json'}.")
    out.print(f"So does the mail server (process {sink.pid}); what it took: {sink.folder}.")


class Demo:
    """One run against one server.

    Args:
        server: A running server on a fresh folder, its business clock at the start of the stream.
        sink: The mail server that it hands messages to.
        households: Take the first so many; all when None.
        out: Where the story is told.
    """

    def __init__(
        self, server: RunningServer, sink: SmtpSink, households: int | None, out: Console
    ) -> None:
        self._out = out
        self._system = RealSystemClock()
        self._begun_s = self._mark_s = self._system.monotonic_s()
        self._exports = server.data / "exports"
        self._right = True
        self.ledger = Ledger()
        self.platform = Platform(server.url, server.credentials, self._system)
        files = fetch(cache_folder())
        self.raw = RawData(files, households)
        data = campaign_data(self.raw, files)
        planned = dict.fromkeys(data.targets, CAMPAIGN_CODE)
        self.shop = Shop(self.raw, self.platform.tenant, planned)
        self.checks = Checks(self.raw, self.shop.visits)
        answers = derive_answers(data, self.raw.households, sent_ms=SENT_MS)
        self.campaign_checks = CampaignChecks(self.raw, answers)
        self.part = CampaignPart(
            platform=self.platform,
            campaign=CampaignSide(self.platform, self._system),
            peers=_peers(server, sink),
            data=data,
            answers=answers,
            say=self._told,
        )
        self._told("data set read, visits derived", self.raw.counts().lines)

    def play(self) -> int:
        """All hops, then the checks, then one person's story; the exit status."""
        made, audiences = self._set_up()
        flows = self._open_destinations(audiences)
        history = self._history(made)
        self.part.import_people()
        streamed = self._stream(made)
        self._taken_in(history, streamed)
        self._kept(made, history, streamed)
        people = self._people()
        self._audiences(audiences, people)
        for destination, mapped in flows:
            self._files(destination, mapped)
        self._campaign(flows[0][0])
        table = self.ledger.table()
        if self._out.is_terminal:
            self._out.print(table)
        else:
            Console(file=self._out.file, width=TABLE_COLUMNS).print(table)
        self._one_person(flows[0][0], audiences)
        return self._verdict()

    # -- the hops ---------------------------------------------------------------------------

    def _set_up(self) -> tuple[Datasets, dict[str, str]]:
        definitions.namespaces(self.platform)
        made = definitions.schemas_and_datasets(self.platform)
        definitions.restrict_income(self.platform, made.customer_schema)
        audiences = definitions.audiences(self.platform)
        self._told("3 namespaces, 3 schemas, 4 datasets, 3 audiences made over the API")
        self.part.prepare(made.customer_schema)
        return made, audiences

    def _open_destinations(
        self, audiences: Mapping[str, str]
    ) -> list[tuple[Destination, dict[str, str]]]:
        campaign = destinations.campaign_v7(self.platform)
        partner = destinations.partner(self.platform)
        for key, audience in audiences.items():
            destinations.map_audience(self.platform, campaign, AUDIENCES[key], audience)
        own = self.part.audiences["campaign_targets"]
        destinations.map_audience(self.platform, campaign, TARGETS, own)
        allowed = {}
        for key, audience in audiences.items():
            refused = destinations.refusal(self.platform, partner, AUDIENCES[key], audience)
            self._check(
                (refused is not None) == (key == "high_income"),
                f"{AUDIENCES[key]!r} to {partner.name!r}: "
                + (f"refused, {_reason(refused)}" if refused else "let through"),
            )
            if refused is None:
                allowed[key] = audience
        self._told("2 destinations opened, audiences mapped")
        return [(campaign, dict(audiences)), (partner, allowed)]

    def _history(self, made: Datasets) -> dict[str, Taken]:
        kinds = {
            "customers": (made.customers, self.shop.customers()),
            "products": (made.products, self.shop.products()),
            "purchases": (made.purchases, self.shop.history()),
        }
        taken = {}
        for kind, (dataset, records) in kinds.items():
            taken[kind] = river.load_batches(self.platform, dataset, records)
            self._told(f"{kind} through the batch door into the lake", taken[kind].sent)
        # An advance answers when all that came before it can be seen.
        self.platform.advance(to_iso(STREAM_START_MS))
        rows = sum(one.sent for one in taken.values())
        self._told("history through identity, profile and audiences", rows)
        return taken

    def _stream(self, made: Datasets) -> dict[str, Taken]:
        days: list[int] = []

        def say(day: str, sent: int) -> None:
            days.append(sent)
            if len(days) % DAYS_A_LINE == 0:
                self._told(f"week to {day} streamed", sum(days[-DAYS_A_LINE:]))
            self.part.end_of(from_iso(day))

        taken = river.stream(self.platform, self.shop, made, end_ms=STREAM_END_MS, say=say)
        self.platform.advance(to_iso(NOW_MS))
        self._told(f"business time is {to_iso(NOW_MS)}, all timers fired")
        return taken

    # -- the checks -------------------------------------------------------------------------

    def _taken_in(self, history: Mapping[str, Taken], streamed: Mapping[str, Taken]) -> None:
        raw, add = self.raw.counts(), self.ledger.add
        lines = history["purchases"].lines + streamed["purchases"].lines
        note = (
            f"{raw.lines_without_product:,} lines of {raw.skus_without_product} SKUs no product has"
        )
        add("shop", "purchase lines → items of events", raw.lines, lines, note=note)
        events = history["purchases"].sent + streamed["purchases"].sent
        add("shop", "baskets → purchase events", raw.baskets, events)
        add("shop", "web visits (derived) → events", len(self.shop.visits), streamed["visits"].sent)
        for door, kinds in (("batch door", history), ("stream door", streamed)):
            for kind, taken in kinds.items():
                note = "; ".join(taken.reasons[:1])
                add(door, kind, taken.sent, taken.accepted, set_aside=taken.refused, note=note)

    def _kept(
        self, made: Datasets, history: Mapping[str, Taken], streamed: Mapping[str, Taken]
    ) -> None:
        found, add = self.platform.doctor(), self.ledger.add
        self.account = Account(
            part=self.part,
            facts=Facts(self.part, self._exports),
            numbers=self.campaign_checks.numbers(),
            ledger=self.ledger,
            lake=found["lake"],
        )
        accepted = {
            made.customers: history["customers"].accepted,
            made.products: history["products"].accepted,
            made.purchases: history["purchases"].accepted + streamed["purchases"].accepted,
            made.visits: streamed["visits"].accepted,
        }
        names = ("customers", "products", "purchases", "visits")
        for name, (dataset, came_in) in zip(names, accepted.items(), strict=True):
            add("lake", name, came_in, found["lake"].get(dataset, 0))
        events = accepted[made.purchases] + accepted[made.visits] + self.account.events()
        add("profile", "events", events, found["profiles"]["events"])
        people = len(self.raw.households) + self.checks.never_known(NOW_MS)
        note = "households, and devices nobody signed in on"
        add("profile", "people", people, found["profiles"]["profiles"], note=note)

    def _people(self) -> dict[str, dict[str, Any]]:
        """Look every person up; each device must belong to whoever signed in on it last."""
        households = [str(one) for one in self.raw.households]
        people = self.platform.profiles(LOYALTY, households)
        self.ledger.add("identity", "households → known people", len(households), len(people))
        devices = sorted({visit.device for visit in self.shop.visits})
        found = self.platform.profiles(COOKIE, devices)
        owners = self.checks.owners(NOW_MS)
        right = sum(_same_person(found, device, people, owners[device]) for device in owners)
        self.ledger.add("identity", "devices → their last owner's graph", len(owners), right)
        alone = sum(
            1 for one in found if one not in owners and len(found[one].get("identityGraph", ())) < 2
        )
        anonymous = self.checks.never_known(NOW_MS)
        self.ledger.add("identity", "devices nobody signed in on → anonymous", anonymous, alone)
        self._told("people looked up", len(households) + len(devices))
        return people

    def _audiences(self, audiences: Mapping[str, str], people: Profiles) -> None:
        for key, audience in audiences.items():
            expected = self._expected(key)
            actual = {
                loyalty for loyalty, profile in people.items() if _realized(profile, audience)
            }
            self._compare(f"audience {AUDIENCES[key]!r}", expected, actual)
            self.ledger.add(
                "segmentation",
                f"{AUDIENCES[key]}: members by DuckDB → by Amity",
                len(expected),
                len(actual & expected),
            )

    def _files(self, destination: Destination, mapped: Mapping[str, str]) -> None:
        """What lies at a destination; who wants no e-mail is not told to the one that sends it."""
        silent = self.part.opted_out() if destination.name == "Campaign" else set()
        for key, audience in mapped.items():
            members = self._expected(key)
            got = destinations.arrived(self._exports, destination, audience)
            withheld = silent & (members - got.members)
            self._compare(
                f"files of {AUDIENCES[key]!r} at {destination.name}",
                members - withheld,
                got.members,
            )
            self.ledger.add(
                "activation",
                f"{AUDIENCES[key]}: members → in the files of {destination.name}",
                len(members),
                len(got.members & members),
                set_aside=len(withheld),
                note=f"{len(got.files)} files, {got.rows:,} rows: full, then changes"
                + (f"; {len(withheld)} want no e-mail" if withheld else ""),
            )

    def _campaign(self, campaign: Destination) -> None:
        """The lock, the mail, the answers, and what they changed on the platform."""
        audience = self.part.audiences["campaign_targets"]
        expected = self.campaign_checks.targets()
        got = destinations.arrived(self._exports, campaign, audience)
        self._compare(f"files of {TARGETS!r} at {campaign.name}", expected, got.members)
        self.account.enter()
        households = [str(one) for one in self.raw.households]
        people = self.platform.profiles(LOYALTY, households)
        answered = self.part.audiences["campaign_answered"]
        actual = {one for one, profile in people.items() if _realized(profile, answered)}
        self._compare(f"audience {ANSWERED!r}", self.campaign_checks.answered(), actual)
        self._compare("no more e-mail, on the profile", self.part.opted_out(), _refusing(people))
        refused = self.part.export_again()
        self._check(
            bool(refused), f"a second export within four hours: refused, {refused or 'let through'}"
        )

    def _expected(self, key: str) -> set[str]:
        if key == "high_income":
            return self.checks.high_income()
        return (
            self.checks.frequent(NOW_MS)
            if key == "frequent"
            else (self.checks.viewed_then_bought(NOW_MS))
        )

    def _one_person(self, campaign: Destination, audiences: Mapping[str, str]) -> None:
        answered = self.campaign_checks.answered()
        person: Person | None = choose(self.shop.visits, self.checks, NOW_MS, answered=answered)
        if person is None:
            self._check(False, "nobody has a story: no anonymous visitor signed in and bought")  # noqa: FBT003
            return
        audience = audiences["viewed_then_bought"]
        got = destinations.arrived(self._exports, campaign, audience)
        told = Told()
        stands = destinations.line_of(got.files, person.loyalty)
        tell(person, self.platform, audience, stands, told=told)
        tell_mail(person.loyalty, self.part, self.platform, told)
        self._out.print("\n[bold]One person's story[/]")
        for line in told.lines:
            self._out.print(f"  {line}", highlight=False, soft_wrap=True)
        self._check(told.whole, f"the story of household {person.loyalty} is whole")

    # -- saying it --------------------------------------------------------------------------

    def _compare(self, what: str, expected: set[str], actual: set[str]) -> None:
        missing, extra = expected - actual, actual - expected
        sample = ", ".join(sorted(expected & actual, key=int)[:SAMPLE])
        text = f"{what}: {len(actual):,} people, the same as by DuckDB (such as {sample})"
        if missing or extra:
            text = f"{what}: missing {_some(missing)}; too many {_some(extra)}"
        self._check(not (missing or extra), text)

    def _check(self, right: bool, text: str) -> None:  # noqa: FBT001 - reads as a sentence
        self._right &= right
        mark = "[green]right[/]" if right else "[bold red]WRONG[/]"
        self._out.print(f"  {mark} {text}", highlight=False, soft_wrap=True)

    def _told(self, what: str, records: int = 0) -> None:
        """One progress line: how many since the last one, and how fast."""
        now_s = self._system.monotonic_s()
        took_s = max(now_s - self._mark_s, 1e-6)
        self._mark_s = now_s
        rate = f": {records:,} in {took_s:.1f} s, {records / took_s:,.0f}/s" if records else ""
        text = f"{now_s - self._begun_s:7.1f} s  {what}{rate}"
        self._out.print(text, highlight=False, soft_wrap=True)

    def _verdict(self) -> int:
        for line in self.ledger.broken:
            self._out.print(f"[bold red]does not add up:[/] {line.hop}, {line.what}")
        good = self._right and not self.ledger.broken
        took_s = self._system.monotonic_s() - self._begun_s
        word = "[bold green]every hop adds up[/]" if good else "[bold red]something is wrong[/]"
        self._out.print(f"\n{word} ({took_s:.0f} s)")
        return 0 if good else 1


def _peers(server: RunningServer, sink: SmtpSink) -> Peers:
    doors = json.loads((server.data / "endpoints.json").read_text())
    door = SftpDoor(
        address=doors["sftp"],
        host_key=server.data / "keys" / "sftp_host_key",
        account=SFTP_ACCOUNT,
        password=SFTP_PASSWORD,
    )
    return Peers(sink=sink, door=door, reader=Reader(doors["bounce"]))


def _realized(profile: Mapping[str, Any], audience: str) -> bool:
    memberships = profile["entity"].get("segmentMembership", {}).get("ups", {})
    return bool(memberships.get(audience, {}).get("status") == "realized")


def _refusing(people: Profiles) -> set[str]:
    """Who wants no e-mail."""
    return {
        loyalty
        for loyalty, profile in people.items()
        if profile["entity"].get("consents", {}).get("marketing", {}).get("email", {}).get("val")
        == "n"
    }


def _same_person(found: Profiles, device: str, people: Profiles, loyalty: str) -> bool:
    if device not in found or loyalty not in people:
        return False
    graphs = (found[device]["identityGraph"], people[loyalty]["identityGraph"])
    return set(graphs[0]) == set(graphs[1])


def _reason(violation: Mapping[str, Any]) -> str:
    """The server's own words: what, which label, the way of the data, what to do."""
    return str(violation.get("detail") or violation.get("title")).replace("\n", "\n          ")


def _some(loyalties: Iterable[str]) -> str:
    ordered = sorted(loyalties, key=int)
    return f"{len(ordered)} ({', '.join(ordered[:SAMPLE])})" if ordered else "none"
