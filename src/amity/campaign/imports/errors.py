"""What can go wrong with files that come from, or go to, others?"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Forbidden, Invalid, NotFound


class NoSuchAccount(NotFound):
    """There is no account of that name."""


class BadAccount(Invalid):
    """The account cannot be used as it is described."""


class BuiltInAccount(Conflict):
    """This account is part of the installation: it is neither changed nor deleted."""


class AccountInactive(Forbidden):
    """The account is switched off: switch it on first."""
