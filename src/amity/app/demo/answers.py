"""Who answers the demo's mail, and how?

The data set tells one thing: who redeemed coupons of the campaign, and when. They open the mail and
click on that day. Everything else is derived from the household's number by hash, and said to be so:
who is no recipient at all, whose mailbox is gone, who opens without clicking, unsubscribes, complains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from amity.app.demo.campaign_data import CampaignData
from amity.app.demo.visits import number
from amity.kernel.clock import DAY_MS

Conduct = Literal[
    "redeems", "unknown", "bounces", "full", "unsubscribes", "complains", "opens", "silent"
]
"""What a household does with a message.

`redeems`: opens and clicks, by the data. Derived: `unknown` refused with 550 while it is handed over,
`bounces` taken first and returned later, `full` refused for now once and taken then,
`unsubscribes` by one POST, `complains` to its provider, `opens`, `silent`.
"""

_NOT_A_RECIPIENT_PERCENT = 5
_SHARES: tuple[tuple[Conduct, int], ...] = (
    ("unknown", 3),
    ("bounces", 2),
    ("full", 2),
    ("unsubscribes", 4),
    ("complains", 2),
    ("opens", 25),
)
"""In percent of those who redeemed nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What each household does, by household id.

    Attributes:
        recipients: Who stands in the campaign's database.
        conducts: Household of the target → what it does with its message.
        days: Midnight → the households that answer on that day, in order.
    """

    recipients: frozenset[int]
    conducts: dict[int, Conduct]
    days: dict[int, list[int]] = field(default_factory=dict)

    def of(self, *conducts: Conduct) -> set[int]:
        """The households of the target that are recipients and do one of these."""
        return {
            household
            for household, conduct in self.conducts.items()
            if conduct in conducts and household in self.recipients
        }


def derive_answers(data: CampaignData, households: Iterable[int], *, sent_ms: int) -> Answers:
    """The whole plan; the same on every machine.

    Args:
        data: The campaign as the data set knows it.
        households: Everybody of the run.
        sent_ms: Midnight of the day on which the mail goes out.
    """
    answers = Answers(
        recipients=frozenset(one for one in households if is_recipient(one, data)),
        conducts={one: conduct_of(one, data) for one in sorted(data.targets)},
    )
    for household, conduct in answers.conducts.items():
        if household not in answers.recipients or conduct in {"unknown", "silent", "full"}:
            continue
        day_ms = sent_ms + DAY_MS * (1 + number("answers after", household) % 5)
        if conduct == "redeems":
            day_ms = max(data.redeemed[household], sent_ms)
        answers.days.setdefault(day_ms, []).append(household)
    return answers


def is_recipient(household: int, data: CampaignData) -> bool:
    """About 5 % of the platform's people are none of the campaign's recipients.

    Who redeemed a coupon must have got it.
    """
    if household in data.redeemed:
        return True
    return number("recipient", household) % 100 >= _NOT_A_RECIPIENT_PERCENT


def conduct_of(household: int, data: CampaignData) -> Conduct:
    """What a household of the target does with its message."""
    if household in data.redeemed:
        return "redeems"
    dice = number("habit", household) % 100
    for conduct, percent in _SHARES:
        if dice < percent:
            return conduct
        dice -= percent
    return "silent"
