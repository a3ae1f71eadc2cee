"""Import of recipients and of personalisation, from files that were put onto the SFTP server.

The simplified profile files come first: they make and change recipients. Then those for
orchestration and personalisation, which belong to recipients and make none. Behaviour:
campaign.md §1.3; platform-activation.md §8 (imports).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from amity.campaign.imports.columns import FileColumn
from amity.campaign.imports.files import FileFormat
from amity.campaign.workflow.errors import BadOptions
from amity.campaign.workflow.model import Arrow, Graph, Step
from amity.campaign.workflow.template import TemplateSpec


class Profiles(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Files of recipients; the columns go by the names of the attributes."""

    path: str
    columns: tuple[FileColumn, ...]
    keys: tuple[str, ...] = ("externalId", "email")
    """By which a recipient is found, the best first."""

    format: FileFormat = FileFormat()


class Personalisation(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Files of what messages say to a recipient, one row each."""

    path: str
    schema: str
    """The table they go into, e.g. ``shop:personalisation``."""

    columns: tuple[FileColumn, ...]
    keys: tuple[str, ...]
    """Attributes of that table by which a row is found again."""

    link: str = "recipient"
    """Its link to the recipient; "" where it has none."""

    recipient_key: str = "externalId"
    """Attribute of the recipient that the column `recipientColumn` holds."""

    recipient_column: str = "externalId"
    format: FileFormat = FileFormat()


class ImportRecipientsConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What differs from shop to shop."""

    name: str
    profiles: Profiles
    personalisation: Personalisation | None = None
    account: str = "sftp"
    every: str = "P1D"
    immediately: bool = True
    rejects_account: str = "sftp"
    rejects_folder: str = "rejects"


def make(config: ImportRecipientsConfig) -> Graph:
    """The graph."""
    if not config.profiles.columns:
        raise BadOptions("profiles.columns names the columns of the file, one an attribute")
    schedule = {"every": config.every, "immediately": config.immediately}
    steps = [Step(name="schedule", type="scheduler", options=schedule), *_profiles(config)]
    arrows = [Arrow(start="schedule", end="transfer"), *_loaded("", "update")]
    if config.personalisation is not None:
        steps += _personalisation(config, config.personalisation)
        arrows += [
            Arrow(start="update", end="then"),
            Arrow(start="transfer", output="missing", end="then"),
            Arrow(start="then", output="on", end="transfer_personalisation"),
            *_loaded("_personalisation", "update_personalisation"),
        ]
    return Graph(
        name=config.name,
        label="Import of recipients",
        activities=tuple(steps),
        transitions=tuple(arrows),
    )


def _profiles(config: ImportRecipientsConfig) -> list[Step]:
    profiles = config.profiles
    keys = [{"attribute": name} for name in profiles.keys]
    fields = [{"to": column.name} for column in profiles.columns]
    update = {"operation": "insertOrUpdate", "keys": keys, "fields": fields, "rejects": True}
    return _feed(config, "", profiles, {"schema": "nms:recipient", **update})


def _personalisation(config: ImportRecipientsConfig, feed: Personalisation) -> list[Step]:
    fields = [{"to": column.name} for column in feed.columns if _kept(feed, column)]
    if feed.link:
        value = f"[targetData/@{feed.recipient_column}]"
        fields.append({"to": f"{feed.link}-id", "value": value, "by": feed.recipient_key})
    update = {
        "schema": feed.schema,
        "operation": "insertOrUpdate",
        "keys": [{"attribute": name} for name in feed.keys],
        "together": True,
        "fields": fields,
        "rejects": True,
    }
    # It goes on here once for each way there is: with the recipients, or without new ones.
    then = Step(name="then", type="test", options={"ways": [], "default": "on"})
    return [then, *_feed(config, "_personalisation", feed, update)]


def _kept(feed: Personalisation, column: FileColumn) -> bool:
    """Whether the column is one of the table's: not the one that only names the recipient."""
    return not feed.link or column.name != feed.recipient_column or column.name in feed.keys


def _feed(
    config: ImportRecipientsConfig,
    suffix: str,
    feed: Profiles | Personalisation,
    update: dict[str, Any],
) -> list[Step]:
    name = f"{config.name}{suffix}_rejects"
    upload = {
        "account": config.rejects_account,
        "action": "upload",
        "path": f"{config.rejects_folder.strip('/') or 'rejects'}/",
    }
    transfer = {"account": config.account, "path": feed.path, "missing": "transition"}
    return [
        Step(name=f"transfer{suffix}", type="file_transfer", options=transfer),
        Step(name=f"load{suffix}", type="load_file", options=_load(feed, feed.columns)),
        Step(name=f"update{suffix}", type="update_data", options=update),
        Step(name=f"keep_rejects{suffix}", type="file_transfer", options=upload),
        Step(name=f"any_refused{suffix}", type="test", options=_ANY),
        Step(name=f"refused{suffix}", type="extraction", options={"name": name}),
        Step(name=f"keep_refused{suffix}", type="file_transfer", options=upload),
    ]


_ANY = {"ways": [{"transition": "some", "when": [{"var": "recCount", "op": ">", "value": 0}]}]}


def _load(feed: Profiles | Personalisation, columns: Sequence[FileColumn]) -> dict[str, Any]:
    return {
        "format": msgspec.to_builtins(feed.format),
        "columns": [msgspec.to_builtins(column) for column in columns],
        "keys": [name for name in feed.keys if name in {column.name for column in columns}],
    }


def _loaded(suffix: str, update: str) -> list[Arrow]:
    return [
        Arrow(start=f"transfer{suffix}", end=f"load{suffix}"),
        Arrow(start=f"load{suffix}", end=update),
        Arrow(start=f"load{suffix}", output="rejects", end=f"keep_rejects{suffix}"),
        Arrow(start=update, output="rejects", end=f"any_refused{suffix}"),
        Arrow(start=f"any_refused{suffix}", output="some", end=f"refused{suffix}"),
        Arrow(start=f"refused{suffix}", end=f"keep_refused{suffix}"),
    ]


SPEC = TemplateSpec(
    name="import_recipients",
    label="Import of recipients and personalisation",
    summary="Makes and changes recipients from files, then what messages say to them.",
    config=ImportRecipientsConfig,
    make=make,
)
