"""What does the demo tell, and how does it know that it is true?

A real shop's year: batch history, then a stream with anonymous visitors who later sign in; audiences
that are exact in time; a label that keeps one audience from one destination; files a campaign can
read. Every hop is counted, every audience is checked against a query that shares no code with it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from amity.app.demo import definitions, destinations, river
from amity.app.demo.checks import Checks
from amity.app.demo.client import Platform
from amity.app.demo.dataset import cache_folder, fetch
from amity.app.demo.definitions import AUDIENCES, Datasets
from amity.app.demo.derive import COOKIE, LOYALTY, Shop
from amity.app.demo.destinations import Destination
from amity.app.demo.ledger import Ledger
from amity.app.demo.person import Person, choose, tell
from amity.app.demo.raw import STREAM_START_MS, RawData
from amity.app.demo.river import Taken
from amity.kernel.clock import RealSystemClock, from_iso, to_iso
from amity.testing.server import RunningServer

STREAM_END_MS = from_iso("2018-01-01T05:00:00Z")
"""The last basket is of 04:01:20."""

NOW_MS = from_iso("2018-01-01T06:00:00Z")
"""The business time at which everything is checked; the last export fires then."""

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
    shutil.rmtree(options.data, ignore_errors=True)
    options.data.mkdir(parents=True)
    server = RunningServer(options.data, clock=to_iso(STREAM_START_MS))
    server.start()
    status = 1
    try:
        status = Demo(server, options.households, out).play()
    finally:
        if options.keep:
            out.print(f"\nThe server stays on: {server.url} (process {server.pid}).")
            out.print(
                f"Its data: {options.data}, its credentials: {options.data / 'test-credentials.json'}."
            )
        else:
            server.stop()
    return status


class Demo:
    """One run against one server.

    Args:
        server: A running server on a fresh folder, its business clock at the start of the stream.
        households: Take the first so many; all when None.
        out: Where the story is told.
    """

    def __init__(self, server: RunningServer, households: int | None, out: Console) -> None:
        self._out = out
        self._system = RealSystemClock()
        self._begun_s = self._mark_s = self._system.monotonic_s()
        self._exports = server.data / "exports"
        self._right = True
        self.ledger = Ledger()
        self.platform = Platform(server.url, server.credentials, self._system)
        self.raw = RawData(fetch(cache_folder()), households)
        self.shop = Shop(self.raw, self.platform.tenant)
        self.checks = Checks(self.raw, self.shop.visits)
        self._told("data set read, visits derived", self.raw.counts().lines)

    def play(self) -> int:
        """All hops, then the checks, then one person's story; the exit status."""
        made, audiences = self._set_up()
        flows = self._open_destinations(audiences)
        history = self._history(made)
        streamed = self._stream(made)
        self._taken_in(history, streamed)
        self._kept(made, history, streamed)
        people = self._people()
        self._audiences(audiences, people)
        for destination, mapped in flows:
            self._files(destination, mapped)
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
        return made, audiences

    def _open_destinations(
        self, audiences: Mapping[str, str]
    ) -> list[tuple[Destination, dict[str, str]]]:
        campaign = destinations.campaign_v7(self.platform)
        partner = destinations.partner(self.platform)
        for key, audience in audiences.items():
            destinations.map_audience(self.platform, campaign, AUDIENCES[key], audience)
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
        accepted = {
            made.customers: history["customers"].accepted,
            made.products: history["products"].accepted,
            made.purchases: history["purchases"].accepted + streamed["purchases"].accepted,
            made.visits: streamed["visits"].accepted,
        }
        names = ("customers", "products", "purchases", "visits")
        for name, (dataset, came_in) in zip(names, accepted.items(), strict=True):
            add("lake", name, came_in, found["lake"].get(dataset, 0))
        events = accepted[made.purchases] + accepted[made.visits]
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
        for key, audience in mapped.items():
            expected = self._expected(key)
            got = destinations.arrived(self._exports, destination, audience)
            self._compare(
                f"files of {AUDIENCES[key]!r} at {destination.name}", expected, got.members
            )
            self.ledger.add(
                "activation",
                f"{AUDIENCES[key]}: members → in the files of {destination.name}",
                len(expected),
                len(got.members & expected),
                note=f"{len(got.files)} files, {got.rows:,} rows: full, then changes",
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
        person: Person | None = choose(self.shop.visits, self.checks, NOW_MS)
        if person is None:
            self._check(False, "nobody has a story: no anonymous visitor signed in and bought")  # noqa: FBT003
            return
        audience = audiences["viewed_then_bought"]
        got = destinations.arrived(self._exports, campaign, audience)
        told = tell(
            person, self.platform, audience, destinations.line_of(got.files, person.loyalty)
        )
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


def _realized(profile: Mapping[str, Any], audience: str) -> bool:
    memberships = profile["entity"].get("segmentMembership", {}).get("ups", {})
    return bool(memberships.get(audience, {}).get("status") == "realized")


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
