"""How does the virtual business clock reach every stage?

An advance is a log record, so that replay is deterministic: the worker first drains what was
appended before it, then fires due timers in order, then reports the tick as done.
"""

from __future__ import annotations

import msgspec

TICK_TOPIC = "flow.ticks"
"""`Tick`: an advance of the virtual business clock."""


class Tick(msgspec.Struct, array_like=True, frozen=True):
    """Business time stands at `to_ms` from now on."""

    to_ms: int


ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder(Tick)
