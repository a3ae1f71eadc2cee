"""Where does a refused record go?

To one place, with its reason, and it can be replayed: whoever refuses appends a `FailedRecord` to
the failed topic; the failures stage files it in the state database, where `amity failed`, batch
diagnostics and the API find it.
"""

from __future__ import annotations

import msgspec

FAILED_TOPIC = "flow.failed"
"""`FailedRecord`: what was refused, by whom and why."""


class FailedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A refused record, row or message, whole.

    Attributes:
        id: Deterministic: the same refusal filed twice is one failed record.
        code: The documented code where there is one (e.g. ``INGEST-1401-400``), else ours.
        reason: What is wrong and what to do, one sentence.
        path: JSON pointer of the field, "" for the whole record.
        where: Source position a person can find: file and line, or request and index.
        raw: The bytes as they came.
    """

    id: str
    scope: str
    source: str
    dataset: str = ""
    batch: str = ""
    code: str
    reason: str
    path: str = ""
    where: str = ""
    received_ms: int
    raw: bytes


ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder(FailedRecord)
