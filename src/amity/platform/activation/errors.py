"""What does activation refuse?"""

from __future__ import annotations

from amity.kernel.errors import Invalid, NotFound, Terminal


class BadFlow(Invalid):
    """This flow does not say what to send, when, or how."""


class BadSchedule(Invalid):
    """This is no schedule that can be kept."""


class BadConnection(Invalid):
    """The connection's authentication or parameters are not of the form its spec asks for."""


class CannotRunNow(Invalid):
    """An export on demand is not possible at this moment."""


class UnknownDestination(NotFound):
    """There is no such destination flow."""


class ExportRefused(Terminal):
    """The export cannot be written; the run says why."""
