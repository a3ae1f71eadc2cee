"""What may data be marked with?

Labels say what data must not be used for. Core ones come from a data file; an organisation adds its
own. Names are case-sensitive. Behaviour: platform-activation.md §1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import msgspec

from amity.platform.governance.errors import BadPolicy

Category = Literal["Contract", "Identity", "Sensitive", "Custom"]

STITCHED = "C10"
"""Put by itself on audiences whose merge policy stitches identities by the private graph."""


class Label(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One label's definition."""

    name: str
    category: Category
    friendly_name: str = ""
    description: str = ""


@cache
def core_labels() -> Mapping[str, Label]:
    """The labels every organisation has, by name."""
    raw = files("amity.platform.governance").joinpath("core_labels.json").read_bytes()
    return {label.name: label for label in msgspec.json.decode(raw, type=list[Label])}


def custom_label(name: str, body: Mapping[str, Any]) -> Label:
    """A custom label from a request body.

    >>> custom_label("L1", {"name": "L1", "category": "Custom"}).category
    'Custom'
    """
    for wanted in ("name", "category"):
        if not body.get(wanted):
            raise BadPolicy(f"a custom label needs `{wanted}`; send name, category, friendlyName")
    if body["name"] != name:
        raise BadPolicy(f"the body names {body['name']!r}, the path {name!r}: make them one")
    if body["category"] != "Custom":
        raise BadPolicy(f"category {body['category']!r} is for core labels; write Custom")
    if name in core_labels():
        raise BadPolicy(f"{name} is a core label and cannot be redefined")
    return Label(
        name=name,
        category="Custom",
        friendly_name=str(body.get("friendlyName", "")),
        description=str(body.get("description", "")),
    )
