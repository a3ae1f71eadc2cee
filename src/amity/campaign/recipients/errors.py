"""What can go wrong with the people a campaign writes to?"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Forbidden, NotFound, Unprocessable


class BadSchema(Unprocessable):
    """The schema cannot become a table."""


class SchemaTaken(Conflict):
    """The schema contradicts what is already there."""


class UnknownSchema(NotFound):
    """There is no schema of that id."""


class BadValue(Unprocessable):
    """A value cannot be kept in its attribute."""


class UnknownRecord(NotFound):
    """There is no record of that id."""


class UnknownList(NotFound):
    """There is no list of that name."""


class UnknownService(NotFound):
    """There is no service of that name."""


class UnknownAddress(NotFound):
    """No address of that kind has failed or was denied so far."""


class KeyTaken(Conflict):
    """Another record has this key already."""


class OtherOrgUnit(Forbidden):
    """The campaign database serves another organisational unit."""
