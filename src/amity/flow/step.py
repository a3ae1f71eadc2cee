"""What is a stage of the river, whoever hosts it?

A streaming stage is pure at heart: ``step(state, messages, fired, now) -> Outcome``, no I/O. These
are the types a pure step speaks; they import no storage. What hosts a step is `amity.flow.stage`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from amity.kernel.scope import Scope

S = TypeVar("S")


class Position(NamedTuple):
    """Where in the log a message stands: total order of receipt, `n` within one log record."""

    partition: int
    offset: int
    n: int


class Timer(NamedTuple):
    """Wake `key` at `due_ms`.

    One timer a (stage, scope, key): setting it again replaces it. `version` is the state version
    that set it: the step ignores a fired timer whose version is not the state's own.
    """

    scope: Scope
    key: bytes
    due_ms: int
    version: int


class Cancel(NamedTuple):
    """Take back the timer of `key`."""

    scope: Scope
    key: bytes


class Output(NamedTuple):
    """A message for a topic. Messages of one key keep their order."""

    topic: str
    scope: Scope
    key: bytes
    message: Any


class Failure(NamedTuple):
    """A message that a step refuses: it becomes a failed record with this reason."""

    scope: Scope
    dataset: str
    code: str
    reason: str
    path: str
    raw: bytes
    position: Position


@dataclass(slots=True, kw_only=True)
class Outcome(Generic[S]):
    """What a step gives back."""

    state: S
    outputs: list[Output] = field(default_factory=list)
    timers: list[Timer | Cancel] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
