"""How do deliveries and their messages look in requests and answers?

Names for numbers, RFC 3339 for times. Numbers: campaign.md §1.7, §1.10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import orjson

from amity.campaign.delivery.content import Content
from amity.campaign.delivery.model import Targeting
from amity.campaign.recipients.builtin import (
    CHANNEL,
    DELIVERY_STATE,
    FAILURE_REASON,
    FAILURE_TYPE,
    LOG_STATUS,
)
from amity.campaign.recipients.enumerations import name_of
from amity.kernel.clock import to_iso

TARGET_IDS_MAX = 10_000
"""Recipients named in one request. Ours; a workflow's population takes any number."""

Json = dict[str, Any]


class NewDelivery(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What makes a delivery, or, as a patch, changes one: what is left out stays as it is."""

    internal_name: str | msgspec.UnsetType = msgspec.UNSET
    label: str | msgspec.UnsetType = msgspec.UNSET
    template: str | msgspec.UnsetType = msgspec.UNSET
    """Internal name of a delivery whose content and settings are taken over."""

    content: Content | msgspec.UnsetType = msgspec.UNSET
    service: str | msgspec.UnsetType = msgspec.UNSET
    campaign_name: str | msgspec.UnsetType = msgspec.UNSET
    is_model: bool | msgspec.UnsetType = msgspec.UNSET
    transactional: bool | msgspec.UnsetType = msgspec.UNSET
    contact_date: str | msgspec.UnsetType = msgspec.UNSET
    """RFC 3339; "" is as soon as it is started."""

    valid_until: str | msgspec.UnsetType = msgspec.UNSET
    """RFC 3339; "" is five days after the contact date."""


class WantedTarget(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Whom to write to: those who fulfil all that is given; at least one must be."""

    condition: str = ""
    list: str = ""
    recipients: Annotated[tuple[int, ...], msgspec.Meta(max_length=TARGET_IDS_MAX)] = ()


class Preparation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request to analyse."""

    target: WantedTarget
    targeting: Targeting = Targeting()


class ProofWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request for a proof: the addresses (none: the seeds), and whose data stand in it."""

    addresses: tuple[str, ...] = ()
    recipient: int = 0


def delivery_shown(row: Mapping[str, Any], service: str = "") -> Json:
    """A delivery as it is answered."""
    return {
        "id": row["id"],
        "internalName": row["internalName"],
        "label": row["label"] or row["internalName"],
        "channel": name_of(CHANNEL, row["messageType"]),
        "state": name_of(DELIVERY_STATE, row["state"]),
        "stateCode": row["state"],
        "isModel": bool(row["isModel"]),
        "proof": bool(row["proof"]),
        "proofOf": row["proofOfId"] or None,
        "transactional": bool(row["transactional"]),
        "service": service,
        "campaignName": row["campaignName"] or "",
        "workflowId": row["workflowId"] or None,
        "content": orjson.loads(row["content"] or "{}"),
        "report": orjson.loads(row["report"]) if row["report"] else None,
        "toDeliver": row["toDeliver"],
        **{
            name: _time(row[name])
            for name in ("analysed", "contactDate", "validUntil", "ended", "created")
        },
        "lastModified": _time(row["lastModified"]),
    }


def log_shown(row: Mapping[str, Any]) -> Json:
    """A delivery log as it is answered."""
    return {
        "id": row["id"],
        "deliveryId": row["delivery_id"],
        "recipientId": row["recipient_id"],
        "address": row["address"],
        "status": name_of(LOG_STATUS, row["status"]),
        "statusCode": row["status"],
        "failureType": name_of(FAILURE_TYPE, row["failureType"]),
        "failureReason": name_of(FAILURE_REASON, row["failureReason"]),
        "failureText": row["failureText"] or "",
        "seed": bool(row["seed"]),
        "proof": bool(row["proof"]),
        "tries": row["tries"],
        "retryAt": _time(row["retryAt"]),
        "eventDate": _time(row["eventDate"]),
        "lastModified": _time(row["lastModified"]),
    }


def exclusion_shown(row: Mapping[str, Any]) -> Json:
    """An exclusion log as it is answered."""
    return {
        "id": row["id"],
        "deliveryId": row["delivery_id"],
        "recipientId": row["recipient_id"],
        "address": row["address"],
        "reason": name_of(FAILURE_REASON, row["failureReason"]),
        "reasonCode": row["failureReason"],
        "reasonText": row["reasonText"] or "",
        "date": _time(row["date"]),
    }


def _time(at_ms: int | None) -> str | None:
    return to_iso(at_ms) if at_ms else None
