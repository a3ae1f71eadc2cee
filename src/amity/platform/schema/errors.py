"""What can be wrong with a schema resource, and what does one do about it?

Codes where the followed system documents one. Behaviour: platform-collect.md §1, §2.
"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Forbidden, Invalid, NotFound


class ListAcceptRefused(Invalid):
    """A list takes an Accept header without a version."""

    code = "XDM-1006-400"


class LookupAcceptRefused(Invalid):
    """A look-up takes an Accept header with the major version."""

    code = "XDM-1007-400"


class ResourceNotFound(NotFound):
    """There is no such schema resource."""

    code = "XDM-1012-404"


class ImportRefused(Invalid):
    """The resources cannot be imported."""

    code = "XDM-3005-400"


class ResourceInvalid(Invalid):
    """The schema resource is not of the form it must have."""


class ResourceReadOnly(Forbidden):
    """Global resources are read-only: create one of your own that extends it."""


class ResourceInUse(Conflict):
    """The schema resource is used by others: remove it from them first."""


class BreakingChange(Invalid):
    """Data was collected under this schema: only additions are allowed."""


class UnionRefused(Invalid):
    """The schema cannot be enabled for Profile."""
