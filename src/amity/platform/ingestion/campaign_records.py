"""What does a row of the campaign side's logs become on the platform?

A message's state and an answer become events, what a person allows becomes a record. An event's
`_id` is made of the log's id and the state: a row that is shipped twice is one event, a row that has
changed is another. Behaviour: campaign.md §2; platform-collect.md §3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from amity.kernel.clock import from_iso, to_iso
from amity.kernel.errors import Invalid
from amity.kernel.ids import digest

TEXT_CHARS_MAX = 500
URL_CHARS_MAX = 2_000
"""Longer texts are cut: an event has its limit of bytes. Ours."""

Cells = Mapping[str, str]


class BadRow(Invalid):
    """The row cannot become a record."""


class Naming(NamedTuple):
    """How the platform calls the campaign side's people. "" = not at all.

    A person goes by one identity: the external id where there is one, else the e-mail address.
    Both together would join all who share an address into one person.
    """

    external: str
    email: str
    tenant: str

    def identity_map(self, external_id: str, email: str) -> dict[str, Any]:
        """The member `identityMap`, or nothing when nobody can be named.

        >>> Naming("crm", "Email", "shop").identity_map("7", "a@b")
        {'identityMap': {'crm': [{'id': '7', 'primary': True}]}}
        """
        for code, value in ((self.external, external_id), (self.email, email)):
            if code and value:
                return {"identityMap": {code: [{"id": value, "primary": True}]}}
        return {}


class Mapped(NamedTuple):
    """A record; `rank_ms` is when it counts as received, 0 for an event, which is kept once."""

    body: dict[str, Any]
    rank_ms: int = 0


def record_of(kind: str, cells: Cells, naming: Naming) -> Mapped:
    """The record that a row becomes; `BadRow` says why it becomes none."""
    return _MAKERS[kind](cells, naming)


def _broad_log(cells: Cells, naming: Naming) -> Mapped:
    id, status = _needed(cells, "id"), _needed(cells, "status")
    state = (status, cells.get("failureType", ""), cells.get("failureReason", ""))
    name, measure = _delivery_event(status, cells)
    campaign = {
        **_campaign(cells),
        "broadlogID": id,
        "status": status,
        **_texts(cells, {"reason": "failureReason", "reasonMessage": "failureText"}),
        "quarantine": cells.get("failureReason") == "quarantine",
        "seedMember": _truth(cells, "seed"),
        "proofMember": _truth(cells, "proof"),
        "controlGroupMember": _truth(cells, "control"),
    }
    return Mapped(
        {
            "_id": digest("broadLog", id, *state),
            "timestamp": _time(cells, "eventDate", "lastModified"),
            "eventType": name,
            **_whose(cells, naming),
            "_experience": {"campaign": campaign},
            **({"directMarketing": {measure: {"value": 1}}} if measure else {}),
        }
    )


def _delivery_event(status: str, cells: Cells) -> tuple[str, str]:
    """The event type of a state, and the measure that counts it. Behaviour: campaign.md §1.10."""
    if status in {"sent", "taken"}:
        return "directMarketing.emailSent", "sends"
    if status == "received":
        return "directMarketing.emailDelivered", "emailDelivered"
    if status == "failed" and cells.get("failureType") == "hard":
        return "directMarketing.emailBounced", "bounces"
    if status == "failed" and cells.get("failureType") == "soft":
        return "directMarketing.emailBouncedSoft", "bounces"
    if status in {"failed", "ignored", "cancelled"}:
        return "delivery.feedback", "notSent"
    return "delivery.feedback", ""


_ANSWERS: Mapping[str, tuple[str, str]] = {
    "open": ("directMarketing.emailOpened", "opens"),
    "click": ("directMarketing.emailClicked", "clicks"),
    "optOut": ("directMarketing.emailUnsubscribed", "unsubscriptions"),
    "mirror": ("directMarketing.emailMirrorPage", "mirrorPages"),
}
_BY_MACHINE: Mapping[str, str] = {
    "open": "directMarketing.machineOpened",
    "click": "directMarketing.machineClicked",
}
"""What a machine did is no answer of a person: it has event types of its own."""


def _tracking_log(cells: Cells, naming: Naming) -> Mapped:
    id, kind = _needed(cells, "id"), _needed(cells, "type")
    name, measure = _ANSWERS.get(kind, ("message.tracking", ""))
    if _truth(cells, "machine"):
        name, measure = _BY_MACHINE.get(kind, "message.tracking"), ""
    campaign = {
        **_campaign(cells),
        "trackinglogID": id,
        **_texts(cells, {"broadlogID": "broadLogId", "urlCategory": "urlCategory"}),
        **({"url": cells["url"][:URL_CHARS_MAX]} if cells.get("url") else {}),
    }
    agent = cells.get("userAgent", "")[:TEXT_CHARS_MAX]
    return Mapped(
        {
            "_id": digest("trackingLog", cells.get("hit") or id),
            "timestamp": _time(cells, "logDate"),
            "eventType": name,
            **_whose(cells, naming),
            "_experience": {"campaign": campaign},
            **({"directMarketing": {measure: {"value": 1}}} if measure else {}),
            **({"environment": {"browserDetails": {"userAgent": agent}}} if agent else {}),
        }
    )


def _non_deliverable(cells: Cells, naming: Naming) -> Mapped:
    id, status = _needed(cells, "id"), _needed(cells, "status")
    email = cells.get("address", "") if cells.get("channel") == "email" else ""
    names = ("address", "channel", "failureReason", "failureText", "deliveryId", "domain")
    own = {
        "addressId": id,
        "status": status,
        **_texts(cells, {name: name for name in names}),
        **{name: _time(cells, name) for name in ("firstError", "lastError") if cells.get(name)},
        "errorCount": _number(cells, "errorCount"),
    }
    state = (status, cells.get("failureReason", ""), str(own["errorCount"]))
    return Mapped(
        {
            "_id": digest("nonDeliverable", id, *state, cells.get("lastError", "")),
            "timestamp": _time(cells, "lastModified"),
            "eventType": "directMarketing.nonDeliverable",
            **naming.identity_map("", email),
            "directMarketing": {"nonDeliverables": {"value": 1}},
            f"_{naming.tenant}": {"nonDeliverable": own},
        }
    )


_FLAGS: Mapping[str, str] = {
    "blackList": "any",
    "blackListEmail": "email",
    "blackListMobile": "sms",
    "blackListPhone": "call",
    "blackListPostalMail": "postalMail",
    "blackListPushnotification": "push",
}
_FORMATS = {"text": "plaintext", "html": "html"}


def _preferences(cells: Cells, naming: Naming) -> Mapped:
    """Who is not on a denylist has said nothing by that: only a no is told by a file."""
    _needed(cells, "recipientId")
    said = _time(cells, "lastModified")
    refused = {channel: {"val": "n", "time": said} for flag, channel in _FLAGS.items()
               if _truth(cells, flag)}  # fmt: skip
    language = cells.get("language", "").replace("_", "-")
    form = _FORMATS.get(cells.get("emailFormat", ""), "")
    services = _services(cells)
    body = {
        **naming.identity_map(cells.get("externalId", ""), cells.get("email", "")),
        **({"consents": {"marketing": refused}} if refused else {}),
        **({"preferredLanguage": language} if language else {}),
        **({"emailFormat": form} if form else {}),
        **({"timeZone": cells["timeZone"]} if cells.get("timeZone") else {}),
        **({"optInOut": services} if services else {}),
    }
    # Just before: what the stream has told of the same instant stands.
    return Mapped(body, from_iso(said) - 1)


_MAKERS: Mapping[str, Callable[[Cells, Naming], Mapped]] = {
    "broadLog": _broad_log,
    "trackingLog": _tracking_log,
    "nonDeliverable": _non_deliverable,
    "preferences": _preferences,
}


def _campaign(cells: Cells) -> dict[str, Any]:
    return _texts(
        cells,
        {
            "externalID": "externalId",
            "recipientID": "recipientId",
            "deliveryID": "deliveryId",
            "deliveryName": "deliveryName",
            "deliveryLabel": "deliveryLabel",
            "campaignName": "campaignName",
            "campaignLabel": "campaignName",
            "serviceID": "serviceId",
            "channel": "channel",
        },
    )


def _whose(cells: Cells, naming: Naming) -> dict[str, Any]:
    email = cells.get("email") or cells.get("address", "")
    return naming.identity_map(cells.get("externalId", ""), email)


def _texts(cells: Cells, names: Mapping[str, str]) -> dict[str, Any]:
    found = {field: cells.get(column, "")[:TEXT_CHARS_MAX] for field, column in names.items()}
    return {field: text for field, text in found.items() if text}


def _needed(cells: Cells, column: str) -> str:
    value = cells.get(column, "")
    if not value:
        raise BadRow(f"{column} is empty: a row is known by it", column=column)
    return value


def _truth(cells: Cells, column: str) -> bool:
    value = cells.get(column, "false")
    if value not in {"true", "false"}:
        raise BadRow(f"{column} is true or false, not {value[:40]!r}", column=column)
    return value == "true"


def _number(cells: Cells, column: str) -> int:
    value = cells.get(column, "0")
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise BadRow(f"{column} is a number, not {value[:40]!r}", column=column)
    return int(value)


def _time(cells: Cells, *columns: str) -> str:
    value = next((cells[column] for column in columns if cells.get(column)), "")
    if not value:
        raise BadRow(f"{columns[0]} is empty: it says when it happened", column=columns[0])
    try:
        at_ms = from_iso(value)
    except Invalid as error:
        raise BadRow(f"{columns[0]}: {error.message}", column=columns[0]) from None
    if at_ms < 0:
        raise BadRow(f"{columns[0]} lies before 1970: nothing was sent then", column=columns[0])
    return to_iso(at_ms)


def _services(cells: Cells) -> dict[str, str]:
    text = cells.get("subscriptions", "")
    if not text:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or any(one not in ("y", "n") for one in found.values()):
        raise BadRow("subscriptions is a JSON object of y and n by service", column="subscriptions")
    return {name: "in" if value == "y" else "out" for name, value in found.items() if name}
