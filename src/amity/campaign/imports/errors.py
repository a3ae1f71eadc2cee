"""What can go wrong with files that come from, or go to, others?"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable, Unprocessable


class NoSuchAccount(NotFound):
    """There is no account of that name."""


class BadAccount(Invalid):
    """The account cannot be used as it is described."""


class BuiltInAccount(Conflict):
    """This account is part of the installation: it is neither changed nor deleted."""


class AccountInactive(Forbidden):
    """The account is switched off: switch it on first."""


class BadColumn(Invalid):
    """The description of a column cannot be used."""


class BadFile(Unprocessable):
    """The file is not of the form that was agreed."""


class NoSuchCopy(NotFound):
    """The copy of the file is no longer kept: transfer it again."""


class StillGrowing(Unavailable):
    """The file is still being written: it is looked at again later."""
