"""What do returned mails become?

A failure in the delivery log and of the address, a complaint, an unsubscription, or nothing. What is
not about a message of ours, or names somebody else, is kept as a failed record with the reason.
Behaviour: campaign.md §1.9; the choices: docs/adr/0018-tracking-and-returns.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from amity.campaign.delivery.errors import BadLink
from amity.campaign.delivery.links import LinkSigner
from amity.campaign.delivery.qualification import REASONS, TYPES, Failure, Qualifier
from amity.campaign.recipients.addresses import normalised
from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.service import Recipients
from amity.campaign.tracking import returns, store
from amity.campaign.tracking.errors import BadReturn, ForeignReturn, NoReport
from amity.campaign.tracking.logs import SENT, MessageLog, MessageLogs
from amity.campaign.tracking.model import RETURNS_TOPIC, Return, return_of
from amity.campaign.tracking.returns import Report, Verdict
from amity.flow import failed
from amity.flow.failed import FAILED_TOPIC, FailedRecord
from amity.kernel.errors import Corrupt, Terminal
from amity.kernel.scope import Scope
from amity.storage.ports import Entry, LogRecord, Tables

SOURCE = "campaign.returns"
"""`source` of the failed records of refused returns."""

MAILTO = "mailto"
COMPLAINT = "complaint"
_MERE_NEWS = frozenset({"delayed", "delivered", "autoReply", "notSpam"})
"""What changes nothing, but that the message arrived."""


class _Outcome(NamedTuple):
    kind: str
    log: MessageLog | None = None
    verdict: Verdict = Verdict("failed")
    message_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What a return may touch.

    Attributes:
        schemas: The campaign's tables.
        recipients: Takes opt-outs.
        quarantine: Knows addresses.
        qualifier: Reads reasons.
        signer: Opens signed addresses.
    """

    schemas: CampaignSchemas
    recipients: Recipients
    quarantine: Quarantine
    qualifier: Qualifier
    signer: LinkSigner


