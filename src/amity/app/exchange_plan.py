"""What do both sides call the same thing, and what is missing before they can be joined?

The union schema of the platform beside the schemas of the campaign database: for each attribute the
field it would be filled from, for each key the identity it would be found by. A suggestion: people
decide. Behaviour: platform-activation.md §8 (know the platform's model first).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import re2
from fastapi import APIRouter

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.campaign.recipients.model import Attribute, Schema
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.scope import Scope
from amity.platform.identity.namespaces import Namespaces
from amity.platform.schema.model import PROFILE_CLASS, ResolvedSchema
from amity.platform.schema.service import SchemaRegistry

_KNOWN: Mapping[str, str] = {
    "email": "personalEmail.address",
    "firstName": "person.name.firstName",
    "lastName": "person.name.lastName",
    "middleName": "person.name.middleName",
    "salutation": "person.name.courtesyTitle",
    "gender": "person.gender",
    "birthDate": "person.birthDate",
    "phone": "homePhone.number",
    "mobilePhone": "mobilePhone.number",
    "language": "preferredLanguage",
    "timeZone": "timeZone",
    "countryCode": "homeAddress.countryCode",
    "address1": "homeAddress.street1",
    "address2": "homeAddress.street2",
    "zipCode": "homeAddress.postalCode",
    "city": "homeAddress.city",
    "emailFormat": "emailFormat",
}
"""Attributes of the built-in recipient, and the documented field of the same meaning."""

_FROM_CAMPAIGN: Mapping[str, str] = {
    "blackList": "consents.marketing.any.val",
    "blackListEmail": "consents.marketing.email.val",
    "blackListMobile": "consents.marketing.sms.val",
    "blackListPhone": "consents.marketing.call.val",
    "blackListPostalMail": "consents.marketing.postalMail.val",
    "blackListPushnotification": "consents.marketing.push.val",
}
"""What the campaign side is the truth about: it goes the other way."""

_OWN = frozenset({"id", "created", "lastModified", "origin", "externalId"})
"""Attributes that the campaign side fills itself, and the key, which has lines of its own."""

_KINDS = {"boolean": "boolean", "byte": "number", "short": "number", "long": "number",
          "int64": "number", "double": "number"}  # fmt: skip
_DEPTH_MAX = 12
_NO_LETTER = re2.compile(r"[^a-z0-9]+")
Viewer = Annotated[Principal, needs("view-schemas")]


class Field(NamedTuple):
    """A leaf of the union schema."""

    path: str
    kind: str


class MappingLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One attribute and its field."""

    attribute: str
    path: str
    direction: str
    """``to campaign`` or ``to platform``."""

    why: str
    usable: bool
    """Whether the field is in the union schema as it stands."""


class KeyLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How rows of a campaign schema are found from the platform."""

    schema: str
    key: str
    found_by: str
    """Namespace or field; "" while there is none."""

    missing: str
    """What to do about it; "" when nothing is missing."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The two models beside each other."""

    keys: tuple[KeyLine, ...]
    mapping: tuple[MappingLine, ...]
    unmapped_attributes: tuple[str, ...]
    unmapped_fields: tuple[str, ...]


def fields_of(union: ResolvedSchema) -> list[Field]:
    """The leaves of a schema that a column can be filled from, in order of path."""
    return sorted(_leaves(union.json_schema, "", 0))


def plan(
    union: ResolvedSchema, schemas: Sequence[Schema], people: Sequence[str], marked: Sequence[str]
) -> Plan:
    """Both models beside each other.

    Args:
        union: The union schema of profiles.
        schemas: The campaign's schemas, compiled; told are recipients and the customer's own.
        people: Codes of the namespaces that name people across devices, the likeliest first.
        marked: Paths that carry an identity, with their namespace: ``_shop.id (crm)``.
    """
    fields = fields_of(union)
    told = [schema for schema in schemas if _filled_from_outside(schema)]
    mapped: list[MappingLine] = []
    unmapped: list[str] = []
    for schema in told:
        for attribute in schema.attributes:
            if attribute.name in _OWN:
                continue
            line = _mapped(schema, attribute, fields)
            if line is None:
                unmapped.append(_name(schema, attribute.name))
            else:
                mapped.append(line)
    used = {line.path for line in mapped}
    return Plan(
        keys=tuple(line for schema in told for line in _keys(schema, people, marked)),
        mapping=tuple(mapped),
        unmapped_attributes=tuple(unmapped),
        unmapped_fields=tuple(one.path for one in fields if one.path not in used),
    )


