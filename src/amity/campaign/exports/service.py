"""How does a log leave the campaign side: not too often, not twice, and nothing left out?

An export is written down, window and all, before anything is published. Carrying it out after a
crash writes the same names again, so that there is one export. The next window begins a little
before the end of this one: a row that was being written meanwhile is not lost, and one that comes
twice changes nothing at the platform. See docs/adr/0019-log-exports-and-the-campaign-source.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from amity.campaign.exports import store
from amity.campaign.exports.errors import (
    BadFolder,
    ExportUnderWay,
    NoSuchExport,
    SwitchedOff,
)
from amity.campaign.exports.interval import Moment, Watch, set_back_ms, wait_ms
from amity.campaign.exports.model import LogExport, Order, log_kind
from amity.campaign.exports.rows import LogRows, Window
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.exchange.guardrails import check_export_interval
from amity.exchange.log_file import LOG_KINDS, LogExportFacts, LogFileWriter, LogKind
from amity.kernel.clock import MINUTE_MS, to_iso
from amity.kernel.errors import Terminal
from amity.kernel.ids import IdSource
from amity.storage.ports import Tables
from amity.transports.errors import BadPath
from amity.transports.ports import Store, checked

OVERLAP_MS = 10 * MINUTE_MS
"""How far a window reaches back into the one before: longer than a transaction lasts. Ours."""

OFF_AT_FIRST: frozenset[LogKind] = frozenset({"preferences"})
"""Kinds that somebody must switch on. Behaviour: campaign.md §2 (preferences: optional)."""

_SCHEMAS: dict[str, LogKind] = {
    "nms:broadLogRcp": "broadLog",
    "nms:trackingLogRcp": "trackingLog",
    "nms:address": "nonDeliverable",
}
"""Schemas whose rows are logs: a file of them obeys the same rule, whoever writes it."""


class LogExports:
    """Exports of the logs of one campaign database.

    Args:
        tables: The campaign database.
        schemas: Its tables.
        watch: Tells when it is, by both clocks.
        open_store: Opens the place that an external account names.
        spool: A folder of this machine for files in the making.
        ids: Names exports.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        schemas: CampaignSchemas,
        watch: Watch,
        open_store: Callable[[str], Store],
        spool: Path,
        ids: IdSource,
    ) -> None:
        self._tables = tables
        self._schemas = schemas
        self._rows = LogRows(schemas)
        self._watch = watch
        self._open_store = open_store
        self._spool = spool
        self._ids = ids
        self._one_at_a_time = threading.Lock()
        tables.create(store.METADATA)

    def begin(self, order: Order) -> LogExport:
        """Write down an export that is to be carried out, if it may be.

        Raises:
            ExportTooSoon: The last one is less than four hours old.
            ExportUnderWay: Another one of the kind is not done yet.
            SwitchedOff: The kind is switched off.
        """
        _check_folder(order.folder)
        self._open_store(order.account)  # an account that cannot be used is refused at once
        with self._tables.begin() as connection:
            known = store.by_key(connection, order.key)
            now = self._watch.now()
            if known is not None and known.state != "failed":
                return known
            if known is not None:
                store.change(connection, known.id, now, key=f"{order.key} failed {known.id}")
            self._check_on(connection, order.kind)
            self._check_interval(connection, order.kind, now)
            export = self._made(connection, order, now)
            store.add(connection, export, now)
            return export

    def carry_out(self, id: str) -> LogExport:
        """Publish an export that has begun; one that is done is answered as it is."""
        with self._one_at_a_time:
            export = self.export(id)
            if export.state != "begun":
                return export
            try:
                self._publish(self._bounded(export))
            except Terminal as error:
                self._note(id, state="failed", error=error.message)
                raise
            return self.export(id)

    def run(self, order: Order) -> LogExport:
        """Begin an export and carry it out; a second time for the same key it is answered."""
        return self.carry_out(self.begin(order).id)

    def check(self, kind: str, now_ms: int) -> None:
        """Refuse a file of log rows that comes too soon; other kinds and schemas pass.

        Args:
            kind: Of log, or the schema that its rows are of.
            now_ms: Business time.
        """
        log = self._log_of(kind)
        if log is None:
            return
        now = self._watch.now()
        now = Moment(
            business_ms=now_ms, machine_ms=now.machine_ms, boot=now.boot, virtual=now.virtual
        )
        with self._tables.connect() as connection:
            self._check_interval(connection, log, now)

    def claim(self, kind: str, *, key: str, by: str) -> None:
        """Count a file of log rows that something else writes: it is an export like any other.

        The same key claims once; a schema that holds no log is nobody's export.
        """
        log = self._log_of(kind)
        if log is None:
            return
        with self._tables.begin() as connection:
            if store.by_key(connection, key) is not None:
                return
            now = self._watch.now()
            order = Order(kind=log, key=key, by=by, account="", folder="")
            self._check_interval(connection, order.kind, now)
            last = store.last_moments(connection, order.kind)
            made = self._made(connection, order, now)
            # What went elsewhere is still owed to the platform: the window stays where it was.
            until_ms = 0 if last is None else max(last[1] - set_back_ms(last[0], now), 0)
            store.add(connection, _claimed(made, until_ms), now)

    def export(self, id: str) -> LogExport:
        """One export."""
        with self._tables.connect() as connection:
            found = store.by_id(connection, id)
        if found is None:
            raise NoSuchExport(f"there is no export {id[:64]!r}; GET /campaign/exports lists them")
        return found

    def exports(self, limit: int, kind: str = "") -> list[LogExport]:
        """The newest exports first."""
        with self._tables.connect() as connection:
            return store.latest(connection, limit, log_kind(kind) if kind else None)

    def under_way(self) -> list[LogExport]:
        """Exports that have begun and are not done, oldest first."""
        with self._tables.connect() as connection:
            return store.under_way(connection)

    def kinds(self) -> list[dict[str, Any]]:
        """Each kind: whether it is on, its last export, when the next is allowed."""
        now = self._watch.now()
        with self._tables.connect() as connection:
            on = store.switches(connection)
            return [
                {
                    "kind": kind,
                    "enabled": on.get(kind, kind not in OFF_AT_FIRST),
                    "last": next((one.body() for one in store.latest(connection, 1, kind)), None),
                    "nextAllowed": to_iso(now.business_ms + self._wait_ms(connection, kind, now)),
                }
                for kind in LOG_KINDS
            ]

    def switch(self, kind: str, *, enabled: bool) -> None:
        """Switch the exports of a kind on or off."""
        with self._tables.begin() as connection:
            store.put_switch(connection, log_kind(kind), enabled=enabled)

    def wait_ms(self, kind: str) -> int:
        """How long the next export of a kind has to wait."""
        with self._tables.connect() as connection:
            return self._wait_ms(connection, log_kind(kind), self._watch.now())

    def _check_on(self, connection: sa.Connection, kind: LogKind) -> None:
        if not store.switches(connection).get(kind, kind not in OFF_AT_FIRST):
            raise SwitchedOff(
                f"exports of {kind} are switched off: switch them on with "
                f'PUT /campaign/exports/{kind} {{"enabled": true}}'
            )

    def _log_of(self, name: str) -> LogKind | None:
        """The log that a kind or a schema names; an extension is the table it extends."""
        if name not in LOG_KINDS:
            return _SCHEMAS.get(self._schemas.schema(name).id)
        return log_kind(name)

    def _check_interval(self, connection: sa.Connection, kind: LogKind, now: Moment) -> None:
        for other in store.under_way(connection, kind):
            raise ExportUnderWay(
                f"export {other.id} of {kind}, begun at {to_iso(other.begun_ms)}, is "
                "still being carried out; it goes on by itself",
                export=other.id,
            )
        wait = self._wait_ms(connection, kind, now)
        check_export_interval(kind, wait, now.business_ms)

    @staticmethod
    def _wait_ms(connection: sa.Connection, kind: LogKind, now: Moment) -> int:
        last = store.last_moments(connection, kind)
        return 0 if last is None else wait_ms(last[0], now)

    def _made(self, connection: sa.Connection, order: Order, now: Moment) -> LogExport:
        return LogExport(
            id=self._ids.hex(32),
            key=order.key,
            kind=order.kind,
            state="begun",
            by=order.by,
            account=order.account,
            folder=order.folder,
            since_ms=_since_ms(store.last_moments(connection, order.kind), now),
            until_ms=now.business_ms,
            begun_ms=now.business_ms,
        )

    def _bounded(self, export: LogExport) -> LogExport:
        """No further than the clock of who writes the rows: a virtual one may lag behind the API's.

        Rows between the two are still to come; they belong into the next window.
        """
        now = self._watch.now()
        if now.business_ms >= export.until_ms:
            return export
        with self._tables.begin() as connection:
            store.change(connection, export.id, now, until_ms=now.business_ms)
        return msgspec.structs.replace(export, until_ms=now.business_ms)

    def _publish(self, export: LogExport) -> None:
        facts = LogExportFacts(
            id=export.id,
            kind=export.kind,
            at_ms=export.begun_ms,
            since_ms=export.since_ms,
            until_ms=export.until_ms,
            folder=export.folder,
        )
        writer = LogFileWriter(
            store=self._open_store(export.account), spool=self._spool, facts=facts
        )
        try:
            with self._tables.connect() as connection:
                window = Window(export.since_ms, export.until_ms)
                for page in self._rows.pages(connection, export.kind, window):
                    writer.write(page)
            manifest = writer.publish()
        except BaseException:
            writer.discard()
            if writer.visible:
                self._note(export.id, published_ms=self._watch.now().business_ms)
            raise
        self._note(export.id, state="published", rows=manifest.rows, manifest=facts.manifest_path)

    def _note(self, id: str, **facts: Any) -> None:
        now = self._watch.now()
        if facts.get("state") == "published":
            facts["published_ms"] = now.business_ms
        with self._tables.begin() as connection:
            store.change(connection, id, now, **facts)


def _since_ms(last: tuple[Moment, int] | None, now: Moment) -> int:
    """Where the window begins; before everything when the clock lies before the last export."""
    if last is None or last[1] > now.business_ms:
        return 0
    moment, until_ms = last
    return max(until_ms - OVERLAP_MS - set_back_ms(moment, now), 0)


def _claimed(export: LogExport, until_ms: int) -> LogExport:
    return msgspec.structs.replace(
        export, state="published", published_ms=export.begun_ms, until_ms=until_ms
    )


def _check_folder(folder: str) -> None:
    try:
        checked(f"{folder}/name" if folder else "name")
    except BadPath as error:
        raise BadFolder(f"folder: {error.message}") from None
