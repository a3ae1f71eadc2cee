"""How are schema resources called?

A resource has a URI (`$id`) and a short form (`meta:altId`): the URI without its host, slashes as
dots, a leading underscore. Behaviour: platform-collect.md §2.
"""

from __future__ import annotations

from typing import Literal

HOST = "https://ns.adobe.com/"
"""Names begin with it in the followed system; nothing is ever fetched from there."""

Kind = Literal["schema", "class", "field_group", "data_type", "behavior"]

SEGMENTS: dict[Kind, str] = {
    "schema": "schemas",
    "class": "classes",
    "field_group": "mixins",
    "data_type": "datatypes",
    "behavior": "behaviors",
}
"""Kind → the word in URIs and in `meta:resourceType`; field groups keep their old name."""

PATHS: dict[str, Kind] = {
    "schemas": "schema",
    "classes": "class",
    "fieldgroups": "field_group",
    "mixins": "field_group",
    "datatypes": "data_type",
    "behaviors": "behavior",
}
"""The word in paths → kind."""

UNION_SUFFIX = "__union"


def alt_id(id: str) -> str:
    """The short form of a URI; a short form stays as it is.

    >>> alt_id("https://ns.adobe.com/xdm/context/profile")
    '_xdm.context.profile'
    >>> alt_id("_shop.schemas.ab12")
    '_shop.schemas.ab12'
    """
    if not id.startswith(HOST):
        return id
    return "_" + id.removeprefix(HOST).strip("/").replace("/", ".")


def resource_id(tenant: str, kind: Kind, digest: str) -> str:
    """The URI of a tenant's resource.

    >>> resource_id("shop", "field_group", "ab12")
    'https://ns.adobe.com/shop/mixins/ab12'
    """
    return f"{HOST}{tenant}/{SEGMENTS[kind]}/{digest}"


def plain_name(name: str) -> str:
    """A property's name in compatibility mode.

    >>> plain_name("xdm:city"), plain_name("@id"), plain_name("schema:latitude")
    ('city', '_id', 'latitude')
    """
    if name.startswith("@"):
        return "_" + name[1:]
    return name.partition(":")[2] if name.startswith(("xdm:", "schema:")) else name
