"""Which content does a delivery have, ready to be made for many?

A content that has been analysed does not change; what was compiled once serves all its messages.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from amity.campaign.delivery.content import Compiled, Content
from amity.campaign.delivery.errors import BadContent, UnknownDelivery
from amity.campaign.recipients.builtin import DELIVERY
from amity.campaign.recipients.schemas import CampaignSchemas

_KEPT: Final = 64


class Contents:
    """Reads deliveries and keeps their compiled contents in mind.

    Args:
        schemas: Finds the table of deliveries.
    """

    def __init__(self, schemas: CampaignSchemas) -> None:
        self._schemas = schemas
        self._compiled: OrderedDict[str, Compiled] = OrderedDict()
        self._lock = threading.Lock()

    def delivery(self, connection: sa.Connection, id: int) -> dict[str, Any]:
        """The delivery's row by attribute; `UnknownDelivery` when there is none."""
        table = self._schemas.table(DELIVERY.id)
        wanted = sa.select(*named(table)).where(table.c.id == id)
        row = connection.execute(wanted).mappings().one_or_none()
        if row is None:
            raise UnknownDelivery(f"there is no delivery {id}")
        return dict(row)

    def compiled(self, delivery: Mapping[str, Any]) -> Compiled:
        """The content, compiled; `BadContent` when it is none."""
        source = delivery["content"] or "{}"
        with self._lock:
            made = self._compiled.get(source)
            if made is not None:
                self._compiled.move_to_end(source)
                return made
        made = Compiled(content_of(source))
        with self._lock:
            self._compiled[source] = made
            while len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        return made


def named(table: sa.Table) -> list[sa.Label[Any]]:
    """A table's columns by the names of their attributes: rows are then mappings of those."""
    return [column.label(name) for name, column in table.c.items()]


def content_of(source: str | bytes) -> Content:
    """The content in its stored form."""
    try:
        return msgspec.json.decode(source, type=Content)
    except msgspec.ValidationError as error:
        raise BadContent(f"content: {error}") from error
