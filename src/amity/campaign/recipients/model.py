"""What is a schema on the campaign side?

A schema describes one relational table: attributes, keys, links. A built-in one has the namespace
`nms`; an extension carries the name of what it extends in a namespace of its own and adds
attributes to the same table. Behaviour: campaign.md §1.1.

All times are integer milliseconds since the epoch, UTC (type `datetime`); a `date` is ISO text.
"""

from __future__ import annotations

from typing import Literal

import msgspec

AttributeType = Literal[
    "boolean", "byte", "short", "long", "int64", "double", "string", "memo", "date", "datetime"
]


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value of an enumeration."""

    name: str
    value: int | str
    label: str = ""


class Enumeration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A closed list of values; stored by `value`, spoken of by `name`."""

    name: str
    values: tuple[Value, ...]
    default: str = ""


class Attribute(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column. `sqlname` "" follows the documented prefixes: ``sEmail``, ``iGender``, ``tsCreated``."""

    name: str
    type: AttributeType = "string"
    label: str = ""
    length: int = 255
    enum: str = ""
    required: bool = False
    default: int | float | str | None = None
    sqlname: str = ""
    policy: Literal["none", "email", "phone", "smartCase", "lowerCase", "upperCase"] = "none"


class Key(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A key: a unique index. With `allow_empty` rows whose key is empty are left out of it."""

    name: str
    fields: tuple[str, ...]
    allow_empty: bool = False


class Link(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link to one row of another table: a foreign key column ``<name>-id``, indexed."""

    name: str
    target: str
    label: str = ""
    integrity: Literal["define", "normal", "own", "neutral"] = "normal"


class Schema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table. `autopk` adds ``id``; `extends` names the built-in whose table it adds to."""

    namespace: str
    name: str
    label: str = ""
    extends: str = ""
    autopk: bool = True
    attributes: tuple[Attribute, ...] = ()
    enumerations: tuple[Enumeration, ...] = ()
    keys: tuple[Key, ...] = ()
    links: tuple[Link, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    kind: Literal["data", "lookup", "personalisation", "log"] = "data"

    @property
    def id(self) -> str:
        """``nms:recipient``."""
        return f"{self.namespace}:{self.name}"
