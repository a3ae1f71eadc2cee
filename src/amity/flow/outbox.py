"""How does what a step says reach the log exactly once in effect?

It is written beside the state, in the same transaction, and appended to the log afterwards under
rising numbers. After a crash it is appended again: readers drop the numbers they have seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from amity.flow.intake import SYSTEM
from amity.storage.keys import after, pack
from amity.storage.ports import Entry, Log, Reader, State, Writer

OUTBOX_TABLE = "flow_outbox"

_ENCODER = msgspec.msgpack.Encoder()
_PARCEL = msgspec.msgpack.Decoder(list[Entry])


class Outbox:
    """The entries of one runner on their way to the log; `name` is their origin."""

    def __init__(self, *, log: Log, state: State, name: str) -> None:
        self._log = log
        self._state = state
        self._name = name
        self._waiting: list[tuple[bytes, list[Entry]]] = []
        self._sent: list[bytes] = []
        self._put: tuple[bytes, list[Entry]] | None = None
        with state.read() as reader:
            self._waiting = self._load(reader)

    def put(self, writer: Writer, entries: Sequence[Entry], last_seq: int) -> int:
        """Write the entries of one transaction, and forget what was sent; the last number."""
        self._put = None
        if self._sent:
            writer.delete_many(OUTBOX_TABLE, SYSTEM, self._sent)
        if not entries:
            return last_seq
        numbered = [
            entry._replace(origin=self._name, origin_seq=seq)
            for seq, entry in enumerate(entries, last_seq + 1)
        ]
        key = pack(self._name, last_seq + 1)
        writer.put_many(OUTBOX_TABLE, SYSTEM, [(key, _ENCODER.encode(numbered))])
        self._put = (key, numbered)
        return last_seq + len(numbered)

    def committed(self) -> None:
        """The transaction of the last `put` has committed."""
        self._sent.clear()
        if self._put is not None:
            self._waiting.append(self._put)
            self._put = None

    def publish(self) -> int:
        """Append what waits, in order; how many entries."""
        if not self._waiting:
            return 0
        entries = [entry for _, parcel in self._waiting for entry in parcel]
        self._log.append(entries)
        self._sent += [key for key, _ in self._waiting]
        self._waiting.clear()
        return len(entries)

    def tidy(self) -> None:
        """Forget what was sent, when no transaction is coming that would."""
        if self._sent:
            with self._state.write() as writer:
                writer.delete_many(OUTBOX_TABLE, SYSTEM, self._sent)
            self._sent.clear()

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def _load(self, reader: Reader) -> list[tuple[bytes, list[Entry]]]:
        start = pack(self._name)
        rows = reader.scan(OUTBOX_TABLE, SYSTEM, start=start, end=after(start))
        return [(key, _PARCEL.decode(value)) for key, value in rows]
