"""What do activation's parts say to one another, and what does a flow ask for?"""

from __future__ import annotations

from typing import Literal

import msgspec

from amity.kernel.ids import ProfileId, digest

FLOWS_TOPIC = "platform.flows"
"""`FlowChanged`, keyed by flow: a destination flow was saved or deleted."""

EVALUATIONS_TOPIC = "platform.evaluations"
"""`Evaluated`: a batch evaluation of audiences has ended."""

EXPORTS_TOPIC = "platform.exports"
"""`ExportOrder`, keyed by flow and audience."""

ExportMode = Literal["DAILY_FULL_EXPORT", "FIRST_FULL_THEN_INCREMENTAL"]
Frequency = Literal[
    "ONCE", "DAILY", "WEEKLY", "MONTHLY",
    "EVERY_3_HOURS", "EVERY_6_HOURS", "EVERY_8_HOURS", "EVERY_12_HOURS",
]  # fmt: skip
Trigger = Literal["SCHEDULED", "AFTER_SEGMENT_EVAL"]


class Schedule(msgspec.Struct, frozen=True, array_like=True):
    """When one audience is exported. `end_ms` is exclusive; None means for ever.

    Behaviour: platform-activation.md §4.4.
    """

    mode: ExportMode
    frequency: Frequency
    trigger: Trigger
    start_ms: int
    end_ms: int | None = None


class FlowChanged(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """The audiences of a flow and their schedules are these now; none once it is deleted."""

    scope: str
    flow: str
    at_ms: int
    enabled: bool
    schedules: dict[str, Schedule]


class Evaluated(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    """These audiences have just been evaluated as a batch."""

    scope: str
    audiences: tuple[str, ...]
    at_ms: int


class ExportOrder(msgspec.Struct, frozen=True, array_like=True):
    """Write one file set. `mapping` counts how often the audience was mapped to the flow anew."""

    scope: str
    flow: str
    audience: str
    mode: Literal["full", "incremental"]
    scheduled_ms: int
    run: str
    mapping: int = 0
    on_demand: bool = False


class Member(msgspec.Struct, frozen=True, array_like=True):
    """Where a profile stands in an audience.

    `first_revision` is the revision of its first entry: a destination that has seen only earlier
    ones cannot know it. `at_ms` is when it last entered or left.
    """

    active: bool
    revision: int
    first_revision: int
    at_ms: int


class AudienceHead(msgspec.Struct, frozen=True, array_like=True):
    """The newest revision of an audience and how many are in it."""

    revision: int = 0
    active: int = 0


class Slot(msgspec.Struct, frozen=True, array_like=True):
    """How far the schedule of one audience in one flow has come.

    `schedule` is None once the audience is unmapped. `mapping` counts how often it was mapped anew:
    each time the destination is told everything from scratch.
    """

    schedule: Schedule | None = None
    enabled: bool = True
    last_ms: int = -1
    version: int = 0
    mapping: int = 0


class Exported(msgspec.Struct, frozen=True, array_like=True):
    """The revision up to which a destination knows an audience, and by which run."""

    revision: int
    run: str
    at_ms: int


class Qualified(msgspec.Struct, frozen=True, array_like=True):
    """A person whose row is asked for."""

    profile: ProfileId
    active: bool
    at_ms: int


def run_id(order: tuple[str, str, str, int]) -> str:
    """The run of (scope, flow, audience, scheduled time): the same slot is always the same run.

    >>> len(run_id(("A@AmityOrg/prod", "flow", "audience", 0)))
    36
    """
    scope, flow, audience, at_ms = order
    text = digest("run", scope, flow, audience, str(at_ms))
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-a{text[17:20]}-{text[20:32]}"


ENCODER = msgspec.msgpack.Encoder()
ORDER_DECODER = msgspec.msgpack.Decoder(ExportOrder)
FLOW_DECODER = msgspec.msgpack.Decoder(FlowChanged | Evaluated)
