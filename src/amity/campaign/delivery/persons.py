"""What may a template say of one recipient?

``recipient`` has the attributes of nms:recipient and its extensions, ``targetData`` the columns that
the target brought along, ``delivery`` what is known of the delivery. Behaviour: campaign.md §1.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson
import sqlalchemy as sa

from amity.campaign.delivery.contents import named
from amity.campaign.delivery.links import LinkSigner
from amity.campaign.delivery.rewriting import (
    LINK_VARIABLE,
    MIRROR_VARIABLE,
    TYPE_CLICK,
    UNSUBSCRIBE_VARIABLE,
    URL_OPEN,
    TrackedUrl,
)
from amity.campaign.recipients.builtin import RECIPIENT, SEED
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.clock import to_iso

_PREFIX: Final = "rcp_"
_TIME: Final = "rcpAt_"

DELIVERY_NAMES: Final = frozenset({"id", "internalName", "label", "contactDate", "proof"})
"""What a template may say of the delivery."""


class Persons:
    """Makes the values that templates are filled with.

    Args:
        schemas: Knows the attributes of recipients.
        signer: Makes a message's own links.
    """

    def __init__(self, schemas: CampaignSchemas, signer: LinkSigner) -> None:
        self._schemas = schemas
        self._signer = signer

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes of a recipient, ``id`` first."""
        return ("id", *(one.name for one in self._schemas.schema(RECIPIENT.id).attributes))

    def logs(self) -> sa.Select[Any]:
        """Delivery logs beside their recipients; add a condition."""
        logs = self._schemas.table("nms:broadLogRcp")
        people = self._schemas.table(RECIPIENT.id)
        seeds = self._schemas.table(SEED.id)
        joined = logs.outerjoin(people, people.c.id == logs.c.recipient_id).outerjoin(
            seeds, sa.and_(seeds.c.email == logs.c.address, logs.c.seed == sa.true())
        )
        return sa.select(
            *named(logs),
            *self.columns(people),
            seeds.c.firstName.label("seed_firstName"),
            seeds.c.lastName.label("seed_lastName"),
        ).select_from(joined)

    def columns(self, people: sa.FromClause) -> list[sa.Label[Any]]:
        """A recipient's attributes, each named so that a row tells which are times."""
        times = {
            one.name
            for one in self._schemas.schema(RECIPIENT.id).attributes
            if one.type == "datetime"
        }
        return [
            people.c[name].label((_TIME if name in times else _PREFIX) + name)
            for name in self.attributes
        ]

    def values(
        self, row: Mapping[str, Any], delivery: Mapping[str, Any], urls: tuple[TrackedUrl, ...]
    ) -> dict[str, Any]:
        """Everything a template may speak of, for a row of `logs`."""
        broadlog, number = int(row["id"]), int(delivery["id"])
        signer = self._signer
        own = {f"u{URL_OPEN}": signer.url("o", broadlog=broadlog, delivery=number, url=URL_OPEN)}
        for url in urls:
            if url.type == TYPE_CLICK:
                own[f"u{url.number}"] = signer.url(
                    "r", broadlog=broadlog, delivery=number, url=url.number
                )
        return {
            "recipient": _recipient(row),
            "targetData": orjson.loads(row["data"]) if row["data"] else {},
            "delivery": shown_delivery(delivery),
            MIRROR_VARIABLE: signer.url("m", broadlog=broadlog, delivery=number),
            UNSUBSCRIBE_VARIABLE: signer.url("u", broadlog=broadlog, delivery=number),
            LINK_VARIABLE: own,
        }

    def name(self, row: Mapping[str, Any]) -> str:
        """The name in the ``To`` header."""
        parts = (row[f"{_PREFIX}firstName"], row[f"{_PREFIX}lastName"])
        return " ".join(part for part in parts if part)


def _recipient(row: Mapping[str, Any]) -> dict[str, Any]:
    plain, times = _named(tuple(row))
    made = {name: row[column] for name, column in plain}
    for name, column in times:
        value = row[column]
        made[name] = None if value is None else _iso(value)
    if row["recipient_id"] is None:
        made |= {
            "email": row["address"],
            "firstName": row["seed_firstName"],
            "lastName": row["seed_lastName"],
        }
    return made


_Names = tuple[tuple[str, str], ...]


@lru_cache(maxsize=64)
def _named(columns: tuple[str, ...]) -> tuple[_Names, _Names]:
    """Attribute and column of a recipient: plain ones, and times."""
    return (
        tuple((one.removeprefix(_PREFIX), one) for one in columns if one.startswith(_PREFIX)),
        tuple((one.removeprefix(_TIME), one) for one in columns if one.startswith(_TIME)),
    )


# An import gives many the same times, and a delivery has one.
_iso = lru_cache(maxsize=4096)(to_iso)


def shown_delivery(delivery: Mapping[str, Any]) -> dict[str, Any]:
    """The delivery as templates see it; times are RFC 3339."""
    at = delivery["contactDate"]
    return {
        "id": delivery["id"],
        "internalName": delivery["internalName"],
        "label": delivery["label"] or delivery["internalName"],
        "contactDate": _iso(at) if at else "",
        "proof": bool(delivery["proof"]),
    }
