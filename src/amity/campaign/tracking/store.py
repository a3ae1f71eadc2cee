"""What do the sinks keep for themselves in the campaign database?

How far each has read, so that a record seen again after a crash changes nothing; and what became of
every mail that came back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from amity.campaign.tracking.model import Return
from amity.campaign.tracking.returns import Verdict
from amity.storage.ports import LogRecord, Tables

METADATA = sa.MetaData()

POSITION = sa.Table(
    "NmsTrackingPosition",
    METADATA,
    sa.Column("sink", sa.String(40), primary_key=True),
    sa.Column("topic", sa.String(80), primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("next", sa.BigInteger, nullable=False),
)

RETURN = sa.Table(
    "NmsReturn",
    METADATA,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("date", sa.BigInteger, nullable=False, index=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("broadLogId", sa.BigInteger, nullable=False),
    sa.Column("deliveryId", sa.BigInteger, nullable=False, index=True),
    sa.Column("code", sa.Integer, nullable=False),
    sa.Column("enhanced", sa.String(20), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("msgId", sa.BigInteger, nullable=False),
)
"""One row a returned mail: ``kind`` says what it was, or that it was refused."""


def install(tables: Tables) -> None:
    """Create what is missing."""
    tables.create(METADATA)


def unread(connection: sa.Connection, sink: str, records: Sequence[LogRecord]) -> list[LogRecord]:
    """The records that this sink has not made anything of yet."""
    found = connection.execute(sa.select(POSITION).where(POSITION.c.sink == sink))
    at = {(row.topic, row.partition): row.next for row in found}
    return [one for one in records if one.offset >= at.get((one.topic, one.partition), 0)]


def note_read(connection: sa.Connection, sink: str, records: Iterable[LogRecord]) -> None:
    """Write that all up to these records is done; counts when the transaction commits."""
    ends: dict[tuple[str, int], int] = {}
    for one in records:
        place = (one.topic, one.partition)
        ends[place] = max(one.offset + 1, ends.get(place, 0))
    for (topic, partition), end in ends.items():
        key = {"sink": sink, "topic": topic, "partition": partition}
        there = sa.and_(*(POSITION.c[name] == value for name, value in key.items()))
        moved = connection.execute(sa.update(POSITION).where(there).values(next=end))
        if moved.rowcount == 0:
            connection.execute(sa.insert(POSITION).values(next=end, **key))


def has_return(connection: sa.Connection, id: str) -> bool:
    """Whether something was made of this mail already."""
    return connection.execute(sa.select(RETURN.c.id).where(RETURN.c.id == id)).first() is not None


def note_return(
    connection: sa.Connection, back: Return, told: tuple[str, Verdict], message_id: int
) -> None:
    """Write down what a mail was found to be."""
    kind, verdict = told
    connection.execute(
        sa.insert(RETURN).values(
            id=back.id,
            date=back.at_ms,
            kind=kind,
            broadLogId=back.broadlog,
            deliveryId=back.delivery,
            code=verdict.code,
            enhanced=verdict.enhanced,
            text=verdict.text,
            msgId=message_id,
        )
    )
