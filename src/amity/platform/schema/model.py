"""What is a schema once all its parts are put together?"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Behavior = Literal["record", "time-series", "adhoc"]

PROFILE_CLASS = "https://ns.adobe.com/xdm/context/profile"
EVENT_CLASS = "https://ns.adobe.com/xdm/context/experienceevent"
PRODUCT_CLASS = "https://ns.adobe.com/xdm/classes/product"


class IdentityField(msgspec.Struct, frozen=True, kw_only=True):
    """A string field that names a person or thing. Behaviour: platform-collect.md §2."""

    path: tuple[str, ...]
    namespace: str
    primary: bool


class Relationship(msgspec.Struct, frozen=True, kw_only=True):
    """A field whose value is the primary identity of another schema's entity."""

    path: tuple[str, ...]
    schema_id: str
    namespace: str


class ResolvedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """A schema with every `$ref` and `allOf` resolved into `properties`.

    `json_schema` validates an ingested record strictly: unknown fields are refused, null is no
    value, dates must be dates. `labels` maps a path tuple (joined by "/") to its usage labels.
    """

    id: str
    alt_id: str
    title: str
    version: str
    class_id: str
    behavior: Behavior
    json_schema: dict[str, Any]
    identities: tuple[IdentityField, ...] = ()
    relationships: tuple[Relationship, ...] = ()
    profile_enabled: bool = False
    labels: dict[str, tuple[str, ...]] = {}
