"""Does every hop of the campaign give out what went into it, from the audience to the last answer?

What came in is worked out by `campaign_checks`, what went out is asked of both sides and counted in
the mailboxes; a line that does not hold fails the demo.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from amity.app.demo.campaign import CampaignPart, Sent
from amity.app.demo.campaign_checks import Numbers
from amity.app.demo.campaign_facts import KINDS, Facts
from amity.app.demo.ledger import Ledger

IMPORT, DELIVERY, ANSWER, EXPORT = "import", "delivery", "answers", "log export"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Enters the campaign's lines.

    Attributes:
        part: The campaign as it was run.
        facts: What has become of it.
        numbers: What must have become of it.
        ledger: Where the lines go.
        lake: Dataset → rows in the lake.
    """

    part: CampaignPart
    facts: Facts
    numbers: Numbers
    ledger: Ledger
    lake: Mapping[str, int]

    def enter(self) -> None:
        """All lines, in the order of the loop."""
        self._imports()
        self._first()
        self._second()
        self._answers()
        self._exports()

    def events(self) -> int:
        """Events that the logs became on the platform."""
        return sum(self._in_lake(kind) for kind in KINDS)

    def _imports(self) -> None:
        add, numbers, members = self.ledger.add, self.numbers, self.facts.members()
        note = "about 5 % of the platform's people are none (derived)"
        lines = len(self.part.answers.recipients)
        add(
            IMPORT,
            "lines of the profile file → recipients",
            lines,
            self.facts.recipients(),
            note=note,
        )
        note = "rejected: no such recipient; a segment file creates none"
        what = "audience → members of the list, rejected"
        add(IMPORT, what, numbers.audience, members, set_aside=self.part.unknown, note=note)
        add(IMPORT, "recipients in the audience → members", numbers.recipients, members)

    def _first(self) -> None:
        add, numbers, sent = self.ledger.add, self.numbers, self.part.first
        messages = self._target("first", sent, numbers.recipients)
        logs = self.facts.logs(sent)
        states = Counter(log["status"] for log in logs)
        what = "first: messages → sent, less failed"
        failed = states["failed"]
        add(DELIVERY, what, messages, states["sent"], set_aside=failed, note=_reasons(logs))
        gone = numbers.refused + numbers.returned + numbers.complained
        add(DELIVERY, "first: who bounces or complains → failed", gone, failed)
        mails = numbers.recipients - numbers.refused
        add(DELIVERY, "first: who can be reached → mails", mails, self.part.mails(sent))

    def _second(self) -> None:
        add, sent = self.ledger.add, self.part.second
        messages = self._target("second", sent, self.numbers.recipients)
        left_out = sum(one["count"] for one in self.facts.delivery(sent)["report"]["excluded"])
        what = "second: who opted out, complained or bounced → left out"
        add(DELIVERY, what, self.numbers.lost, left_out)
        add(DELIVERY, "second: messages → mails", messages, self.part.mails(sent))

    def _target(self, name: str, sent: Sent, members: int) -> int:
        report = self.facts.delivery(sent)["report"]
        reasons = {one["reason"]: one["count"] for one in report["excluded"]}
        self.ledger.add(DELIVERY, f"{name}: members → target", members, report["target"])
        self.ledger.add(
            DELIVERY,
            f"{name}: target → messages, left out",
            report["target"],
            report["toDeliver"],
            set_aside=sum(reasons.values()),
            note=_said(reasons.items()),
        )
        return int(report["toDeliver"])

    def _answers(self) -> None:
        add, numbers, facts, first = self.ledger.add, self.numbers, self.facts, self.part.first
        note = "who redeemed a coupon, by the data set"
        add(ANSWER, "clicks", numbers.clicked, facts.people_with(first, "click"), note=note)
        note = f"{numbers.only_opened:,} of them derived"
        add(ANSWER, "opens", numbers.opened, facts.people_with(first, "open"), note=note)
        opted_out = facts.people_with(first, "optOut")
        add(ANSWER, "one-click unsubscriptions", numbers.unsubscribed, opted_out, note="derived")
        closed = facts.recipients(blackListEmail="true")
        who = numbers.unsubscribed + numbers.complained
        add(ANSWER, "who unsubscribed or complained → closed recipients", who, closed)
        bad = numbers.refused + numbers.returned
        for status, wanted in (("quarantine", bad), ("denylisted", numbers.complained)):
            add(ANSWER, f"addresses → {status}", wanted, facts.bad_addresses(status))

    def _exports(self) -> None:
        for kind in KINDS:
            states = self.facts.states_shipped(kind)
            self.ledger.add(
                EXPORT, f"{kind}: states in the files → events", states, self._in_lake(kind)
            )

    def _in_lake(self, kind: str) -> int:
        return self.lake.get(self.part.datasets[kind], 0)


def _reasons(logs: Iterable[Mapping[str, Any]]) -> str:
    return _said(Counter(log["failureReason"] for log in logs if log["status"] == "failed").items())


def _said(reasons: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{reason}: {count:,}" for reason, count in sorted(reasons))
