"""What can go wrong with profiles?"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Invalid, NotFound, Unprocessable


class InvalidEntityRequest(Invalid):
    """The entity is not asked for as it must be."""


class NoSuchEntity(NotFound):
    """There is no profile or entity with this identity."""


class TooManyRelatedIdentities(Unprocessable):
    """Too many related identities."""


class InvalidMergePolicy(Invalid):
    """The merge policy is not of the form it must have."""


class NoSuchMergePolicy(NotFound):
    """There is no such merge policy; GET /data/core/ups/config/mergePolicies lists them."""


class MergePolicyInUse(Conflict):
    """The merge policy is active on edge: make another one active first."""
