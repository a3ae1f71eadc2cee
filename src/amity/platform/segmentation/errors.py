"""What can be wrong with an audience?"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Invalid, NotFound, Unprocessable


class BadDefinition(Invalid):
    """The audience's definition cannot be used."""


class NameTaken(Unprocessable):
    """Another audience has this name."""


class CyclicAudiences(Invalid):
    """The audience would depend on itself by inSegment."""


class UnknownAudience(NotFound):
    """There is no such audience."""


class AudienceInUse(Invalid):
    """Others depend on this audience: take it out of them first."""


class BadLifecycle(Conflict):
    """The audience cannot go from this state to that."""


class UnknownJob(NotFound):
    """There is no such segment job."""


class UnknownSchedule(NotFound):
    """There is no such schedule."""


class UnknownPreview(NotFound):
    """There is no such preview."""


class UnknownEntity(NotFound):
    """There is no profile with this identity."""
