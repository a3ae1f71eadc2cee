"""How do the messages of started deliveries leave, each at most once?

Claim up to fifty in one commit, make them, hand them over, settle them in one commit. Several chunks
are under way at a time. After a crash what was claimed is unknown: marketing mail is never sent again.
See docs/adr/0017-delivery.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
import structlog

from amity.campaign.delivery.channel import Channel, Fate, Outcome
from amity.campaign.delivery.claims import SOON_MS, Claimed, Claims, Delivery, Row
from amity.campaign.delivery.contents import Contents
from amity.campaign.delivery.errors import BadContent, BadHeader, NotRendered
from amity.campaign.delivery.message import Letter, Outgoing, Writer
from amity.campaign.delivery.model import RETRY_PENDING
from amity.campaign.delivery.persons import Persons
from amity.kernel.clock import MINUTE_MS
from amity.kernel.ids import IdSource
from amity.storage.ports import Tables

WAIT_S: Final = 0.05
"""How long a turn waits for a chunk that is under way."""

END_S: Final = 20.0
"""How long an orderly end waits for what is under way."""

MAKERS: Final = 2
"""Threads that make messages. A signature lets others run, so that two cores are used. Ours."""

HOLD_MS_MAX: Final = 15 * MINUTE_MS
"""Longest pause of a channel whose server is in trouble; it begins with a minute. Ours."""

LOG = structlog.get_logger()


class _Chunk(NamedTuple):
    claimed: Claimed
    broken: dict[int, str]
    future: Future[list[Outcome]]


class _Made(NamedTuple):
    messages: list[Outgoing]
    broken: dict[int, str]


class Sender:
    """Sends what is due. The only sender of its database: what it finds claimed is a dead one's.

    Args:
        tables: The campaign database.
        claims: Moves delivery logs from state to state.
        contents: Compiled contents of deliveries.
        persons: Makes the values of recipients.
        writer: Writes messages.
        channel: Hands them over.
        ids: Names this process in its claims.
    """

    name = "campaign.sender"

    def __init__(
        self,
        *,
        tables: Tables,
        claims: Claims,
        contents: Contents,
        persons: Persons,
        writer: Writer,
        channel: Channel,
        ids: IdSource,
    ) -> None:
        self._tables = tables
        self._claims = claims
        self._contents = contents
        self._persons = persons
        self._writer = writer
        self._channel = channel
        self._makers = ThreadPoolExecutor(MAKERS, "mails")
        self._making: list[tuple[Claimed, Future[_Made]]] = []
        self._process = ids.hex(16)
        self._number = 0
        self._recovered = False
        self._chunks: list[_Chunk] = []
        self._after: dict[int, int] = {}
        self._rests: dict[int, int] = {}
        self._ending = False
        self._hold_ms = 0
        self._held_until = 0
        self._due: tuple[int, int, int | None] | None = None

    def run_once(self, now_ms: int, limit: int = 0) -> int:  # noqa: ARG002 - every host takes it
        """Settle what has come back, claim what is due; more than 0 while anything is under way."""
        moved = self._recover(now_ms) + self._turn(now_ms)
        if moved == 0 and (self._chunks or self._making):
            under_way: list[Future[Any]] = [future for _, future in self._making]
            under_way += [chunk.future for chunk in self._chunks]
            wait(under_way, WAIT_S, FIRST_COMPLETED)
            return 1
        return moved

    def fire_due(self, to_ms: int) -> int:
        """Send what is due by `to_ms`."""
        due = self.next_due()
        return self.run_once(to_ms) if due is not None and due <= to_ms else 0

    def next_due(self) -> int | None:
        """When the next message is due: a contact date or another try."""
        version = self._tables.version()
        if self._due is None or self._due[:2] != (version, self._held_until):
            with self._tables.connect() as connection:
                due = self._claims.next_due(connection, self._held_until)
            self._due = (version, self._held_until, due)
        return self._due[2]

    def lag(self) -> int:
        """It reads no log."""
        return 0

    def positions(self) -> Mapping[str, Mapping[int, int]]:
        """It reads no log."""
        return {}

    def close(self, now_ms: int) -> None:
        """Claim nothing more; wait a while for what is under way, so that little is unknown."""
        self._ending = True
        self._makers.shutdown()
        self._hand_over()
        wait([chunk.future for chunk in self._chunks], END_S)
        self._turn(now_ms)
        self._channel.close()

    def _recover(self, now_ms: int) -> int:
        if self._recovered:
            return 0
        with self._tables.begin() as connection:
            found = self._claims.recover(connection, now_ms)
        self._recovered = True
        if found.unknown or found.again:
            LOG.warning(
                "messages were being handed over when the process ended",
                unknown=found.unknown,
                sent_again=found.again,
                see="/campaign/deliveries/{id}/unknown",
            )
        return found.unknown + found.again

    def _turn(self, now_ms: int) -> int:
        """Settle and claim in one commit: a commit costs what making twenty messages does."""
        handed = self._hand_over()
        done = [chunk for chunk in self._chunks if chunk.future.done()]
        found = [_outcomes(chunk) for chunk in done]
        for outcomes in found:
            self._note_trouble(outcomes, now_ms)
        busy = len(self._making) + len(self._chunks) - len(done)
        free = 0 if self._ending else self._channel.parallel - busy
        deliveries = self._due_deliveries(now_ms) if free else []
        if not done and not deliveries:
            return handed
        with self._tables.begin() as connection:
            for chunk, outcomes in zip(done, found, strict=True):
                self._claims.settle(
                    connection, chunk.claimed, outcomes, broken=chunk.broken, now_ms=now_ms
                )
            claimed, moved = self._claim(connection, deliveries, free=free, now_ms=now_ms)
        self._chunks = [chunk for chunk in self._chunks if chunk not in done]
        for one in claimed:
            making = self._makers.submit(self._make, one.delivery, one.rows, now_ms)
            self._making.append((one, making))
        return handed + moved + sum(len(chunk.claimed.rows) for chunk in done)

    def _due_deliveries(self, now_ms: int) -> list[Delivery]:
        if now_ms < self._held_until:
            return []
        with self._tables.connect() as connection:
            deliveries = self._claims.under_way(connection)
        return [
            one
            for one in deliveries
            if one["contactDate"] <= now_ms
            and not (one["state"] == RETRY_PENDING and self._rests.get(one["id"], 0) > now_ms)
        ]

    def _claim(
        self, connection: sa.Connection, deliveries: list[Delivery], *, free: int, now_ms: int
    ) -> tuple[list[Claimed], int]:
        """Chunks for as many workers as are free, and how many rows moved."""
        claimed: list[Claimed] = []
        moved = 0
        for delivery in deliveries:
            if now_ms > delivery["validUntil"]:
                moved += self._claims.expire(connection, delivery, now_ms)
            while len(claimed) < free:
                one = self._claim_of(connection, delivery, now_ms)
                if one is None:
                    break
                moved += len(one.rows) + one.ignored
                if one.rows:
                    claimed.append(one)
            if len(claimed) == free:
                break
        return claimed, moved

    def _claim_of(
        self, connection: sa.Connection, delivery: Delivery, now_ms: int
    ) -> Claimed | None:
        """The next chunk of a delivery; at the end it begins anew, for what was deferred on the way."""
        id = int(delivery["id"])
        self._number += 1
        token = f"{self._process}:{self._number}"
        after = self._after.pop(id, 0)
        for start in (after, 0) if after else (0,):
            claimed = self._claims.claim(
                connection, delivery, after=start, token=token, now_ms=now_ms
            )
            if claimed is not None:
                self._after[id] = claimed.last
                return claimed
        self._rests[id] = self._claims.close(connection, delivery, now_ms) or 0
        return None

    def _hand_over(self) -> int:
        """Hand over the chunks that are made; answers how many rows they have."""
        made = [one for one in self._making if one[1].done()]
        self._making = [one for one in self._making if one not in made]
        for claimed, future in made:
            messages, broken = future.result()
            sending: Future[list[Outcome]]
            if messages:
                sending = self._channel.hand_over(messages)
            else:
                sending = Future()
                sending.set_result([])
            self._chunks.append(_Chunk(claimed, broken, sending))
        return sum(len(claimed.rows) for claimed, _ in made)

    def _make(self, delivery: Delivery, rows: Sequence[Row], now_ms: int) -> _Made:
        """The messages of some recipients, and why those of others cannot be made."""
        made = _Made([], {})
        for row in rows:
            id = int(row["id"])
            try:
                made.messages.append(self._made(delivery, row, now_ms))
            except (BadContent, BadHeader, NotRendered) as error:
                made.broken[id] = error.message
            except Exception as error:  # noqa: BLE001 - one recipient's data must not hold up others
                made.broken[id] = f"the message cannot be made: {error!r}"[:1_000]
        return made

    def _made(self, delivery: Delivery, row: Row, now_ms: int) -> Outgoing:
        compiled = self._contents.compiled(delivery)
        values = self._persons.values(row, delivery, compiled.urls)
        letter = Letter(
            broadlog=int(row["id"]),
            delivery=int(delivery["id"]),
            address=row["address"] or "",
            at_ms=now_ms,
            marketing=not delivery["transactional"],
            name=self._persons.name(row),
            campaign=delivery["campaignName"] or "",
        )
        rendered = compiled.render(values)
        return self._writer.write(letter, compiled.content, rendered)

    def _note_trouble(self, outcomes: list[Outcome], now_ms: int) -> None:
        """Pause while the server is in trouble, longer each time."""
        if any(one.fate is Fate.UNSENT or one.fate is Fate.UNSURE for one in outcomes):
            why = next(one.text for one in outcomes if one.fate in {Fate.UNSENT, Fate.UNSURE})
            self._hold_ms = min(max(self._hold_ms * 2, SOON_MS), HOLD_MS_MAX)
            self._held_until = max(self._held_until, now_ms + self._hold_ms)
            LOG.warning("the mail server is in trouble", why=why, pause_s=self._hold_ms // 1_000)
        elif any(one.fate is Fate.TAKEN for one in outcomes):
            self._hold_ms = 0


def _outcomes(chunk: _Chunk) -> list[Outcome]:
    """What the channel says; of a channel that broke down nothing is known."""
    error = None if chunk.future.cancelled() else chunk.future.exception()
    if chunk.future.cancelled() or error is not None:
        LOG.error("a channel broke down", error=repr(error))
        ids = [int(row["id"]) for row in chunk.claimed.rows if int(row["id"]) not in chunk.broken]
        return [Outcome(id, Fate.UNSURE, text="the channel broke down") for id in ids]
    return chunk.future.result()
