"""Schemas become tables: extensions, look-up and personalisation tables, refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from amity.campaign.recipients import sql_names
from amity.campaign.recipients.builtin import BUILTIN
from amity.campaign.recipients.errors import (
    BadSchema,
    BadValue,
    KeyTaken,
    SchemaTaken,
    UnknownSchema,
)
from amity.campaign.recipients.generated import FIRST_ID
from amity.campaign.recipients.model import Attribute, Enumeration, Key, Link, Schema, Value
from amity.campaign.recipients.records import Records
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.errors import AmityError
from amity.storage.sqlite.tables import SqliteTables

STORE = Schema(
    namespace="cus",
    name="store",
    kind="lookup",
    attributes=(
        Attribute(name="code", length=10, required=True),
        Attribute(name="region", length=40),
    ),
    keys=(Key(name="code", fields=("code",)),),
)
EXTENSION = Schema(
    namespace="cus",
    name="recipient",
    extends="nms:recipient",
    enumerations=(
        Enumeration(name="tier", values=(Value(name="none", value=0), Value(name="gold", value=1))),
    ),
    attributes=(
        Attribute(name="tier", type="byte", enum="tier", default=0),
        Attribute(name="loyaltyPoints", type="long"),
    ),
    links=(Link(name="store", target="cus:store"),),
    indexes=(("loyaltyPoints",),),
)
PERSONALISATION = Schema(
    namespace="cus",
    name="coupons",
    kind="personalisation",
    attributes=(Attribute(name="coupon", length=40), Attribute(name="value", type="double")),
    links=(Link(name="recipient", target="nms:recipient", integrity="own"),),
    keys=(Key(name="recipient", fields=("recipient-id",)),),
)


def names(tables: SqliteTables, kind: str) -> set[str]:
    """What the database holds of a kind."""
    with tables.connect() as connection:
        master = sa.table("sqlite_master", sa.column("name"), sa.column("type"))
        found = connection.execute(sa.select(master.c.name).where(master.c.type == kind))
        return set(found.scalars())


def test_builtin_tables(tables: SqliteTables, schemas: CampaignSchemas) -> None:
    """Every built-in schema has the table and the columns of the documented names; twice is once."""
    before = names(tables, "table"), names(tables, "index"), names(tables, "trigger")

    schemas.install()

    assert before == (names(tables, "table"), names(tables, "index"), names(tables, "trigger"))
    assert [one.id for one in BUILTIN] == schemas.ids()
    assert {sql_names.table(one.id) for one in BUILTIN} <= names(tables, "table")
    recipient = schemas.table("nms:recipient")
    assert ("NmsRecipient", "iRecipientId", "sEmail", "iGender", "tsCreated") == (
        recipient.name,
        *(recipient.c[key].name for key in ("id", "email", "gender", "created")),
    )
    assert "iDeliveryId" == schemas.table("nms:broadLogRcp").c.delivery_id.name


def test_ids_are_never_used_twice(tables: SqliteTables, schemas: CampaignSchemas) -> None:
    """The first id is 1000, lower ones are reserved, and that of a row that is gone stays unused."""
    recipient = schemas.table("nms:recipient")

    def insert(connection: sa.Connection) -> int:
        statement = sa.insert(recipient).values(email="a@b.c").returning(recipient.c.id)
        return int(connection.execute(statement).scalar_one())

    with tables.begin() as connection:
        first, second = insert(connection), insert(connection)
        connection.execute(sa.delete(recipient))
        third = insert(connection)

    assert [FIRST_ID, FIRST_ID + 1, FIRST_ID + 2] == [first, second, third]


def test_extension_with_lookup_and_personalisation(
    tables: SqliteTables, schemas: CampaignSchemas
) -> None:
    """An extension adds to the table it extends, a look-up and a personalisation table link to it.

    Rows that are there get the defaults; what points at a row goes with it or loses the link.
    """
    recipient = schemas.table("nms:recipient")
    with tables.begin() as connection:
        connection.execute(sa.insert(recipient).values(id=1000, email="a@b.c"))

    for one in (STORE, EXTENSION, PERSONALISATION):
        schemas.save(one)

    recipient, store = schemas.table("cus:recipient"), schemas.table("cus:store")
    coupons = schemas.table("cus:coupons")
    assert ("NmsRecipient", "CusStore", "CusCoupons") == (recipient.name, store.name, coupons.name)
    assert "loyaltyPoints" in {one.name for one in schemas.schema("nms:recipient").attributes}
    assert ["cus:recipient"] == schemas.extensions("nms:recipient")
    with tables.begin() as connection:
        connection.execute(sa.insert(store).values(id=7, code="W1"))
        connection.execute(sa.update(recipient).values(store_id=7, loyaltyPoints=None))
        connection.execute(sa.insert(coupons).values(recipient_id=1000, coupon="C"))
        row = connection.execute(sa.select(recipient.c.tier, recipient.c.store_id)).one()
        assert (0, 7) == tuple(row)
        connection.execute(sa.delete(store))
        assert None is connection.execute(sa.select(recipient.c.store_id)).scalar_one()
        connection.execute(sa.delete(recipient))
        assert 0 == connection.execute(sa.select(sa.func.count()).select_from(coupons)).scalar()


def test_null_becomes_the_default(tables: SqliteTables, schemas: CampaignSchemas) -> None:
    """A flag is never unknown: a NULL that is written, at first or later, is its default."""
    recipient = schemas.table("nms:recipient")
    with tables.begin() as connection:
        connection.execute(sa.insert(recipient).values(blackListEmail=None, gender=None))
        first = connection.execute(sa.select(recipient.c.blackListEmail, recipient.c.gender)).one()
        connection.execute(sa.update(recipient).values(blackListEmail=True))
        connection.execute(sa.update(recipient).values(blackListEmail=None))
        later = connection.execute(sa.select(recipient.c.blackListEmail)).scalar_one()

    assert ((False, 0), False) == (tuple(first), later)


def test_another_process_sees_what_was_saved(
    tmp_path: Path, tables: SqliteTables, schemas: CampaignSchemas, clock: VirtualBusinessClock
) -> None:
    """Schemas saved elsewhere are there at the next look; tables stay the same object otherwise."""
    other_tables = SqliteTables(tmp_path / "campaign.db")
    other = CampaignSchemas(other_tables, clock)
    known = schemas.table("nms:recipient")

    other.save(STORE)
    assert "CusStore" == schemas.table("cus:store").name
    again = schemas.table("nms:recipient")
    with tables.begin() as connection:
        connection.execute(sa.insert(again).values(email="x@y.z"))

    assert again is schemas.table("nms:recipient")
    assert [column.key for column in known.c] == [column.key for column in again.c]
    other_tables.close()


def test_saved_again_it_may_only_grow(tables: SqliteTables, schemas: CampaignSchemas) -> None:
    """More attributes, links, keys, values and length are added; what is there stays."""
    schemas.save(STORE)
    longer = Attribute(name="region", length=80, label="Region")
    grown = msgspec.structs.replace(
        STORE,
        attributes=(STORE.attributes[0], longer, Attribute(name="open", type="boolean", default=1)),
        links=(Link(name="parent", target="cus:store"),),
        indexes=(("region",),),
    )
    schemas.save(grown)

    table = schemas.table("cus:store")
    with tables.begin() as connection:
        connection.execute(sa.insert(table).values(id=1, code="A"))
        connection.execute(sa.insert(table).values(code="B", parent_id=1))
        connection.execute(sa.delete(table).where(table.c.id == 1))
        row = connection.execute(sa.select(table.c.open, table.c.parent_id)).one()
    assert (True, None) == tuple(row)
    assert {"CusStore_code", "CusStore_by_region", "CusStore_by_parent_id"} <= names(
        tables, "index"
    )


def store(**changed: Any) -> Schema:
    """The look-up table, changed."""
    return msgspec.structs.replace(STORE, **changed)


@pytest.mark.parametrize(
    "changed",
    [
        store(attributes=STORE.attributes[:1]),
        store(attributes=(Attribute(name="code", length=9, required=True), STORE.attributes[1])),
        store(attributes=(Attribute(name="code", length=10), STORE.attributes[1])),
        store(
            attributes=(
                Attribute(name="code", type="memo", length=10, required=True),
                STORE.attributes[1],
            ),
            keys=(),
        ),
        store(
            attributes=(
                Attribute(name="code", length=10, required=True, sqlname="sOther"),
                STORE.attributes[1],
            )
        ),
        store(keys=()),
        store(kind="data"),
        store(attributes=(*STORE.attributes, Attribute(name="more", required=True))),
    ],
)
def test_nothing_saved_is_taken_away(
    tables: SqliteTables, schemas: CampaignSchemas, changed: Schema
) -> None:
    """A type, a length, a key or a column that rows rely on is not changed; nothing is written."""
    schemas.save(STORE)

    with pytest.raises((SchemaTaken, BadSchema)):
        schemas.save(changed)

    assert STORE == schemas.saved("cus:store")


def cus(name: str = "thing", **parts: Any) -> Schema:
    return Schema(namespace="cus", name=name, **parts)


def one(**parts: Any) -> Schema:
    return cus(attributes=(Attribute(**parts),))


REFUSED: dict[str, tuple[Schema, str]] = {
    "reserved namespace": (Schema(namespace="nms", name="mine"), "namespace"),
    "engine's namespace": (Schema(namespace="xtk", name="schema"), "namespace"),
    "SQL's own prefix": (Schema(namespace="sqlite", name="sequence"), "namespace"),
    "over a built-in one": (BUILTIN[0], "namespace"),
    "capital namespace": (Schema(namespace="Cus", name="x"), "namespace"),
    "name with a line break": (cus("thing\n"), "name"),
    "name with NUL": (cus("th\0ing"), "name"),
    "name with a quote": (cus('x" (a); DROP TABLE "NmsRecipient'), "name"),
    "empty name": (cus(""), "name"),
    "very long name": (cus("x" * 51), "name"),
    "the same table by another cut": (Schema(namespace="nmsr", name="ecipient"), "name"),
    "label with CR LF": (cus(label="a\r\nBcc: b"), "label"),
    "attribute id": (one(name="id"), "name"),
    "attribute n": (one(name="n"), "name"),
    "attribute rowid": (one(name="rowid"), "name"),
    "attribute with a hyphen": (one(name="store-id"), "name"),
    "attribute with NUL": (one(name="a\0"), "name"),
    "length none": (one(name="a", length=0), "length"),
    "length endless": (one(name="a", length=10**9), "length"),
    "sqlname with SQL": (one(name="a", sqlname="a) --"), "sqlname"),
    "sqlname of the primary key": (one(name="a", sqlname="ITHINGID"), "attributes"),
    "sqlname of another": (
        cus(attributes=(Attribute(name="a"), Attribute(name="b", sqlname="SA"))),
        "attributes",
    ),
    "names that differ in case": (
        cus(attributes=(Attribute(name="eMail"), Attribute(name="email"))),
        "attributes",
    ),
    "attribute and link in one column": (
        cus(
            attributes=(Attribute(name="storeId", type="long"),),
            links=(Link(name="store", target="cus:thing"),),
        ),
        "attributes",
    ),
    "link in the primary key's column": (
        cus(links=(Link(name="thing", target="cus:thing"),)),
        "attributes",
    ),
    "default of another type": (one(name="a", type="long", default="x"), "default"),
    "default too large": (one(name="a", type="byte", default=1000), "default"),
    "default with a line break": (one(name="a", default="x\ny"), "default"),
    "no such enumeration": (one(name="a", type="byte", enum="none"), "attributes"),
    "enumeration of texts for a number": (
        cus(
            attributes=(Attribute(name="a", type="byte", enum="e"),),
            enumerations=(Enumeration(name="e", values=(Value(name="a", value="a"),)),),
        ),
        "enum",
    ),
    "value twice": (
        cus(
            enumerations=(
                Enumeration(name="e", values=(Value(name="a", value=1), Value(name="b", value=1))),
            )
        ),
        "enumerations",
    ),
    "key of nothing": (cus(keys=(Key(name="k", fields=()),)), "keys"),
    "key of no field": (cus(keys=(Key(name="k", fields=("a",)),)), "keys"),
    "index on a memo": (
        cus(attributes=(Attribute(name="a", type="memo"),), indexes=(("a",),)),
        "indexes",
    ),
    "no id and no key": (cus(autopk=False), "autopk"),
    "link to nowhere": (cus(links=(Link(name="l", target="cus:none"),)), "links"),
    "link to a table without ids": (
        cus(links=(Link(name="l", target="nms:rcpGrpRel"),)),
        "links",
    ),
    "extends nothing": (cus("none", extends="nms:none"), "extends"),
    "extension by another name": (cus("people", extends="nms:recipient"), "name"),
    "extension of an attribute there is": (
        cus("recipient", extends="nms:recipient", attributes=(Attribute(name="Email"),)),
        "attributes",
    ),
    "extension into a column there is": (
        cus(
            "recipient",
            extends="nms:recipient",
            attributes=(Attribute(name="mail", sqlname="SEMAIL"),),
        ),
        "attributes",
    ),
    "extension requires without a default": (
        cus("recipient", extends="nms:recipient", attributes=(Attribute(name="a", required=True),)),
        "a",
    ),
    "policy for a number": (one(name="a", type="long", policy="email"), "policy"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_table_is_refused(
    tables: SqliteTables, schemas: CampaignSchemas, case: str
) -> None:
    """The refusal names the field; nothing is created and nothing kept."""
    schema, field = REFUSED[case]
    before = names(tables, "table")

    with pytest.raises(BadSchema) as refused:
        schemas.save(schema)

    assert field in refused.value.data["field"]
    assert before == names(tables, "table")
    assert [made.id for made in BUILTIN] == schemas.ids()


def test_extensions_do_not_collide(schemas: CampaignSchemas) -> None:
    """Two namespaces extend one table; what would be one column, however it is spelt, is refused."""
    schemas.save(cus("recipient", extends="nms:recipient", attributes=(Attribute(name="tier"),)))
    second = Schema(namespace="shop", name="recipient", extends="nms:recipient")
    add = msgspec.structs.replace

    for attribute in (
        Attribute(name="tier"),
        Attribute(name="tIER"),
        Attribute(name="level", sqlname="sTier"),
        Attribute(name="level", sqlname="STIER"),
    ):
        with pytest.raises(BadSchema):
            schemas.save(add(second, attributes=(attribute,)))
    schemas.save(add(second, attributes=(Attribute(name="level"),)))

    columns = {column.name for column in schemas.table("nms:recipient").columns}
    assert {"sTier", "sLevel"} <= columns
    assert ["cus:recipient", "shop:recipient"] == schemas.extensions("nms:recipient")


def test_extension_of_an_extension_and_link_to_one(schemas: CampaignSchemas) -> None:
    """Both name what to write instead."""
    schemas.save(EXTENSION_OF_NOTHING)

    with pytest.raises(BadSchema, match="extend nms:recipient"):
        schemas.save(Schema(namespace="shop", name="recipient", extends="cus:recipient"))
    with pytest.raises(BadSchema, match="point at nms:recipient"):
        schemas.save(cus(links=(Link(name="l", target="cus:recipient"),)))


EXTENSION_OF_NOTHING = cus("recipient", extends="nms:recipient")


def test_tables_of_the_engine_are_taken(tables: SqliteTables, schemas: CampaignSchemas) -> None:
    """A customer's schema does not become a table that something else keeps in the database."""
    metadata = sa.MetaData()
    sa.Table("CUSthing", metadata, sa.Column("id", sa.Integer, primary_key=True))
    tables.create(metadata)

    with pytest.raises(SchemaTaken, match="CusThing"):
        schemas.save(cus())


