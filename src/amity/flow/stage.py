"""How is a pure step joined to its state?

`load` and `save` move the state from and to the store; the runner does everything else: progress,
outbox, timers, retries, failed records (docs/adr/0002-flow-contract.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from amity.flow.step import Outcome, Timer
from amity.storage.ports import LogRecord, Reader, Writer

S = TypeVar("S")
M = TypeVar("M")


class Stage(Protocol[S, M]):
    """One stage, hosted by `amity.flow.runner`. Six verbs, all synchronous."""

    @property
    def name(self) -> str:
        """Names its progress and its timers; never changes once data exists."""

    @property
    def consumes(self) -> tuple[str, ...]:
        """Topics it reads."""

    def decode(self, record: LogRecord) -> Sequence[M]:
        """The messages in one log record. A body that is none of ours raises `Corrupt`."""

    def encode(self, message: Any) -> bytes:
        """The log body of one message of this stage's outputs."""

    def load(self, reader: Reader, messages: Sequence[M], fired: Sequence[Timer]) -> S:
        """All state that `step` needs for these messages and timers."""

    def step(
        self, state: S, messages: Sequence[M], fired: Sequence[Timer], now_ms: int
    ) -> Outcome[S]:
        """Pure: no I/O, no clock, no randomness."""

    def save(self, writer: Writer, state: S) -> None:
        """Write what `step` changed (the state knows what is dirty)."""
