"""What can go wrong between a target and its messages?"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Corrupt, Invalid, NotFound, Unprocessable


class BadLink(NotFound):
    """This link is not one of ours, or it was changed: open it as it stands in the message."""


class BadKey(Invalid):
    """A key is not of the form it must have."""


class UnknownDelivery(NotFound):
    """There is no delivery of that id."""


class UnknownMessage(NotFound):
    """There is no message of that id."""


class BadContent(Unprocessable):
    """The content of a delivery cannot be sent as it stands."""


class NotRendered(Unprocessable):
    """The content cannot be made for this recipient."""


class BadHeader(Unprocessable):
    """A value may not stand in a header of a message."""


class WrongState(Conflict):
    """The delivery is not in a state in which this can be done."""


class NameTaken(Conflict):
    """A delivery of that internal name exists already."""


class NotTaken(Corrupt):
    """The delivery's counts do not add up."""
