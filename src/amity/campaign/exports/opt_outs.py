"""How does the platform hear of an opt-out within seconds?

The changes that triggers have noted are said on the log in their order. How far it has come is noted
after they are durable there: what is said again after a crash bears the same number and is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from amity.campaign.exports import store
from amity.campaign.recipients.opt_outs import OPT_OUT_CHANGES
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.exchange.preferences import PreferenceChanged, entry_of
from amity.kernel.limits import STEP_BATCH_RECORDS_MAX
from amity.kernel.scope import Scope
from amity.storage.ports import Entry, Tables

CURSOR = "opt_outs"


class OptOutStream:
    """Says each change of a ``blackList…`` flag on the log; a host of the campaign's worker.

    Args:
        tables: The campaign database.
        schemas: Its tables.
        append: Puts entries on the log, durable on return.
        scope: Whose people they are.
    """

    name = "opt_outs"

    def __init__(
        self,
        *,
        tables: Tables,
        schemas: CampaignSchemas,
        append: Callable[[Sequence[Entry]], object],
        scope: Scope,
    ) -> None:
        self._tables = tables
        self._schemas = schemas
        self._append = append
        self._scope = scope
        self._seen = -1
        tables.create(store.METADATA)

    def run_once(self, now_ms: int, limit: int = STEP_BATCH_RECORDS_MAX) -> int:  # noqa: ARG002
        """Say up to `limit` changes; how many."""
        version = self._tables.version()
        if version == self._seen:
            return 0
        with self._tables.connect() as connection:
            position = store.cursor(connection, CURSOR)
            rows = connection.execute(self._changes(position).limit(limit)).all()
        if not rows:
            self._seen = version
            return 0
        entries = [entry_of(self._change(row)) for row in rows]
        self._append(entries)
        with self._tables.begin() as connection:
            store.put_cursor(connection, CURSOR, rows[-1].id)
        return len(rows)

    def fire_due(self, to_ms: int) -> int:  # noqa: ARG002 - it has no timers
        """Nothing: it has no timers."""
        return 0

    def next_due(self) -> int | None:
        """Never: it has no timers."""
        return None

    def lag(self) -> int:
        """Changes not yet said."""
        with self._tables.connect() as connection:
            position = store.cursor(connection, CURSOR)
            count = sa.select(sa.func.count()).where(OPT_OUT_CHANGES.c.id > position)
            return int(connection.scalar(count.select_from(OPT_OUT_CHANGES)) or 0)

    def positions(self) -> dict[str, dict[int, int]]:
        """It reads no topic."""
        return {}

    def _changes(self, position: int) -> sa.Select[Any]:
        change = OPT_OUT_CHANGES.c
        person = self._schemas.table("nms:recipient")
        return (
            sa.select(
                change.id,
                change.recipientId,
                change.channel,
                change.value,
                change["at"],
                person.c.externalId.label("external"),
                person.c.email.label("email"),
            )
            .select_from(OPT_OUT_CHANGES.outerjoin(person, person.c.id == change.recipientId))
            .where(change.id > position)
            .order_by(change.id)
        )

    def _change(self, row: Any) -> PreferenceChanged:
        return PreferenceChanged(
            scope=self._scope.key,
            number=row.id,
            recipient_id=row.recipientId,
            external_id=row.external or "",
            email=row.email or "",
            channel=row.channel,
            allowed=not row.value,
            at_ms=row.at,
        )
