"""Which schemas and workflows does the demo's campaign have?

A look-up table of stores, a table of what each person is offered, links to both from the recipient,
and workflows as somebody would draw them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from amity.app.demo.campaign_content import content
from amity.app.demo.profile_files import OFFER_COLUMNS, RECIPIENT_COLUMNS, STORE_COLUMNS

LIST = "Campaign 18"
CAMPAIGN_NAME = "campaign-18"
STORES_FILE, OFFERS_FILE, RECIPIENTS_FILE = "stores.csv", "offers.csv", "recipients.csv"

Json = dict[str, Any]

SCHEMAS: tuple[Json, ...] = (
    {
        "namespace": "cus",
        "name": "store",
        "label": "Stores",
        "kind": "lookup",
        "attributes": [{"name": "storeId", "length": 20, "required": True}, {"name": "label"}],
        "keys": [{"name": "storeId", "fields": ["storeId"]}],
    },
    {
        "namespace": "cus",
        "name": "offer",
        "label": "What somebody is offered",
        "kind": "personalisation",
        "attributes": [
            {"name": "externalId", "length": 128, "required": True},
            {"name": "couponUpc", "length": 20},
            {"name": "product"},
        ],
        "keys": [{"name": "externalId", "fields": ["externalId"]}],
    },
    {
        "namespace": "cus",
        "name": "recipient",
        "extends": "nms:recipient",
        "links": [
            {"name": "store", "target": "cus:store"},
            {"name": "offer", "target": "cus:offer"},
        ],
    },
)


def imports(folder: str, account: str = "sftp") -> dict[str, Json]:
    """Name → the workflow that brings a file in, in the order in which they are run.

    Args:
        folder: Where the files lie at the account.
        account: An external account; `sftp` is the campaign's own server.
    """
    plain = {
        "import-stores": (STORES_FILE, STORE_COLUMNS, "cus:store", "storeId"),
        "import-offers": (OFFERS_FILE, OFFER_COLUMNS, "cus:offer", "externalId"),
    }
    made = {
        name: file_import(
            name,
            source=(account, f"{folder}/{file}".lstrip("/")),
            columns=columns,
            update={
                "schema": schema,
                "operation": "insertOrUpdate",
                "keys": [{"attribute": key}],
                "fields": [{"to": column} for column in columns],
            },
        )
        for name, (file, columns, schema, key) in plain.items()
    }
    links = [
        {"to": "store-id", "value": "@storeId", "by": "storeId"},
        {"to": "offer-id", "value": "@offerId", "by": "externalId"},
    ]
    attributes = [{"to": name} for name in ("externalId", "email", "firstName", "lastName")]
    made["import-recipients"] = file_import(
        "import-recipients",
        source=(account, f"{folder}/{RECIPIENTS_FILE}".lstrip("/")),
        columns=RECIPIENT_COLUMNS,
        update={
            "operation": "insertOrUpdate",
            "keys": [{"attribute": "externalId"}],
            "fields": [*attributes, *links],
        },
    )
    return made


def file_import(
    name: str, *, source: tuple[str, str], columns: Sequence[str], update: Mapping[str, Any]
) -> Json:
    """File transfer, load file, update data."""
    account, path = source
    return chain(
        name,
        ("transfer", "file_transfer", {"account": account, "path": path}),
        (
            "load",
            "load_file",
            {"columns": [{"name": column} for column in columns], "keys": [columns[0]]},
        ),
        ("update", "update_data", dict(update)),
    )


def exports() -> dict[str, tuple[str, Json]]:
    """Name → template and what it is told: each log goes back every other day."""
    kinds = {
        "broad-log": "export_broad_log",
        "tracking-log": "export_tracking_log",
        "non-deliverable": "export_non_deliverable",
        "preferences": "export_preferences",
    }
    return {
        f"export-{name}": (template, {"name": f"export-{name}", "every": "P2D"})
        for name, template in kinds.items()
    }


def audience_import(audience: str, tenant: str) -> tuple[str, Json]:
    """Template and what it is told: the audience's files, at once and then once a week."""
    return "import_audiences", {
        "name": "import-audience",
        "audience": audience,
        "list": LIST,
        "folder": "campaign",
        "keys": {"externalId": f"_{tenant}_loyaltyId"},
        "every": "P7D",
    }


def delivery(name: str, subject: str) -> Json:
    """The members of the list, with what they are offered, and a message to each."""
    return chain(
        name,
        (
            "members",
            "query",
            {
                "where": f"InList('{LIST}')",
                "columns": [
                    {"name": "storeId", "value": "[store/@storeId]"},
                    {"name": "couponUpc", "value": "[offer/@couponUpc]"},
                    {"name": "product", "value": "[offer/@product]"},
                ],
            },
        ),
        (
            "send",
            "delivery",
            {
                "label": subject,
                "content": content(subject),
                "campaignName": CAMPAIGN_NAME,
                "start": "prepareAndStart",
            },
        ),
    )


def chain(name: str, *steps: tuple[str, str, Mapping[str, Any]]) -> Json:
    """A workflow of one activity after the other: name, type, options."""
    names = [step[0] for step in steps]
    return {
        "name": name,
        "activities": [
            {"name": step, "type": type_, "options": dict(options)}
            for step, type_, options in steps
        ],
        "transitions": [{"from": start, "to": end} for start, end in pairwise(names)],
    }
