"""What does the data set say of the campaign that the demo sends?

Campaign 18: its days, the households it was sent to, the coupon that fits each of them best by what
it bought before, and who redeemed coupons of it, and when. All restricted to this run's households.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from amity.app.demo.dataset import RawFiles
from amity.app.demo.raw import STREAM_START_MS, RawData
from amity.kernel.errors import Corrupt

CAMPAIGN = 18

_DESCRIPTION = """
SELECT campaign_type, epoch_ms(start_date), epoch_ms(end_date) FROM read_parquet(?)
WHERE campaign_id = ?
"""
_TARGETS = """
CREATE OR REPLACE TABLE campaign_targets AS
SELECT DISTINCT household_id FROM read_parquet(?)
WHERE campaign_id = ? AND household_id IN (SELECT unnest(?))
"""
_COUPONS = """
CREATE OR REPLACE TABLE campaign_coupons AS
SELECT product_id, min(coupon_upc) AS coupon_upc FROM read_parquet(?)
WHERE campaign_id = ? GROUP BY product_id
"""
_REDEMPTIONS = """
CREATE OR REPLACE TABLE campaign_redemptions AS
SELECT household_id, coupon_upc, epoch_ms(redemption_date) AS at_ms FROM read_parquet(?)
WHERE campaign_id = ? AND household_id IN (SELECT household_id FROM campaign_targets)
"""
_BEST_COUPON = """
WITH bought AS (
    SELECT household_id, product_id, count(*) AS times FROM transactions
    WHERE at_ms < ? AND product_id IN (SELECT product_id FROM campaign_coupons)
      AND household_id IN (SELECT household_id FROM campaign_targets)
    GROUP BY household_id, product_id
), best AS (
    SELECT household_id, arg_max(product_id, (times, -product_id)) AS product_id
    FROM bought GROUP BY household_id
)
SELECT best.household_id, coupon_upc, product_type
FROM best JOIN campaign_coupons USING (product_id) JOIN products USING (product_id)
ORDER BY 1
"""
_HOME_STORE = """
SELECT household_id, arg_max(store_id, (times, -store_id)) FROM (
    SELECT household_id, store_id, count(DISTINCT basket_id) AS times FROM transactions
    GROUP BY household_id, store_id
) GROUP BY household_id ORDER BY 1
"""
_FIRST_REDEMPTION = """
SELECT household_id, min(at_ms) FROM campaign_redemptions GROUP BY household_id ORDER BY 1
"""


class Coupon(NamedTuple):
    """What is offered to a household: its products are ones that it buys."""

    upc: int
    product: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignData:
    """Campaign 18 of the data set.

    Attributes:
        kind: "Type A".
        start_ms: Midnight of its first day.
        end_ms: Midnight of its last day.
        targets: Households it was sent to.
        coupons: Household → the coupon that fits it best; none where it never bought what any is for.
        redeemed: Household → midnight of the day on which it first redeemed one.
        stores: Household → the store it goes to most.
    """

    kind: str
    start_ms: int
    end_ms: int
    targets: frozenset[int]
    coupons: dict[int, Coupon]
    redeemed: dict[int, int]
    stores: dict[int, int]


def campaign_data(raw: RawData, files: RawFiles) -> CampaignData:
    """Read it beside the raw tables; they are then there for the checks, too."""
    database = raw.connection.cursor()
    described = [str(files.campaign_descriptions), CAMPAIGN]
    found = database.execute(_DESCRIPTION, described).fetchall()
    if not found:
        raise Corrupt(f"the data set describes no campaign {CAMPAIGN}")
    ((kind, start_ms, end_ms),) = found
    database.execute(_TARGETS, [str(files.campaigns), CAMPAIGN, raw.households])
    database.execute(_COUPONS, [str(files.coupons), CAMPAIGN])
    database.execute(_REDEMPTIONS, [str(files.coupon_redemptions), CAMPAIGN])
    targets = database.execute("SELECT household_id FROM campaign_targets").fetchall()
    coupons = database.execute(_BEST_COUPON, [STREAM_START_MS]).fetchall()
    return CampaignData(
        kind=kind,
        start_ms=start_ms,
        end_ms=end_ms,
        targets=frozenset(row[0] for row in targets),
        coupons={row[0]: Coupon(row[1], row[2] or "our own brand") for row in coupons},
        redeemed=dict(database.execute(_FIRST_REDEMPTION).fetchall()),
        stores=dict(database.execute(_HOME_STORE).fetchall()),
    )
