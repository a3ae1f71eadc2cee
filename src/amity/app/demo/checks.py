"""What must the audiences be, worked out without the platform?

Plain DuckDB queries on the raw tables and the derived visits. Nothing of the platform's own code
takes part: no expression, no graph, no profile. Each answers the exact set of loyalty ids.
"""

from __future__ import annotations

import pyarrow as pa

from amity.app.demo.raw import RawData
from amity.app.demo.visits import Visit

HIGH_INCOMES = ("100-124K", "125-149K", "150-174K", "175-199K", "200-249K", "250K+")

_HIGH_INCOME = "SELECT household_id FROM demographics WHERE income IN (SELECT unnest(?))"

_FREQUENT = """
SELECT household_id FROM transactions
WHERE at_ms > $now - 2_419_200_000 AND at_ms <= $now
GROUP BY household_id HAVING count(DISTINCT basket_id) >= 6
"""

# A device belongs to whoever signed in on it last.
_OWNERS = """
SELECT device, arg_max(household, (at_ms, id)) AS household FROM visits
WHERE signed_in AND at_ms <= $now GROUP BY device
"""

_VIEWED_THEN_BOUGHT = """
WITH owners AS (
    SELECT device, arg_max(household, (at_ms, id)) AS household FROM visits
    WHERE signed_in AND at_ms <= $now GROUP BY device
), views AS (
    SELECT CASE WHEN visits.signed_in THEN visits.household ELSE owners.household END AS household,
           visits.at_ms
    FROM visits LEFT JOIN owners USING (device)
    WHERE visits.kind = 'product'
      AND visits.at_ms > $now - 1_209_600_000 AND visits.at_ms <= $now
)
SELECT DISTINCT views.household FROM views JOIN transactions AS bought
  ON bought.household_id = views.household
 AND bought.at_ms >= views.at_ms AND bought.at_ms <= views.at_ms + 86400000
 AND bought.at_ms > $now - 1_209_600_000 AND bought.at_ms <= $now
"""

_NEVER_KNOWN = """
SELECT count(DISTINCT device) FROM visits WHERE at_ms <= $now AND device NOT IN (
    SELECT device FROM visits WHERE signed_in AND at_ms <= $now
)
"""


class Checks:
    """The independent answers for one run."""

    def __init__(self, raw: RawData, visits: list[Visit]) -> None:
        self._connection = raw.connection.cursor()
        columns = list(zip(*visits, strict=True)) or [()] * len(Visit._fields)
        table = pa.table([pa.array(column) for column in columns], names=list(Visit._fields))
        self._connection.register("visits_in", table)
        self._connection.execute("CREATE OR REPLACE TABLE visits AS SELECT * FROM visits_in")

    def high_income(self) -> set[str]:
        """Loyalty ids of the households that told an income of 100K or more."""
        rows = self._connection.execute(_HIGH_INCOME, [list(HIGH_INCOMES)]).fetchall()
        return {str(row[0]) for row in rows}

    def frequent(self, now_ms: int) -> set[str]:
        """Loyalty ids with six purchases or more in (now - 28 days, now]."""
        return self._ids(_FREQUENT, now_ms)

    def viewed_then_bought(self, now_ms: int) -> set[str]:
        """Loyalty ids that bought within 24 hours after a product view, both within 14 days."""
        return self._ids(_VIEWED_THEN_BOUGHT, now_ms)

    def owners(self, now_ms: int) -> dict[str, str]:
        """Device → loyalty id of its owner, for devices on which anybody signed in."""
        rows = self._connection.execute(_OWNERS, {"now": now_ms}).fetchall()
        return {row[0]: str(row[1]) for row in rows}

    def never_known(self, now_ms: int) -> int:
        """Devices seen on which nobody signed in: each is an anonymous profile of its own."""
        count: int = self._connection.execute(_NEVER_KNOWN, {"now": now_ms}).fetchall()[0][0]
        return count

    def _ids(self, query: str, now_ms: int) -> set[str]:
        return {str(row[0]) for row in self._connection.execute(query, {"now": now_ms}).fetchall()}
