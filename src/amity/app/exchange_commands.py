"""The command line's `amity exchange …`: what joins the two sides."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from amity.app.local_client import LocalClient

exchange_commands = typer.Typer(help="What joins the platform and the campaign.")

Data = Annotated[Path, typer.Option("--data", help="The data folder.", envvar="AMITY_DATA")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OUT = Console()


@exchange_commands.command("plan")
def exchange_plan(data: Data, as_json: AsJson = False) -> None:  # noqa: FBT002 - an option
    """Show both data models beside each other: missing keys, mappable fields, a mapping."""
    made: dict[str, Any] = LocalClient(data).call("GET", "/data/core/exchange/plan")
    if as_json:
        sys.stdout.write(json.dumps(made, indent=2) + "\n")
        return
    keys = Table("schema", "key", "found by", "missing", title="Keys")
    for one in made["keys"]:
        keys.add_row(one["schema"], one["key"], one["foundBy"], one["missing"])
    mapping = Table("attribute", "", "field", "usable", "why", title="Suggested mapping")
    for one in made["mapping"]:
        arrow = "←" if one["direction"] == "to campaign" else "→"
        usable = "yes" if one["usable"] else "no"
        mapping.add_row(one["attribute"], arrow, one["path"], usable, one["why"])
    OUT.print(keys)
    OUT.print(mapping)
    for title, names in (
        ("attributes without a field", made["unmappedAttributes"]),
        ("fields without an attribute", made["unmappedFields"]),
    ):
        OUT.print(f"{title}: {', '.join(names) or 'none'}", markup=False)


@exchange_commands.command("setup")
def exchange_setup(
    data: Data,
    external_namespace: Annotated[str, typer.Option(help="Namespace of external ids.")] = "",
    every_minutes: Annotated[int, typer.Option(help="How often exports are looked for.")] = 15,
) -> None:
    """Create schemas, datasets and flows for the campaign's logs; safe to repeat."""
    body = {"externalNamespace": external_namespace, "interval": every_minutes}
    answer = LocalClient(data).call("POST", "/data/core/exchange/setup", json=body)
    OUT.print_json(data=answer)
