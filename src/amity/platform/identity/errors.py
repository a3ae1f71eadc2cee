"""What can go wrong with identities?"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Forbidden, Invalid, NotFound


class InvalidNamespace(Invalid):
    """The namespace is not of the form it must have."""


class NamespaceTaken(Conflict):
    """There is a namespace with this code already: codes are unique and case-sensitive."""

    code = "NAMESPACE_CODE_CONFLICT"


class NoSuchNamespace(NotFound):
    """There is no such namespace; GET /data/core/idnamespace/identities lists them."""


class StandardNamespace(Forbidden):
    """A standard namespace cannot be changed."""


class InvalidSettings(Invalid):
    """The linking rules are not of the form they must have."""


class InvalidInput(Invalid):
    """The identity asked for is not named as it must be."""


class InvalidEvents(Invalid):
    """The events to simulate are not of the form `NS: value, NS: value`, one event a line."""
