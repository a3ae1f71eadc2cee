"""Every change of an opt-out flag is noted, by whichever way it came."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amity.campaign.recipients.model import Attribute, Schema
from amity.campaign.recipients.opt_outs import FLAGS, OPT_OUT_CHANGES
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.service import Recipients
from amity.storage.sqlite.tables import SqliteTables


def notes(tables: SqliteTables) -> list[tuple[Any, ...]]:
    """(recipient, channel, value, at, origin), oldest first."""
    columns = OPT_OUT_CHANGES.c
    with tables.connect() as connection:
        chosen = sa.select(
            columns.recipientId, columns.channel, columns.value, columns.at, columns.origin
        )
        return [tuple(row) for row in connection.execute(chosen.order_by(columns.id))]


def test_by_api_and_by_hand(
    tables: SqliteTables, schemas: CampaignSchemas, recipients: Recipients
) -> None:
    """A call, a statement on many rows and one that tells nothing new: each change once."""
    ann, bob = (recipients.create({"email": f"{name}@x.y"})["id"] for name in ("ann", "bob"))
    at = recipients.get(ann)["lastModified"]
    recipients.update(ann, {"blackListEmail": True})
    recipients.update(ann, {"blackListEmail": True, "city": "Wien"})
    table = schemas.table("nms:recipient")
    with tables.begin() as connection:
        connection.execute(sa.update(table).values(blackListEmail=True, lastModified=5))
        connection.execute(sa.update(table).values(city="Graz"))
        connection.execute(sa.update(table).where(table.c.id == ann).values(blackListEmail=False))
        connection.execute(sa.update(table).where(table.c.id == ann).values(blackListEmail=None))

    found = notes(tables)
    assert at == "2017-10-30T00:00:00.000Z"
    assert [(ann, "email", True), (bob, "email", True), (ann, "email", False)] == [
        row[:3] for row in found
    ]
    assert [1509321600000, 5, 5] == [row[3] for row in found]


def test_a_new_recipient_with_flags(
    tables: SqliteTables, schemas: CampaignSchemas, recipients: Recipients
) -> None:
    """Whoever comes in opted out is noted, whether one by one or in bulk; others are not."""
    recipients.create({"blackList": True, "blackListMobile": True})
    with tables.begin() as connection:
        table = schemas.table("nms:recipient")
        new = [{"blackListEmail": False}, {"blackListEmail": True}]
        connection.execute(sa.insert(table), new)

    assert [(1000, "all"), (1000, "sms"), (1002, "email")] == [row[:2] for row in notes(tables)]


def test_opt_out_says_where_it_came_from(tables: SqliteTables, recipients: Recipients) -> None:
    """The origin stands with what this opt-out changed, not with notes of others."""
    ids = [recipients.create({"email": f"{n}@x.y", "blackList": n == 0})["id"] for n in range(3)]
    with tables.begin() as connection:
        closed = recipients.opt_out(
            connection, [*ids, ids[1], 5], "email", origin="click", now_ms=9
        )
        again = recipients.opt_out(connection, ids, "email", origin="other", now_ms=10)

    assert (3, 0) == (closed, again)
    assert ["", "click", "click", "click"] == [row[4] for row in notes(tables)]
    assert ["all", "email", "email", "email"] == [row[1] for row in notes(tables)]
    assert [True, True] == [
        recipients.get(ids[0])[name] for name in ("blackList", "blackListEmail")
    ]


def test_rolled_back_with_its_cause(tables: SqliteTables, recipients: Recipients) -> None:
    """An opt-out whose transaction fails leaves no note."""
    ann = recipients.create({"email": "ann@x.y"})["id"]
    with tables.begin() as connection:
        recipients.opt_out(connection, [ann], "all", origin="click", now_ms=9)
        connection.rollback()

    assert [] == notes(tables)
    assert recipients.get(ann)["blackList"] is False


def test_still_noted_after_an_extension(
    tables: SqliteTables, schemas: CampaignSchemas, recipients: Recipients
) -> None:
    """A schema that adds to the table does not lose the triggers."""
    schemas.save(
        Schema(
            namespace="cus",
            name="recipient",
            extends="nms:recipient",
            attributes=(Attribute(name="tier", type="byte", default=0),),
        )
    )
    ann = recipients.create({"email": "ann@x.y"})["id"]
    recipients.update(ann, {"blackListPhone": True, "tier": 2})

    assert [(ann, "phone", True)] == [row[:3] for row in notes(tables)]


ROWS = st.lists(
    st.tuples(st.integers(1000, 1002), st.fixed_dictionaries({}, optional=dict.fromkeys(
        FLAGS.values(), st.sampled_from([True, False, None])
    ))),
    max_size=12,
)  # fmt: skip


@pytest.mark.thorough
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=ROWS)
def test_the_notes_tell_the_flags(
    tables: SqliteTables, schemas: CampaignSchemas, changes: list[tuple[int, dict[str, Any]]]
) -> None:
    """Whoever reads the notes in order knows every flag as it is now, and no note is for nothing."""
    table = schemas.table("nms:recipient")
    told: dict[tuple[int, str], bool] = {}
    with tables.begin() as connection:
        connection.execute(sa.delete(table))
        connection.execute(sa.delete(OPT_OUT_CHANGES))
        connection.execute(sa.insert(table), [{"id": id} for id in (1000, 1001, 1002)])
        for id, flags in changes:
            if flags:
                connection.execute(sa.update(table).where(table.c.id == id).values(flags))
        now = {row["id"]: row for row in connection.execute(sa.select(table)).mappings()}

    for id, channel, value, *_ in notes(tables):
        assert told.get((id, channel), False) is not value
        told[id, channel] = value
    for id, row in now.items():
        for channel, flag in FLAGS.items():
            assert told.get((id, channel), False) is row[flag]
