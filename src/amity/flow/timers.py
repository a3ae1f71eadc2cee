"""When must a stage be woken?

Two tables kept in step: by key, so that setting a timer replaces the one before; by due time, so
that what is due is the head of a scan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from amity.flow.intake import SYSTEM
from amity.flow.step import Cancel, Timer
from amity.kernel.scope import Scope
from amity.storage.keys import after, pack, unpack
from amity.storage.ports import Reader, Writer

TIMER_TABLE = "flow_timer"
DUE_TABLE = "flow_timer_due"

_ENCODER = msgspec.msgpack.Encoder()
_SET = msgspec.msgpack.Decoder(tuple[int, int])
_VERSION = msgspec.msgpack.Decoder(int)


class Timers:
    """The timers of some stages within one transaction.

    Args:
        writer: The transaction.
        stages: Names of the stages.
        earliest: No timer is due before this; None when there is none at all.
    """

    def __init__(self, writer: Writer, stages: Sequence[str], earliest: int | None) -> None:
        self._writer = writer
        self._stages = stages
        self._earliest = earliest
        self._untouched = True
        self._pending: dict[tuple[str, Scope, bytes], Timer | Cancel] = {}

    def change(self, stage: str, changes: Iterable[Timer | Cancel]) -> None:
        """Set or take back; of two changes of one key the later counts."""
        for change in changes:
            self._untouched = False
            self._pending[stage, change.scope, change.key] = change
            if isinstance(change, Timer):
                known = self._earliest
                self._earliest = change.due_ms if known is None else min(known, change.due_ms)

    def pop_due(self, to_ms: int, limit: int) -> tuple[int, dict[str, list[Timer]]] | None:
        """Take out the timers of the earliest due time up to `to_ms`: that time, and by stage."""
        if self._earliest is None or self._earliest > to_ms:
            return None
        self.flush()
        self._earliest = earliest(self._writer, self._stages)
        if self._earliest is None or self._earliest > to_ms:
            return None
        due_ms = self._earliest
        self._untouched = False
        fired: dict[str, list[Timer]] = {}
        for stage in self._stages:
            timers = self._at(stage, due_ms, limit)
            if timers:
                fired[stage] = timers
                self._remove(stage, timers)
        return due_ms, fired

    def flush(self) -> None:
        """Write the changes."""
        by_scope: dict[Scope, list[tuple[str, Timer | Cancel]]] = {}
        for (stage, scope, _), change in self._pending.items():
            by_scope.setdefault(scope, []).append((stage, change))
        for scope, changes in by_scope.items():
            self._flush_scope(scope, changes)
        self._pending.clear()

    def next_due(self) -> int | None:
        """The earliest due time, all changes written."""
        if self._untouched:
            return self._earliest
        self.flush()
        return earliest(self._writer, self._stages)

    def _flush_scope(self, scope: Scope, changes: list[tuple[str, Timer | Cancel]]) -> None:
        keys = [pack(stage) + change.key for stage, change in changes]
        old = self._writer.get_many(TIMER_TABLE, scope, keys)
        gone: list[bytes] = []
        dropped: list[bytes] = []
        timers: list[tuple[bytes, bytes]] = []
        dues: list[tuple[bytes, bytes]] = []
        for key, (stage, change) in zip(keys, changes, strict=True):
            known = _SET.decode(old[key]) if key in old else None
            new = (change.due_ms, change.version) if isinstance(change, Timer) else None
            if known == new:
                continue
            if known is not None:
                dropped.append(_due_key(stage, known[0], scope, change.key))
            if new is None:
                gone.append(key)
            else:
                timers.append((key, _ENCODER.encode(new)))
                due = _due_key(stage, new[0], scope, change.key)
                dues.append((due, _ENCODER.encode(new[1])))
        self._writer.delete_many(TIMER_TABLE, scope, gone)
        self._writer.delete_many(DUE_TABLE, SYSTEM, dropped)
        self._writer.put_many(TIMER_TABLE, scope, timers)
        self._writer.put_many(DUE_TABLE, SYSTEM, dues)

    def _at(self, stage: str, due_ms: int, limit: int) -> list[Timer]:
        start, end = pack(stage, due_ms), pack(stage, due_ms + 1)
        rows = self._writer.scan(DUE_TABLE, SYSTEM, start=start, end=end, limit=limit)
        timers = []
        for key, version in rows:
            scope_key = unpack(key, "sis")[2]
            rest = key[len(start) + len(pack(scope_key)) :]
            timers.append(
                Timer(Scope.parse(str(scope_key)), rest, due_ms, _VERSION.decode(version))
            )
        return timers

    def _remove(self, stage: str, timers: list[Timer]) -> None:
        self._writer.delete_many(
            DUE_TABLE,
            SYSTEM,
            [_due_key(stage, timer.due_ms, timer.scope, timer.key) for timer in timers],
        )
        by_scope: dict[Scope, list[bytes]] = {}
        for timer in timers:
            by_scope.setdefault(timer.scope, []).append(pack(stage) + timer.key)
        for scope, keys in by_scope.items():
            self._writer.delete_many(TIMER_TABLE, scope, keys)


def earliest(reader: Reader, stages: Sequence[str]) -> int | None:
    """The earliest due time of any timer of these stages."""
    dues = []
    for stage in stages:
        start = pack(stage)
        for key, _ in reader.scan(DUE_TABLE, SYSTEM, start=start, end=after(start), limit=1):
            dues.append(int(unpack(key, "si")[1]))
    return min(dues, default=None)


def _due_key(stage: str, due_ms: int, scope: Scope, key: bytes) -> bytes:
    return pack(stage, due_ms, scope.key) + key
