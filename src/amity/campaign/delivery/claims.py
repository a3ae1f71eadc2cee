"""Which messages may be handed over now, and what became of those that were?

The rows of nms:broadLogRcp are the truth. A message is claimed (status ``sending``) in one commit,
handed over, and settled in another; whoever dies between the two leaves it claimed, and then nobody
can know. See docs/adr/0017-delivery.md; behaviour: campaign.md §1.7, §1.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from amity.campaign.delivery import model
from amity.campaign.delivery.analysis import unsubscribed
from amity.campaign.delivery.channel import Fate, Outcome
from amity.campaign.delivery.contents import named
from amity.campaign.delivery.persons import Persons
from amity.campaign.delivery.qualification import Qualifier
from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.clock import MINUTE_MS

SOON_MS: Final = MINUTE_MS
"""When a message that was not begun is tried again. Ours."""

INTERRUPTED: Final = "interrupted while it was handed over: nobody can know whether it arrived"

_SETTLED: Final = (
    "status",
    "failureType",
    "failureReason",
    "failureText",
    "msgId",
    "tries",
    "retryAt",
)

Row = dict[str, Any]
Delivery = dict[str, Any]


class Claimed(NamedTuple):
    """Messages that this process alone may hand over."""

    delivery: Delivery
    token: str
    rows: tuple[Row, ...]
    ignored: int
    """Rows that were looked at and must not be sent any more."""

    last: int
    """The highest id looked at."""


class Recovered(NamedTuple):
    """What a dead process left."""

    unknown: int
    again: int


class Claims:
    """Moves delivery logs from state to state, each time within a given transaction.

    Args:
        schemas: The campaign's tables.
        persons: Reads delivery logs beside their recipients.
        quarantine: Hears of failures and successes.
        qualifier: Reads what servers answer.
    """

    def __init__(
        self,
        *,
        schemas: CampaignSchemas,
        persons: Persons,
        quarantine: Quarantine,
        qualifier: Qualifier,
    ) -> None:
        self._schemas = schemas
        self._persons = persons
        self._quarantine = quarantine
        self._qualifier = qualifier
        self._kept: _Statements | None = None

    def recover(self, connection: sa.Connection, now_ms: int) -> Recovered:
        """Settle what a dead process was handing over: all claims there are, for nobody else sends.

        Marketing mail becomes unknown and is never sent again; transactional mail is, under the
        same Message-ID.
        """
        logs, table = self._logs, self._schemas.table("nms:delivery")
        again = sa.select(table.c.id).where(
            table.c.transactional == sa.true(), table.c.state != model.STOPPED
        )
        claimed = logs.c.status == model.SENDING
        resent = connection.execute(
            sa.update(logs)
            .where(claimed, logs.c.delivery_id.in_(again))
            .values(status=model.PENDING, claim="", retryAt=0, lastModified=now_ms)
        ).rowcount
        unknown = connection.execute(
            sa.update(logs)
            .where(claimed)
            .values(status=model.UNKNOWN, claim="", failureText=INTERRUPTED, lastModified=now_ms)
        ).rowcount
        return Recovered(unknown, resent)

    def under_way(self, connection: sa.Connection) -> list[Delivery]:
        """The deliveries that are started, the oldest first."""
        return [dict(row) for row in connection.execute(self._statements().under_way).mappings()]

    def claim(
        self, connection: sa.Connection, delivery: Delivery, *, after: int, token: str, now_ms: int
    ) -> Claimed | None:
        """Claim up to a chunk of what is due; None when nothing is, past `after`.

        Opt-outs and quarantine are looked at anew: much may have happened since the analysis.
        """
        statements = self._statements()
        at = {"b_delivery": delivery["id"], "b_now": now_ms, "b_after": after}
        found = connection.execute(statements.due, at)
        names = tuple(found.keys())
        rows = [dict(zip(names, row, strict=True)) for row in found]
        if not rows:
            return None
        refused = self._refused(connection, delivery, rows, statements)
        for reason in sorted(set(refused.values())):
            ids = [id for id, why in refused.items() if why == reason]
            values = {
                "status": model.IGNORED,
                "failureType": model.TYPE_IGNORED,
                "failureReason": reason,
                "failureText": "left out when it was to be sent: changed since the analysis",
            }
            self._move(connection, ids, values, now_ms)
        taken = tuple(row for row in rows if row["id"] not in refused)
        if taken:
            # What was left out a moment ago is not pending any more: the rest of them is taken.
            ends = {"b_first": rows[0]["id"], "b_last": rows[-1]["id"]}
            connection.execute(statements.take, at | ends | {"b_claim": token})
        if delivery["state"] != model.STARTED:
            self._state(connection, delivery, model.STARTED, now_ms=now_ms)
        return Claimed(delivery, token, taken, len(refused), int(rows[-1]["id"]))

    def settle(
        self,
        connection: sa.Connection,
        claimed: Claimed,
        outcomes: Iterable[Outcome],
        *,
        broken: Mapping[int, str],
        now_ms: int,
    ) -> None:
        """Write down what became of a chunk; `broken`: messages that could not be made, and why."""
        rows = {int(row["id"]): row for row in claimed.rows}
        statements = self._statements()
        at = {"b_delivery": claimed.delivery["id"]}
        stopped = connection.execute(statements.state, at).scalar() == model.STOPPED
        changes: list[dict[str, Any]] = []
        for id, why in broken.items():
            changes.append(_change(id, model.FAILED, type=model.TYPE_IGNORED, text=why))
        taken = []
        for outcome in outcomes:
            row = rows[outcome.id]
            if outcome.fate is Fate.TAKEN:
                taken.append(row["address"])
                changes.append(_change(outcome.id, model.SENT, tries=row["tries"] + 1))
            else:
                changes.append(self._setback(connection, claimed.delivery, row, (outcome, now_ms)))
        if stopped:
            changes = [_cancelled(change) for change in changes]
        same = {"b_claim": claimed.token, "b_now": now_ms}
        groups = sorted(_grouped(changes), key=lambda group: len(group[0]))
        if groups and len(changes) == len(rows):
            # Most messages fare alike: once the others are settled, they are what is left of the claim.
            _, change = groups.pop()
            rest = change | same | {"b_first": min(rows), "b_last": max(rows)}
        else:
            rest = None
        for ids, change in groups:
            connection.execute(statements.settle, change | same | {"b_ids": ids})
        if rest is not None:
            connection.execute(statements.settle_rest, rest)
        self._quarantine.success(connection, addresses=taken, now_ms=now_ms)

    def expire(self, connection: sa.Connection, delivery: Delivery, now_ms: int) -> int:
        """Give up what is still to be sent once the validity is over; answers how many."""
        logs = self._logs
        return connection.execute(
            sa.update(logs)
            .where(logs.c.delivery_id == delivery["id"], logs.c.status == model.PENDING)
            .values(
                status=model.FAILED,
                failureType=model.TYPE_SOFT,
                failureReason=model.UNREACHABLE,
                failureText=sa.func.coalesce(
                    sa.func.nullif(logs.c.failureText, ""), "the validity of the delivery is over"
                ),
                lastModified=now_ms,
            )
        ).rowcount

    def close(self, connection: sa.Connection, delivery: Delivery, now_ms: int) -> int | None:
        """Declare a delivery finished when nothing is left; answers when it goes on, else None."""
        logs = self._logs
        mine = logs.c.delivery_id == delivery["id"]
        due = connection.execute(
            sa.select(sa.func.min(logs.c.retryAt)).where(mine, logs.c.status == model.PENDING)
        ).scalar()
        busy = connection.execute(
            sa.select(logs.c.id).where(mine, logs.c.status == model.SENDING).limit(1)
        ).first()
        if due is None and busy is None:
            self._state(connection, delivery, model.FINISHED, now_ms=now_ms, ended=now_ms)
            return None
        if busy is None and due is not None and due > now_ms:
            if delivery["state"] != model.RETRY_PENDING:
                self._state(connection, delivery, model.RETRY_PENDING, now_ms=now_ms)
            return int(due)
        return now_ms

    def next_due(self, connection: sa.Connection, after: int) -> int | None:
        """When the next message of a started delivery is due; messages wait until `after` at least."""
        logs, table = self._logs, self._schemas.table("nms:delivery")
        starts = sa.select(sa.func.min(table.c.contactDate)).where(
            table.c.state == model.START_PENDING
        )
        running = sa.select(table.c.id).where(
            table.c.state.in_((model.STARTED, model.RETRY_PENDING))
        )
        retries = sa.select(sa.func.min(logs.c.retryAt)).where(
            logs.c.delivery_id.in_(running), logs.c.status == model.PENDING
        )
        found = [connection.execute(one).scalar() for one in (starts, retries)]
        due = [max(int(one), after) for one in found if one is not None]
        return min(due, default=None)

    @property
    def _logs(self) -> sa.Table:
        return self._schemas.table("nms:broadLogRcp")

    def _refused(
        self,
        connection: sa.Connection,
        delivery: Delivery,
        rows: Sequence[Row],
        statements: _Statements,
    ) -> dict[int, int]:
        """Delivery log → why it must not be sent any more."""
        if delivery["proof"]:
            return {}
        addresses = [row["address"] or "" for row in rows]
        known = self._quarantine.statuses(connection, addresses)
        gone = self._gone(connection, delivery, rows, statements)
        found: dict[int, int] = {}
        for row, address in zip(rows, addresses, strict=True):
            status = known.get(self._quarantine.normalised(address))
            if row["seed"]:
                continue
            if row["recipient_id"] is None:
                found[int(row["id"])] = model.NOT_SPECIFIED
            elif status == "denylisted" or row["recipient_id"] in gone:
                found[int(row["id"])] = model.DENYLISTED
            elif status == "quarantine":
                found[int(row["id"])] = model.QUARANTINED
        return found

    def _gone(
        self,
        connection: sa.Connection,
        delivery: Delivery,
        rows: Sequence[Row],
        statements: _Statements,
    ) -> set[int]:
        """Recipients of a chunk who have opted out."""
        if delivery["transactional"]:
            return set()
        found = {
            row["recipient_id"] for row in rows if row["rcp_blackList"] or row["rcp_blackListEmail"]
        }
        if delivery["serviceId"]:
            ids = [row["recipient_id"] for row in rows if row["recipient_id"] is not None]
            at = {"b_ids": ids, "b_service": delivery["serviceId"]}
            found |= set(connection.execute(statements.left, at).scalars())
        return found

    def _setback(
        self, connection: sa.Connection, delivery: Delivery, row: Row, at: tuple[Outcome, int]
    ) -> dict[str, Any]:
        """What a message becomes that was not taken."""
        outcome, now_ms = at
        id, tries = int(row["id"]), int(row["tries"]) + 1
        if outcome.fate is Fate.UNSURE and not delivery["transactional"]:
            return _change(id, model.UNKNOWN, tries=tries, text=outcome.text)
        if outcome.fate is Fate.UNSENT:
            again = (int(row["tries"]), now_ms + SOON_MS)
            return _later(id, delivery, again, _unreachable(outcome))
        again = (tries, now_ms + model.retry_ms(tries))
        if outcome.fate in {Fate.BROKEN, Fate.UNSURE}:
            return _later(id, delivery, again, _unreachable(outcome))
        found, message_id = self._qualifier.qualify(
            connection,
            code=outcome.code,
            enhanced=outcome.enhanced,
            text=outcome.text,
            now_ms=now_ms,
        )
        status = self._quarantine.record(
            connection,
            address=row["address"],
            failure_type=found.type,
            failure_reason=found.reason,
            text=found.text,
            delivery_id=delivery["id"],
            now_ms=now_ms,
        )
        why: dict[str, Any] = {
            "type": found.type,
            "reason": found.reason,
            "text": found.text,
            "msg": message_id,
        }
        if outcome.fate is Fate.DEFERRED and status != "quarantine":
            return _later(id, delivery, again, why)
        return _change(id, model.FAILED, tries=tries, **why)

    def _move(
        self, connection: sa.Connection, ids: list[int], values: dict[str, Any], now_ms: int
    ) -> None:
        if ids:
            logs = self._logs
            connection.execute(
                sa.update(logs)
                .where(logs.c.id.in_(ids))
                .values(values | {"eventDate": now_ms, "lastModified": now_ms})
            )

    def _statements(self) -> _Statements:
        """What is said for each chunk, put together once: that costs what fifty messages do."""
        logs = self._logs
        if self._kept is None or self._kept.logs is not logs:
            self._kept = _statements(self._schemas, self._persons)
        return self._kept

    def _state(
        self, connection: sa.Connection, delivery: Delivery, state: int, *, now_ms: int, **more: int
    ) -> None:
        """Move a delivery on, unless an operator has meanwhile."""
        table = self._schemas.table("nms:delivery")
        connection.execute(
            sa.update(table)
            .where(table.c.id == delivery["id"], table.c.state.in_(model.UNDER_WAY))
            .values(state=state, lastModified=now_ms, **more)
        )


class _Statements(NamedTuple):
    logs: sa.Table
    under_way: sa.Select[Any]
    due: sa.Select[Any]
    take: sa.Update
    settle: sa.Update
    settle_rest: sa.Update
    state: sa.Select[Any]
    left: sa.Select[Any]


def _statements(schemas: CampaignSchemas, persons: Persons) -> _Statements:
    logs, people, deliveries = (
        schemas.table(id) for id in ("nms:broadLogRcp", "nms:recipient", "nms:delivery")
    )
    now, token, id, ids = (_given(name) for name in ("b_now", "b_claim", "b_delivery", "b_ids"))
    moved = {"eventDate": now, "lastModified": now}
    due = sa.and_(logs.c.delivery_id == id, logs.c.status == model.PENDING, logs.c.retryAt <= now)
    # An operator may have paused it since it was read.
    goes_on = sa.exists().where(deliveries.c.id == id, deliveries.c.state.in_(model.UNDER_WAY))
    chunk = logs.c.id.between(_given("b_first"), _given("b_last"))
    settled = (
        sa.update(logs)
        .where(logs.c.status == model.SENDING, logs.c.claim == token)
        .values({name: _given(f"b_{name}") for name in _SETTLED} | {"claim": ""} | moved)
    )
    return _Statements(
        logs=logs,
        under_way=sa.select(*named(deliveries))
        .where(deliveries.c.state.in_(model.UNDER_WAY))
        .order_by(deliveries.c.contactDate, deliveries.c.id),
        due=persons.logs()
        .where(due, goes_on, logs.c.id > _given("b_after"))
        .order_by(logs.c.id)
        .limit(model.CHUNK_MESSAGES),
        take=sa.update(logs)
        .where(due, chunk)
        .values({"status": model.SENDING, "claim": token} | moved),
        settle=settled.where(logs.c.id.in_(ids)),
        settle_rest=settled.where(chunk),
        state=sa.select(deliveries.c.state).where(deliveries.c.id == id),
        left=sa.select(people.c.id).where(
            people.c.id.in_(ids), unsubscribed(schemas, people.c.id, _given("b_service"))
        ),
    )


def _given(name: str) -> sa.BindParameter[Any]:
    """A value that is told when it is said; several for ``ids``."""
    return sa.bindparam(name, expanding=name == "b_ids")


def _grouped(changes: Iterable[dict[str, Any]]) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Messages that become the same, together."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for change in changes:
        same = tuple((name, value) for name, value in change.items() if name != "b_id")
        found.setdefault(same, []).append(change["b_id"])
    for values, ids in found.items():
        yield ids, dict(values)


def _change(  # noqa: PLR0913 - a change is as many facts
    id: int,
    status: int,
    *,
    type: int = 0,
    reason: int = 0,
    text: str = "",
    msg: int = 0,
    tries: int = 0,
    retry_at: int = 0,
) -> dict[str, Any]:
    return {
        "b_id": id,
        "b_status": status,
        "b_failureType": type,
        "b_failureReason": reason,
        "b_failureText": text or None,
        "b_msgId": msg or None,
        "b_tries": tries,
        "b_retryAt": retry_at,
    }


def _later(
    id: int, delivery: Delivery, again: tuple[int, int], why: dict[str, Any]
) -> dict[str, Any]:
    """Pending until `again` (tries, time), or failed when that is too late."""
    tries, at_ms = again
    if at_ms > delivery["validUntil"]:
        return _change(id, model.FAILED, tries=tries, **why)
    return _change(id, model.PENDING, tries=tries, retry_at=at_ms, **why)


def _unreachable(outcome: Outcome) -> dict[str, Any]:
    return {"type": model.TYPE_SOFT, "reason": model.UNREACHABLE, "text": outcome.text[:1_000]}


def _cancelled(change: dict[str, Any]) -> dict[str, Any]:
    """A delivery that was stopped tries nothing again."""
    if change["b_status"] != model.PENDING:
        return change
    return change | {"b_status": model.CANCELLED, "b_retryAt": 0}