class ReturnsSink:
    """Makes of returned mails what they mean; one it has seen changes nothing.

    Args:
        tables: The campaign database.
        effects: What a return may touch.
        append: Appends failed records to the log.
        scope: Whose failed records they are.
    """

    name = "campaign-returns"
    consumes = (RETURNS_TOPIC,)

    def __init__(
        self,
        *,
        tables: Tables,
        effects: Effects,
        append: Callable[[Sequence[Entry]], object],
        scope: Scope,
    ) -> None:
        store.install(tables)
        self._tables = tables
        self._append = append
        self._scope = scope
        self._effects = effects
        self._logs = MessageLogs(effects.schemas, effects.recipients)

    def handle(self, records: Sequence[LogRecord], now_ms: int) -> None:
        """Make of them what they mean; `Corrupt` for a record that is no return."""
        # Read before the transaction: a mail made to be slow must not keep others from writing.
        reports = {back.id: _report(back) for back in map(_return, records)}
        with self._tables.begin() as connection:
            fresh = store.unread(connection, self.name, records)
            refused: list[Entry] = []
            for back in map(_return, fresh):
                refused += self._take(connection, back, reports[back.id], now_ms)
            store.note_read(connection, self.name, fresh)
            if refused:
                # Before the commit: seen again after a crash, they are the same records once more.
                self._append(refused)

    def _take(
        self, connection: sa.Connection, back: Return, report: Report | Terminal, now_ms: int
    ) -> list[Entry]:
        if store.has_return(connection, back.id):
            return []
        try:
            found = self._outcome(connection, back, report, now_ms)
        except (BadReturn, ForeignReturn, NoReport) as error:
            told = Verdict("failed", text=error.message)
            store.note_return(connection, back, ("refused", told), 0)
            return [self._refused(back, error, now_ms)]
        id = found.log.id if found.log else 0
        named = msgspec.structs.replace(
            back, broadlog=id, delivery=found.log.delivery if found.log else 0
        )
        store.note_return(connection, named, (found.kind, found.verdict), found.message_id)
        return []

    def _outcome(
        self, connection: sa.Connection, back: Return, report: Report | Terminal, now_ms: int
    ) -> _Outcome:
        if isinstance(report, Terminal):
            raise report
        log = self._log(connection, back, report.references)
        verdict = _about(report, log)
        if verdict.kind == "unsubscribe":
            self._logs.opt_out(connection, log, MAILTO, now_ms)
            return _Outcome("unsubscribe", log, verdict)
        if verdict.kind == "complaint":
            return self._complaint(connection, back, (log, verdict), now_ms)
        if verdict.kind in _MERE_NEWS:
            if verdict.kind == "delivered":
                self._logs.arrived(connection, [log.id], now_ms)
            return _Outcome(verdict.kind, log, verdict)
        return self._bounce(connection, back, (log, verdict), now_ms)

    def _log(
        self, connection: sa.Connection, back: Return, references: Sequence[str]
    ) -> MessageLog:
        """The message it is about, by a signed name: that of the mailbox, or one it returns."""
        named = [(back.broadlog, back.delivery)] if back.broadlog else self._opened(references)
        logs = self._logs.find(connection, (id for id, _ in named))
        for id, delivery in named:
            log = logs.get(id)
            if log is not None and log.delivery == delivery and log.status in SENT:
                return log
        raise ForeignReturn(
            "it holds no signed name of a message that was sent from here: nothing was changed"
        )

    def _opened(self, references: Sequence[str]) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for one in references:
            try:
                found.append(self._effects.signer.open_verp(one))
            except BadLink:
                try:
                    link = self._effects.signer.open("u", one)
                except BadLink:
                    continue
                found.append((link.broadlog, link.delivery))
        return found

    def _bounce(
        self,
        connection: sa.Connection,
        back: Return,
        about: tuple[MessageLog, Verdict],
        now_ms: int,
    ) -> _Outcome:
        log, verdict = about
        if log.failed:
            return _Outcome("repeated", log, verdict)
        failure, message_id = self._effects.qualifier.qualify(
            connection,
            code=verdict.code,
            enhanced=verdict.enhanced,
            text=verdict.text,
            now_ms=now_ms,
        )
        if failure.type == TYPES["ignored"]:
            return _Outcome("ignored", log, verdict, message_id)
        self._logs.fail(
            connection, log, failure, message_id=message_id, at_ms=back.at_ms, now_ms=now_ms
        )
        if not log.test:
            self._effects.quarantine.record(
                connection,
                address=log.address,
                failure_type=failure.type,
                failure_reason=failure.reason,
                at_ms=back.at_ms,
                now_ms=now_ms,
                text=failure.text,
                delivery_id=log.delivery,
            )
        return _Outcome("bounce", log, verdict, message_id)

    def _complaint(
        self,
        connection: sa.Connection,
        back: Return,
        about: tuple[MessageLog, Verdict],
        now_ms: int,
    ) -> _Outcome:
        log, verdict = about
        failure = Failure(TYPES["hard"], REASONS["denylisted"], verdict.text)
        self._logs.fail(connection, log, failure, message_id=0, at_ms=back.at_ms, now_ms=now_ms)
        if not log.test:
            self._effects.quarantine.denylist(
                connection,
                address=log.address,
                at_ms=back.at_ms,
                now_ms=now_ms,
                text=verdict.text,
                delivery_id=log.delivery,
            )
            self._logs.close_email(connection, log, COMPLAINT, now_ms)
        return _Outcome("complaint", log, verdict)

    def _refused(
        self, back: Return, error: BadReturn | ForeignReturn | NoReport, now_ms: int
    ) -> Entry:
        record = FailedRecord(
            id=back.id,
            scope=self._scope.key,
            source=SOURCE,
            code=error.code or "",
            reason=error.message,
            where=f"mail to {back.to} from {back.sender or '<>'}",
            received_ms=now_ms,
            raw=back.raw,
        )
        return Entry(FAILED_TOPIC, record.id.encode(), failed.ENCODER.encode(record))


def _return(record: LogRecord) -> Return:
    try:
        return return_of(record.body)
    except msgspec.DecodeError as error:
        raise Corrupt(f"no returned mail: {error}") from error


def _report(back: Return) -> Report | Terminal:
    """What a mail says, or why it says nothing."""
    try:
        return returns.read(back.raw)
    except (BadReturn, NoReport) as error:
        return error


def _about(report: Report, log: MessageLog) -> Verdict:
    """What a report says of the message's own address; `ForeignReturn` when it names only others."""
    ours = normalised(log.address)
    for verdict in report.verdicts:
        if not verdict.addresses or ours in map(normalised, verdict.addresses):
            return verdict
        if verdict.kind in {"complaint", "notSpam"} and _hidden(verdict, ours):
            return verdict
    named = ", ".join(name for verdict in report.verdicts for name in verdict.addresses)
    raise ForeignReturn(
        f"it names {named[:200]}, but the message it came for was sent to another address: "
        "nothing was changed"
    )


def _hidden(verdict: Verdict, ours: str) -> bool:
    """Whether a complaint hides whom it is about, as many providers do (RFC 6590)."""
    domain = ours.rpartition("@")[2]
    return any(
        "redacted" in name or name.rpartition("@")[2] == domain for name in verdict.addresses
    )
