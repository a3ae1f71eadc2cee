"""May this schema be saved, and what is a table once its extensions are added?

Behaviour: campaign.md §1.1. Only additions are taken: what a saved schema holds stays, so that no
column and no datum is ever lost by saving one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import msgspec
import re2

from amity.campaign.recipients import sql_names
from amity.campaign.recipients.errors import BadSchema, SchemaTaken
from amity.campaign.recipients.model import Attribute, Enumeration, Link, Schema
from amity.expression.times import date_ms
from amity.kernel.clock import LATEST_MS

RESERVED_NAMESPACES = frozenset({"nms", "xtk", "nl", "crm", "ncm", "xxl", "sqlite", "campaign"})
"""Behaviour: campaign.md §1.1 (nms, xtk, …); the last two are taken in SQL. Ours."""

RESERVED_ATTRIBUTES = frozenset({"id", "n", "rowid", "oid"})
"""``id`` is the primary key; ``n`` orders a work table; SQL takes the others. Ours."""

SCHEMAS_MAX = 200
"""Schemas of a customer. Ours."""

ATTRIBUTES_MAX = 300
"""Attributes in one table with all its extensions. Ours; SQL ends at 2000 columns."""

LENGTH_MAX = 4_000
"""Characters in a ``string``; longer text is a ``memo``. Ours."""

LABEL_CHARS_MAX = 200
"""Ours."""

_NAME = re2.compile(r"^[a-z][A-Za-z0-9]{0,49}\z")
_SQL_NAME = re2.compile(r"^[A-Za-z][A-Za-z0-9]{0,59}\z")
_NAMESPACE = re2.compile(r"^[a-z][a-z0-9]{0,19}\z")
_CONTROL = re2.compile(r"[\x00-\x1f\x7f]")
_NUMBERS = {
    "byte": (-128, 127),
    "short": (-32_768, 32_767),
    "long": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "datetime": (date_ms(1000, 1, 1), LATEST_MS),
    "boolean": (0, 1),
}


def number_range(kind: str) -> tuple[int, int] | None:
    """The smallest and the largest whole number of a type; None for other types."""
    return _NUMBERS.get(kind)


def extended(base: Schema, extensions: Iterable[Schema]) -> Schema:
    """`base` with what its extensions add, in their order."""
    for more in extensions:
        base = msgspec.structs.replace(
            base,
            attributes=base.attributes + more.attributes,
            enumerations=base.enumerations + more.enumerations,
            keys=base.keys + more.keys,
            links=base.links + more.links,
            indexes=base.indexes + more.indexes,
        )
    return base


def check(schema: Schema, bases: Mapping[str, Schema], saved: Mapping[str, Schema]) -> None:
    """Refuse a schema that cannot become a table or is in the way of another.

    `bases` are the schemas with a table of their own, as they were written, built-in ones too;
    `saved` are those of the customer, extensions among them.
    """
    _names(schema)
    others = {id: one for id, one in saved.items() if id != schema.id}
    if len(others) >= SCHEMAS_MAX:
        raise SchemaTaken(f"there are {SCHEMAS_MAX} schemas already, the most there may be")
    owner = schema.extends or schema.id
    base = _base(schema, bases, saved)
    more = [one for one in others.values() if one.extends == owner]
    whole = extended(base, [*more, schema] if schema.extends else more)
    _parts(schema, whole)
    _fields(schema, whole)
    _links(schema, bases, saved)
    _sql_columns(schema, whole)
    _enumerations(schema, whole)
    for number, attribute in enumerate(schema.attributes):
        _attribute(schema, attribute, whole.enumerations, f"attributes[{number}]")
    if not schema.extends:
        _sql_table(schema, bases)
    if schema.id in saved:
        _additive(schema, saved[schema.id])


def _bad(schema: Schema, field: str, why: str) -> BadSchema:
    return BadSchema(f"schema {schema.id}, {field}: {why}", field=field)


def _names(schema: Schema) -> None:
    if not _NAMESPACE.match(schema.namespace):
        raise _bad(schema, "namespace", "write 1 to 20 small letters and digits, a letter first")
    if schema.namespace in RESERVED_NAMESPACES:
        why = f"{schema.namespace!r} is reserved; choose one of your own, e.g. cus"
        raise _bad(schema, "namespace", why)
    named = [("name", schema.name)]
    for part in ("attributes", "enumerations", "keys", "links"):
        named += [
            (f"{part}[{number}].name", one.name) for number, one in enumerate(getattr(schema, part))
        ]
    for field, name in named:
        if not _NAME.match(name):
            why = f"{name[:60]!r} is no name: 1 to 50 letters and digits, a small letter first"
            raise _bad(schema, field, why)
    labelled = [("label", schema.label)]
    labelled += [
        (f"{part}[{number}].label", one.label)
        for part in ("attributes", "links")
        for number, one in enumerate(getattr(schema, part))
    ]
    for field, label in labelled:
        if len(label) > LABEL_CHARS_MAX or _CONTROL.search(label):
            why = f"at most {LABEL_CHARS_MAX} characters and no line breaks or control characters"
            raise _bad(schema, field, why)


def _base(schema: Schema, bases: Mapping[str, Schema], saved: Mapping[str, Schema]) -> Schema:
    """What it extends, or itself."""
    if not schema.extends:
        if not (schema.autopk or schema.keys):
            why = "without an id of its own a table needs a key: its first one is the primary key"
            raise _bad(schema, "autopk", why)
        return schema
    if schema.extends in saved and saved[schema.extends].extends:
        why = f"{schema.extends} is an extension; extend {saved[schema.extends].extends}"
        raise _bad(schema, "extends", why)
    base = bases.get(schema.extends)
    if base is None:
        raise _bad(schema, "extends", f"there is no schema {schema.extends[:80]!r}")
    if schema.name != base.name:
        why = f"an extension carries the name of what it extends: {base.name!r}"
        raise _bad(schema, "name", why)
    return base


def _parts(schema: Schema, whole: Schema) -> None:
    if len(whole.attributes) + len(whole.links) > ATTRIBUTES_MAX:
        why = f"with its extensions a table holds at most {ATTRIBUTES_MAX} attributes and links"
        raise _bad(schema, "attributes", why)
    for field, names_of in _NAMED.items():
        counted = Counter(name.casefold() for name in names_of(whole))
        for name in names_of(schema):
            if counted[name.casefold()] > 1:
                why = f"{name!r} is there already, in this schema or another on the same table"
                raise _bad(schema, field, why)


_NAMED: dict[str, Callable[[Schema], list[str]]] = {
    "attributes": lambda one: [a.name for a in one.attributes] + [b.name for b in one.links],
    "enumerations": lambda one: [part.name for part in one.enumerations],
    "keys": lambda one: [part.name for part in one.keys],
}


def _fields(schema: Schema, whole: Schema) -> None:
    """Keys and indexes are made of attributes and links that are there."""
    fields = {one.name: one.type for one in whole.attributes}
    fields |= {f"{one.name}-id": "long" for one in whole.links}
    made = [(f"keys[{number}]", one.fields) for number, one in enumerate(schema.keys)]
    made += [(f"indexes[{number}]", one) for number, one in enumerate(schema.indexes)]
    for where, names in made:
        if not names or len(set(names)) < len(names):
            raise _bad(schema, where, "name one or several fields, each once")
        for name in names:
            if name not in fields:
                raise _bad(schema, where, f"there is no field {name!r}; a link's is <link>-id")
            if fields[name] == "memo":
                raise _bad(schema, where, f"{name!r} is a memo, which cannot be sought by")


def _links(schema: Schema, bases: Mapping[str, Schema], saved: Mapping[str, Schema]) -> None:
    for number, link in enumerate(schema.links):
        where = f"links[{number}].target"
        extended_one = saved.get(link.target)
        if extended_one is not None and extended_one.extends:
            why = f"{link.target} is an extension; point at {extended_one.extends}"
            raise _bad(schema, where, why)
        target = schema if link.target == schema.id else bases.get(link.target)
        if target is None:
            raise _bad(schema, where, f"there is no schema {link.target[:80]!r}")
        if not target.autopk:
            raise _bad(schema, where, f"{link.target} has no id of its own to point at")


def _sql_columns(schema: Schema, whole: Schema) -> None:
    """SQL does not tell ``sEMail`` from ``sEmail``, and an override may meet a generated name."""
    taken: dict[str, str] = {}
    if whole.autopk:
        taken[sql_names.primary_key(whole).casefold()] = "id"
    named = [(sql_names.column(one), one.name) for one in whole.attributes]
    named += [(sql_names.link(one), f"{one.name}-id") for one in whole.links]
    for column, name in named:
        if not _SQL_NAME.match(column):
            why = f"{column[:80]!r} is no SQL name: 1 to 60 letters and digits, a letter first"
            raise _bad(schema, "sqlname", why)
        holder = taken.setdefault(column.casefold(), name)
        if holder != name:
            why = f"{name!r} and {holder!r} would both be column {column}; give one a sqlname"
            raise _bad(schema, "attributes", why)


def _sql_table(schema: Schema, bases: Mapping[str, Schema]) -> None:
    wanted = sql_names.table(schema.id).casefold()
    for id in bases:
        if id != schema.id and sql_names.table(id).casefold() == wanted:
            why = f"its table would be that of {id}; choose another name"
            raise _bad(schema, "name", why)


def _enumerations(schema: Schema, whole: Schema) -> None:
    for number, made in enumerate(schema.enumerations):
        where = f"enumerations[{number}]"
        names = [one.name for one in made.values]
        values = [one.value for one in made.values]
        if not values:
            raise _bad(schema, where, "an enumeration has at least one value")
        if len(set(names)) < len(names) or len(set(values)) < len(values):
            raise _bad(schema, where, "each name and each value stands once")
        if len({type(value) for value in values}) > 1:
            raise _bad(schema, where, "values are all numbers or all texts")
        if made.default and made.default not in names:
            raise _bad(schema, where, f"default {made.default!r} is none of its values' names")
    used = {one.enum for one in schema.attributes if one.enum}
    missing = sorted(used - {one.name for one in whole.enumerations})
    if missing:
        raise _bad(schema, "attributes", f"there is no enumeration {missing[0]!r}")


def _attribute(
    schema: Schema, attribute: Attribute, enums: tuple[Enumeration, ...], where: str
) -> None:
    if attribute.name.casefold() in RESERVED_ATTRIBUTES:
        why = f"{attribute.name!r} is reserved; choose another name"
        raise _bad(schema, f"{where}.name", why)
    if not 1 <= attribute.length <= LENGTH_MAX:
        why = f"1 to {LENGTH_MAX} characters; longer text is of type memo"
        raise _bad(schema, f"{where}.length", why)
    text = attribute.type in {"string", "memo"}
    if attribute.policy != "none" and not text:
        raise _bad(schema, f"{where}.policy", "policies are for texts")
    if attribute.default is not None and not _fits(attribute, attribute.default):
        why = f"{attribute.default!r} is no {attribute.type} that fits"
        raise _bad(schema, f"{where}.default", why)
    if not attribute.enum:
        return
    values = next(one.values for one in enums if one.name == attribute.enum)
    if any(not _fits(attribute, value.value) for value in values):
        why = f"the values of {attribute.enum!r} do not fit into a {attribute.type}"
        raise _bad(schema, f"{where}.enum", why)
    if attribute.default is not None and attribute.default not in {one.value for one in values}:
        raise _bad(schema, f"{where}.default", f"it is no value of {attribute.enum!r}")


def _fits(attribute: Attribute, value: float | str) -> bool:
    if attribute.type in _NUMBERS:
        low, high = _NUMBERS[attribute.type]
        return isinstance(value, int) and low <= value <= high
    if attribute.type == "double":
        return not isinstance(value, str)
    if not isinstance(value, str) or _CONTROL.search(value):
        return False
    return attribute.type == "memo" or len(value) <= attribute.length


def _additive(schema: Schema, before: Schema) -> None:
    """What was saved stays as it is; labels, policies and longer texts may come."""
    if (schema.extends, schema.autopk, schema.kind) != (
        before.extends,
        before.autopk,
        before.kind,
    ):
        raise SchemaTaken(f"schema {schema.id}: extends, autopk and kind never change")
    now = {one.name: one for one in schema.attributes}
    for old in before.attributes:
        new = now.get(old.name)
        if new is None or _frozen(new) != _frozen(old) or new.length < old.length:
            raise SchemaTaken(
                f"schema {schema.id}, attribute {old.name!r}: it is a column with data; leave it "
                "with its type, default, enum and sqlname and at least its length",
                field=old.name,
            )
    required = [one.name for one in schema.attributes if one.required and one.default is None]
    added = [name for name in required if name not in {one.name for one in before.attributes}]
    if added:
        raise required_without_default(schema, added[0])
    _kept(schema, "links", [_link(one) for one in schema.links], map(_link, before.links))
    _kept(schema, "keys", list(schema.keys), before.keys)
    _kept(schema, "indexes", list(schema.indexes), before.indexes)
    values = {(one.name, part.value) for one in schema.enumerations for part in one.values}
    for one in before.enumerations:
        _kept(schema, "enumerations", values, ((one.name, part.value) for part in one.values))


def required_without_default(schema: Schema, name: str) -> BadSchema:
    """A new column of a table that has rows needs something to put there."""
    return _bad(schema, name, "required in a table that is there already: give it a default")


def _frozen(attribute: Attribute) -> tuple[object, ...]:
    return (
        attribute.type, attribute.default, attribute.enum, attribute.required,
        sql_names.column(attribute),
    )  # fmt: skip


def _link(link: Link) -> tuple[str, str, str]:
    return link.name, link.target, link.integrity


def _kept(schema: Schema, field: str, now: Iterable[object], before: Iterable[object]) -> None:
    have = list(now)
    for one in before:
        if one not in have:
            raise SchemaTaken(
                f"schema {schema.id}, {field}: {one!r} is in use; add to it, change nothing",
                field=field,
            )
