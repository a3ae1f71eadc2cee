"""How does a message look as a page, and where do its links lead?

A mirror page is made anew from the content and the data that the message was made from.
Behaviour: campaign.md §1.7.
"""

from __future__ import annotations

from typing import Any

from amity.campaign.delivery.content import personalised
from amity.campaign.delivery.contents import Contents
from amity.campaign.delivery.errors import UnknownMessage
from amity.campaign.delivery.persons import Persons
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.storage.ports import Tables


class MirrorPages:
    """Makes a message again for its recipient.

    Args:
        tables: The campaign database.
        schemas: Its tables.
        contents: Compiled contents of deliveries.
        persons: Makes the values of a recipient.
    """

    def __init__(
        self, tables: Tables, schemas: CampaignSchemas, contents: Contents, persons: Persons
    ) -> None:
        self._tables = tables
        self._schemas = schemas
        self._contents = contents
        self._persons = persons

    def page(self, broadlog_id: int) -> str:
        """The HTML of a message; `UnknownMessage` when there is none."""
        values, delivery = self._found(broadlog_id)
        html = self._contents.compiled(delivery).html(values)
        if not html:
            raise UnknownMessage("this message has no page: it was sent as text alone")
        return html

    def url(self, broadlog_id: int, source: str) -> str:
        """A URL of the content with the recipient's values in it."""
        values, _ = self._found(broadlog_id)
        return personalised(source, values)

    def _found(self, broadlog_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
        logs = self._schemas.table("nms:broadLogRcp")
        with self._tables.connect() as connection:
            wanted = self._persons.logs().where(logs.c.id == broadlog_id)
            found = connection.execute(wanted).mappings().one_or_none()
            if found is None:
                raise UnknownMessage
            row = dict(found)
            delivery = self._contents.delivery(connection, row["delivery_id"])
        urls = self._contents.compiled(delivery).urls
        return self._persons.values(row, delivery, urls), delivery
