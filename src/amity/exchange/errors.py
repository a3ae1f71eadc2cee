"""What breaks the contract between the two sides?"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Corrupt, Forbidden, Invalid


class BadFileName(Invalid):
    """The template gives no usable file name."""


class BadColumns(Invalid):
    """The columns do not make a file of this format."""


class ManifestDiffers(Corrupt):
    """The files are not what their manifest says."""


class NoManifest(Corrupt):
    """What lies there is no manifest of the exchange."""


class ExportTooSoon(Conflict):
    """The last export of this kind is less than four hours old."""


class TooManyOrgUnits(Forbidden):
    """The exchange serves one organisational unit."""


class CreatesRecipient(Forbidden):
    """A segment file updates recipients and never creates one: send who is missing to the rejects."""
