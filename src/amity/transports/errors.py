"""What can go wrong between us and a store of files?"""

from __future__ import annotations

from amity.kernel.errors import Forbidden, Invalid, NotFound, Unavailable


class BadPath(Invalid):
    """The path names no file in the store."""


class BadAddress(Invalid):
    """The address of the store cannot be used."""


class AddressRefused(Forbidden):
    """The address is private: it is used only where the installation allows that."""


class NoSuchFile(NotFound):
    """There is no such file in the store."""


class StoreRefused(Forbidden):
    """The store does not let these credentials do this."""


class StoreUnavailable(Unavailable):
    """The store cannot be reached, or answers with an error of its own."""
