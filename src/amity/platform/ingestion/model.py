"""What does a door put on the log?

A frame: the accepted records of one request (or one slice of a batch file) for one dataset, each
record as the JSON bytes that were validated. A frame is appended whole before the door answers.
"""

from __future__ import annotations

from typing import Literal

import msgspec

INGEST_TOPIC = "platform.ingest"
"""Frames, straight from the doors."""

BATCH_TOPIC = "platform.batches"
"""Batches declared complete, waiting to be loaded."""


class Frame(msgspec.Struct, array_like=True, frozen=True):
    """Accepted records of one dataset. `received_ms` is business time at receipt.

    All frames of a batch share one key, so they arrive in order; a last frame of no records closes
    the batch: whoever has taken it in has taken in the whole batch.
    """

    scope: str
    dataset: str
    schema: str
    behavior: Literal["record", "time-series"]
    received_ms: int
    source: str
    """Inlet id, `write_key:<id>` or `batch:<id>`."""
    records: list[bytes]
    batch: str = ""
    said_ms: list[int] = []
    """When each record was said, where its sender tells it apart from receipt; else empty."""


class BatchComplete(msgspec.Struct, array_like=True, frozen=True):
    """A batch is declared complete and may be loaded; with `revert`, it is to be taken out again."""

    scope: str
    batch: str
    revert: bool = False


BATCH_DECODER = msgspec.msgpack.Decoder(BatchComplete)
FRAME_DECODER = msgspec.msgpack.Decoder(Frame)
ENCODER = msgspec.msgpack.Encoder()
