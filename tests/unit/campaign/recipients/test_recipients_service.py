"""Recipients, their lists, subscriptions and history."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from amity.campaign.recipients import values
from amity.campaign.recipients.errors import (
    BadValue,
    KeyTaken,
    UnknownList,
    UnknownRecord,
    UnknownService,
)
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.service import Recipients
from amity.kernel.clock import DAY_MS, VirtualBusinessClock
from amity.storage.sqlite.tables import SqliteTables


def test_one_form_of_each_value(recipients: Recipients) -> None:
    """What comes in in many forms is kept in one and told of by name."""
    made = recipients.create(
        {
            "externalId": " C-1 ",
            "email": " Ann.Lee@Example.COM ",
            "firstName": "ANN  maria",
            "lastName": "o'neil-lee",
            "phone": "0043 (1) 234-56",
            "gender": "female",
            "emailFormat": 2,
            "birthDate": "1984-02-29",
            "city": "",
        }
    )

    expected = {
        "id": 1000,
        "externalId": "C-1",
        "email": "ann.lee@example.com",
        "firstName": "Ann Maria",
        "lastName": "O'Neil-Lee",
        "phone": "+43123456",
        "gender": "female",
        "emailFormat": "html",
        "birthDate": "1984-02-29",
        "city": None,
        "blackListEmail": False,
        "origin": "api",
        "created": "2017-10-30T00:00:00.000Z",
    }
    assert expected == {name: made[name] for name in expected}
    assert made == recipients.get(1000)


BAD: dict[str, dict[str, Any]] = {
    "CR LF in a name": {"firstName": "Ann\r\nBcc: everyone@example.com"},
    "LF in a name": {"lastName": "Lee\nX: y"},
    "NUL in a name": {"firstName": "Ann\0"},
    "escape in a name": {"firstName": "Ann\x1b[31m"},
    "line separator in a name": {"firstName": "Ann\u2028Bcc: a@b.c"},
    "next line in a name": {"firstName": "Ann\x85Bcc: a@b.c"},
    "half a character": {"firstName": "Ann\ud800"},
    "CR LF in an address": {"email": "ann@example.com\r\nBcc: a@b.c"},
    "LF within an address": {"email": "ann\n@example.com"},
    "two addresses": {"email": "a@b.c,d@e.f"},
    "a name with the address": {"email": "Ann <a@b.c>"},
    "no address": {"email": "ann"},
    "address without a domain": {"email": "ann@"},
    "address with a dot too many": {"email": "ann@b..c"},
    "a very long address": {"email": "a@" + "b" * 300},
    "a very long name": {"firstName": "x" * 101},
    "an endless name": {"firstName": "x" * 1_000_000},
    "no telephone": {"phone": "call me"},
    "no such enumeration value": {"gender": "unsure"},
    "number of no value": {"gender": 9},
    "true for a number": {"gender": True},
    "no date": {"birthDate": "29.02.1984"},
    "a day that is none": {"birthDate": "1983-02-29"},
    "text for a flag": {"blackListEmail": "yes"},
    "number for a text": {"firstName": 7},
    "object for a text": {"firstName": {"$ne": 1}},
    "no such attribute": {"shoeSize": 41},
    "SQL for an attribute": {'sEmail" = 1 --': "x"},
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_kept(recipients: Recipients, case: str) -> None:
    """A value that cannot be kept, or would later stand in a header, names its attribute; no row."""
    field = next(iter(BAD[case]))

    with pytest.raises(BadValue) as refused:
        recipients.create({"externalId": "C", **BAD[case]})
    assert field == refused.value.data["field"]
    kept = recipients.create({"externalId": "D"})
    with pytest.raises(BadValue):
        recipients.update(kept["id"], BAD[case])

    assert (1, kept) == (recipients.find({}).total, recipients.get(kept["id"]))


def test_length_at_the_edge(recipients: Recipients) -> None:
    """As many characters as the attribute holds, not one more, counted after blanks are gone."""
    assert 100 == len(recipients.create({"firstName": " " + "ä" * 100})["firstName"])
    with pytest.raises(BadValue, match="101 characters"):
        recipients.create({"firstName": "ä" * 101})


def test_memo_has_lines_but_no_nul(schemas: CampaignSchemas) -> None:
    """Long text may have lines; NUL ends texts elsewhere and is refused there too."""
    schema = schemas.schema("nms:delivery")
    content = next(one for one in schema.attributes if one.name == "content")

    assert "a\r\nb\t" == values.stored(schema, content, "a\r\nb\t")
    with pytest.raises(BadValue, match="U\\+0000"):
        values.stored(schema, content, "a\0b")


def test_no_write_if_nothing_differs(
    tables: SqliteTables, recipients: Recipients, clock: VirtualBusinessClock
) -> None:
    """Saying again what is there leaves the row and its time alone; a difference moves the time."""
    made = recipients.create({"email": "ann@x.y", "gender": "male"})
    clock.advance_to(clock.now_ms() + DAY_MS)
    before = tables.version()

    same = recipients.update(made["id"], {"email": "ANN@x.y", "gender": 1, "city": ""})
    assert (made, before) == (same, tables.version())
    changed = recipients.update(made["id"], {"city": "Wien"} | {"id": 5, "created": "1999"})

    assert ("Wien", made["id"], made["created"]) == (
        changed["city"],
        changed["id"],
        changed["created"],
    )
    assert made["lastModified"] < changed["lastModified"]


def test_external_id_is_a_key(recipients: Recipients) -> None:
    """It belongs to one recipient, who is named; none and empty belong to any number."""
    ann = recipients.create({"externalId": "C"})["id"]
    bob = recipients.create({"externalId": ""})["id"]
    recipients.create({"externalId": None})

    with pytest.raises(KeyTaken) as created:
        recipients.create({"externalId": "C"})
    with pytest.raises(KeyTaken) as changed:
        recipients.update(bob, {"externalId": " C"})
    assert (ann, ann) == (created.value.data["id"], changed.value.data["id"])
    assert (3, None) == (recipients.find({}).total, recipients.get(bob)["externalId"])
    recipients.update(ann, {"externalId": "C", "city": "Wien"})


def test_find(recipients: Recipients) -> None:
    """By key, address or any attribute, in the form in which it is kept; page by page, each once."""
    for number in range(7):
        recipients.create(
            {"email": f"p{number}@x.y", "externalId": f"C{number}", "blackList": number % 2 == 0}
        )

    assert [1003] == [one["id"] for one in recipients.find({"email": "P3@X.y"}).records]
    assert [1004] == [one["id"] for one in recipients.find({"externalId": "C4"}).records]
    assert 4 == recipients.find({"blackList": "true"}).total
    assert 3 == recipients.find({"blackList": "0", "gender": "unknown"}).total
    seen, after = list[int](), 0
    for _ in range(4):
        page = recipients.find({}, limit=3, after=after)
        seen += [one["id"] for one in page.records]
        assert 7 == page.total
        if page.after is None:
            break
        after = page.after
    assert list(range(1000, 1007)) == seen
    for wrong in ({"shoeSize": "1"}, {"gender": "x"}, {"email": "a\r\n@b.c"}):
        with pytest.raises(BadValue):
            recipients.find(wrong)


def test_delete_takes_what_belongs(
    tables: SqliteTables, schemas: CampaignSchemas, recipients: Recipients
) -> None:
    """Memberships and subscriptions go; logs stay and lose the link."""
    ann = recipients.create({"email": "ann@x.y"})["id"]
    with tables.begin() as connection:
        delivery = connection.execute(
            sa.insert(schemas.table("nms:delivery"))
            .values(internalName="d")
            .returning(schemas.table("nms:delivery").c.id)
        ).scalar_one()
        log = schemas.table("nms:broadLogRcp")
        connection.execute(
            sa.insert(log).values(delivery_id=delivery, recipient_id=ann, address="ann@x.y")
        )
        lists, services = recipients.lists, recipients.services
        lists.add(connection, lists.ensure(connection, "vip", 1), [ann], 1)
        services.subscribe(
            connection,
            service_id=services.create(connection, {"name": "news"}, 1),
            recipient_ids=[ann],
            origin="t",
            now_ms=1,
        )

    recipients.delete(ann)

    with tables.connect() as connection:
        assert [0] == [one["count"] for one in recipients.lists.all(connection)]
        assert [0] == [one["count"] for one in recipients.services.all(connection)]
        row = connection.execute(sa.select(log.c.recipient_id, log.c.address)).one()
    assert (None, "ann@x.y") == tuple(row)
    for ask in (recipients.get, recipients.delete, recipients.history):
        with pytest.raises(UnknownRecord):
            ask(ann)


def test_lists(tables: SqliteTables, recipients: Recipients) -> None:
    """A member once, unknown ids never; taking off a list keeps the recipient."""
    ids = [recipients.create({"email": f"{n}@x.y"})["id"] for n in range(3)]
    lists = recipients.lists
    with tables.begin() as connection:
        vip = lists.create(connection, {"name": "vip", "label": "Best"}, 1)
        assert vip == lists.ensure(connection, "vip", 2)
        assert (3, 0) == (
            lists.add(connection, vip, [*ids, *ids, 5], 1),
            lists.add(connection, vip, ids, 2),
        )
        assert ids[:2] == [one["id"] for one in lists.members(connection, vip, limit=2).records]
        assert (1, 0) == tuple(lists.remove(connection, vip, ids[:1]) for _ in range(2))
        assert 2 == lists.get(connection, vip)["count"]
        with pytest.raises(KeyTaken):
            lists.create(connection, {"name": "vip"}, 3)
        for wrong in ({}, {"name": ""}, {"name": "a\nb"}, {"name": "x" * 101}):
            with pytest.raises(BadValue):
                lists.create(connection, wrong, 3)
        lists.delete(connection, vip)
        with pytest.raises(UnknownList, match="vip"):
            lists.id(connection, "vip")
    assert 3 == recipients.find({}).total


def test_subscriptions(tables: SqliteTables, recipients: Recipients) -> None:
    """Each change is one row of the history; what ends by time ends once and at its time."""
    ann, bob = (recipients.create({"email": f"{n}@x.y"})["id"] for n in "ab")
    services = recipients.services
    with tables.begin() as connection:
        news = services.create(connection, {"name": "news"}, 1)
        trial = services.create(connection, {"name": "trial", "validityDays": 2}, 1)
        for _ in range(2):
            for service in (news, trial):
                services.subscribe(
                    connection,
                    service_id=service,
                    recipient_ids=[ann, bob, bob, 7],
                    origin="form",
                    now_ms=10,
                )
        assert 10 + 2 * DAY_MS == services.next_expiration(connection)
        assert (0, 2, 0) == tuple(
            services.expire(connection, at) for at in (2 * DAY_MS + 9, 2 * DAY_MS + 10, 10 * DAY_MS)
        )
        left = [
            services.unsubscribe(
                connection, service_id=news, recipient_ids=[ann], origin="click", now_ms=11
            )
            for _ in range(2)
        ]
        assert ([1, 0], None) == (left, services.next_expiration(connection))
        assert [1, 0] == [one["count"] for one in services.all(connection)]
        for wrong in (services.subscribe, services.unsubscribe):
            with pytest.raises(UnknownService):
                wrong(connection, service_id=1, recipient_ids=[ann], origin="x", now_ms=1)
        with pytest.raises(UnknownService, match="none"):
            services.id(connection, "none")

    told = recipients.history(ann)["subscriptionHistory"]
    assert [
        ("news", "unsubscription", "click"),
        ("trial", "unsubscription", "expiration"),
        ("trial", "subscription", "form"),
        ("news", "subscription", "form"),
    ] == [(one["service"], one["action"], one["origin"]) for one in told]


def test_why_excluded(
    tables: SqliteTables, schemas: CampaignSchemas, recipients: Recipients
) -> None:
    """The history tells of messages, hits and exclusions with reasons, by name, newest first."""
    ann = recipients.create({"email": "ann@x.y"})["id"]
    delivery, log = schemas.table("nms:delivery"), schemas.table("nms:broadLogRcp")
    with tables.begin() as connection:
        rows: list[dict[str, Any]] = [
            {"internalName": "d1", "label": "First"},
            {"internalName": "d2", "label": None},
        ]
        connection.execute(sa.insert(delivery), rows)
        connection.execute(
            sa.insert(log).values(delivery_id=1000, recipient_id=ann, status=1, address="ann@x.y")
        )
        connection.execute(
            sa.insert(schemas.table("nms:trackingLogRcp")).values(
                hit="h", type=2, broadLog_id=1000, delivery_id=1000, recipient_id=ann
            )
        )
        connection.execute(
            sa.insert(schemas.table("nms:excludeLogRcp")).values(
                delivery_id=1001, recipient_id=ann, failureReason=8, reasonText="opted out", date=1
            )
        )
    told = recipients.history(ann)

    assert [("First", "sent")] == [
        (one["deliveryLabel"], one["status"]) for one in told["messages"]
    ]
    assert ["open"] == [one["type"] for one in told["hits"]]
    assert [("denylisted", "opted out", 1001)] == [
        (one["failureReason"], one["reasonText"], one["delivery-id"]) for one in told["exclusions"]
    ]
