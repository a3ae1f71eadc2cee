"""What must the campaign's numbers be, worked out without the campaign side?

Plain DuckDB queries on the raw tables of campaign 18, and on who is said to do what. Nothing that
imports, sends or tracks takes part.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from amity.app.demo.answers import Answers
from amity.app.demo.raw import RawData

_NUMBERS = """
SELECT count(*), count(known.household_id),
       count(*) FILTER (known.household_id IS NOT NULL AND conduct = 'unknown'),
       count(*) FILTER (known.household_id IS NOT NULL AND conduct = 'bounces'),
       count(*) FILTER (known.household_id IS NOT NULL AND conduct = 'unsubscribes'),
       count(*) FILTER (known.household_id IS NOT NULL AND conduct = 'complains'),
       count(*) FILTER (known.household_id IS NOT NULL AND conduct = 'opens'),
       count(redeemer.household_id)
FROM campaign_targets AS target
LEFT JOIN recipients AS known USING (household_id)
LEFT JOIN conducts USING (household_id)
LEFT JOIN (SELECT DISTINCT household_id FROM campaign_redemptions) AS redeemer USING (household_id)
"""
_KNOWN = "CREATE OR REPLACE TABLE recipients AS SELECT * FROM recipients_in"
_CONDUCTS = "CREATE OR REPLACE TABLE conducts AS SELECT * FROM conducts_in"
_TARGETS = "SELECT household_id FROM campaign_targets"
_ANSWERED = "SELECT DISTINCT household_id FROM campaign_redemptions"


class Numbers(NamedTuple):
    """People of the campaign's audience."""

    audience: int
    recipients: int
    refused: int
    """Whose mailbox was refused while the message was handed over."""

    returned: int
    unsubscribed: int
    complained: int
    only_opened: int
    clicked: int

    @property
    def opened(self) -> int:
        """Who clicks has opened."""
        return self.only_opened + self.clicked

    @property
    def lost(self) -> int:
        """Who is not written to again."""
        return self.refused + self.returned + self.unsubscribed + self.complained


class CampaignChecks:
    """The independent answers for one run; `campaign_data` has been called on `raw`."""

    def __init__(self, raw: RawData, answers: Answers) -> None:
        self._connection = raw.connection.cursor()
        known = pa.table({"household_id": sorted(answers.recipients)})
        conducts = pa.table(
            {
                "household_id": list(answers.conducts),
                "conduct": pa.array(list(answers.conducts.values()), pa.string()),
            }
        )
        self._connection.register("recipients_in", known)
        self._connection.register("conducts_in", conducts)
        self._connection.execute(_KNOWN)
        self._connection.execute(_CONDUCTS)

    def numbers(self) -> Numbers:
        """All of them."""
        return Numbers._make(self._connection.execute(_NUMBERS).fetchall()[0])

    def targets(self) -> set[str]:
        """Loyalty ids of the households that the campaign is for."""
        return self._ids(_TARGETS)

    def answered(self) -> set[str]:
        """Loyalty ids of the households that redeemed a coupon of the campaign."""
        return self._ids(_ANSWERED)

    def _ids(self, query: str) -> set[str]:
        return {str(row[0]) for row in self._connection.execute(query).fetchall()}
