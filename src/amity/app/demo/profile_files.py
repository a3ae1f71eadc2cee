"""Which files does the shop put onto the campaign's SFTP server?

Its customers as recipients (the simplified profile file) and what each of them is offered (the
personalisation file). Names and addresses are derived, stores and coupons are the data set's.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from amity.app.demo.answers import Answers
from amity.app.demo.campaign_data import CampaignData
from amity.app.demo.derive import address_of, name_of

RECIPIENT_COLUMNS = ("externalId", "email", "firstName", "lastName", "storeId", "offerId")
STORE_COLUMNS = ("storeId", "label")
OFFER_COLUMNS = ("externalId", "couponUpc", "product")


def recipients_file(answers: Answers, data: CampaignData) -> bytes:
    """One line a recipient; what it is offered goes by its own id."""
    rows = (
        (
            *(str(one), address_of(one), *name_of(one), str(data.stores[one])),
            str(one) if one in data.coupons else "",
        )
        for one in sorted(answers.recipients)
    )
    return _csv(RECIPIENT_COLUMNS, rows)


def stores_file(data: CampaignData) -> bytes:
    """One line a store."""
    rows = ((str(one), f"Store {one}") for one in sorted(set(data.stores.values())))
    return _csv(STORE_COLUMNS, rows)


def offers_file(answers: Answers, data: CampaignData) -> bytes:
    """One line a recipient that the campaign is for."""
    rows = (
        (str(one), str(coupon.upc), coupon.product)
        for one, coupon in sorted(data.coupons.items())
        if one in answers.recipients
    )
    return _csv(OFFER_COLUMNS, rows)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue().encode()
