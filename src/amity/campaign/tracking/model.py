"""What comes back from a message, before anything is made of it?

A hit is a signed link that was followed; a return is a mail that came to the door for bounces. Both
are durable in the log before they are answered, and turned into rows by sinks.
"""

from __future__ import annotations

from typing import Literal

import msgspec

HITS_TOPIC = "campaign.hits"
"""`Hit`: what the link routes append."""

RETURNS_TOPIC = "campaign.returns"
"""`Return`: what the bounce door appends."""

HitKind = Literal["click", "open", "mirror", "optOut"]

RETURN_BYTES_MAX = 5 * 1024 * 1024
"""A larger mail is refused at the door. Ours."""

RETURN_BYTES_KEPT = 256 * 1024
"""How much of a returned mail goes to the log: a report stands before the message it is about. Ours."""

USER_AGENT_CHARS_MAX = 400
"""Length of the column."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A link of a message was followed.

    Attributes:
        id: Names the hit for good. A message is opted out of once: its id says so.
        url: Number of the URL within its delivery; 0 where the kind of link has none.
        machine: Whether a machine followed it, as far as one can tell.
        how: Of an opt-out: ``one-click`` (RFC 8058) or ``page``.
    """

    id: str
    kind: HitKind
    broadlog: int
    delivery: int
    url: int = 0
    at_ms: int
    user_agent: str = ""
    ip: str = ""
    machine: bool = False
    how: str = ""


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """A mail that came back.

    Attributes:
        id: Digest of what came: the same mail handed over twice has one id.
        to: Local part it was sent to.
        broadlog: The delivery log its signed address names; 0 for the mailbox of complaints.
        delivery: That log's delivery.
        raw: The mail, up to `RETURN_BYTES_KEPT`.
    """

    id: str
    to: str
    broadlog: int = 0
    delivery: int = 0
    sender: str = ""
    peer: str = ""
    at_ms: int
    raw: bytes


_ENCODER = msgspec.msgpack.Encoder()
_HIT = msgspec.msgpack.Decoder(Hit)
_RETURN = msgspec.msgpack.Decoder(Return)


def encoded(message: Hit | Return) -> bytes:
    """The log body of a hit or a return."""
    return _ENCODER.encode(message)


def hit_of(body: bytes) -> Hit:
    """The hit in a log body; `msgspec.DecodeError` when there is none."""
    return _HIT.decode(body)


def return_of(body: bytes) -> Return:
    """The return in a log body; `msgspec.DecodeError` when there is none."""
    return _RETURN.decode(body)
