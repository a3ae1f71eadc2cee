"""How are tables, columns and indexes called in SQL?

Table: namespace and name (``CusStore``); column: a prefix that tells the type (``sEmail``,
``iGender``, ``tsCreated``); primary key and link: ``iStoreId``. Behaviour: campaign.md §1.1.
"""

from __future__ import annotations

from amity.campaign.recipients.model import Attribute, Key, Link, Schema

_PREFIX = {
    "boolean": "i",
    "byte": "i",
    "short": "i",
    "long": "i",
    "int64": "i",
    "double": "d",
    "string": "s",
    "memo": "m",
    "date": "ts",
    "datetime": "ts",
}


def table(schema_id: str) -> str:
    """The table of a schema.

    >>> table("nms:broadLogRcp")
    'NmsBroadLogRcp'
    """
    namespace, _, name = schema_id.partition(":")
    return _upper(namespace) + _upper(name)


def primary_key(schema: Schema) -> str:
    """The column of ``id``.

    >>> primary_key(Schema(namespace="nms", name="recipient"))
    'iRecipientId'
    """
    return f"i{_upper(schema.name)}Id"


def column(attribute: Attribute) -> str:
    """The column of an attribute.

    >>> column(Attribute(name="birthDate", type="date"))
    'tsBirthDate'
    """
    return attribute.sqlname or _PREFIX[attribute.type] + _upper(attribute.name)


def link(made: Link) -> str:
    """The foreign key column of a link.

    >>> link(Link(name="recipient", target="nms:recipient"))
    'iRecipientId'
    """
    return f"i{_upper(made.name)}Id"


def key(schema_id: str, made: Key) -> str:
    """The unique index of a key: ``<Table>_<key>``."""
    return f"{table(schema_id)}_{made.name}"


def index(schema_id: str, fields: tuple[str, ...]) -> str:
    """An index; attributes hold no ``_``, so that it never meets a key's."""
    return "_".join((table(schema_id), "by", *(code_name(field) for field in fields)))


def code_name(field: str) -> str:
    """How code calls a field: an attribute by its name, a link's column with ``_``.

    >>> code_name("recipient-id")
    'recipient_id'
    """
    return field.replace("-", "_")


def _upper(name: str) -> str:
    return name[:1].upper() + name[1:]