def test_a_key_that_rows_break(tables: SqliteTables, schemas: CampaignSchemas) -> None:
    """Where rows have the same key twice the key is refused, and columns it came with are gone."""
    recipient = schemas.table("nms:recipient")
    with tables.begin() as connection:
        connection.execute(sa.insert(recipient), [{"city": "Wien"}, {"city": "Wien"}])
    keyed = cus(
        "recipient",
        extends="nms:recipient",
        attributes=(Attribute(name="tier"),),
        keys=(Key(name="city", fields=("city",)),),
    )

    with pytest.raises(SchemaTaken, match="same key twice"):
        schemas.save(keyed)

    assert "tier" not in schemas.table("nms:recipient").c
    with tables.connect() as connection:
        found = {column["name"] for column in sa.inspect(connection).get_columns("NmsRecipient")}
    assert "sTier" not in found


def test_python_types_are_checked(schemas: CampaignSchemas) -> None:
    """A schema made in code is held to the same types as one that came over HTTP."""
    wrong: Any = "varchar"

    with pytest.raises(BadSchema, match="varchar"):
        schemas.save(one(name="a", type=wrong))


def test_unknown_schema(schemas: CampaignSchemas) -> None:
    """Says where the known ones are listed."""
    for ask in (schemas.schema, schemas.table, schemas.saved):
        with pytest.raises(UnknownSchema, match="/campaign/schemas"):
            ask("cus:none")


