"""What can go wrong with what comes back?"""

from __future__ import annotations

from amity.kernel.errors import Invalid, NotFound, Unprocessable


class BadReturn(Unprocessable):
    """The returned mail cannot be read."""

    code = "bad-return"


class ForeignReturn(Unprocessable):
    """The returned mail is not about a message of ours."""

    code = "foreign-return"


class NoReport(Unprocessable):
    """The returned mail reports nothing: a person may have written it."""

    code = "no-report"


class NotOurs(NotFound):
    """There is nothing behind this link any more."""


class UnknownReturn(NotFound):
    """No returned mail of that id was refused."""


class UnknownText(NotFound):
    """There is no qualification of that id."""


class BadOverrule(Invalid):
    """The word on a text is none."""