def router(
    registry: SchemaRegistry,
    namespaces: Namespaces,
    schemas: CampaignSchemas,
    check: Callable[[Scope], None],
) -> APIRouter:
    """`/data/core/exchange/plan`; `check` refuses whom the campaign side does not serve."""
    routes = APIRouter(prefix="/data/core/exchange", tags=["exchange"])

    @routes.get("/plan")
    def show(principal: Viewer) -> dict[str, Any]:
        scope = principal.scope
        check(scope)
        made = plan(
            registry.union(scope, PROFILE_CLASS),
            [schemas.schema(id) for id in schemas.ids()],
            _people(namespaces, scope),
            _marked(registry, scope),
        )
        body: dict[str, Any] = msgspec.to_builtins(made)
        return body

    return routes


def _filled_from_outside(schema: Schema) -> bool:
    """Recipients and what the customer has added; the other built-in tables fill themselves."""
    return schema.id == "nms:recipient" or (schema.namespace != "nms" and schema.kind != "log")


def _people(namespaces: Namespaces, scope: Scope) -> list[str]:
    """Custom namespaces first: a standard one rarely holds a shop's own numbers."""
    found = [one for one in namespaces.all(scope) if one["idType"] == "CROSS_DEVICE"]
    return [str(one["code"]) for one in sorted(found, key=lambda one: not one["custom"])]


def _marked(registry: SchemaRegistry, scope: Scope) -> list[str]:
    return [
        f"{str(one['xdm:sourceProperty']).strip('/').replace('/', '.')} ({one['xdm:namespace']})"
        for one in registry.descriptors(scope)
        if one.get("@type") == "xdm:descriptorIdentity"
    ]


def _leaves(node: Mapping[str, Any], path: str, depth: int) -> Iterator[Field]:
    properties = node.get("properties")
    if isinstance(properties, dict) and depth < _DEPTH_MAX:
        for name, inner in properties.items():
            yield from _leaves(inner, f"{path}.{name}".lstrip("."), depth + 1)
    elif node.get("type") in {"string", "boolean", "integer", "number"}:
        kind = str(node["type"])
        yield Field(path, "number" if kind == "integer" else kind)


def _mapped(schema: Schema, attribute: Attribute, fields: Sequence[Field]) -> MappingLine | None:
    paths = {one.path: one.kind for one in fields}
    name = _name(schema, attribute.name)
    if schema.id == "nms:recipient" and attribute.name in _FROM_CAMPAIGN:
        path = _FROM_CAMPAIGN[attribute.name]
        return MappingLine(
            attribute=name,
            path=path,
            direction="to platform",
            why="the campaign database is the truth about who may be written to",
            usable=path in paths,
        )
    path = _KNOWN.get(attribute.name, "") if schema.id == "nms:recipient" else ""
    if path:
        why = "the same meaning" if path in paths else "the same meaning; add its field group"
        return MappingLine(
            attribute=name, path=path, direction="to campaign", why=why, usable=path in paths
        )
    like = _like(attribute, fields)
    if like is None:
        return None
    return MappingLine(
        attribute=name, path=like, direction="to campaign", why="the same name", usable=True
    )


def _like(attribute: Attribute, fields: Sequence[Field]) -> str | None:
    """The shortest path whose last name is the attribute's, and whose type fits."""
    wanted, kind = _plain(attribute.name), _KINDS.get(attribute.type, "string")
    found = [
        one.path
        for one in fields
        if _plain(one.path.rpartition(".")[2]) == wanted and one.kind == kind
    ]
    return min(found, key=lambda path: (path.count("."), path), default=None)


def _keys(schema: Schema, people: Sequence[str], marked: Sequence[str]) -> Iterator[KeyLine]:
    if schema.id == "nms:recipient":
        yield _external_id(people, marked)
        yield KeyLine(schema=schema.id, key="email", found_by="namespace Email", missing="")
        return
    named = [key for key in schema.keys if key.name != "primary"]
    if not named:
        yield KeyLine(
            schema=schema.id,
            key="",
            found_by="",
            missing="the schema has no key: name the attributes that a file's rows are found by",
        )
    for key in named:
        names = ", ".join(key.fields)
        yield KeyLine(schema=schema.id, key=names, found_by="columns of the file", missing="")


def _external_id(people: Sequence[str], marked: Sequence[str]) -> KeyLine:
    code = next(iter(people), "")
    place = next((one for one in marked if one.endswith(f"({code})")), "") if code else ""
    missing = ""
    if not code:
        missing = "create an identity namespace of type CROSS_DEVICE for the campaign's external id"
    elif not place:
        missing = f"no field carries namespace {code}: mark one, or send identityMap"
    return KeyLine(
        schema="nms:recipient",
        key="externalId",
        found_by=f"namespace {code}" + (f", field {place}" if place else "") if code else "",
        missing=missing,
    )


def _name(schema: Schema, attribute: str) -> str:
    return f"{schema.id}/@{attribute}"


def _plain(name: str) -> str:
    return str(_NO_LETTER.sub("", name.lower()))