def test_schemas_end(schemas: CampaignSchemas, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a most of schemas: the last one is taken, one more is not; a saved one still is."""
    monkeypatch.setattr("amity.campaign.recipients.schema_rules.SCHEMAS_MAX", 2)
    for name in ("a", "b"):
        schemas.save(cus(name))

    with pytest.raises(AmityError, match="2 schemas"):
        schemas.save(cus("c"))
    schemas.save(cus("b", label="again"))


def test_words_of_sql_are_names(tables: SqliteTables, schemas: CampaignSchemas) -> None:
    """What SQL or Python has a meaning for is a name like any other, in triggers too."""
    words = ("select", "order", "group", "table", "where", "null", "keys", "values", "c", "name")
    schemas.save(
        Schema(
            namespace="order",
            name="order",
            attributes=tuple(Attribute(name=word) for word in words),
            links=(Link(name="from", target="nms:recipient", integrity="own"),),
            keys=(Key(name="select", fields=("select", "order")),),
            indexes=(("group", "where"),),
        )
    )
    records, recipient = Records(schemas, "order:order"), schemas.table("nms:recipient")
    with tables.begin() as connection:
        connection.execute(sa.insert(recipient).values(id=1000))
        body = dict.fromkeys(words, "'; --") | {"from-id": 1000}
        made = records.get(connection, records.insert(connection, body, 1))
        assert body == {name: value for name, value in made.items() if name != "id"}
        assert 1 == records.find(connection, {"where": "'; --", "from-id": "1000"}, limit=1).total
        with pytest.raises(KeyTaken):
            records.insert(connection, body, 1)
        with pytest.raises(BadValue, match="no nms:recipient with id 7"):
            records.insert(connection, {"select": "x", "from-id": 7}, 1)
        connection.execute(sa.delete(recipient))
        assert 0 == records.find(connection, {}, limit=1).total


@pytest.mark.thorough
def test_two_who_save_at_once(
    tmp_path: Path, schemas: CampaignSchemas, clock: VirtualBusinessClock
) -> None:
    """Extensions that are saved at one moment by several processes are all there."""
    others = [SqliteTables(tmp_path / "campaign.db") for _ in range(3)]

    def save(number: int) -> None:
        mine = CampaignSchemas(others[number], clock)
        for part in range(3):
            added = Attribute(name=f"a{number}x{part}", type="long", default=part)
            mine.save(
                Schema(
                    namespace=f"n{number}x{part}",
                    name="recipient",
                    extends="nms:recipient",
                    attributes=(added,),
                )
            )

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(save, range(3)))

    there = {column.key for column in schemas.table("nms:recipient").c}
    assert {f"a{number}x{part}" for number in range(3) for part in range(3)} <= there
    assert 9 == len(schemas.extensions("nms:recipient"))
    for one_of in others:
        one_of.close()
