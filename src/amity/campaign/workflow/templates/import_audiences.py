"""Import of an audience: who is a member gets on a list, who has left is taken off it.

The files are those the platform publishes for one audience, found by their manifests. Recipients are
never created: who is none goes into a file of unknown people. Behaviour: campaign.md §2 (ingest).
"""

from __future__ import annotations

from typing import Any

import msgspec

from amity.campaign.workflow.errors import BadOptions
from amity.campaign.workflow.model import Arrow, Graph, Step
from amity.campaign.workflow.template import TemplateSpec


class ImportAudiencesConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What differs from audience to audience."""

    name: str
    list: str
    """The list of the members; it is created if it is missing."""

    account: str = "exchange"
    """The external account at which the platform publishes."""

    folder: str = ""
    audience: str = ""
    """Id or name; "" where the folder holds the files of one audience only."""

    keys: dict[str, str] = msgspec.field(default_factory=lambda: {"email": "personalEmail_address"})
    """Attribute of the recipient → column of the file, the best first."""

    every: str = "PT3H"
    immediately: bool = True
    rejects_account: str = "sftp"
    rejects_folder: str = "rejects"
    """Where files of rejected rows and of unknown people go."""


def make(config: ImportAudiencesConfig) -> Graph:
    """The graph."""
    if not config.keys:
        raise BadOptions("keys names at least one attribute and its column in the file")
    return Graph(
        name=config.name,
        label=f"Import of audience {config.audience or config.list}",
        activities=(
            Step(
                name="schedule",
                type="scheduler",
                options={"every": config.every, "immediately": config.immediately},
            ),
            Step(name="transfer", type="file_transfer", options=_transfer(config)),
            Step(name="load", type="load_file", options=_load(config)),
            Step(name="reconcile", type="enrichment", options=_reconcile(config)),
            Step(name="split", type="split", options=_SPLIT),
            Step(name="mode", type="test", options=_MODE),
            Step(name="all_members", type="list_update", options=_listed(config, "replace")),
            Step(name="new_members", type="list_update", options=_listed(config, "append")),
            Step(name="left", type="list_update", options=_listed(config, "remove")),
            Step(name="any_unknown", type="test", options=_ANY),
            Step(
                name="unknown",
                type="extraction",
                options={"name": f"{config.name}_unknown"},
            ),
            Step(name="keep_unknown", type="file_transfer", options=_kept(config)),
            Step(name="keep_rejects", type="file_transfer", options=_kept(config)),
        ),
        transitions=(
            Arrow(start="schedule", end="transfer"),
            Arrow(start="transfer", end="load"),
            Arrow(start="load", end="reconcile"),
            Arrow(start="load", output="rejects", end="keep_rejects"),
            Arrow(start="reconcile", end="split"),
            Arrow(start="reconcile", output="unreconciled", end="any_unknown"),
            Arrow(start="split", output="active", end="mode"),
            Arrow(start="split", output="expired", end="left"),
            Arrow(start="mode", output="full", end="all_members"),
            Arrow(start="mode", output="changes", end="new_members"),
            Arrow(start="any_unknown", output="some", end="unknown"),
            Arrow(start="unknown", end="keep_unknown"),
        ),
    )


_SPLIT = {
    "subsets": [
        {"name": "active", "label": "Members", "where": "@segmentStatus = 'active'"},
        {"name": "expired", "label": "Left", "where": "@segmentStatus = 'expired'"},
    ]
}
_MODE = {
    "ways": [{"transition": "full", "when": [{"var": "exportMode", "value": "full"}]}],
    "default": "changes",
}
_ANY = {"ways": [{"transition": "some", "when": [{"var": "recCount", "op": ">", "value": 0}]}]}


def _transfer(config: ImportAudiencesConfig) -> dict[str, Any]:
    folder = f"{config.folder.strip('/')}/" if config.folder.strip("/") else ""
    return {
        "account": config.account,
        "path": f"{folder}manifest-*.json",
        "manifest": True,
        "audience": config.audience,
        "missing": "transition",
    }


def _load(config: ImportAudiencesConfig) -> dict[str, Any]:
    columns = [
        {"name": name, "source": source, "case": "lower" if name == "email" else "none"}
        for name, source in config.keys.items()
    ]
    return {"audience": True, "columns": columns, "keys": list(config.keys)}


def _reconcile(config: ImportAudiencesConfig) -> dict[str, Any]:
    keys = [{"attribute": name} for name in config.keys]
    return {"reconcile": {"keys": keys, "unreconciled": "transition"}}


def _listed(config: ImportAudiencesConfig, operation: str) -> dict[str, Any]:
    return {"list": config.list, "operation": operation}


def _kept(config: ImportAudiencesConfig) -> dict[str, Any]:
    folder = config.rejects_folder.strip("/") or "rejects"
    return {"account": config.rejects_account, "action": "upload", "path": f"{folder}/"}


SPEC = TemplateSpec(
    name="import_audiences",
    label="Import of an audience",
    summary="Keeps a list equal to an audience of the platform; creates nobody.",
    config=ImportAudiencesConfig,
    make=make,
)
