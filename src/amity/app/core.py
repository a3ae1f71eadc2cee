"""What do both processes of a server open?

The ports of one data folder, the clocks and the ids. Which engine serves a port is decided here and
nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from amity.app.clock_routes import append_tick, last_tick_ms
from amity.app.folder import DataFolder
from amity.app.loop import done_tick
from amity.kernel.clock import (
    BusinessClock,
    RealBusinessClock,
    RealSystemClock,
    SystemClock,
    VirtualBusinessClock,
    from_iso,
)
from amity.kernel.ids import IdSource, RandomIds
from amity.storage.delta.lake import DeltaLake
from amity.storage.ports import Documents, Lake, Log, State, Tables
from amity.storage.sqlite.documents import SqliteDocuments
from amity.storage.sqlite.log import SqliteLog
from amity.storage.sqlite.state import SqliteState
from amity.storage.sqlite.tables import SqliteTables
from amity.transports.outbound import Outbound

HTTP_WRITER = 0
WORKER_WRITER = 1
CAMPAIGN_WRITER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The open ports of a data folder."""

    folder: DataFolder
    clock: BusinessClock
    system: SystemClock
    ids: IdSource
    log: Log
    state: State
    lake: Lake
    documents: Documents
    audit_tables: Tables
    outbound: Outbound

    def close(self) -> None:
        """Let go of the files."""
        self.log.close()
        self.state.close()


def open_core(
    folder: DataFolder, *, clock: str, writer: int, outbound: Outbound | None = None
) -> Core:
    """Open a data folder's ports.

    Args:
        folder: Where.
        clock: Start of the virtual business clock, "" for real time. A folder whose virtual clock
            has already moved on resumes there.
        writer: The log file this process writes.
        outbound: Judges outgoing addresses; by default the strictest.
    """
    system = RealSystemClock()
    log, state = SqliteLog(folder.log, writer=writer), SqliteState(folder.state)
    business: BusinessClock = RealBusinessClock(system)
    if clock and writer == HTTP_WRITER:
        business = _virtual(log, from_iso(clock))
    elif clock:
        # A tick appended and not yet done must not have moved a worker's clock already: its
        # timers fire in order. Where its own ticks end, the worker's loop knows.
        done = done_tick(state) if writer == WORKER_WRITER else None
        business = VirtualBusinessClock(done[1] if done else from_iso(clock))
    return Core(
        folder=folder,
        clock=business,
        system=system,
        ids=RandomIds(),
        log=log,
        state=state,
        lake=DeltaLake(folder.lake),
        documents=SqliteDocuments(SqliteTables(folder.control), business),
        audit_tables=SqliteTables(folder.audit),
        outbound=outbound or Outbound(),
    )


def _virtual(log: Log, start_ms: int) -> VirtualBusinessClock:
    """The clock of who appends ticks; a start later than the last tick is a tick itself."""
    last_ms = last_tick_ms(log)
    if start_ms > last_ms:
        append_tick(log, start_ms)
    return VirtualBusinessClock(max(start_ms, last_ms))
